"""``manage.py register_dataset``: make an existing Delta table a dataset."""

from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from datasets.errors import DomainError
from datasets.models import Dataset, Project
from datasets.roles import Role, set_role
from datasets.services import create_project, register_dataset, table_at
from datasets.unity_catalog import SCHEME


class Command(BaseCommand):
    help = (
        "Make an existing Delta table a dataset. The table must be one that Headgate can write, and the key columns "
        "free of NULLs and duplicates; else nothing is registered and the answer says what is in the way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("table_uri", help="Path or URI of the Delta table, or uc://catalog.schema.table.")
        parser.add_argument(
            "--key",
            action="append",
            required=True,
            dest="keys",
            metavar="COLUMN",
            help="A primary key column; repeat it for each, in order.",
        )
        parser.add_argument(
            "--project", required=True, metavar="SLUG", help="The project that the dataset joins."
        )
        parser.add_argument(
            "--create-project", metavar="NAME", help="Make the project under this name if it is not there."
        )
        parser.add_argument(
            "--slug", help="Short name in addresses; by default the last part of the table's path."
        )
        parser.add_argument("--name", help="Name that people read; by default the slug.")
        parser.add_argument("--description", default="")
        parser.add_argument(
            "--owner", metavar="USERNAME", help="An existing user who gets the role of owner."
        )
        parser.add_argument(
            "--is-copy",
            action="store_true",
            help="The table is a copy of another dataset's, and its log has kept the identity of that.",
        )
        parser.add_argument("--required-approvals", type=int, default=1, metavar="N")
        parser.add_argument(
            "--delete-limit",
            default="0.05",
            metavar="SHARE",
            help="Share of rows (0 to 1) above which a merge that deletes them needs the name typed.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            dataset = self._register(options)
        except DomainError as error:
            raise CommandError(error.message) from error
        meta = dataset.meta
        self.stdout.write(
            f"Registered {dataset.project.slug}/{dataset.slug}: version {meta.delta_version}, "
            f"{meta.row_count:,} rows, key {', '.join(dataset.primary_keys)}, merges by {meta.strategy}."
        )
        for warning in table_at(dataset=dataset).warnings:
            self.stdout.write(f"WARNING: {warning}")

    def _register(self, options: dict[str, Any]) -> Dataset:
        owner = self._owner(options["owner"])
        slug = options["slug"] or _last_part(options["table_uri"]).lower()
        with transaction.atomic():
            dataset = register_dataset(
                project=self._project(options["project"], options["create_project"]),
                slug=slug,
                name=options["name"] or slug,
                description=options["description"],
                table_uri=options["table_uri"],
                primary_keys=options["keys"],
                required_approvals=options["required_approvals"],
                delete_limit=read_share(options["delete_limit"]),
                is_copy=options["is_copy"],
            )
            if owner is not None:
                set_role(member=owner, target=dataset, role=Role.OWNER, actor=None)
        return dataset

    def _owner(self, username: str | None) -> User | None:
        if username is None:
            return None
        owner = User.objects.filter(username=username).first()
        if owner is None:
            raise CommandError(f"There is no user {username}.")
        return owner

    def _project(self, slug: str, name: str | None) -> Project:
        project = Project.objects.filter(slug=slug).first()
        if project is not None:
            return project
        if name is None:
            raise CommandError(f"There is no project {slug}. To make it, add --create-project 'Its name'.")
        return create_project(slug=slug, name=name)


def _last_part(written: str) -> str:
    """The table's own name in how it is written: behind the last slash, or, of a catalogue's name, the last point."""
    last = written.rstrip("/").rpartition("/")[2]
    return last.rpartition(".")[2] if written.startswith(SCHEME) else last


def read_share(text: str) -> Decimal:
    """A share such as 0.05. Raises ``CommandError``."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise CommandError(f"--delete-limit is a share between 0 and 1, not {text!r}.") from None
