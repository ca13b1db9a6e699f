"""``manage.py after_restore``: bring a restored database up to the tables' logs and the audit files."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from changerequests.services.restoring import after_restore


class Command(BaseCommand):
    help = (
        "Run it once after the database was restored from a backup, before web and workers start: merges that stand in "
        "the tables' logs and that the database does not know are recorded, numbers are moved past those given before "
        "the restore, and what cannot be mended is reported. Safe to run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say what would be done; write nothing."
        )

    def handle(self, *_: Any, dry_run: bool, **__: Any) -> None:
        report = after_restore(dry_run=dry_run)
        for found in report.findings:
            word = ("would be done" if dry_run else "done") if found.done else "TO LOOK AT"
            self.stdout.write(f"{word} ({found.kind}) {found.subject}: {found.sentence}")
        left = len(report.findings) - report.done
        verb = "would be mended" if dry_run else "mended"
        self.stdout.write(f"{report.done} {verb}, {left} to look at.")
        if dry_run and report.findings:
            self.stdout.write("Nothing was written. Run it again without --dry-run to do this.")
        elif report.findings:
            self.stdout.write("Run manage.py verify_audit now, then start web, workers and schedule.")
