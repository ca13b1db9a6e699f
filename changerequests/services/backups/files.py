"""What is kept under ``DELTA_DATA_ROOT``, copied with its hashes: all of a folder on a disk; in an object store what is
Headgate's own, and the tables of datasets below it.
"""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from django.conf import settings

from changerequests.services import storage
from changerequests.services.moving import AREAS, is_whole, kept_folders
from datasets.data_root import data_root, local_data_root, parts_below_data_root
from datasets.models import Dataset

_LOG = "/_delta_log/"
_BLOCK = 1 << 22


@dataclass(frozen=True)
class CopiedFile:
    """A file of a backup: where it lies below the root, and what it held when it was copied."""

    path: str
    size: int
    sha256: str

    @property
    def folder(self) -> str:
        """The folder that it lies right in."""
        return self.path.rpartition("/")[0]


def copy_all(target: Path) -> Iterator[CopiedFile]:
    """Copy every file into a folder, logs of tables first: what a log names lies there already.

    A file that goes meanwhile is left out: what removes it (a merge that is recorded, retention) has told the database.
    """
    root = local_data_root()
    names = _kept_names() if root is None else _names_below(root)
    for name in names:
        try:
            digest, size = _write(_blocks(root, name), target / name)
        except FileNotFoundError:
            continue
        yield CopiedFile(name, size, digest)


def put_all(source: Path, files: Iterable[CopiedFile]) -> Iterator[str]:
    """Put the files of a backup where they belong, which must be empty; the names of those that lie there by now. They
    come sorted by their folders.
    """
    root = local_data_root()
    for folder, found in itertools.groupby(files, key=lambda one: one.folder):
        paths = {one.path.rpartition("/")[2]: source / one.path for one in found}
        if root is not None:
            for name, path in paths.items():
                _write(_blocks(source, str(path.relative_to(source))), root / folder / name)
                yield f"{folder}/{name}"
            continue
        if folder.split("/")[0] in AREAS and is_whole(folder):
            data_root().put_folder(folder, paths)
        else:
            data_root().put_new(folder, paths)
        yield from (f"{folder}/{name}" for name in paths)


def is_empty(files: Iterable[CopiedFile]) -> bool:
    """Whether nothing is kept under the data root, and in an object store nothing where these files belong."""
    root = local_data_root()
    if root is not None:
        return not root.is_dir() or not any(root.iterdir())
    return not any(True for folder in _tops(files) for _ in data_root().walk(folder))


def remove_again(put: Iterable[str], files: Iterable[CopiedFile]) -> None:
    """Take away again what ``put_all`` put of these files; on a disk nothing that others put there meanwhile."""
    root = local_data_root()
    if root is None:
        for folder in _tops(files):
            data_root().remove(folder)
        return
    folders: set[Path] = set()
    for path in (root / name for name in put):
        path.unlink(missing_ok=True)
        folders |= {one for one in path.parents if one.is_relative_to(root) and one != root}
    for place in sorted(folders, reverse=True):  # those below before those above
        with contextlib.suppress(OSError):  # not empty
            place.rmdir()


def _tops(files: Iterable[CopiedFile]) -> list[str]:
    """The folders in an object store that hold these files, none in another: Headgate's own, and tables."""
    tables = {one.path.partition(_LOG)[0] for one in files if _LOG in one.path}
    return [*AREAS, *sorted(tables)]


def place() -> str:
    """The data root, for people."""
    return str(settings.DELTA_DATA_ROOT)


def _kept_names() -> Iterator[str]:
    """Every file in an object store that belongs to a backup, the logs of tables before their other files."""
    for folder, names in kept_folders(data_root()):
        yield from (f"{folder}/{name}" for name in sorted(names))
    for table in sorted(_tables_below()):
        found = (one.path for one in data_root().walk(table))
        yield from sorted(found, key=lambda name: (_LOG not in name, name))


def _tables_below() -> set[str]:
    """The folders of tables of datasets below the data root of an object store: their names, not their addresses."""
    found = map(parts_below_data_root, Dataset.objects.values_list("table_uri", flat=True))
    return {unquote("/".join(parts)) for parts in found if parts and parts[0] not in AREAS}


def _names_below(root: Path) -> Iterator[str]:
    """Every file below a folder, the logs of tables before all others: not what is being written or comes in."""
    for logs in (True, False):
        for folder, names, files in os.walk(root):
            below = Path(folder).relative_to(root).as_posix()
            names[:] = sorted(name for name in names if f"{below}/{name}" != storage.INCOMING)
            for name in sorted(files):
                path = f"{below}/{name}".removeprefix("./")
                if (_LOG in f"/{path}") == logs and not _is_made(name):
                    yield path


def _is_made(name: str) -> bool:
    return name.startswith(".") and (name.endswith(".partial") or name.startswith(".ready-"))


def _blocks(root: Path | None, name: str) -> Iterator[bytes]:
    """The content of a file on a disk, or (without a root) in the store of the data root."""
    if root is None:
        for offset in itertools.count(0, _BLOCK):
            block = data_root().read_range(name, offset, _BLOCK)
            if not block:
                return
            yield block
            if len(block) < _BLOCK:
                return
    else:
        with (root / name).open("rb") as given:
            while block := given.read(_BLOCK):
                yield block


def _write(blocks: Iterator[bytes], target: Path) -> tuple[str, int]:
    """Write a new file durably; its SHA-256 and size."""
    digest, size = hashlib.sha256(), 0
    first = next(blocks, b"")  # a file that is gone leaves none here
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        try:
            for block in itertools.chain([first], blocks):
                digest.update(block)
                size += len(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        except BaseException:  # a part of a file is none
            target.unlink()
            raise
    return digest.hexdigest(), size
