"""One world for the role matrix: a dataset with requests in every state, a person of each role, and what is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts import service_accounts
from accounts.invitations import invite
from accounts.models import Token
from accounts.scopes import Scope
from changerequests.models import ChangeRequest, Upload
from changerequests.services import asking, plans, previews, proposals, saved_views, uploads, viewing
from changerequests.services.reviews import comment, review
from changerequests.services.runs import request_merge
from changerequests.states import UploadKind
from datasets.models import Dataset, SuiteProposal, SuiteTrial
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.services import connections
from notifications.kinds import Kind
from notifications.models import Delivery
from notifications.services import webhooks
from notifications.unsubscribing import Farewell
from notifications.unsubscribing import token_of as farewell_token
from tests import options
from tests.api.clients import token_of
from tests.dealing import shuffled
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    UserFactory,
    expect_of,
    expectation,
    fresh,
    merge,
    person_with,
    table_folder,
)
from tests.table_copies import create_as_copy

#: Who asks, in the order of the tables' columns.
ROLES = ("anonymous", "stranger", "viewer", "contributor", "author", "owner", "staff")

WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "REPLACE")


@dataclass
class World:
    """Who is there, and what addresses and bodies may name."""

    people: dict[str, User]
    names: dict[str, Any]
    tokens: dict[str, str] = field(default_factory=dict)


def make_world() -> World:
    """A dataset whose requests are a draft, pending, failing its expectations, in conflict, queued, closed, merged."""
    dataset: Dataset = DatasetFactory.create(slug="planes", name="planes", threads_must_be_resolved=False)
    owner = person_with(Role.OWNER, dataset.project, username="olivia")
    author = person_with(Role.CONTRIBUTOR, dataset, username="carl")
    people = {
        "stranger": UserFactory.create(username="sam"),
        "viewer": person_with(Role.VIEWER, dataset, username="vera"),
        "contributor": person_with(Role.CONTRIBUTOR, dataset, username="cora"),
        "author": author,
        "owner": owner,
        "staff": UserFactory.create(username="adam"),
    }
    make_operator(people["staff"])
    merged = _request(dataset, author, "tailnum,seats\nN4,1\n")
    merge(merged, owner)
    conflicting = _request(dataset, author, "tailnum,seats\nN1,2\n")
    merge(_request(dataset, author, "tailnum,seats\nN1,3\n"), owner)
    suite = expect_of(dataset, expectation("column_values_to_be_between", column="seats", max_value=600))
    failing = _request(dataset, author, "tailnum,seats\nN2,999\n")
    pending = _request(dataset, author, "tailnum,seats\nN2,3\n")
    draft = _request(dataset, author, "tailnum,seats\nN3,4\n", status="draft")
    closed = _request(dataset, author, "tailnum,seats\nN3,5\n")
    proposals.close(change_request_id=closed.pk, actor=author, reason="No.")
    queued = _request(dataset, author, "tailnum,seats\nN3,6\n")
    run = request_merge(change_request_id=queued.pk, actor=author)
    remark = comment(change_request_id=pending.pk, actor=author, body="Look here.")
    verdict = review(change_request_id=pending.pk, actor=people["contributor"], verdict="comment", body="Hm.")
    [asked] = asking.ask_for_review(change_request_id=pending.pk, actor=author, users=["olivia"])
    unregistered = table_folder("unregistered")
    create_as_copy(unregistered, PLANES, {})
    conflict = plans.conflicts_page(change_request=conflicting).conflicts[0]
    file = Path(settings.DELTA_DATA_ROOT) / "years.csv"
    file.write_text("tailnum,seats\nN3,7\n")
    received = uploads.receive(
        change_request_id=draft.pk, actor=author, content=uploads.ReceivedFile(file, file.name)
    )
    view = saved_views.keep_view(person=owner, name="Kept", filters={"q": "seats"})
    proposal = SuiteProposal.objects.create(dataset=dataset, asked_by=owner)
    trial = SuiteTrial.objects.create(dataset=dataset, asked_by=owner, document=suite.document)
    webhook, _ = webhooks.create_webhook(
        actor=fresh(owner), place=dataset, name="Here", url="https://hooks.example/"
    )
    delivery = Delivery.objects.create(receiver=webhook.receiver, status="failed")
    volume = Path(f"{settings.DELTA_DATA_ROOT}-volume")
    volume.mkdir(exist_ok=True)
    connections.create_connection(actor=None, name="volume", root=str(volume))
    prefix = connections.allow_prefix(actor=None, name="volume", project=dataset.project.slug)
    invitation, address = invite(actor=fresh(people["staff"]), email="ida@example.org")
    service = service_accounts.create(
        actor=fresh(people["staff"]), name="nightly", project=dataset.project, role=Role.VIEWER
    )
    service_token, _ = service_accounts.make_token(actor=fresh(people["staff"]), account=service, name="load")
    world = World(
        people={name: fresh(person) for name, person in people.items()},
        names={
            "dataset": dataset.pk,
            "project_id": dataset.project_id,
            "project": dataset.project.slug,
            "place": f"{dataset.project.slug}/planes",
            "merged": merged.cr_id,
            "conflicting": conflicting.cr_id,
            "failing": failing.cr_id,
            "pending": pending.cr_id,
            "draft": draft.cr_id,
            "closed": closed.cr_id,
            "queued": queued.cr_id,
            "run": run.pk,
            "remark": remark.pk,
            "verdict": verdict.pk,
            "asked": asked.pk,
            "view": view.pk,
            "farewell": farewell_token(Farewell(people["viewer"].pk, (Kind.MERGED,))),
            "upload": received.pk,
            "preview": previews.look(
                dataset=dataset,
                actor=owner,
                content=uploads.NamedSource(UploadKind.SQL, "SELECT tailnum, 7 AS seats FROM dataset"),
            ).pk,
            "query": previews.look(
                dataset=dataset,
                actor=owner,
                content=uploads.NamedSource(UploadKind.SQL, "SELECT tailnum FROM dataset"),
                asks_about_columns=False,
            ).pk,
            "suite": suite.number,
            "group": viewing.change_groups(change_request=pending, person=author).groups[0].name,
            "proposal": proposal.pk,
            "trial": trial.pk,
            "webhook": webhook.pk,
            "connection": "volume",
            "volume": str(volume),
            "prefix": prefix.pk,
            "delivery": delivery.pk,
            "service_account": service.pk,
            "service_token": str(service_token.number),
            "invitation": invitation.pk,
            "invitation_key": address.rstrip("/").rpartition("/")[2],
            "kind_of_member": "user",
            "member": "vera",
            "vera": people["viewer"].pk,
            "table": str(unregistered),
            "failing_digest": failing.revisions.get().digest,
            "conflict": conflict.inputs_digest,
        },
    )
    for name, person in world.people.items():
        world.tokens[name] = token_of(person)
    for scope in Scope:
        world.tokens[f"token:{scope}"] = token_of(owner, scope)
    world.names["token"] = Token.objects.get(user=owner, scopes=["read"]).number
    return world


def as_it_stands(upload_id: int, seconds: float) -> Upload:
    """Nobody reads uploads here: waiting for one answers at once how it stands."""
    return Upload.objects.get(pk=upload_id)


def _request(dataset: Dataset, author: User, csv: str, status: str = "pending") -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=author, csv=csv, status=status)
    return made


def filled_in(value: Any, names: dict[str, Any]) -> Any:
    """A body with the world's names in place of ``<name>``; a text that is nothing else becomes what is named."""
    if isinstance(value, dict):
        return {key: filled_in(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled_in(inner, names) for inner in value]
    if isinstance(value, str):
        for name, meant in names.items():
            if value == f"<{name}>":
                return meant
            value = value.replace(f"<{name}>", str(meant))
    return value


def who_asks(what: str, expected: dict[str, int]) -> list[str]:
    """Who a run asks: all of them, in their order. Where it takes a sample, half of those who are refused, of those who
    are let through and of tokens, and of each one at least; its seed deals them.
    """
    if options.SAMPLE_SEED is None:
        return list(expected)
    groups: dict[str, list[str]] = {}
    for who, status in expected.items():
        refused = status >= 400 or who == "anonymous"
        group = "token" if who.startswith("token:") else "refused" if refused else "let through"
        groups.setdefault(group, []).append(f"{what} {who}")
    return [
        name.rpartition(" ")[2]
        for group in groups.values()
        for name in shuffled(group, options.SAMPLE_SEED)[: (len(group) + 1) // 2]
    ]


class Unchanged:
    """Proof that a refused call changed nothing, neither in the database nor among the files.

    The database is compared table by table wherever the call wrote anything at all (most refusals write nothing,
    which is proof enough), the files always.
    """

    def __init__(self) -> None:
        self.before, self.files, self.wrote = _database(), _files(), False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch one call, and undo what it does to the database."""
        self.wrote = False
        with transaction.atomic():
            with connection.execute_wrapper(self._look):
                yield
            transaction.set_rollback(True)

    def say_what_changed(self) -> str:
        """Within ``watched``, once a call was refused: what it changed all the same; empty if nothing."""
        found = []
        if self.wrote:
            now = _database()
            found = [table for table, rows in now.items() if rows != self.before.get(table)]
        if (files := _files()) != self.files:
            found += sorted(files.keys() ^ self.files.keys()) or ["contents of files"]
        return ", ".join(found)

    def allow_files(self) -> None:
        """After a call that was let through: what it wrote beside the database stays."""
        self.files = _files()

    def _look(self, execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        self.wrote = self.wrote or sql.lstrip().upper().startswith(WRITES)
        return execute(sql, parameters, many, context)


def _database() -> dict[str, list[str]]:
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found[table] = sorted(map(str, cursor.fetchall()))
    return found


def _files() -> dict[str, int]:
    return {
        file: os.stat(file).st_mtime_ns
        for folder, _, names in os.walk(settings.DELTA_DATA_ROOT)
        for file in (os.path.join(folder, name) for name in names)
    }
