"""``manage.py verify_audit``: is the trail whole, and does it say what the tables and the audit files say?"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.selectors import event_count
from audit.services import acknowledged_losses, verify, verify_triggers
from changerequests.services.agreement import disagreements, merges_told_as_lost
from datasets.anchoring import bent_anchors


class Command(BaseCommand):
    help = (
        "Walk every chain of audit events, every anchor and every audit file that the events name, then compare the "
        "merges in the tables' logs, the merged requests, the events and the audit folders with each other, both ways. "
        "Each entry, file or merge that was changed, is missing, out of order or told differently is named."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--heads", type=Path, help="Lines of the syslog that was told the anchors, to compare."
        )

    def handle(self, *_: Any, heads: Path | None, **__: Any) -> None:
        breaks = [
            (found.place, found.reason) for found in (*verify(), *verify_triggers(), *bent_anchors(heads))
        ]
        differing = [(found.place, found.reason) for found in disagreements()]
        for place, reason in [*breaks, *differing]:
            self.stderr.write(f"{place}: {reason}")
        if number := len(breaks) + len(differing):
            hint = " If the database was restored from a backup, run manage.py after_restore --dry-run first."
            raise CommandError(
                f"The audit trail is broken in {number} {'place' if number == 1 else 'places'}."
                + (hint if differing else "")
            )
        self.stdout.write(f"The audit trail is whole: {event_count()} events verified.")
        if lost := acknowledged_losses():
            self.stdout.write(
                f"It says itself that {lost} anchored entries were lost in restores of the database."
            )
        if merges := len(merges_told_as_lost()):
            lost_requests = "merged request was" if merges == 1 else "merged requests were"
            self.stdout.write(
                f"It says itself that {merges} {lost_requests} lost in restores of the database; the tables and the "
                "audit folders have what they changed."
            )
