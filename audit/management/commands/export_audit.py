"""``manage.py export_audit``: a filtered range of the audit trail as JSON lines."""

from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.errors import InvalidMoment
from audit.export import ExportFilter, export_lines, moment_of


class Command(BaseCommand):
    help = "Write audit events as JSON lines, chain by chain, to the standard output or a new file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", metavar="TIME", help="First moment, for example 2026-01-31 (UTC).")
        parser.add_argument("--until", metavar="TIME", help="The moment before which the range ends.")
        parser.add_argument("--stream", default="", help="One chain, for example dataset:7 or installation.")
        parser.add_argument("--actor", default="", help="User name of who did it.")
        parser.add_argument("--action", default="", help="For example change_request.merged.")
        parser.add_argument("--subject-type", default="", help="For example change_request.")
        parser.add_argument("--subject", default="", dest="subject_id", help="For example CR-128.")
        parser.add_argument("--output", type=Path, help="A file that does not exist yet.")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            since, until = moment_of(options["since"] or ""), moment_of(options["until"] or "")
        except InvalidMoment as error:
            raise CommandError(error.message) from error
        wanted = ExportFilter(
            since=since,
            until=until,
            **{name: options[name] for name in ("stream", "actor", "action", "subject_type", "subject_id")},
        )
        path: Path | None = options["output"]
        written = 0
        with ExitStack() as opened:
            target: Any = self.stdout
            if path is not None:
                try:
                    target = opened.enter_context(path.open("x", encoding="utf-8"))
                except OSError as error:
                    raise CommandError(f"{path} cannot be made: {error.strerror}.") from error
            for line in export_lines(wanted):
                target.write(line)
                written += 1
        self.stderr.write(f"{written} events exported.")
