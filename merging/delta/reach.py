"""Where a table may lie, and where its files may: in its own folder, or anywhere that its log says.

A log may name files by absolute paths and other addresses: shallow clones do. Whoever can write a log below a folder
that Headgate reads could so show the rows of other people's tables; so could whoever puts a link in the place of a
table's folder. So the process that uses the engine says which places and which logs it takes, and every opening of a
table looks (``open_table``): what held when a table was registered need not hold any more.
"""

from __future__ import annotations

import functools
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.active_files import ActiveFiles
from merging.delta.vectors import VectorDescriptor
from merging.errors import FilesElsewhere, TableElsewhere
from merging.store.opening import HiddenOptions
from merging.store.stores import ObjectStore, SealedStore, TableStore, open_sealed, open_store

_SCHEME = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.-]*:/", re.IGNORECASE)
#: What is in no path that is plainly inside; the others are looked at closely.
_DOUBTFUL = re.compile(r"^/|^~|\.\.|[:%\\]")
_HIDDEN = re.compile(r"(?:^|/)(?:\.|%2e){2}(?:/|%2f|$)|^%2f", re.IGNORECASE)


def _anywhere(_: str) -> bool:
    return True


def _nothing_wrong(_: str) -> str:
    return ""


def _as_it_is(_: str) -> Mapping[str, str]:
    return {}


_decides: Callable[[str], bool] = _anywhere
_judges: Callable[[str], str] = _nothing_wrong
_opens: Callable[[str], Mapping[str, str]] = _as_it_is


def set_reach(
    decides: Callable[[str], bool],
    judges: Callable[[str], str] = _nothing_wrong,
    opens: Callable[[str], Mapping[str, str]] = _as_it_is,
) -> None:
    """Say what tables may, by their address. For whoever starts the process; until it is called they may all.

    ``decides`` whether a table may name files outside of its folder: asked where its log does, and before it is handed
    to a confined process. ``judges`` why a table may not be opened where it lies, in a sentence, empty where it may:
    asked before anything of it is read, each time. ``opens`` with which options the store of a table that is not local
    is opened, none for what the process has of itself: asked each time, where the caller names none.
    """
    global _decides, _judges, _opens
    _decides, _judges, _opens = decides, judges, opens


def options_of(table_uri: str, storage_options: Mapping[str, str] | None = None) -> Mapping[str, str] | None:
    """The options that a table is opened with: those that are given, else those of its place; None for none."""
    if storage_options is not None:
        return storage_options
    found = _opens(table_uri) if "://" in table_uri else None
    return HiddenOptions(found) if found else None


def require_place(table_uri: str) -> None:
    """Raise TableElsewhere, before anything is read, where a table lies where it may not, or not any more."""
    reason = _judges(table_uri)
    if reason:
        raise TableElsewhere(table_uri, reason)


def open_table(table_uri: str, storage_options: Mapping[str, str] | None = None) -> TableStore:
    """The store of a table: every opening comes by here. Raises TableElsewhere, and as ``open_store`` does."""
    require_place(table_uri)
    return open_store(table_uri, options_of(table_uri, storage_options))


def open_sealed_table(
    table_uri: str, storage_options: Mapping[str, str] | None = None
) -> SealedStore | ObjectStore:
    """The same, as ``open_sealed`` has it."""
    require_place(table_uri)
    return open_sealed(table_uri, options_of(table_uri, storage_options))


def may_leave(table_uri: str) -> bool:
    """Whether the table may name files outside of its folder."""
    return _decides(table_uri)


def place_of(table_uri: str) -> str:
    """Where a table lies that may be opened: the folder at the end of all links, or the address. Raises TableElsewhere.

    For whoever lets a confined process open it, which shall find it there (``reach_of``).
    """
    require_place(table_uri)
    return _led_to(table_uri)


def _led_to(table_uri: str) -> str:
    return table_uri if "://" in table_uri else os.path.realpath(table_uri)


@contextmanager
def reach_of(
    *,
    leaving: bool,
    places: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[None]:
    """What all tables that are opened meanwhile may: for a confined process, which was told and cannot ask.

    ``places`` are those of tables that were judged (``place_of``) and ``options`` those that they are opened with
    (``options_of``), by their address; without ``places`` both stay as they are.
    """
    before = _decides, _judges, _opens
    told = options or {}
    judged = places or {}

    def still_there(table_uri: str) -> str:
        moved = _led_to(table_uri) != judged.get(table_uri, _led_to(table_uri))
        return "Its folder became a link to another place just now." if moved else ""

    if places is None:
        set_reach(lambda _: leaving, before[1], before[2])
    else:
        set_reach(lambda _: leaving, still_there, lambda table_uri: told.get(table_uri, {}))
    try:
        yield
    finally:
        set_reach(*before)


def leaves(store: TableStore, path: str) -> bool:
    """Whether a path from the log, decoded as it is opened, leads out of the table's folder."""
    if _DOUBTFUL.search(path) is None:
        return False
    inside = store.relative(path) if path.startswith(_root(store)) else path
    return (
        inside.startswith(("/", "~"))
        or _SCHEME.match(inside) is not None
        or ".." in re.split(r"[/\\]", inside)
        or _HIDDEN.search(inside) is not None
    )


def _root(store: TableStore) -> str | tuple[str, ...]:
    """How a path begins that names the table's folder itself."""
    root = store.uri.rstrip("/") + "/"
    return (root, f"file://{root}", f"file:{root}") if store.is_local else root


def leaving(store: TableStore, files: ActiveFiles) -> Iterator[str]:
    """The paths among those of active files and their vectors that lead out, as the log spells them."""
    key = ("leaving", store.uri, store.is_local)
    for file in files.at(files.where(key, functools.partial(_leading_out, store))):
        if leaves(store, file.path):
            yield file.logged_path
        vector = file.vector
        if vector is not None:
            place = vector.file_path
            if place is not None and leaves(store, place):
                yield vector.path_or_inline


def _leading_out(store: TableStore, columns: pa.RecordBatch) -> np.ndarray:
    """Which files lead out, or their vectors: those alone are looked at closely of which it is not plain."""
    found = np.zeros(len(columns), bool)
    paths, kinds, vectors = (columns.column(name) for name in ("path", "vector_type", "vector_path"))
    for row in _rows(pc.match_substring_regex(paths, _DOUBTFUL.pattern)):
        found[row] = leaves(store, urllib.parse.unquote(paths[row].as_py()))
    # The end of a relative path is the encoded name of a file; before it may stand a folder.
    folders = pc.greater(pc.utf8_length(vectors), 20)
    for row in _rows(pc.or_(pc.equal(kinds, "p"), pc.and_(pc.equal(kinds, "u"), folders))):
        place = VectorDescriptor(kinds[row].as_py(), vectors[row].as_py(), None, 0, 0).file_path
        found[row] |= place is not None and leaves(store, place)
    return found


def _rows(mask: pa.Array) -> np.ndarray:
    return np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))


def require_reach(store: TableStore, files: ActiveFiles) -> None:
    """Raise FilesElsewhere, with the paths, where files lead out of a table that may not."""
    found = list(leaving(store, files))
    if found and not may_leave(store.uri):
        raise FilesElsewhere(store.uri, found)


def require_inside(store: TableStore, sidecar: str) -> str:
    """The path of a sidecar, decoded. They lie in the table's log (PROTOCOL.md, "Sidecar File Information"), of clones
    too; raises FilesElsewhere for any other.
    """
    path = urllib.parse.unquote(sidecar)
    if leaves(store, path):
        raise FilesElsewhere(store.uri, [sidecar])
    return path
