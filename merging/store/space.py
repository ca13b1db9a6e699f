"""Full disks: told apart from every other failure, whoever noticed (Python, DuckDB, delta-rs, databases), and named."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from merging.errors import StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: How DuckDB, delta-rs and databases say it, in words of the C library, of Rust's standard library and of SQLite.
_WORDS = (
    "database or disk is full",
    "no space left on device",
    "disk quota exceeded",
    "os error 28)",
    "storagefull",
    "max_temp_directory_size",
)
#: What SQLite calls it where the file with the index of its write-ahead log finds no room.
_OF_SQLITE = "SQLITE_IOERR_SHMSIZE"


def says_disk_is_full(error: BaseException) -> bool:
    """Whether the error, or one that led to it, says that a disk or a quota is full."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, StorageFull) or (isinstance(cause, OSError) and cause.errno in _FULL):
            return True
        if getattr(cause, "sqlite_errorname", "") == _OF_SQLITE:
            return True
        if any(words in str(cause).lower() for words in _WORDS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


@contextmanager
def naming_full_disks(what: str, place: str) -> Iterator[None]:
    """Turn whatever a full disk raises inside into StorageFull, which says what to do. Everything else passes."""
    try:
        yield
    except StorageFull:
        raise
    except Exception as error:
        if not says_disk_is_full(error):
            raise
        raise StorageFull(
            f"There is no space left to {what}: the disk (or quota) of {place}, or the one for temporary files, is "
            "full. Free some space there, then try again; nothing was changed.",
            data={"place": place},
        ) from error
