"""What two people do in the same moment is done twice: whoever waits for the other is never waited for by it.

Each pair goes on in step, one statement that locks something at a time, on real connections: on PostgreSQL rows wait
for each other, on SQLite whole transactions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import combinations_with_replacement
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

import merging
from accounts import access, invitations, service_accounts
from accounts.models import Invitation, Token
from accounts.scopes import Scope
from accounts.tokens import make_token
from audit.row_locks import lock_what_goes_with
from changerequests.models import ChangeRequest
from changerequests.services import previews, proposals, reviews, saved_views, uploads
from changerequests.services.erasing import erase_person
from changerequests.services.locks import lock_change_request
from changerequests.states import Status, UploadKind
from config.problems import problem_of
from datasets.errors import DomainError
from datasets.models import Dataset, Project
from datasets.roles import Role, set_role
from datasets.services import change_project, change_settings, connections, delete_project, register_dataset
from notifications.models import Webhook
from notifications.services import webhooks
from notifications.services.dispatching import dispatch
from notifications.services.forgetting import forget_old
from tests import options
from tests.dealing import has_its_turn
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    ProjectFactory,
    UserFactory,
    give_role,
    person_with,
)
from tests.table_copies import create_as_copy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

#: How long one waits for the other, who may wait for it.
IN_STEP = 0.1
#: Of so many pairs a run takes one: on SQLite, where all wait for one and the same, of four times as many.
PAIRS = {"postgresql": 24, "sqlite": 96}
LOCKS = ("INSERT", "UPDATE", "DELETE")
CHANGES = re.compile(r'(?:UPDATE|DELETE FROM) "(\w+)"')
LOOKS = re.compile(r'^SELECT .* FROM "(\w+)"')


class World:
    """One dataset whose owner does everything at once, a service account of its project, a project that holds nothing,
    with a webhook of its own, and a connection that leads to two tables.
    """

    def __init__(self, folder: Path) -> None:
        Invitation.objects.all().delete()  # those of the worlds before: so many may not be open
        self.dataset: Dataset = DatasetFactory.create()
        self.project = self.dataset.project
        self.owner: User = person_with(Role.OWNER, self.dataset)
        other = person_with(Role.OWNER, self.dataset)
        for one in (self.owner, other):
            give_role(one, self.project, Role.OWNER)
        self.member = person_with(Role.VIEWER, self.dataset)
        self.request: ChangeRequest = ChangeRequestFactory.create(
            dataset=self.dataset, author=self.owner, csv="tailnum,seats\nN1,1\n"
        )
        self.account = service_accounts.create(
            actor=self.owner, name=f"nightly{self.project.pk}", project=self.project
        )
        self.token, _ = service_accounts.make_token(
            actor=self.owner, account=self.account, scopes=[Scope.READ], days=7
        )
        self.empty: Project = ProjectFactory.create()
        give_role(self.owner, self.empty, Role.OWNER)
        self.operator: User = UserFactory.create(is_staff=True, is_superuser=True)
        self.webhook = self.make_webhook(self.empty, "Pipeline")
        self.root = folder / f"volume{self.project.pk}"
        for n in (0, 1):
            create_as_copy(self.root / f"planes{n}", PLANES, {})
        self.volume = connections.create_connection(
            actor=None, name=f"volume{self.project.pk}", root=str(self.root)
        ).name
        self.prefix = connections.allow_prefix(actor=None, name=self.volume, project=self.project.slug)
        _, self.invited_at = invitations.invite(
            actor=self.operator,
            email=f"invited{self.project.pk}@example.org",
            project=self.empty,
            role=Role.VIEWER,
        )
        self.draft: ChangeRequest = ChangeRequestFactory.create(
            dataset=self.dataset, author=self.owner, csv=None, status=Status.DRAFT
        )

    def make_webhook(self, place: Dataset | Project, name: str) -> Webhook:
        made, _ = webhooks.create_webhook(
            actor=self.owner, place=place, name=name, url="https://hooks.example.org/x"
        )
        return made

    def register(self, project: Project, n: int) -> None:
        register_dataset(
            project=project,
            slug=f"planes-{self.project.pk}-{n}",
            name="Planes",
            table_uri=str(self.root / f"planes{n}"),
            primary_keys=["tailnum"],
            actor=self.operator,
            is_copy=True,
        )

    def change_volume(self, **changes: Any) -> None:
        connections.change_connection(actor=self.operator, name=self.volume, changes=changes)

    def remove_draft(self) -> None:
        with transaction.atomic():
            proposals.remove_if_empty(lock_change_request(self.draft.pk), self.owner)

    def make_account(self, name: str) -> None:
        service_accounts.create(actor=self.owner, name=name, project=self.project, role=Role.VIEWER)

    def look(self, change_request: ChangeRequest) -> None:
        content = uploads.NamedSource(UploadKind.SQL, "SELECT tailnum, 7 AS seats FROM dataset")
        previews.look(dataset=self.dataset, actor=self.owner, content=content, change_request=change_request)


Deed = Callable[[World, int], Any]
#: What people do, each with the things that others do something with.
DEEDS: dict[str, Deed] = {
    "a token is rotated": lambda world, _: service_accounts.rotate_token(
        actor=world.owner, account=world.account, number=world.token.number
    ),
    "a service account is deactivated": lambda world, _: access.deactivate(
        user=world.account.user, actor=world.owner, reason="over"
    ),
    "a password is changed": lambda world, _: access.change_password(
        user=world.owner, password="a passphrase 78", session_key=None
    ),
    "somebody signs out everywhere": lambda world, _: access.sign_out_everywhere(
        user=world.owner, session_key=None
    ),
    "a token is made": lambda world, n: make_token(owner=world.owner, name=f"load {n}"),
    "a service account is made": lambda world, n: world.make_account(f"load{n}.{world.project.pk}"),
    "a role on the project": lambda world, n: set_role(
        member=(world.member, world.owner)[n], target=world.project, role=Role.OWNER, actor=world.owner
    ),
    "a role on the dataset": lambda world, n: set_role(
        member=(world.owner, world.member)[n], target=world.dataset, role=Role.OWNER, actor=world.owner
    ),
    "settings": lambda world, n: change_settings(
        dataset_id=world.dataset.pk, actor=world.owner, changes={"description": f"Planes {n}."}
    ),
    "a look": lambda world, _: world.look(world.request),
    "a comment": lambda world, _: reviews.comment(
        change_request_id=world.request.pk, actor=world.owner, body="Why?"
    ),
    "a request is closed": lambda world, _: proposals.close(
        change_request_id=world.request.pk, actor=world.owner, reason="No."
    ),
    "a view is kept": lambda world, n: saved_views.keep_view(
        person=world.owner, name=f"Mine {n}", filters={"q": "x"}
    ),
    "a webhook": lambda world, n: world.make_webhook(world.dataset, f"Pipeline {n}"),
    "a webhook of a project": lambda world, n: world.make_webhook(world.empty, f"Pipeline {n}"),
    "a webhook is changed": lambda world, n: webhooks.change_webhook(
        webhook_id=world.webhook.pk, actor=world.owner, changes={"name": f"Lines {n}"}
    ),
    "a webhook is removed": lambda world, _: webhooks.remove_webhook(
        webhook_id=world.webhook.pk, actor=world.owner
    ),
    "a webhook's secret": lambda world, _: webhooks.rotate_secret(
        webhook_id=world.webhook.pk, actor=world.owner
    ),
    "a webhook is tried": lambda world, _: webhooks.try_out(webhook_id=world.webhook.pk, actor=world.owner),
    "webhooks are sealed anew": lambda world, _: webhooks.encrypt_anew(),
    "a project is changed": lambda world, n: change_project(
        project_id=world.empty.pk, actor=world.owner, changes={"name": f"Fleet {n}"}
    ),
    "a project is deleted": lambda world, _: delete_project(project_id=world.empty.pk, actor=world.owner),
    "a role on an empty project": lambda world, n: set_role(
        member=(world.member, world.account.user)[n],
        target=world.empty,
        role=Role.VIEWER,
        actor=world.owner,
    ),
    "an account of an empty project": lambda world, n: service_accounts.create(
        actor=world.owner, name=f"empty{n}.{world.project.pk}", project=world.empty, role=Role.VIEWER
    ),
    "somebody is invited": lambda world, n: invitations.invite(
        actor=world.operator, email=f"new{n}@example.org", project=world.empty, role=Role.VIEWER
    ),
    "an invitation is withdrawn": lambda world, _: invitations.withdraw(
        actor=world.operator, invitation_id=Invitation.objects.get(project=world.empty).pk
    ),
    "an invitation is taken": lambda world, n: invitations.accept(
        key=world.invited_at.rstrip("/").rpartition("/")[2],
        username=f"invited{n}.{world.project.pk}",
        first_name="",
        last_name="",
        password="a passphrase 78",
    ),
    "a folder is allowed": lambda world, _: connections.allow_prefix(
        actor=world.operator, name=world.volume, project=world.empty.slug
    ),
    "a folder is withdrawn": lambda world, _: connections.withdraw_prefix(
        actor=world.operator, name=world.volume, prefix_id=world.prefix.pk
    ),
    "a connection is renamed": lambda world, n: world.change_volume(name=f"lake{n}-{world.project.pk}"),
    "a connection is removed": lambda world, _: connections.remove_connection(
        actor=world.operator, name=world.volume
    ),
    "connections are sealed anew": lambda world, _: connections.reseal(),
    "a table is registered": lambda world, n: world.register(world.project, n),
    "a table in an empty project": lambda world, n: world.register(world.empty, n),
    "a draft is removed": lambda world, _: world.remove_draft(),
    "a comment on a draft": lambda world, _: reviews.comment(
        change_request_id=world.draft.pk, actor=world.owner, body="Why?"
    ),
    "a look for a draft": lambda world, _: world.look(world.draft),
    "somebody is deactivated": lambda world, _: access.deactivate(
        user=world.member, actor=world.operator, reason="gone"
    ),
    "somebody is erased": lambda world, _: erase_person(username=world.member.get_username(), reason="asked"),
    "news are told": lambda world, _: dispatch(),
    "what is old is forgotten": lambda world, _: forget_old(),
}


@contextmanager
def in_step(both: Barrier) -> Iterator[None]:
    """Each statement that locks something waits until the other has done one, too, or waits itself."""

    def look(execute: Any, sql: str, *rest: Any) -> Any:
        done = execute(sql, *rest)
        if sql.lstrip().startswith(LOCKS) or "FOR " in sql:
            with suppress(BrokenBarrierError):
                both.wait(IN_STEP)
        return done

    with connection.execute_wrapper(look):
        yield


def what_became_of(world: World, deeds: tuple[Deed, Deed]) -> list[str]:
    """The errors that are nobody's refusal."""
    both = Barrier(2)

    def done(number: int) -> None:
        try:
            with in_step(both):
                deeds[number](world, number)
        finally:
            both.abort()  # the other goes on alone
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        errors = [each.exception() for each in [pool.submit(done, number) for number in (0, 1)]]
    return [repr(error) for error in errors if error is not None and not is_refusal(error)]


def is_refusal(error: BaseException) -> bool:
    """Whether people are told what is wrong: somebody was faster, if nothing else."""
    if isinstance(error, IntegrityError):
        return problem_of(error) is not None
    return isinstance(error, DomainError | merging.MergeError)


def test_nobody_waits_for_somebody_who_waits_for_them(tmp_path: Path) -> None:
    circles = {}
    for one, other in combinations_with_replacement(DEEDS, 2):
        if has_its_turn(f"{one} {other}", options.SAMPLE_SEED, one_of=PAIRS[connection.vendor]):
            told = what_became_of(World(tmp_path), (DEEDS[one], DEEDS[other]))
            if told:
                circles[one, other] = told
    assert circles == {}


def test_of_two_who_rotate_a_token_at_once_one_makes_another(tmp_path: Path) -> None:
    world, rotate = World(tmp_path), DEEDS["a token is rotated"]
    assert what_became_of(world, (rotate, rotate)) == []
    assert Token.objects.filter(user=world.account.user).count() == 2


def test_what_goes_with_a_row_is_locked_before_it_goes(tmp_path: Path) -> None:
    """Else whoever has begun with it waits for the trail of the removal, which waits for them."""
    world = World(tmp_path)
    service_accounts.create(actor=world.owner, name=f"empty.{world.project.pk}", project=world.empty)
    unused = connections.create_connection(actor=None, name="unused", root=str(tmp_path / "unused"))
    prefix = connections.allow_prefix(actor=None, name="unused", project=world.project.slug)
    going: dict[Model, set[Model]] = {
        world.empty: {world.webhook, Invitation.objects.get(project=world.empty)},
        unused: {prefix},
    }
    for row, with_it in going.items():
        with transaction.atomic():
            with CaptureQueriesContext(connection) as locking:
                lock_what_goes_with(row)
            with CaptureQueriesContext(connection) as removing:
                row.delete()
        changed = {found[1] for one in removing if (found := CHANGES.match(one["sql"]))}
        locked = {found[1] for one in locking if (found := LOOKS.search(one["sql"]))}
        assert {one._meta.db_table for one in with_it} < changed
        assert changed - locked == {row._meta.db_table}
