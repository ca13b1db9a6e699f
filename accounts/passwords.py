"""Passwords: another one ends every other way in; and whether they open anything."""

import hashlib

from django.conf import settings
from django.contrib.auth.models import User

from accounts.errors import PasswordsOff
from accounts.provider import the_provider


def password_mark(user: User) -> str:
    """What a token keeps of the password under which it was made; another password has another mark.

    It tells nothing beyond the stored hash, which stands in the same database. Whoever has no password has a mark, too:
    what stands in its place is random.
    """
    return hashlib.sha256(f"token:{user.password}".encode()).hexdigest()


def require_passwords() -> None:
    """Raise ``PasswordsOff`` where people sign in through their provider alone."""
    if not settings.PASSWORD_SIGN_IN:
        raise PasswordsOff(the_provider().name)
