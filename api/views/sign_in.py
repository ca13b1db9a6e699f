"""What opens an account: tokens, passwords, sessions of browsers."""

from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth import authenticate, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ValidationError
from django.urls import reverse as pages_reverse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts import access, devices
from accounts.models import Token
from accounts.scopes import Scope
from accounts.sessions import sessions_of
from accounts.tokens import make_token, revoke_token, tokens_of
from api.authentication import TokenAuthentication
from api.serializers.sign_in import (
    CredentialsSerializer,
    DeviceCodeSerializer,
    DeviceSignInSerializer,
    NewTokenSerializer,
    OwnTokenSerializer,
    PasswordSerializer,
    SessionSerializer,
    StillWaitingSerializer,
    TokenSerializer,
    WantedTokenSerializer,
)
from api.views.shared import Documented, actor_of, validated
from datasets.errors import InvalidInput


class BasicCredentials(BasicAuthentication):
    """HTTP Basic, for the one address that turns a password into a token."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> tuple[User, None]:
        return person_of(request, userid, password), None


class BasicCredentialsScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document calls it."""

    target_class = "api.views.sign_in.BasicCredentials"
    name = "basicAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "basic"}


def person_of(request: Request, username: str, password: str) -> User:
    """Who has these credentials. Raises ``AuthenticationFailed``, and ``TooManyAttempts`` after too many failures."""
    user = authenticate(request._request, username=username, password=password)
    if not isinstance(user, User):
        raise AuthenticationFailed("User name and password do not fit.")
    return user


@extend_schema(tags=["signing in"])
class TokenView(Documented):
    """Signing in for programs."""

    remembers_answers = False  # a token is kept as its hash alone
    authentication_classes = [BasicCredentials]
    permission_classes = [AllowAny]
    scopes = {"post": None}

    @extend_schema(request=CredentialsSerializer, responses=NewTokenSerializer, operation_id="create_token")
    def post(self, request: Request) -> Response:
        """A new token, for HTTP Basic credentials or a user name and password in the body."""
        wanted = validated(CredentialsSerializer, request.data)
        username, password = wanted.pop("username", ""), wanted.pop("password", "")
        user = request.user
        if not isinstance(user, User):
            user = person_of(request, username, password)
        made, key = make_token(owner=user, **wanted)
        user_logged_in.send(sender=User, request=request._request, user=user)
        return Response(shown_once(made, key))


def shown_once(made: Token, key: str) -> dict[str, Any]:
    """A new token as its maker reads it."""
    return NewTokenSerializer({**TokenSerializer(made).data, "token": key}).data


@extend_schema(tags=["signing in"])
class DeviceSignInView(Documented):
    """Signing in for programs without a password: their person lets them in from a browser."""

    remembers_answers = False
    authentication_classes = []
    permission_classes = [AllowAny]
    scopes = {"post": None}

    @extend_schema(
        request=WantedTokenSerializer, responses=DeviceSignInSerializer, operation_id="begin_device_sign_in"
    )
    def post(self, request: Request) -> Response:
        """Ask to be let in. Show `user_code` and `verification_uri`, then ask `auth/device/token` for the token."""
        begun, code = devices.begin(request._request, **validated(WantedTokenSerializer, request.data))
        page = request.build_absolute_uri(pages_reverse("device"))
        told = {
            "device_code": code,
            "user_code": begun.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?{urlencode({'code': begun.user_code})}",
            "expires_in": int(devices.LIFETIME.total_seconds()),
            "interval": devices.INTERVAL,
        }
        return Response(DeviceSignInSerializer(told).data)


@extend_schema(tags=["signing in"])
class DeviceTokenView(Documented):
    """The token of a program that was let in."""

    further_problems = [("410", "Gone")]
    remembers_answers = False
    authentication_classes = []
    permission_classes = [AllowAny]
    scopes = {"post": None}

    @extend_schema(
        request=DeviceCodeSerializer,
        responses={
            200: NewTokenSerializer,
            202: OpenApiResponse(StillWaitingSerializer, description="Nobody has decided yet."),
        },
        operation_id="take_device_token",
    )
    def post(self, request: Request) -> Response:
        """The token, once: 202 while nobody has decided, 403 `sign_in_denied`, 410 `sign_in_expired`."""
        taken = devices.take(validated(DeviceCodeSerializer, request.data)["device_code"])
        if taken is None:
            told = StillWaitingSerializer({"interval": devices.INTERVAL}).data
            return Response(told, status=202, headers={"Retry-After": str(devices.INTERVAL)})
        return Response(shown_once(*taken))


@extend_schema(tags=["signing in"])
class OwnTokenView(Documented):
    """What a program can know of its own token."""

    authentication_classes = [TokenAuthentication]
    scopes = {"get": None}

    @extend_schema(responses=OwnTokenSerializer, operation_id="own_token")
    def get(self, request: Request) -> Response:
        """The token that is sent: whose it is, what it may be used for, and until when."""
        return Response(OwnTokenSerializer(request.auth).data)


@extend_schema(tags=["signing in"])
class TokenLogoutView(Documented):
    """Signing out for programs."""

    remembers_answers = False
    authentication_classes = [TokenAuthentication]
    scopes = {"post": None}

    @extend_schema(request=None, responses={204: None}, operation_id="delete_token")
    def post(self, request: Request) -> Response:
        """Make the token that is sent worthless."""
        sent = cast(Token, request.auth)  # nothing else signs in here
        revoke_token(owner=actor_of(request), number=sent.number)
        return Response(status=204)


@extend_schema(tags=["signing in"])
class TokenViewSet(Documented, ViewSet):
    """The caller's own tokens."""

    scopes = {"list": Scope.ADMIN, "destroy": Scope.ADMIN}

    @extend_schema(responses=TokenSerializer(many=True), operation_id="tokens")
    def list(self, request: Request) -> Response:
        """The caller's tokens that open something, newest first; never the keys themselves."""
        return Response(TokenSerializer(tokens_of(actor_of(request)), many=True).data)

    @extend_schema(
        parameters=[OpenApiParameter("number", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses={204: None},
        operation_id="revoke_token",
    )
    def destroy(self, request: Request, number: UUID) -> Response:
        """Make one of the caller's tokens worthless."""
        revoke_token(owner=actor_of(request), number=number)
        return Response(status=204)


@extend_schema(tags=["signing in"])
class PasswordView(Documented):
    """The caller's password."""

    remembers_answers = False
    scopes = {"post": Scope.ADMIN}

    @extend_schema(request=PasswordSerializer, responses={204: None}, operation_id="change_password")
    def post(self, request: Request) -> Response:
        """Another password. Every token ends with the old one, that of this call too, and every other session."""
        wanted = validated(PasswordSerializer, request.data)
        user = actor_of(request)
        if (
            authenticate(request._request, username=user.get_username(), password=wanted["old_password"])
            is None
        ):
            sentence = "This is not your password. It is case-sensitive."
            raise InvalidInput(sentence, errors={"old_password": [sentence]})
        try:
            validate_password(wanted["new_password"], user)
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages), errors={"new_password": error.messages}) from error
        own_session = None if request.auth else request._request.session.session_key
        access.change_password(user=user, password=wanted["new_password"], session_key=own_session)
        if own_session:
            update_session_auth_hash(request._request, user)
        return Response(status=204)


@extend_schema(tags=["signing in"])
class SessionViewSet(Documented, ViewSet):
    """The browsers in which the caller is signed in."""

    scopes = {"list": Scope.ADMIN, "destroy": Scope.ADMIN}

    @extend_schema(responses=SessionSerializer(many=True), operation_id="sessions")
    def list(self, request: Request) -> Response:
        """Where the caller is signed in, the browser used last first."""
        return Response(SessionSerializer(sessions_of(actor_of(request)), many=True).data)

    @extend_schema(responses={204: None}, operation_id="sign_out_everywhere")
    def destroy(self, request: Request) -> Response:
        """Sign out everywhere: every session ends but that of this call. Tokens stay."""
        own_session = None if request.auth else request._request.session.session_key
        access.sign_out_everywhere(user=actor_of(request), session_key=own_session)
        return Response(status=204)
