"""``manage.py introduce_audit_key``: seal what was written before the current key of the audit trail."""

from typing import Any

from django.core.management.base import BaseCommand

from changerequests.services.sealing import introduce_audit_key


class Command(BaseCommand):
    help = (
        "Run it once after the release that brought keys, and after each change of the key: an entry seals the heads "
        "of all chains under the current key, and no entry that another key writes after that counts. The first time "
        "the rows that entries vouch for are sealed as they are found, and after a release that seals more of them "
        "those: run verify_audit with the old release before. "
        "Safe to run again."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        introduced = introduce_audit_key()
        if introduced.entries:
            self.stdout.write("What was written before the current key is sealed under it.")
        else:
            self.stdout.write("Every entry is sealed, or was written with the current key.")
        if introduced.rows:
            self.stdout.write(f"{introduced.rows} rows are vouched for as they were found.")
