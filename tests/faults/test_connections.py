"""Many people at once, and the connections to PostgreSQL that they share."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client as DjangoClient
from django.test.client import MULTIPART_CONTENT

from changerequests.models import ChangeRequest, Comment, MergeRun
from changerequests.states import RunStatus
from datasets.roles import Role
from tests import services
from tests.api.clients import token_of
from tests.factories import person_with
from tests.live.server import Answer, Connection, Door

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


@pytest.fixture
def door() -> Iterator[Door]:
    """The way to the database."""
    host, port = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
    door = Door(f"tcp://{host}:{port}")
    door.open()
    yield door
    door.slam()


@pytest.mark.sample(1)
@pytest.mark.parametrize("is_mute", [False, True], ids=["refused", "mute"])
def test_while_the_database_is_away_everybody_is_told_soon_and_all_is_well_once_it_is_back(
    process_environment: dict[str, str], tmp_path: Path, door: Door, pending: ChangeRequest, is_mute: bool
) -> None:
    """Each look for a person, a session, a frame of a page took half a minute, and those of the page that says so."""
    url = urlsplit(process_environment["DATABASE_URL"])
    there = urlsplit(door.address)
    environment = {
        **process_environment,
        "DATABASE_URL": url._replace(netloc=f"{url.username}@{there.netloc}").geturl(),
    }
    owner = person_with(Role.OWNER, pending.dataset)
    client = DjangoClient()
    client.force_login(owner)
    cookies = f"sessionid={client.cookies['sessionid'].value}"
    asked = [
        ("GET", "/livez", b""),
        ("GET", "/datasets/", b""),
        ("GET", "/api/v1/datasets", b""),
        ("POST", f"/api/v1/change_requests/{pending.cr_id}/upload", b"x" * 4_000_000),
    ]
    with services.web_process(environment, tmp_path / "web.log") as address:
        caller = Connection(address, cookies=cookies, token=token_of(owner), seconds=60)
        person = Connection(address, cookies=cookies, seconds=60)
        assert person.call("GET", "/datasets/").status == 200
        door.slam()
        mute = socket.create_server(("127.0.0.1", there.port or 0)) if is_mute else None
        caller.call("GET", "/api/v1/datasets")  # who finds it out waits longer
        for method, path, body in asked:
            began = time.monotonic()
            answer = (caller if path.startswith("/api/") else person).call(method, path, body)
            assert time.monotonic() - began < 10, path
            assert answer.status == (200 if path == "/livez" else 503), path
            if path != "/livez":
                assert int(answer.headers["retry-after"]) > 0, path
                assert b"The database does not answer" in answer.body
        if mute is not None:
            mute.close()
        door.open()
        began = time.monotonic()
        while person.call("GET", "/datasets/").status != 200:
            assert time.monotonic() - began < 10


def test_a_database_that_takes_no_changes_is_told_as_one(pending: ChangeRequest) -> None:
    """As the one that another machine is about to take over from."""
    owner = person_with(Role.OWNER, pending.dataset)
    client = DjangoClient(raise_request_exception=False)
    client.force_login(owner)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        for path in (
            f"/change-requests/{pending.cr_id}/comments/",
            f"/api/v1/change_requests/{pending.cr_id}/comments",
        ):
            answer = client.post(
                path,
                {"body": "Why?"},
                content_type="application/json" if "api" in path else MULTIPART_CONTENT,
            )
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), path
            assert "takes no changes" in answer.content.decode()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
    assert not Comment.objects.exists()
