"""What is kept under ``DELTA_DATA_ROOT``, copied with its hashes: all of a folder on a disk, tables too, or what is
Headgate's own in an object store.
"""

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from changerequests.services import storage
from changerequests.services.moving import AREAS, is_whole, kept_folders
from datasets.data_root import data_root, local_data_root

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


def put_all(source: Path, files: Iterable[CopiedFile]) -> None:
    """Put the files of a backup where they belong, which must be empty; they come sorted by their folders."""
    root = local_data_root()
    for folder, found in itertools.groupby(files, key=lambda one: one.folder):
        paths = {one.path.rpartition("/")[2]: source / one.path for one in found}
        if root is not None:
            for name, path in paths.items():
                _write(_blocks(source, str(path.relative_to(source))), root / folder / name)
        elif is_whole(folder):
            data_root().put_folder(folder, paths)
        else:
            data_root().put_new(folder, paths)


def is_empty() -> bool:
    """Whether nothing is kept under the data root."""
    root = local_data_root()
    if root is not None:
        return not root.is_dir() or not any(root.iterdir())
    return not any(True for area in AREAS for _ in data_root().walk(area))


def remove_all() -> None:
    """Take away again what ``put_all`` put."""
    root = local_data_root()
    if root is None:
        for area in AREAS:
            data_root().remove(area)
    elif root.is_dir():
        for path in root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def place() -> str:
    """The data root, for people."""
    return str(settings.DELTA_DATA_ROOT)


def _kept_names() -> Iterator[str]:
    for folder, names in kept_folders(data_root()):
        yield from (f"{folder}/{name}" for name in sorted(names))


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
        for block in itertools.chain([first], blocks):
            digest.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest(), size
