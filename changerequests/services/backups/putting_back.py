"""Putting a backup back into an empty place, every byte of it compared with what the manifest says."""

from pathlib import Path

from django.db import connection
from django.db.migrations.loader import MigrationLoader

from audit.files import file_sha256
from audit.selectors import chain_heads
from changerequests.services.backups import databases, files
from changerequests.services.backups.errors import BackupRefused
from changerequests.services.backups.manifest import FILES, Manifest


def put_back(folder: Path, *, with_files: bool = True) -> Manifest:
    """Put a backup into the database and the data root of the settings, both of them empty.

    Looks at everything before it writes anything. What a restored database does not know any more is found by
    ``after_restore``, which comes next. Raises ``BackupRefused``.
    """
    manifest = Manifest.read(folder)
    if manifest.vendor != connection.vendor:
        raise BackupRefused(f"The backup is of {manifest.vendor}, DATABASE_URL names {connection.vendor}.")
    if newer := sorted(app for app, name in manifest.migrations.items() if _is_unknown(app, name)):
        raise BackupRefused(
            f"The backup is of a newer release than this one, which knows nothing of some migrations of "
            f"{', '.join(newer)}: restore it with that release."
        )
    if not databases.is_empty():
        raise BackupRefused(
            "The database holds tables. A backup is put into an empty one: make it, and name it in DATABASE_URL."
        )
    if with_files:
        if manifest.files is None:
            raise BackupRefused(
                "The backup holds the database alone: put DELTA_DATA_ROOT back, then use --database-only."
            )
        if not files.is_empty(manifest.copied(folder)):
            raise BackupRefused(f"{files.place()} is not empty. Where it is whole, use --database-only.")
        _verify_files(folder, manifest)
    put: list[str] = []
    try:
        if with_files:
            put.extend(files.put_all(folder / FILES, manifest.copied(folder)))  # one by one
        databases.load(folder / manifest.dump.path)
    except BaseException:
        if with_files:
            files.remove_again(put, manifest.copied(folder))
        raise
    restored = {stream: list(head) for stream, head in chain_heads().items()}
    if restored != manifest.heads:
        raise BackupRefused("The audit trail in the database is not the one that was backed up.")
    return manifest


def _is_unknown(app: str, migration: str) -> bool:
    """Whether this release has no such migration; an app that is left out here (an extra) tells nothing."""
    known = MigrationLoader(None).disk_migrations
    return any(one == app for one, _ in known) and (app, migration) not in known


def _verify_files(folder: Path, manifest: Manifest) -> None:
    for expected in manifest.copied(folder):
        path = folder / FILES / expected.path
        if not path.resolve().is_relative_to((folder / FILES).resolve()):
            raise BackupRefused(f"The backup names a file that is not below the data root: {expected.path}.")
        if not path.is_file():
            raise BackupRefused(f"{expected.path} is missing from the backup.")
        if file_sha256(path) != expected.sha256:
            raise BackupRefused(f"{expected.path} is not as it was backed up.")
