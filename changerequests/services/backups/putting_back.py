"""Putting a backup back into an empty place, every byte of it compared with what the manifest says."""

import shutil
from pathlib import Path

from django.db import connection

from audit.files import file_sha256
from audit.selectors import chain_heads
from changerequests.services.backups import databases
from changerequests.services.backups.errors import BackupRefused
from changerequests.services.backups.files import copy, data_root
from changerequests.services.backups.manifest import FILES, Manifest


def put_back(folder: Path, *, with_files: bool = True) -> Manifest:
    """Put a backup into the database and the data root of the settings, both of them empty.

    Looks at everything before it writes anything. What a restored database does not know any more is found by
    ``after_restore``, which comes next. Raises ``BackupRefused``.
    """
    manifest = Manifest.read(folder)
    if manifest.vendor != connection.vendor:
        raise BackupRefused(f"The backup is of {manifest.vendor}, DATABASE_URL names {connection.vendor}.")
    if not databases.is_empty():
        raise BackupRefused(
            "The database holds tables. A backup is put into an empty one: make it, and name it in DATABASE_URL."
        )
    root = data_root() if with_files else None
    if root is not None:
        if manifest.files is None:
            raise BackupRefused(
                "The backup holds the database alone: put DELTA_DATA_ROOT back, then use --database-only."
            )
        if root.is_dir() and any(root.iterdir()):
            raise BackupRefused(f"{root} is not empty. Where it is whole, use --database-only.")
        _verify_files(folder, manifest, root)
        for expected in manifest.copied(folder):
            copy(folder / FILES / expected.path, root / expected.path)
    try:
        databases.load(folder / manifest.dump.path)
    except BackupRefused:
        if root is not None:
            _empty(root)
        raise
    restored = {stream: list(head) for stream, head in chain_heads().items()}
    if restored != manifest.heads:
        raise BackupRefused("The audit trail in the database is not the one that was backed up.")
    return manifest


def _empty(root: Path) -> None:
    """Take away again what was put into the root: it was empty before."""
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _verify_files(folder: Path, manifest: Manifest, root: Path) -> None:
    for expected in manifest.copied(folder):
        path = folder / FILES / expected.path
        if root.resolve() not in (root / expected.path).resolve().parents:
            raise BackupRefused(f"The backup names a file that is not below the data root: {expected.path}.")
        if not path.is_file():
            raise BackupRefused(f"{expected.path} is missing from the backup.")
        if file_sha256(path) != expected.sha256:
            raise BackupRefused(f"{expected.path} is not as it was backed up.")
