"""``manage.py backup``: the database and the data root, as they are together, with proofs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

import merging
from changerequests.services.backups import BackupRefused, make_backup


class Command(BaseCommand):
    help = (
        "Back up the database and what lies under DELTA_DATA_ROOT into a new folder, while Headgate goes on working: "
        "the dump first, then the files, each with its hash, then a manifest signed with the key of the audit trail. "
        "The keys and secrets of the environment are not in it: keep a copy of them elsewhere."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="A folder that is not there yet.")
        parser.add_argument(
            "--database-only",
            action="store_true",
            help="Leave the data root to the means of its store (versions, snapshots), which begin after this ended.",
        )

    def handle(self, *_: Any, folder: Path, database_only: bool, **__: Any) -> None:
        try:
            made = make_backup(folder, with_files=not database_only)
        except BackupRefused as error:
            raise CommandError(str(error)) from error
        except (OSError, merging.MergeError) as error:  # a full disk, a store that does not answer
            raise CommandError(
                f"{error} {folder} holds no whole backup: remove it, and try again."
            ) from error
        manifest = made.manifest
        files = (
            "the database alone"
            if manifest.files is None
            else (f"{manifest.files:,} files of {manifest.files_bytes:,} bytes")
        )
        self.stdout.write(
            f"Backed up into {folder}: {manifest.dump.path} of {manifest.dump.size:,} bytes, {files}, "
            f"{len(manifest.heads)} chains of the audit trail."
        )
