"""What two people do in the same moment is done twice: whoever waits for the other is never waited for by it.

Each pair goes on in step, one statement that locks something at a time, on real connections: on PostgreSQL rows wait
for each other, on SQLite whole transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import combinations_with_replacement
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection

from accounts import access, service_accounts
from accounts.scopes import Scope
from accounts.tokens import make_token
from changerequests.models import ChangeRequest
from changerequests.services import previews, proposals, reviews, saved_views, uploads
from changerequests.states import UploadKind
from datasets.errors import DomainError
from datasets.models import Dataset
from datasets.roles import Role, set_role
from datasets.services import change_settings
from notifications.services import webhooks
from tests import options
from tests.dealing import has_its_turn
from tests.factories import ChangeRequestFactory, DatasetFactory, give_role, person_with

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

#: How long one waits for the other, who may wait for it.
IN_STEP = 0.1
LOCKS = ("INSERT", "UPDATE", "DELETE")


class World:
    """One dataset whose owner does everything at once, and a service account of its project."""

    def __init__(self) -> None:
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

    def make_account(self, name: str) -> None:
        service_accounts.create(actor=self.owner, name=name, project=self.project, role=Role.VIEWER)

    def look(self) -> None:
        content = uploads.NamedSource(UploadKind.SQL, "SELECT tailnum, 7 AS seats FROM dataset")
        previews.look(dataset=self.dataset, actor=self.owner, content=content, change_request=self.request)


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
    "a look": lambda world, _: world.look(),
    "a comment": lambda world, _: reviews.comment(
        change_request_id=world.request.pk, actor=world.owner, body="Why?"
    ),
    "a request is closed": lambda world, _: proposals.close(
        change_request_id=world.request.pk, actor=world.owner, reason="No."
    ),
    "a view is kept": lambda world, n: saved_views.keep_view(
        person=world.owner, name=f"Mine {n}", filters={"q": "x"}
    ),
    "a webhook": lambda world, n: webhooks.create_webhook(
        actor=world.owner, place=world.dataset, name=f"Pipeline {n}", url="https://hooks.example.org/x"
    ),
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

    def done(number: int) -> str:
        try:
            with in_step(both):
                deeds[number](world, number)
        except DomainError:
            pass
        except OperationalError as error:
            return str(error).splitlines()[0]
        finally:
            both.abort()  # the other goes on alone
            connection.close()
        return ""

    with ThreadPoolExecutor(2) as pool:
        return [told for told in pool.map(done, (0, 1)) if told]


def test_nobody_waits_for_somebody_who_waits_for_them() -> None:
    circles = {}
    for one, other in combinations_with_replacement(DEEDS, 2):
        if has_its_turn(f"{one} {other}", options.SAMPLE_SEED, one_of=8):
            told = what_became_of(World(), (DEEDS[one], DEEDS[other]))
            if told:
                circles[one, other] = told
    assert circles == {}
