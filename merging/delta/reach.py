"""Where the files of a table may lie: in its own folder, or anywhere that its log says.

A log may name files by absolute paths and other addresses: shallow clones do. Whoever can write a log below a folder
that Headgate reads could so show the rows of other people's tables. So the process that uses the engine says which
tables may, and every opening of a table looks.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from merging.delta.actions import DataFile
from merging.errors import FilesElsewhere
from merging.store.stores import TableStore

_SCHEME = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.-]*:/", re.IGNORECASE)
#: What is in no path that is plainly inside; the others are looked at closely.
_DOUBTFUL = re.compile(r"^/|^~|\.\.|[:%\\]")
_HIDDEN = re.compile(r"(?:^|/)(?:\.|%2e){2}(?:/|%2f|$)|^%2f", re.IGNORECASE)


def _anywhere(_: str) -> bool:
    return True


_decides: Callable[[str], bool] = _anywhere


def set_reach(decides: Callable[[str], bool]) -> None:
    """Say which tables may name files outside of their folder, by their address. For whoever starts the process.

    Asked where a log does, and before a table is handed to a confined process. Until it is called any table may.
    """
    global _decides
    _decides = decides


def may_leave(table_uri: str) -> bool:
    """Whether the table may name files outside of its folder."""
    return _decides(table_uri)


@contextmanager
def reach_of(*, leaving: bool) -> Iterator[None]:
    """The same for all tables that are opened meanwhile: in a confined process, which was told and cannot ask."""
    before = _decides
    set_reach(lambda _: leaving)
    try:
        yield
    finally:
        set_reach(before)


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


def leaving(store: TableStore, files: Iterable[DataFile]) -> Iterator[str]:
    """The paths among those of active files and their vectors that lead out, as the log spells them."""
    for file in files:
        if _DOUBTFUL.search(file.logged_path) is not None and leaves(store, file.path):
            yield file.logged_path
        vector = file.vector
        if vector is not None:
            place = vector.file_path
            if place is not None and leaves(store, place):
                yield vector.path_or_inline


def require_reach(store: TableStore, files: Iterable[DataFile]) -> None:
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
