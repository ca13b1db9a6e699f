"""Which other tables may be named as content for a dataset: clones and copies below the installation's data folder."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import role_on
from datasets.services.registration import RESERVED_FOLDERS


def other_table(dataset: Dataset, actor: User, address: str) -> str:
    """The path of another table that the actor may name: absolute, or relative to ``DELTA_DATA_ROOT``.

    Raises ``InvalidInput`` for places elsewhere, for the dataset's own table, and for tables of datasets that the actor
    may not see, which are told from what is not there by nothing.
    """
    root = Path(settings.DELTA_DATA_ROOT).resolve()
    written = address.strip().removeprefix("file://")
    if "://" in written or "\0" in written:
        raise _refused("Name a table below the installation's data folder: other places cannot be read here.")
    path = (root / written).resolve()
    if not path.is_relative_to(root) or path.relative_to(root).parts[:1] in RESERVED_FOLDERS:
        raise _refused("Name a table below the installation's data folder: other places cannot be read here.")
    if path.is_relative_to(dataset.table_uri) or Path(dataset.table_uri).is_relative_to(path):
        raise _refused("This is the dataset's own table: name a clone or copy of it.")
    registered = Dataset.objects.filter(table_uri=str(path)).first()
    unseen = registered is not None and role_on(actor, registered) is None
    if unseen or not (path / "_delta_log").is_dir():
        raise _refused(f"There is no Delta table at {written}, or you may not see it.")
    return str(path)


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={"from_table": [sentence]})
