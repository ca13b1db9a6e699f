"""``manage.py sign_in_link``: let an operator in although the provider fails and passwords are switched off."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.management.people import account_called
from accounts.sign_in_links import make_link
from datasets.errors import DomainError


class Command(BaseCommand):
    help = (
        "Print an address that signs one operator in, once, within ten minutes; recorded in the audit trail."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="User name of an operator.")
        parser.add_argument("--reason", required=True, help="Why; kept in the trail.")

    def handle(self, *_: Any, username: str, reason: str, **__: Any) -> None:
        try:
            self.stdout.write(make_link(user=account_called(username), reason=reason))
        except DomainError as error:
            raise CommandError(error.message) from error
