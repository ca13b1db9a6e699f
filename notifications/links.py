"""Addresses of Headgate as people and programs elsewhere open them."""

from django.conf import settings
from django.urls import reverse


def absolute(name: str, *args: object) -> str:
    """The whole address of a page or operation by its name, for messages that leave."""
    return f"{settings.PUBLIC_URL}{reverse(name, args=args)}"
