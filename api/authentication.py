"""Who calls, and whether the token that they sent is for this: the one place where scopes are asked for.

Every view of the API says in ``scopes`` which scope each of its operations needs. ``None`` is for what any token may
do. A session may do all that its person may.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from django.contrib.auth.models import User
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from knox.auth import TokenAuthentication as KnoxAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from accounts.errors import ScopeMissing
from accounts.models import Token
from accounts.scopes import Scope
from accounts.tokens import note_use, opens

#: What the OpenAPI document calls tokens.
SCHEME_NAME = "knoxApiToken"
#: What ``scopes`` of a view holds: an action of a view set, or the method of a plain view in small letters.
Scopes = Mapping[str, Scope | None]


class TokenAuthentication(KnoxAuthentication):
    """``Authorization: Token …``; the token must have been made under the password that its person has now."""

    def authenticate_credentials(self, token: bytes) -> tuple[User, Token]:
        if not token.isascii() or not token.decode().isprintable():  # which no database is asked for
            raise AuthenticationFailed("Invalid token.")
        found: tuple[User, Token] = super().authenticate_credentials(token)
        return found

    def validate_user(self, auth_token: Token) -> tuple[User, Token]:
        user, token = super().validate_user(auth_token)
        if not opens(token):
            raise AuthenticationFailed("Invalid token.")
        note_use(token)
        if token.agent:
            structlog.contextvars.bind_contextvars(agent=token.agent)  # events say that it was the agent
        return user, token


class TokenScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document calls it."""

    target_class = TokenAuthentication
    name = SCHEME_NAME

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return build_bearer_security_scheme_object("Authorization", self.target.authenticate_header(None))


class SignedInWithScope(IsAuthenticated):
    """Somebody is signed in, and a token that they sent has the scope of the operation."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not super().has_permission(request, view):
            return False
        needed = scope_of(view, request.method or "")
        if needed is not None:
            require_scope(request, needed)
        return True


def require_scope(request: Request, scope: Scope) -> None:
    """Raise ``ScopeMissing`` where a token without the scope was sent: for what one operation can be asked beside what
    it is for.
    """
    if isinstance(request.auth, Token) and scope not in request.auth.scopes:
        raise ScopeMissing(scope)


def scope_of(view: Any, method: str) -> Scope | None:
    """The scope that an operation needs; what a view does not serve (or only describes) needs none.

    Raises ``LookupError`` for an operation that nobody gave a scope: a test finds it before a request does.
    """
    if method == "HEAD":
        method = "GET"
    served = getattr(view, "action_map", None) or {
        name: name for name in view.http_method_names if name != "options" and hasattr(view, name)
    }
    operation = served.get(method.lower())
    if operation is None:
        return None
    scopes: Scopes = getattr(view, "scopes", {})
    if operation not in scopes:
        raise LookupError(f"{type(view).__name__}.scopes does not say which scope {operation} needs.")
    return scopes[operation]
