"""``manage.py retention``: show or remove what the retention policy no longer keeps."""

from argparse import ArgumentParser
from dataclasses import fields, replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from changerequests.services.retention import Policy, apply_retention, configured_policy
from datasets.errors import InvalidInput


class Command(BaseCommand):
    help = (
        "List archives, orphans, superseded and closed content and old runs that the retention policy no longer "
        "keeps; with --apply they are removed. Nothing that an open request, a revert or the audit needs goes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--apply", action="store_true", help="Remove; without it nothing is changed.")
        for field in fields(Policy):
            parser.add_argument(
                f"--{field.name}-days", type=int, metavar="N", help=f"Instead of the policy for {field.name}."
            )

    def handle(self, *_: Any, **options: Any) -> None:
        given = {
            field.name: options[f"{field.name}_days"]
            for field in fields(Policy)
            if options[f"{field.name}_days"] is not None
        }
        try:
            policy = replace(configured_policy(), **given)
        except InvalidInput as error:
            raise CommandError(error.message) from error
        report = apply_retention(actor=None, policy=policy, dry_run=not options["apply"])
        for removal in report.removals:
            self.stdout.write(f"{removal.kind} {removal.subject}: {removal.reason}, {removal.size:,} bytes")
        for removal in report.failed:
            self.stderr.write(f"{removal.kind} {removal.subject} could not be removed")
        verb = "would be removed" if report.dry_run else "removed"
        self.stdout.write(f"{len(report.removals)} things {verb}, {report.size:,} bytes.")
        if report.failed:
            raise CommandError(f"{len(report.failed)} things could not be removed.")
