"""Many people at once, and the connections to PostgreSQL that they share."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from changerequests.models import ChangeRequest, Comment, MergeRun
from changerequests.states import RunStatus
from datasets.roles import Role
from tests import services
from tests.api.clients import token_of
from tests.factories import person_with
from tests.live.server import Answer, Connection

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

PEOPLE = 50
#: What the web process may open, and how many of the people wait for a merge meanwhile.
CONNECTIONS, WAITING = 4, 12


@pytest.fixture
def web(process_environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A web process that has answered nothing yet, and may open few connections."""
    environment = {**process_environment, "DATABASE_CONNECTIONS": str(CONNECTIONS)}
    with services.web_process(environment, tmp_path / "web.log") as address:
        yield address


def test_fh9_fifty_people_at_once_share_the_connections_of_the_process(
    web: str, pending: ChangeRequest
) -> None:
    people = [person_with(Role.CONTRIBUTOR, pending.dataset) for _ in range(PEOPLE)]
    callers = [Connection(web, token=token_of(person), seconds=60) for person in people]
    owner = Connection(web, token=token_of(person_with(Role.OWNER, pending.dataset)), seconds=60)
    request = f"/api/v1/change_requests/{pending.cr_id}"

    def read_and_write(caller: Connection) -> list[int]:
        return [
            caller.call("GET", "/api/v1/change_requests").status,
            caller.send("POST", f"{request}/comments", {"body": "Looks right."}).status,
            caller.call("GET", f"{request}/events").status,
        ]

    with ThreadPoolExecutor(PEOPLE + WAITING) as pool:
        # More wait for a merge that nobody works on than there are connections: they hold none meanwhile.
        merges: list[Future[Answer]] = [
            pool.submit(owner.send, "POST", f"{request}/merge", {}, Prefer="wait=4") for _ in range(WAITING)
        ]
        told = [pool.submit(read_and_write, caller) for caller in callers]
        taken = connections_until_done([*merges, *told])

    assert [one.result() for one in told] == [[200, 201, 200]] * PEOPLE
    assert Comment.objects.filter(change_request=pending).count() == PEOPLE
    run = MergeRun.objects.get()
    assert run.status == RunStatus.QUEUED
    assert [(one.result().status, one.result().json()["id"]) for one in merges] == [(202, run.pk)] * WAITING
    assert max(taken) == CONNECTIONS


def connections_until_done(calls: list[Future[Any]]) -> set[int]:
    """How many connections others had to this database, again and again until the calls are answered."""
    seen = set()
    pending = set(calls)
    while pending:
        _, pending = wait(pending, timeout=0.01)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            seen.add(int(cursor.fetchone()[0]))
    return seen
