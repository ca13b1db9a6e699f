"""``manage.py erase_person``: replace a person's names by a pseudonym wherever Headgate keeps them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from changerequests.services.erasing import erase_person
from datasets.errors import DomainError


class Command(BaseCommand):
    help = (
        "Replace a person's user name, e-mail and full name by a pseudonym in the database, the audit trail and the "
        "audit files; nobody signs in to the account any more. The chains stay whole, what others did stays proved. "
        "Tables, their logs, exports, backups and logs of processes are not touched: see docs/operations.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="User name of the person.")
        parser.add_argument(
            "--also",
            action="append",
            default=[],
            metavar="NAME",
            help="Another name to replace; may be repeated.",
        )
        parser.add_argument(
            "--reason", default="", help="Why; kept in the trail. Do not name the person in it."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be replaced.")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            done = erase_person(**{name: options[name] for name in ("username", "also", "reason", "dry_run")})
        except DomainError as error:
            raise CommandError(error.message) from error
        would = "would be " if done.dry_run else ""
        for place in (*done.texts, *done.entries, *done.files):
            self.stdout.write(f"{would}replaced in {place}")
        for log in done.logs:
            self.stdout.write(f"STAYS in the table's own log of {log}")
        count = f"{len(done.texts)} texts, {len(done.entries)} entries and {len(done.files)} files"
        if done.dry_run:
            self.stdout.write(
                f"{count} would be changed. Nothing was written. Look at them, then run it with --reason."
            )
            return
        self.stdout.write(f"{count} were changed; the person is {done.pseudonym} now.")
        self.stdout.write(
            "Run manage.py verify_audit now. Exports, backups and logs that name the person stay yours."
        )
