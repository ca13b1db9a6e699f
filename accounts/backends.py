"""Where every password is compared, whether it came by a page, the admin or the API."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from accounts import guard
from accounts.names import is_service_name
from accounts.passwords import require_passwords


class GuardedBackend(ModelBackend):
    """User name and password, as often as the guard lets them be tried.

    Raises ``TooManyAttempts``, and ``PasswordsOff`` where passwords open nothing.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        if username is None or password is None:
            return None
        if request is None:  # a caller inside the process, who asks for nobody outside
            return super().authenticate(request, username, password)
        require_passwords()
        attempt = guard.begin(request, username)
        user = super().authenticate(request, username, password) if _can_be_a_person(username) else None
        if user is None:
            attempt.wrong()
        else:
            attempt.right()
        return user


def _can_be_a_person(text: str) -> bool:
    """Whether a database can be asked for it, and people are called so: service accounts sign in nowhere."""
    return "\0" not in text and text.isprintable() and not is_service_name(text)
