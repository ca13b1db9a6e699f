"""Tables that were made from another one: shallow clones, deep ones, copies of the folder.

What a clone was made from stands in its log: ``operationParameters`` of the commitInfo of its CLONE (delta-io/delta,
``DeltaOperations.Clone``: ``source``, ``sourceVersion``). A shallow clone names the files of its source by absolute
paths (PROTOCOL.md, "Add File and Remove File").
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from merging.delta.actions import DataFile
from merging.delta.log import list_commits, load_state, read_commit
from merging.delta.reach import leaves, open_table, options_of, reach_of
from merging.delta.snapshot import Snapshot, snapshot_of
from merging.errors import FilesElsewhere
from merging.store.stores import CloneStore, ObjectStore, TableStore

_BY_PATH = re.compile(r"delta\.`(?P<path>(?:[^`]|``)+)`")


@dataclass(frozen=True)
class Origin:
    """Where a table comes from by its own log: ``version`` of the source, None where the log does not say.

    ``proved``: it is a clone or copy of the very table that it is compared with.
    """

    version: int | None
    proved: bool


def open_clone(
    clone_uri: str, source: Snapshot, *, storage_options: Mapping[str, str] | None = None
) -> Snapshot:
    """The newest version of a table whose files may lie in its own folder and in its source's, and nowhere else.

    Raises as `open_snapshot` does, and FilesElsewhere where files lie in a third place.
    """
    options = options_of(clone_uri, storage_options)
    store = open_table(clone_uri, options)
    if isinstance(store, ObjectStore):
        store = CloneStore(store, source.store)
    state = load_state(store)
    elsewhere = [
        path
        for path in _paths(state.files)
        if leaves(store, path) and (not _is_whole(path) or leaves(source.store, path))
    ]
    if elsewhere:
        raise FilesElsewhere(clone_uri, elsewhere)
    with reach_of(leaving=True):
        return snapshot_of(store, clone_uri, state, options)


def _paths(files: Any) -> Iterator[str]:
    for file in files:
        yield file.path
        place = file.vector.file_path if file.vector is not None else None
        if place is not None:
            yield place


def _is_whole(path: str) -> bool:
    """Whether a path says where a file is by itself, whatever table names it."""
    return path.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path) is not None


def origin_of(clone: Snapshot, source: Snapshot) -> Origin:
    """What a clone was made from, told by its log: its newest CLONE, else the last commit that a copy of the folder
    shares with its source.
    """
    for number in reversed(list_commits(clone.store)):
        info = read_commit(clone.store, number).info
        if info.get("operation") == "CLONE":
            return _cloned(info.get("operationParameters"), clone, source)
    if clone.table_id == source.table_id:
        return Origin(_last_shared(clone, source), proved=True)
    return Origin(None, proved=False)


def _cloned(parameters: Any, clone: Snapshot, source: Snapshot) -> Origin:
    stated = parameters if isinstance(parameters, dict) else {}
    named = _place_in(str(stated.get("source", "")).strip('"'))
    # Catalogs name tables, and what a name means only they know: the files tell then.
    proved = _is_place_of(source, named) if named else any(_shared_files(clone, source))
    said = str(stated.get("sourceVersion", "")).strip('"')
    version = int(said) if proved and re.fullmatch(r"[0-9]{1,18}", said) else None
    return Origin(version, proved)


def _place_in(source: str) -> str:
    """The address in what the log calls the source; empty where that is the name of a catalog."""
    found = _BY_PATH.search(source)
    place = found["path"].replace("``", "`") if found else source
    return place if "/" in place else ""


def _is_place_of(source: Snapshot, place: str) -> bool:
    if not source.store.is_local:
        return place.rstrip("/") == source.uri.rstrip("/")
    local = source.store.relative(place.rstrip("/"))
    return os.path.realpath(local) == os.path.realpath(source.store.uri)


def _shared_files(clone: Snapshot, source: Snapshot) -> Iterator[str]:
    for path in _paths(clone.files):
        if _is_whole(path) and not leaves(source.store, path):
            yield path


def _last_shared(clone: Snapshot, source: Snapshot) -> int | None:
    """The newest version of which both logs say the same."""
    for number in range(min(clone.version, source.version), -1, -1):
        try:
            if read_commit(clone.store, number).actions == read_commit(source.store, number).actions:
                return number
        except FileNotFoundError:
            return None
    return None


def differing_files(base: Snapshot, clone: Snapshot) -> tuple[list[int], list[int]]:
    """The files of each side, by their indexes, that the other one does not hold with the same rows alive."""
    of_base = {_identity(base.store, file): index for index, file in enumerate(base.files)}
    of_clone = {_identity(clone.store, file): index for index, file in enumerate(clone.files)}
    return (
        sorted(of_base[one] for one in of_base.keys() - of_clone.keys()),
        sorted(of_clone[one] for one in of_clone.keys() - of_base.keys()),
    )


def _identity(store: TableStore, file: DataFile) -> tuple[object, ...]:
    """A file and its vector, whatever table names them (PROTOCOL.md, "Deletion Vector Descriptor Schema")."""
    vector = file.vector
    if vector is None:
        return (_whole(store, file.path), None)
    place = vector.file_path
    stored = vector.path_or_inline if place is None else _whole(store, place)
    return (_whole(store, file.path), stored, vector.offset, vector.size, vector.cardinality)


def _whole(store: TableStore, path: str) -> str:
    inside = store.relative(path)
    return inside if _is_whole(inside) else f"{store.uri.rstrip('/')}/{inside}"
