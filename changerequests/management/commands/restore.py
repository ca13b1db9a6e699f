"""``manage.py restore``: a backup into an empty place, brought up to the tables and verified."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

import merging
from changerequests.services.backups import BackupRefused, put_back


class Command(BaseCommand):
    help = (
        "Put a backup into an empty database and an empty data root, then migrate, bring what was merged after the "
        "backup up to the tables (after_restore) and verify the audit trail. Every byte is compared with the signed "
        "manifest before. Run it before web, workers and schedule start."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="What manage.py backup made.")
        parser.add_argument(
            "--database-only",
            action="store_true",
            help="Put back the database alone: the data root is whole, or was put back by the means of its store.",
        )

    def handle(self, *_: Any, folder: Path, database_only: bool, **__: Any) -> None:
        try:
            manifest = put_back(folder, with_files=not database_only)
        except BackupRefused as error:
            raise CommandError(f"{error} Nothing was started.") from error
        except (OSError, merging.MergeError) as error:  # a full disk, a store that does not answer
            raise CommandError(f"{error} Nothing was put back.") from error
        self.stdout.write(
            f"Put back as of {manifest.made_at}: {len(manifest.heads)} chains of the audit trail as they were."
        )
        for command in ("migrate", "after_restore", "verify_audit"):
            self.stdout.write(f"manage.py {command}")
            call_command(
                command, stdout=self.stdout, stderr=self.stderr, verbosity=0 if command == "migrate" else 1
            )
        self.stdout.write("Start web, workers and schedule now.")
