"""``manage.py connection``: the stores that tables lie in."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from datasets.errors import DomainError
from datasets.models import Connection
from datasets.services import connections


class Command(BaseCommand):
    help = (
        "The stores that tables lie in: list them, make, change and remove them, let projects use their folders, give "
        "them to tables that are there already, and seal their secrets with a new key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="Every connection; of secrets their names.")
        for action, said in (("create", "Make one."), ("change", "Change what is named, and nothing else.")):
            one = actions.add_parser(action, help=said)
            one.add_argument("name")
            one.add_argument(
                "--root", required=action == "create", help="Where it begins, such as s3://lake/tables."
            )
            one.add_argument(
                "--option",
                action="append",
                metavar="NAME=VALUE",
                help="No secret, such as aws_region=eu-central-1; repeat it. Of a change these are all of them then.",
            )
            one.add_argument(
                "--reference",
                action="append",
                metavar="NAME=PLACE",
                help="Where a secret stands: env:CONNECTION_…, or file:/run/secrets/…; repeat it.",
            )
            one.add_argument(
                "--secrets-from",
                metavar="FILE",
                help="A file with a secret a line as NAME=VALUE, - for the standard input. They are sealed.",
            )
            one.add_argument(
                "--forget", action="append", default=[], metavar="NAME", help="A sealed secret to remove."
            )
        actions.add_parser(
            "test", help="Try what tables need of its store; ten seconds at most."
        ).add_argument("name")
        actions.add_parser("remove", help="Remove one without tables.").add_argument("name")
        for action, said in (
            ("allow", "Let the owners of a project make tables below a folder datasets."),
            ("withdraw", "Let them no more."),
        ):
            one = actions.add_parser(action, help=said)
            one.add_argument("name")
            one.add_argument("project", help="Slug of the project.")
            one.add_argument(
                "path", nargs="?", default="", help="The folder below the root; all of it without."
            )
        actions.add_parser(
            "adopt", help="Open the tables below its root that have no connection with it from now on."
        ).add_argument("name")
        actions.add_parser("rotate", help="Seal all secrets with the first of ENCRYPTION_KEYS.")

    def handle(self, *_: Any, action: str, **options: Any) -> None:
        try:
            for line in getattr(self, f"_{action}")(options):
                self.stdout.write(line)
        except DomainError as error:
            raise CommandError(error.message) from None

    def _list(self, _: Any) -> Iterator[str]:
        for one in Connection.objects.prefetch_related("prefixes__project"):
            yield f"{one.name}  {one.kind}  {one.root}"
            yield from (f"  {name}={value}" for name, value in sorted(one.options.items()))
            yield from (f"  {name} sealed" for name in sorted(one.sealed))
            yield from (f"  {name} at {place}" for name, place in sorted(one.references.items()))
            yield from (f"  {prefix.project.slug} below {prefix}" for prefix in one.prefixes.all())
        for place in connections.addresses_with_secrets():
            yield f"WARNING: the address of {place} has a secret in it."

    def _create(self, given: dict[str, Any]) -> Iterator[str]:
        made = connections.create_connection(
            actor=None,
            name=given["name"],
            root=given["root"],
            options=_pairs(given["option"] or ()),
            references=_pairs(given["reference"] or ()),
            secrets=_secrets(given["secrets_from"]),
        )
        yield f"Made {made.name} for {made.root}."

    def _change(self, given: dict[str, Any]) -> Iterator[str]:
        changes: dict[str, Any] = {}
        if given["root"]:
            changes["root"] = given["root"]
        if given["option"] is not None:
            changes["options"] = _pairs(given["option"])
        if given["reference"] is not None:
            changes["references"] = _pairs(given["reference"])
        secrets = {**_secrets(given["secrets_from"]), **dict.fromkeys(given["forget"])}
        if secrets:
            changes["secrets"] = secrets
        changed = connections.change_connection(actor=None, name=given["name"], changes=changes)
        yield f"{changed.name} is at its version {changed.version}."

    def _test(self, given: dict[str, Any]) -> Iterator[str]:
        trial = connections.try_connection(actor=None, name=given["name"])
        yield from (one.said for one in trial.steps)
        if not trial.is_usable:
            raise CommandError(f"Tables of {given['name']} cannot be read and merged into as it is.")

    def _remove(self, given: dict[str, Any]) -> Iterator[str]:
        connections.remove_connection(actor=None, name=given["name"])
        yield f"Removed {given['name']}."

    def _allow(self, given: dict[str, Any]) -> Iterator[str]:
        made = connections.allow_prefix(
            actor=None, name=given["name"], project=given["project"], path=given["path"]
        )
        yield f"Owners of {made.project.slug} add tables below {made} now."

    def _withdraw(self, given: dict[str, Any]) -> Iterator[str]:
        found = connections.prefix_called(given["name"], given["project"], given["path"])
        connections.withdraw_prefix(actor=None, name=given["name"], prefix_id=found.pk)
        yield f"Owners of {given['project']} add no tables below {found} any more."

    def _adopt(self, given: dict[str, Any]) -> Iterator[str]:
        for dataset in connections.adopt_tables(actor=None, name=given["name"]):
            yield f"{dataset.project.slug}/{dataset.slug} is opened with it now."

    def _rotate(self, _: Any) -> Iterator[str]:
        done, unreadable = connections.reseal()
        yield f"{done} connections are sealed with the key that is first now."
        if unreadable:
            raise CommandError(
                f"These were sealed with a key that is not among those of today: {', '.join(unreadable)}."
            )


def _pairs(written: Iterable[str]) -> dict[str, str]:
    found = {}
    for one in written:
        name, equals, value = one.partition("=")
        if not equals:
            raise CommandError("Write options and secrets as NAME=VALUE.")
        found[name.strip()] = value
    return found


def _secrets(source: str | None) -> dict[str, str]:
    """The secrets of a file; they are in no argument, which everybody on the machine can see."""
    if source is None:
        return {}
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{source} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{source} is no text in UTF-8.") from None
    return _pairs(line for line in text.splitlines() if line.strip())
