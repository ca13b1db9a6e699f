"""The border to django-allauth: its OpenID Connect flow (state, PKCE, exchange of the code), checked where it trusts.

What it leaves out and is asked of a client is done here (OpenID Connect Core 1.0, sections 3.1.2.1, 3.1.3.7 and
5.3.2; Discovery 1.0, section 4.3; RFC 9207): the nonce, the signature and the issuer of the ID token, the subject of
the user info, clocks that differ. Its tables stay empty: accounts are ours (``accounts.identities``).

Imported only where a provider is set, for its applications are installed only then.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt
import requests
import structlog
import urllib3
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialToken
from allauth.socialaccount.providers.base.constants import AuthError
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from accounts.errors import ProviderFailed
from accounts.provider import SignInProvider, the_provider
from datasets.conversing import bounded_session, is_over, within

logger = structlog.get_logger(__name__)

_PROVIDER: Final = "headgate"
#: How ID tokens may be signed: by keys that the provider publishes, never by the shared secret or not at all.
_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
#: How long one visit talks to the provider: to begin a sign-in takes one request, to complete it four.
_SECONDS: Final = 15.0
#: Largest answer of a provider that is read.
_MOST_BYTES: Final = 4 * 1024**2


@dataclass(frozen=True)
class ProviderAnswer:
    """What the provider vouches for, and what was asked of it: ``state`` is what ``begin`` was given."""

    claims: Mapping[str, Any]
    id_token: str
    state: Mapping[str, Any]


class _Unbelievable(OAuth2Error):
    """An answer of the provider that must not be believed."""


#: Ways in which nothing comes of an answer: it is broken off, of other shapes than were agreed on, or too deep to be
#: read. Who reads a stream hears of its end from urllib3 itself.
_NO_ANSWERS: Final = (
    OAuth2Error,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    SuspiciousOperation,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def begin(request: HttpRequest, **state: Any) -> str:
    """The address of the provider to which a browser is led; ``state`` comes back with the answer.

    Raises ``ProviderFailed``.
    """
    adapter = _Adapter(request)
    with _named_failures(adapter.settings):
        nonce = secrets.token_urlsafe(24)
        response = adapter.get_provider().redirect(
            request,
            "login",
            data=state,
            scope=adapter.settings.scopes,
            auth_params={"nonce": nonce},
            nonce=nonce,
        )
        return str(response["Location"])


def complete(request: HttpRequest) -> ProviderAnswer:
    """What came back with the browser that ``begin`` had led away. Raises ``ProviderFailed``; an answer counts once."""
    adapter = _Adapter(request)
    issuer = request.GET.get("iss")
    if issuer is not None and issuer.rstrip("/") != adapter.settings.issuer:
        raise ProviderFailed(
            "The answer came from another provider than the one that was asked. Begin again."
        )
    with _named_failures(adapter.settings):
        _Callback.adapter_view(adapter)(request)
    if adapter.answer is None:
        raise ProviderFailed(f"{adapter.settings.name} sent an answer that cannot be read.")
    return adapter.answer


def end_session_address(request: HttpRequest, id_token: str, back: str) -> str:
    """Where the provider ends its own session, too; empty where it does not say so, or does not answer."""
    adapter = _Adapter(request)
    try:
        with _named_failures(adapter.settings):
            place = adapter.openid_config.get("end_session_endpoint")
            if not isinstance(place, str) or not _is_safe(place):
                return ""
            has_query = bool(urlsplit(place).query)
    except ProviderFailed:
        return ""
    asked = {
        "id_token_hint": id_token,
        "client_id": adapter.settings.client_id,
        "post_logout_redirect_uri": request.build_absolute_uri(back),
    }
    return f"{place}{'&' if has_query else '?'}{urlencode(asked)}"


class Hooks(DefaultSocialAccountAdapter):
    """What allauth asks of its installation (``SOCIALACCOUNT_ADAPTER``)."""

    def get_requests_session(self) -> requests.Session:
        """For the exchange of the code, and for all else that is asked of the provider."""
        return bounded_session()

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises ``ProviderFailed`` instead of showing allauth's own page."""
        name = the_provider().name
        if error == AuthError.CANCELLED:
            raise ProviderFailed(f"Signing in was cancelled at {name}.")
        if exception is not None:
            raise _failure(exception, the_provider()) from exception
        if "state" not in (extra_context or {}):
            raise ProviderFailed(
                "This sign-in was begun in another browser, is finished already, or is older than ten minutes. "
                "Begin again."
            )
        said = "".join(one for one in request.GET.get("error", "")[:60] if one.isalnum() or one == "_")
        raise ProviderFailed(f"{name} did not sign you in{f' ({said})' if said else ''}.")


class _Adapter(OpenIDConnectOAuth2Adapter):
    """The flow with one provider, which the environment names."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request, _PROVIDER)
        self.settings = the_provider()
        self.state: Mapping[str, Any] = {}
        self.answer: ProviderAnswer | None = None

    def get_provider(self) -> OpenIDConnectProvider:
        return _Provider(
            self.request,
            app=SocialApp(
                provider="openid_connect",
                provider_id=_PROVIDER,
                name=self.settings.name,
                client_id=self.settings.client_id,
                secret=self.settings.secret,
                settings={"server_url": self.settings.issuer, "oauth_pkce_enabled": True},
            ),
        )

    @property
    def openid_config(self) -> dict[str, Any]:
        """What the provider says of itself. Raises ``_Unbelievable`` where it is another, or speaks in the clear."""
        if not hasattr(self, "_openid_config"):
            found = _fetched(f"{self.settings.issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self.settings.issuer:
                raise _Unbelievable(f"calls itself {str(found.get('issuer'))[:200]!r} and not OIDC_ISSUER")
            for name in _ENDPOINTS:
                if not _is_safe(found.get(name)):
                    raise _Unbelievable(f"names no https address as its {name}")
            self._openid_config = found
        return self._openid_config

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return request.build_absolute_uri(reverse("provider_answer"))

    def parse_token(self, data: Mapping[str, Any]) -> SocialToken:
        return SocialToken(token=str(data["access_token"]))  # used once, and not kept

    def complete_login(self, request: HttpRequest, app: Any, token: SocialToken, **kwargs: Any) -> None:
        """The end of the flow for allauth: who it was is ours to tell."""
        id_token = kwargs["response"].get("id_token")
        if not isinstance(id_token, str):
            raise _Unbelievable("sent no ID token")
        claims = self._verified(id_token)
        if _is_safe(self.openid_config.get("userinfo_endpoint")):
            info = _fetched(self.profile_url, token=token.token)
            if info.get("sub") != claims["sub"]:
                raise _Unbelievable("told of another person than the one who signed in")
            claims = {**claims, **info}
        self.answer = ProviderAnswer(claims, id_token, self.state.get("data") or {})
        raise ImmediateHttpResponse(HttpResponse(status=204))

    def _verified(self, id_token: str) -> dict[str, Any]:
        """The claims of an ID token that may be believed."""
        try:
            header = jwt.get_unverified_header(id_token)
            keys = jwt.PyJWKSet.from_dict(_fetched(self.openid_config["jwks_uri"])).keys
            fitting = [key for key in keys if key.key_id == header.get("kid") or "kid" not in header]
            if header.get("alg") not in _ALGORITHMS or len(fitting) != 1:
                raise _Unbelievable("signed the ID token with a key that it does not publish")
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key=fitting[0].key,
                algorithms=[header["alg"]],
                audience=self.settings.client_id,
                issuer=self.openid_config["issuer"],
                leeway=self.settings.clock_skew_seconds,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.ImmatureSignatureError as error:
            raise _Unbelievable(f"{_TOKEN}: it is from the future; do the clocks agree?") from error
        except jwt.ExpiredSignatureError as error:
            raise _Unbelievable(f"{_TOKEN}: it is over; do the clocks agree?") from error
        except jwt.PyJWTError as error:
            raise _Unbelievable(f"{_TOKEN} ({type(error).__name__})") from error
        if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), self._nonce().encode()):
            raise _Unbelievable(f"{_TOKEN}: it answers another sign-in")
        if claims.get("azp", self.settings.client_id) != self.settings.client_id:
            raise _Unbelievable(f"{_TOKEN}: it was issued to another client")
        return claims

    def _nonce(self) -> str:
        return str(self.state["nonce"])


_TOKEN: Final = "sent an ID token that does not hold"  # noqa: S105  (words)


class _Provider(OpenIDConnectProvider):
    """The provider as allauth has it, whose flow is the checked one."""

    def get_oauth2_adapter(self, request: HttpRequest) -> _Adapter:
        return _Adapter(request)


class _Callback(OAuth2CallbackView):
    """The provider's answer; what was kept for it is told to the adapter."""

    def _get_state(self, request: HttpRequest, provider: Any) -> Any:
        state, response = super()._get_state(request, provider)
        self.adapter.state = state or {}
        return state, response


@contextmanager
def _named_failures(provider: SignInProvider) -> Iterator[None]:
    """Whatever goes wrong between here and the provider, as ``ProviderFailed``: its answers are not ours to trust."""
    with within(_SECONDS):
        try:
            yield
        except _NO_ANSWERS as error:
            raise _failure(error, provider) from error


def _failure(error: Exception, provider: SignInProvider) -> ProviderFailed:
    """The sentence for people; operators find the rest in the log, without the code and the tokens."""
    logger.warning(
        "sign_in_provider_failed",
        kind=type(error).__name__,
        reason=str(error) if isinstance(error, _Unbelievable) else "",
    )
    if isinstance(error, _Unbelievable):
        return ProviderFailed(
            f"{provider.name} {error}. Nobody was signed in; ask an operator if it stays so."
        )
    if is_over():
        return ProviderFailed(
            f"{provider.name} takes longer than {_SECONDS:.0f} seconds to answer. Try again in a moment."
        )
    unheard = (requests.RequestException, urllib3.exceptions.HTTPError)
    if isinstance(error, unheard) and not isinstance(error, json.JSONDecodeError):
        return ProviderFailed(f"{provider.name} does not answer. Try again in a moment.")
    if isinstance(error, OAuth2Error):
        return ProviderFailed(
            f"{provider.name} did not accept the sign-in: it was used already, or is too old. Begin again."
        )
    return ProviderFailed(
        f"{provider.name} sent an answer that cannot be read. Try again, or ask an operator."
    )


def _fetched(address: str, *, token: str = "") -> dict[str, Any]:
    """A JSON object of the provider's. Raises ``requests.RequestException``, ``ValueError`` and ``_Unbelievable``."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with bounded_session() as session:
        answer = session.get(address, headers=headers, stream=True)
        answer.raise_for_status()
        body = answer.raw.read(_MOST_BYTES + 1, decode_content=True)
        if len(body) > _MOST_BYTES:
            raise _Unbelievable("sent more than can be read")
        found = json.loads(body)
    if not isinstance(found, dict):
        raise _Unbelievable("sent something else than a JSON object")
    return found


def _is_safe(address: object) -> bool:
    """Whether what goes there is read by nobody on the way: TLS, or this machine."""
    if not isinstance(address, str):
        return False
    place = urlsplit(address)
    return place.scheme == "https" or (
        place.scheme == "http" and place.hostname in ("localhost", "127.0.0.1", "::1")
    )
