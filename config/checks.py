"""What ``manage.py check --deploy`` says of an installation beside what Django says."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.db import connection

import merging


def mail_is_on(**_: Any) -> list[CheckMessage]:
    """Mail is off unless a server is named: no fault, but nobody should learn it from silence."""
    if settings.SENDS_MAIL:
        return []
    sentence = "Mail is off: people are told in their inbox alone."
    return [Info(sentence, hint="Set EMAIL_URL, and PUBLIC_URL with it.", id="headgate.I001")]


def data_root_can_be_used(**_: Any) -> list[CheckMessage]:
    """Whether what Headgate keeps beside the tables can be put where it shall be: tried there, within seconds.

    In a store one object of one byte is put and removed. A folder that is not there yet is made by the first process.
    """
    from datasets.data_root import local_data_root
    from datasets.services.connections import in_words

    root = str(settings.DELTA_DATA_ROOT)
    local = local_data_root()
    if local is not None and not local.exists():
        sentence = f"There is no folder {root} yet: the first process makes it, where it may."
        return [Info(sentence, hint="Set DELTA_DATA_ROOT, or mount it before.", id="headgate.I002")]
    said = [
        in_words(one)
        for one in merging.try_place(root, dict(settings.DELTA_DATA_ROOT_OPTIONS))
        if one.works is False
    ]
    if not said:
        return []
    sentence = f"DELTA_DATA_ROOT ({merging.without_secret(root)}) cannot be used. {' '.join(said)}"
    hint = (
        "Look at its address, DELTA_DATA_ROOT_OPTIONS, the credentials of this process and what they may do."
    )
    return [Error(sentence, hint=hint, id="headgate.E001")]


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
