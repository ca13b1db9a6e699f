from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.models import Event
from audit.services import verify


class Command(BaseCommand):
    help = (
        "Walk every chain of audit events, every anchor and every audit file that the events name, and name each "
        "entry or file that was changed, is missing or out of order."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        breaks = list(verify())
        for found in breaks:
            self.stderr.write(f"{found.place}: {found.reason}")
        if breaks:
            raise CommandError(f"The audit trail is broken in {len(breaks)} places.")
        self.stdout.write(f"The audit trail is whole: {Event.objects.count()} events verified.")
