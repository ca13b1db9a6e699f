"""Who listens, and whether they still may: a stream lasts longer than what opened it."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import Token
from accounts.scopes import Scope
from accounts.sessions import SessionStore
from accounts.tokens import opens


@dataclass(frozen=True)
class TokenCaller:
    """A program: it listens while its token opens what it opened."""

    person: int
    token: int

    def account(self) -> User | None:
        """The person, while the token holds; else None."""
        token = Token.objects.select_related("user").filter(pk=self.token, user=self.person).first()
        if token is None or (token.expiry is not None and token.expiry <= timezone.now()):
            return None
        held = opens(token) and token.user.is_active and Scope.READ in token.scopes
        return token.user if held else None


@dataclass(frozen=True)
class SessionCaller:
    """A browser: it listens while its session lasts."""

    person: int
    session_key: str

    def account(self) -> User | None:
        """The person, while the session holds; else None."""
        request = HttpRequest()
        request.session = SessionStore(self.session_key)
        found = get_user(request)
        return found if isinstance(found, User) and found.is_active and found.pk == self.person else None


Caller = TokenCaller | SessionCaller
