"""What commands about accounts share."""

from django.contrib.auth.models import User
from django.core.management.base import CommandError


def account_called(username: str) -> User:
    """The account of this user name. Raises ``CommandError``."""
    found = User.objects.filter(username=username).first()
    if found is None:
        raise CommandError(f"There is no account {username!r}.")
    return found
