"""Passwords: another one ends every other way in."""

import hashlib

from django.contrib.auth.models import User


def password_mark(user: User) -> str:
    """What a token keeps of the password under which it was made; another password has another mark.

    It tells nothing beyond the stored hash, which stands in the same database.
    """
    return hashlib.sha256(f"token:{user.password}".encode()).hexdigest()
