"""Where tables may lie that are no datasets yet: the folders of the installation, looked through one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import datasets_with_role
from datasets.services.registration import RESERVED_FOLDERS, require_registrar

#: How many places of one folder are told, and how many of its entries are looked at.
MOST_TOLD = 200
MOST_READ = 20_000


class FoundKind(StrEnum):
    """What is found at an address."""

    FOLDER = "folder"
    TABLE = "table"
    DATASET = "dataset"


@dataclass(frozen=True)
class TablePlace:
    """A folder, a Delta table, or one that is a dataset already."""

    name: str
    address: str
    kind: FoundKind
    dataset: Dataset | None = None


@dataclass(frozen=True)
class Folder:
    """What lies in a folder. ``above`` is None at the top; ``has_more`` where only the first places are told."""

    address: str
    above: str | None
    places: tuple[TablePlace, ...]
    has_more: bool = False


def roots(actor: User) -> tuple[TablePlace, ...]:
    """Where the person may look for tables: the data folder, for operators the local folders of ``TABLE_PLACES`` too.

    Raises ``Forbidden`` for whoever adds no tables.
    """
    require_registrar(actor)
    return tuple(TablePlace(str(one), str(one), FoundKind.FOLDER) for one in _roots(actor))


def look_into(actor: User, address: str) -> Folder:
    """The folders and tables at an address below one of the ``roots``, by name; links are not followed.

    Tables that are datasets which the person may not see are left out. Raises ``Forbidden``, and ``InvalidInput`` for
    what lies elsewhere or cannot be read.
    """
    require_registrar(actor)
    folder = Path(address.strip().replace("\x00", "\ufffd") or "/")
    tops = _roots(actor)
    top = next((one for one in tops if folder == one or folder.is_relative_to(one)), None)
    if top is None or ".." in folder.parts or folder.resolve() != folder or _is_reserved(folder):
        raise _refused(
            f"Folders are shown below {', '.join(map(str, tops))}. Type the address of other tables."
        )
    _refuse_datasets(actor, folder)
    try:
        found = sorted(islice(_folders_in(folder), MOST_READ), key=lambda one: one.name)
    except FileNotFoundError:
        raise _refused(f"There is no folder {folder}.") from None
    except OSError as error:
        raise _refused(f"The folder {folder} cannot be read: {error.strerror}.") from error
    told = list(islice(_places(actor, found), MOST_TOLD + 1))
    above = None if folder == top else str(folder.parent)
    return Folder(str(folder), above, tuple(told[:MOST_TOLD]), len(told) > MOST_TOLD)


def _roots(actor: User) -> list[Path]:
    local = [one for one in settings.TABLE_PLACES if "://" not in one] if is_operator(actor) else []
    return list(dict.fromkeys(Path(one).resolve() for one in (str(settings.DELTA_DATA_ROOT), *local)))


def _is_reserved(folder: Path) -> bool:
    """Whether Headgate keeps files of its own there; the data folder itself is no such place."""
    root = Path(settings.DELTA_DATA_ROOT).resolve()
    own = folder.relative_to(root).parts[:1] if folder.is_relative_to(root) else ()
    return bool(own) and own in RESERVED_FOLDERS


def _refuse_datasets(actor: User, folder: Path) -> None:
    """The folders of a dataset are its table's: what they are called tells of its rows."""
    around = [str(one) for one in (folder, *folder.parents)]
    dataset = Dataset.objects.filter(table_uri__in=around).first()
    if dataset is not None and datasets_with_role(actor).filter(pk=dataset.pk).exists():
        raise _refused(f"This is the table of {dataset.name}, which is a dataset already.")
    if dataset is not None:
        raise _refused(f"There is no folder {folder}.")


def _folders_in(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "_")) or not entry.is_dir(follow_symlinks=False):
                continue
            if not _is_reserved(Path(entry.path)):
                yield Path(entry.path)


def _places(actor: User, found: Iterable[Path]) -> Iterator[TablePlace]:
    found = list(found)
    known: dict[str, Dataset] = {}
    for start in range(0, len(found), 500):
        addresses = [str(one) for one in found[start : start + 500]]
        known |= {
            one.table_uri: one
            for one in Dataset.objects.filter(table_uri__in=addresses).select_related("project")
        }
    may_see = set(
        datasets_with_role(actor)
        .filter(pk__in=[one.pk for one in known.values()])
        .values_list("pk", flat=True)
    )
    for one in found:
        dataset = known.get(str(one))
        if dataset is not None:
            if dataset.pk in may_see or is_operator(actor):
                yield TablePlace(
                    one.name, str(one), FoundKind.DATASET, dataset if dataset.pk in may_see else None
                )
            continue
        is_table = (one / "_delta_log").is_dir()
        yield TablePlace(one.name, str(one), FoundKind.TABLE if is_table else FoundKind.FOLDER)


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={"place": [sentence]})
