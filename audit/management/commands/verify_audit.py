from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.models import Event
from audit.services import verify_chains


class Command(BaseCommand):
    help = (
        "Walk every chain of audit events and name each entry that was changed, is missing or out of order."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        breaks = list(verify_chains())
        for found in breaks:
            self.stderr.write(f"{found.stream} entry {found.sequence}: {found.reason}")
        if breaks:
            raise CommandError(f"The audit trail is broken in {len(breaks)} places.")
        self.stdout.write(f"The audit trail is whole: {Event.objects.count()} events verified.")
