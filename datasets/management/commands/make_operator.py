from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from datasets.operators import make_operator


class Command(BaseCommand):
    help = "Let an existing user operate the installation: the admin's lists and actions, without superuser rights."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *_: Any, username: str, **__: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username}.")
        make_operator(user)
        self.stdout.write(f"{username} operates the installation now: /admin/ is open to them.")
