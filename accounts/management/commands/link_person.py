"""``manage.py link_person``: an operator vouches for whom an account belongs to at the provider."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.identities import link_subject, unlink
from accounts.management.people import account_called
from datasets.errors import DomainError


class Command(BaseCommand):
    help = (
        "Let an account be signed in to by one person of the OpenID Connect provider, named by their subject."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="User name here.")
        parser.add_argument(
            "subject", nargs="?", default="", help="The claim sub of the person at the provider."
        )
        parser.add_argument("--unlink", action="store_true", help="Take the link away instead.")

    def handle(self, *_: Any, username: str, subject: str, **options: Any) -> None:
        user = account_called(username)
        if bool(subject) == options["unlink"]:
            raise CommandError("Name the subject, or say --unlink.")
        try:
            if options["unlink"]:
                unlink(user=user)
                self.stdout.write(f"{username} is linked no more.")
                return
            if settings.SIGN_IN_PROVIDER is None:
                raise CommandError("No provider is set: see OIDC_ISSUER in docs/operations.md.")
            link_subject(provider=settings.SIGN_IN_PROVIDER, user=user, subject=subject)
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{username} signs in as {subject} of {settings.SIGN_IN_PROVIDER.issuer} now.")
