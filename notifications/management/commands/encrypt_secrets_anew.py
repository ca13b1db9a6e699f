"""After a new key was put first in ENCRYPTION_KEYS: until this has run, the one before is needed to read secrets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from datasets.services.connections import reseal
from notifications.services.webhooks import encrypt_anew


class Command(BaseCommand):
    help = (
        "Encrypts the addresses and secrets of webhooks, and the secrets of connections, with the first of "
        "ENCRYPTION_KEYS."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done, unreadable = encrypt_anew()
        sealed, unsealed = reseal()
        self.stdout.write(
            f"{done} webhooks and {sealed} connections are encrypted with the key that is first now."
        )
        if unreadable or unsealed:
            numbers = ", ".join([*map(str, unreadable), *unsealed])
            raise CommandError(
                f"These were encrypted with a key that is not among those of today: {numbers}."
            )
