"""``manage.py deactivate_person``: somebody has left; no sign-in, no session and no token of theirs is left."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.access import deactivate, keys_known_to
from accounts.management.people import account_called
from datasets.errors import DomainError


class Command(BaseCommand):
    help = "Close an account at once: its sessions and tokens end. What its person did stays, and names them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="User name of the person, or of a service account.")
        parser.add_argument("--reason", required=True, help="Why; kept in the trail.")
        parser.add_argument(
            "--although-last-owner",
            action="store_true",
            help="Even where a dataset or project has no other owner; operators give it another one.",
        )

    def handle(self, *_: Any, username: str, reason: str, although_last_owner: bool, **__: Any) -> None:
        user = account_called(username)
        try:
            left = deactivate(
                user=user,
                actor=None,
                reason=reason,
                although_last_owner=although_last_owner,
            )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{username} is deactivated; no session and no token is left.")
        for name in left:
            self.stdout.write(f"{name} has no owner now: give it one.")
        for name in keys_known_to(user):
            self.stdout.write(f"{username} has made tokens of {name} and may know one: rotate them.")
