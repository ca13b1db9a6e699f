"""``manage.py make_service_account``: an account for a pipeline, and its first token."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import service_accounts
from accounts.management.people import account_called
from accounts.scopes import Scope
from accounts.tokens import USUAL_DAYS
from datasets.errors import DomainError
from datasets.models import Project
from datasets.roles import Role


class Command(BaseCommand):
    help = "Make a service account, with a role on a project and a token where they are asked for."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="Small letters, digits and . _ -; it is called NAME@service.")
        parser.add_argument(
            "--as", dest="actor", required=True, help="User name of the operator who makes it."
        )
        parser.add_argument("--purpose", default="", help="What it is for.")
        parser.add_argument("--project", default="", help="Slug of the project whose owners manage it.")
        parser.add_argument("--role", choices=[role.value for role in Role], help="Its role on the project.")
        parser.add_argument(
            "--token",
            nargs="+",
            choices=[scope.value for scope in Scope],
            default=[],
            metavar="SCOPE",
            help="Make a token with these scopes, and print it.",
        )
        parser.add_argument("--days", type=int, default=USUAL_DAYS, help="How long the token lives.")

    def handle(self, *_: Any, name: str, **options: Any) -> None:
        actor = account_called(options["actor"])
        project = Project.objects.filter(slug=options["project"]).first()
        if options["project"] and project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        try:
            made = service_accounts.create(
                actor=actor,
                name=name,
                purpose=options["purpose"],
                project=project,
                role=Role(options["role"]) if options["role"] else None,
            )
            self.stderr.write(f"{made.user.get_username()} is made.")
            if options["token"]:
                scopes = [Scope(one) for one in options["token"]]
                _, key = service_accounts.make_token(
                    actor=actor, account=made, name=name, scopes=scopes, days=options["days"]
                )
                self.stdout.write(key)
        except DomainError as error:
            raise CommandError(error.message) from error
