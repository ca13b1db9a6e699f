"""Where tables may lie that are no datasets yet: the folders of the installation, looked through one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

import merging
from datasets.connecting import canonical_table_uri, options_at, places_above
from datasets.data_root import local_data_root, parts_below_data_root
from datasets.errors import InvalidInput
from datasets.models import Connection, ConnectionPrefix, Dataset
from datasets.operators import is_operator
from datasets.roles import datasets_with_role, projects_to_register_in
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
    """Where the person may look for tables: the data folder, for operators the local folders of ``TABLE_PLACES`` and
    the roots of connections, for owners the folders that connections let their projects use.

    Raises ``Forbidden`` for whoever adds no tables.
    """
    require_registrar(actor)
    return tuple(TablePlace(one, one, FoundKind.FOLDER) for one in _roots(actor))


def look_into(actor: User, address: str) -> Folder:
    """The folders and tables at an address below one of the ``roots``, by name; links are not followed.

    Tables that are datasets which the person may not see are left out. Raises ``Forbidden``, and ``InvalidInput`` for
    what lies elsewhere or cannot be read.
    """
    require_registrar(actor)
    if merging.is_uri(address):
        return _look_into_store(actor, address)
    folder = Path(address.strip().replace("\x00", "\ufffd") or "/")
    tops = [Path(one) for one in _roots(actor) if "://" not in one]
    top = next((one for one in tops if folder == one or folder.is_relative_to(one)), None)
    if top is None or ".." in folder.parts or folder.resolve() != folder or _is_reserved(str(folder)):
        raise _outside(actor)
    _refuse_datasets(actor, str(folder))
    try:
        found = sorted(islice(_folders_in(folder), MOST_READ), key=lambda one: one.name)
    except FileNotFoundError:
        raise _refused(f"There is no folder {folder}.") from None
    except OSError as error:
        raise _refused(f"The folder {folder} cannot be read: {error.strerror}.") from error
    told = list(islice(_places(actor, [str(one) for one in found], _is_local_table), MOST_TOLD + 1))
    above = None if folder == top else str(folder.parent)
    return Folder(str(folder), above, tuple(told[:MOST_TOLD]), len(told) > MOST_TOLD)


def _look_into_store(actor: User, written: str) -> Folder:
    """The same in an object store, with the connection that leads there."""
    try:
        address = canonical_table_uri(written)
    except InvalidInput as error:
        raise _refused(error.message) from None
    top = next((one for one in _roots(actor) if "://" in one and merging.is_below(address, one)), None)
    if top is None or _is_reserved(address):
        raise _outside(actor)
    _refuse_datasets(actor, address)
    try:
        found = merging.list_folders(address, options_at(address), most=MOST_TOLD + 1)
    except merging.MergeError as error:
        raise _refused(error.message) from None
    tables = {f"{address}/{one.name}": one.is_table for one in found}
    inside = [one for one in tables if not _is_reserved(one)]
    told = list(_places(actor, inside, tables.__getitem__))
    above = None if address == top else address.rpartition("/")[0]
    return Folder(address, above, tuple(told[:MOST_TOLD]), len(found) > MOST_TOLD)


def _roots(actor: User) -> list[str]:
    own = str(local_data_root() or settings.DELTA_DATA_ROOT)
    if not is_operator(actor):
        projects = list(projects_to_register_in(actor))
        lent = ConnectionPrefix.objects.select_related("connection").filter(project__in=projects)
        return list(dict.fromkeys([own, *(one.address for one in lent)]))
    local = [str(Path(one).resolve()) for one in settings.TABLE_PLACES if "://" not in one]
    connected = Connection.objects.values_list("root", flat=True)
    return list(dict.fromkeys([own, *local, *connected]))


def _outside(actor: User) -> InvalidInput:
    return _refused(f"Folders are shown below {', '.join(_roots(actor))}. Type the address of other tables.")


def _is_reserved(address: str) -> bool:
    """Whether Headgate keeps files of its own there; the data folder itself is no such place."""
    own = (parts_below_data_root(address) or ())[:1]
    return bool(own) and own in RESERVED_FOLDERS


def _refuse_datasets(actor: User, address: str) -> None:
    """The folders of a dataset are its table's: what they are called tells of its rows."""
    dataset = Dataset.objects.filter(table_uri__in=[address, *places_above(address)]).first()
    if dataset is not None and datasets_with_role(actor).filter(pk=dataset.pk).exists():
        raise _refused(f"This is the table of {dataset.name}, which is a dataset already.")
    if dataset is not None:
        raise _refused(f"There is no folder {address}.")


def _folders_in(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "_")) or not entry.is_dir(follow_symlinks=False):
                continue
            if not _is_reserved(entry.path):
                yield Path(entry.path)


def _is_local_table(folder: str) -> bool:
    return Path(folder, "_delta_log").is_dir()


def _places(actor: User, found: Sequence[str], is_table: Callable[[str], bool]) -> Iterator[TablePlace]:
    known: dict[str, Dataset] = {}
    for start in range(0, len(found), 500):
        addresses = found[start : start + 500]
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
        dataset, name = known.get(one), one.rpartition("/")[2]
        if dataset is not None:
            if dataset.pk in may_see or is_operator(actor):
                yield TablePlace(name, one, FoundKind.DATASET, dataset if dataset.pk in may_see else None)
            continue
        yield TablePlace(name, one, FoundKind.TABLE if is_table(one) else FoundKind.FOLDER)


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={"place": [sentence]})
