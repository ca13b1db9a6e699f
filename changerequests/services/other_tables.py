"""Which other tables may be named as content for a dataset: clones and copies below the installation's data folder."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

import merging
from datasets.connecting import places_above
from datasets.data_root import local_data_root
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import role_on
from datasets.services.registration import RESERVED_FOLDERS


def other_table(dataset: Dataset, actor: User, address: str) -> str:
    """The path of another table that the actor may name: absolute, or relative to ``DELTA_DATA_ROOT``.

    Raises ``InvalidInput`` for places elsewhere, for the dataset's own table, and for tables of datasets that the actor
    may not see, which are told from what is not there by nothing.
    """
    root = local_data_root()
    written = address.strip().removeprefix("file://")
    if reason := merging.holds_secret(written):
        raise _refused(f"An address with a secret in it is not taken. {reason}")
    if "://" in written:
        return _in_an_object_store(dataset, actor, written.rstrip("/"))
    if "\0" in written or root is None:
        raise _refused("Name a table below the installation's data folder: other places cannot be read here.")
    path = (root / written).resolve()
    if not path.is_relative_to(root) or path.relative_to(root).parts[:1] in RESERVED_FOLDERS:
        raise _refused("Name a table below the installation's data folder: other places cannot be read here.")
    if path.is_relative_to(dataset.table_uri) or Path(dataset.table_uri).is_relative_to(path):
        raise _refused("This is the dataset's own table: name a clone or copy of it.")
    around = Dataset.objects.filter(table_uri__in=[str(path), *places_above(str(path))])
    if any(role_on(actor, one) is None for one in around) or not (path / "_delta_log").is_dir():
        raise _refused(f"There is no Delta table at {written}, or you may not see it.")
    return str(path)


def _in_an_object_store(dataset: Dataset, actor: User, address: str) -> str:
    """An address below one of ``CLONE_PREFIXES``, written as plainly as an address can be."""
    plain = re.fullmatch(r"[a-z][a-z0-9]*://[A-Za-z0-9._/=-]+", address) and not {"", ".", ".."} & set(
        address.partition("://")[2].split("/")
    )
    if not plain or not any(address.startswith(f"{one.rstrip('/')}/") for one in settings.CLONE_PREFIXES):
        raise _refused(
            "Name a table below the installation's data folder, or where its operators let clones lie "
            "(CLONE_PREFIXES): other places cannot be read here."
        )
    own = dataset.table_uri
    if address == own or address.startswith(f"{own}/") or own.startswith(f"{address}/"):
        raise _refused("This is the dataset's own table: name a clone or copy of it.")
    around = Dataset.objects.filter(table_uri__in=[address, *places_above(address)])
    if any(role_on(actor, one) is None for one in around):
        raise _refused(f"There is no Delta table at {address}, or you may not see it.")
    return address


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={"from_table": [sentence]})
