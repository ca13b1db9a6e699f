"""Tokens: get one with user name and password, give it back."""

from typing import Any

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from knox.auth import TokenAuthentication
from knox.models import get_token_model
from knox.settings import knox_settings
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.serializers.sign_in import CredentialsSerializer, TokenSerializer
from api.views.shared import validated


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
    """Who has these credentials. Raises ``AuthenticationFailed``, and ``Throttled`` after too many failures."""
    plain = request._request  # what counts the failures marks this one
    user = authenticate(plain, username=username, password=password)
    if getattr(plain, "axes_locked_out", False):
        raise Throttled(detail="Too many failed attempts to sign in; try again later.")
    if not isinstance(user, User):
        raise AuthenticationFailed("User name and password do not fit.")
    return user


@extend_schema(tags=["signing in"])
class TokenView(APIView):
    """Signing in for programs."""

    authentication_classes = [BasicCredentials]
    permission_classes = [AllowAny]

    @extend_schema(request=CredentialsSerializer, responses=TokenSerializer, operation_id="create_token")
    def post(self, request: Request) -> Response:
        """A new token, for HTTP Basic credentials or a user name and password in the body."""
        user = request.user
        if not isinstance(user, User):
            credentials = validated(CredentialsSerializer, request.data)
            user = person_of(request, credentials.get("username", ""), credentials.get("password", ""))
        made, token = get_token_model().objects.create(user=user, expiry=knox_settings.TOKEN_TTL)
        user_logged_in.send(sender=User, request=request._request, user=user)
        return Response(TokenSerializer({"token": token, "expiry": made.expiry}).data)


@extend_schema(tags=["signing in"])
class TokenLogoutView(APIView):
    """Signing out for programs."""

    authentication_classes = [TokenAuthentication]

    @extend_schema(request=None, responses={204: None}, operation_id="delete_token")
    def post(self, request: Request) -> Response:
        """Make the token that is sent worthless."""
        request.auth.delete()
        return Response(status=204)
