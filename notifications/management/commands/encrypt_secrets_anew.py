"""After a new key was put first in ENCRYPTION_KEYS: until this has run, the one before is needed to read secrets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifications.services.webhooks import encrypt_anew


class Command(BaseCommand):
    help = "Encrypts the addresses and secrets of webhooks with the first of ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        done, unreadable = encrypt_anew()
        self.stdout.write(f"{done} webhooks are encrypted with the key that is first now.")
        if unreadable:
            numbers = ", ".join(map(str, unreadable))
            raise CommandError(
                f"These were encrypted with a key that is not among those of today: {numbers}."
            )
