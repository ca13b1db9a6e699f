"""Making a backup: the dump, then the files, then the manifest that says it is whole."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from audit.files import file_sha256
from audit.selectors import chain_heads
from changerequests.services.backups import databases
from changerequests.services.backups.errors import BackupRefused
from changerequests.services.backups.files import CopiedFile, copy_all
from changerequests.services.backups.manifest import FILES, LIST_OF_FILES, Manifest
from datasets.data_root import local_data_root


@dataclass(frozen=True)
class Made:
    """A backup that is whole."""

    folder: Path
    manifest: Manifest


def make_backup(folder: Path, *, with_files: bool = True) -> Made:
    """Back the installation up into a folder that is not there yet, while it goes on working.

    Raises ``BackupRefused``; a folder without a manifest is then no backup.
    """
    root = local_data_root()
    if root is not None and root in (folder.resolve(), *folder.resolve().parents):
        raise BackupRefused("A backup does not belong below DELTA_DATA_ROOT: the next one would hold it.")
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise BackupRefused(
            f"{folder} is there already. Name a folder that is not: each backup has its own."
        ) from None
    made_at = timezone.now()
    with databases.dumped(folder) as dump:
        heads = {stream: list(head) for stream, head in chain_heads().items()}
        migrations = _migrated()
    dumped = CopiedFile(dump.name, dump.stat().st_size, file_sha256(dump))
    files, size, list_sha256 = _copy_files(folder) if with_files else (0, 0, "")
    manifest = Manifest(
        made_at=made_at.isoformat(),
        vendor=connection.vendor,
        migrations=migrations,
        dump=dumped,
        heads=heads,
        files=files if with_files else None,
        files_bytes=size,
        list_sha256=list_sha256,
    )
    manifest.write(folder)
    return Made(folder, manifest)


def _copy_files(folder: Path) -> tuple[int, int, str]:
    files = size = 0
    with (folder / LIST_OF_FILES).open("x", encoding="utf-8") as lines:
        for copied in copy_all(folder / FILES):
            lines.write(json.dumps(asdict(copied)) + "\n")
            files, size = files + 1, size + copied.size
    return files, size, file_sha256(folder / LIST_OF_FILES)


def _migrated() -> dict[str, str]:
    """The newest migration of each app that the database has."""
    loader = MigrationLoader(connection)
    found: dict[str, str] = {}
    for app, name in loader.applied_migrations:
        found[app] = max(name, found.get(app, ""))
    return found
