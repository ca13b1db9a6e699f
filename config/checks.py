"""What ``manage.py check --deploy`` says of an installation beside what Django says."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning
from django.db import connection


def mail_is_on(**_: Any) -> list[CheckMessage]:
    """Mail is off unless a server is named: no fault, but nobody should learn it from silence."""
    if settings.SENDS_MAIL:
        return []
    sentence = "Mail is off: people are told in their inbox alone."
    return [Info(sentence, hint="Set EMAIL_URL, and PUBLIC_URL with it.", id="headgate.I001")]


def no_address_holds_a_secret(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Addresses with secrets are refused; those that were taken before stand in the database and on pages.

    Looks where ``check --database default`` asks for it, as Django's own checks of databases do.
    """
    if not databases:
        return []
    from datasets.models import Dataset
    from datasets.services.connections import addresses_with_secrets

    if Dataset._meta.db_table not in connection.introspection.table_names():
        return []  # before the first migration
    places = ", ".join(addresses_with_secrets())
    if not places:
        return []
    return [
        Warning(
            f"There is a secret in the address of {places}.",
            hint="Make a connection with the secret, register the table anew without it, and replace the secret.",
            id="headgate.W001",
        )
    ]
