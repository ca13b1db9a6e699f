"""The files under ``DELTA_DATA_ROOT``, copied with their hashes."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from changerequests.services.backups.errors import BackupRefused

#: What is on its way in: whoever sends it sends it again.
LEFT_OUT = ("_staging/incoming",)
_LOG = "/_delta_log/"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CopiedFile:
    """A file of a backup: where it lies below the root, and what it held when it was copied."""

    path: str
    size: int
    sha256: str


def data_root() -> Path:
    """The data root. Raises ``BackupRefused`` where it is no folder of this machine."""
    root = str(settings.DELTA_DATA_ROOT)
    if "://" in root:
        raise BackupRefused(
            f"DELTA_DATA_ROOT is {root}: copy it by the store's own means after --database-only has ended."
        )
    return Path(root)


def copy_all(root: Path, target: Path) -> Iterator[CopiedFile]:
    """Copy every file below ``root``, logs of tables first: what a log names lies there already.

    A file that goes meanwhile is left out: what removes it (a merge that is recorded, retention) has told the database.
    """
    for logs in (True, False):
        for path in _below(root):
            if (_LOG in f"/{path}") == logs:
                try:
                    digest, size = copy(root / path, target / path)
                except FileNotFoundError:
                    continue
                yield CopiedFile(path, size, digest)


def copy(source: Path, target: Path) -> tuple[str, int]:
    """Copy one file durably; its SHA-256 and size."""
    with source.open("rb") as given:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with target.open("xb") as out:
            while block := given.read(_BLOCK):
                digest.update(block)
                size += len(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
    return digest.hexdigest(), size


def _below(root: Path) -> Iterator[str]:
    """Every file below, as its path from there: not what is being written, nor behind links out of it."""
    for folder, names, files in os.walk(root):
        place = Path(folder).relative_to(root).as_posix()
        names[:] = sorted(name for name in names if f"{place}/{name}".removeprefix("./") not in LEFT_OUT)
        for name in sorted(files):
            if not (name.startswith(".") and (name.endswith(".partial") or name.startswith(".ready-"))):
                yield f"{place}/{name}".removeprefix("./")
