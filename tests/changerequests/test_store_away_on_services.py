"""A store that goes away under a web process and a worker at work, and comes back: nothing is lost, all goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User

import merging
from changerequests.tasks import sweep
from datasets.models import Dataset, DatasetMeta, StorePlace
from datasets.roles import Role
from datasets.services import connections
from datasets.services.creation import NewTable, create_dataset
from tests import services
from tests.api.clients import token_of
from tests.factories import ProjectFactory, person_with, rows_of
from tests.live.server import Answer, Connection
from tests.merging.stores import s3_server
from tests.patience import until

pytestmark = pytest.mark.services

REVOKED = (
    b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>It is not known.</Message></Error>"
)


class Line:
    """The way to a store: open, cut (nothing listens there), or led to somebody who knows the key no more."""

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        self._target = (str(place.hostname), int(place.port or 80))
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self.is_revoked = False
        self.port = 0
        self.back()

    def back(self) -> None:
        """Listen, at the port of before."""
        self.is_revoked = False
        if self._listening is not None:
            return
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def cut(self) -> None:
        """Nothing listens any more, and what was connected is not."""
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        self.drop()

    def drop(self) -> None:
        """End what is connected."""
        for one in [*self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listening.accept()
                threading.Thread(target=self._lead, args=(caller,), daemon=True).start()

    def _lead(self, caller: socket.socket) -> None:
        if self.is_revoked:
            with caller, contextlib.suppress(OSError):
                caller.recv(65536)
                head = (
                    f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(REVOKED)}\r\nConnection: close\r\n\r\n"
                )
                caller.sendall(head.encode() + REVOKED)
            return
        with caller, socket.create_connection(self._target) as store:
            self._open |= {caller, store}
            there = threading.Thread(target=_pour, args=(caller, store), daemon=True)
            there.start()
            _pour(store, caller)
            there.join()
            self._open -= {caller, store}


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def line() -> Iterator[Line]:
    with s3_server() as options:
        made = Line(options["AWS_ENDPOINT_URL"])
        yield made
        made.cut()


@pytest.fixture
def dataset(transactional_db: None, line: Line) -> Dataset:
    """A table in a store that a connection leads to."""
    root = f"s3://tables/away-{uuid.uuid4().hex}"
    connections.create_connection(
        actor=None,
        name="lake",
        root=root,
        options={
            "aws_endpoint_url": f"http://127.0.0.1:{line.port}",
            "aws_region": "us-east-1",
            "allow_http": "true",
        },
        secrets={"aws_access_key_id": "key", "aws_secret_access_key": "secret"},
    )
    return create_dataset(
        project=ProjectFactory.create(),
        slug="planes",
        name="planes",
        table_uri=f"{root}/planes",
        table=NewTable([merging.Column("tailnum", "string"), merging.Column("seats", "long")]),
        primary_keys=["tailnum"],
        actor=User.objects.create_superuser("root"),
        required_approvals=0,
    )


@pytest.fixture
def client(dataset: Dataset, process_environment: dict[str, str], tmp_path: Path) -> Iterator[Connection]:
    """A caller of a web process, with a worker behind it."""
    environment = {**process_environment, "SECRET_KEY": settings.SECRET_KEY}
    with (
        services.worker_process(environment, tmp_path / "worker.log"),
        services.web_process(environment, tmp_path / "web.log") as address,
    ):
        yield Connection(address, token=token_of(person_with(Role.OWNER, dataset)))


def told(answer: Answer, status: int) -> Any:
    assert answer.status == status, answer.body
    return json.loads(answer.body)


class Caller:
    """What somebody asks for over the API."""

    def __init__(self, client: Connection, dataset: Dataset) -> None:
        self.client = client
        self.place = f"/api/v1/datasets/{dataset.pk}"

    def get(self, path: str) -> Any:
        return told(self.client.call("GET", path), 200)

    def propose(self, title: str, content: bytes, prefer: str = "wait=30") -> Answer:
        query = urlencode({"title": title, "submit": "true"})
        return self.client.call(
            "POST", f"{self.place}/proposals?{query}", content, Content_Type="text/csv", Prefer=prefer
        )

    def merge(self, cr_id: str, prefer: str) -> Answer:
        return self.client.send("POST", f"/api/v1/change_requests/{cr_id}/merge", {}, Prefer=prefer)

    def checked(self, cr_id: str) -> bool:
        plan = self.get(f"/api/v1/change_requests/{cr_id}")["plan"]
        return plan is not None and not plan["problem_code"]


def test_fo3_a_store_that_goes_away_and_comes_back_loses_nothing(
    client: Connection, dataset: Dataset, line: Line
) -> None:
    caller = Caller(client, dataset)
    first = told(caller.propose("One", b"tailnum,seats\nN1,1\n"), 201)["change_request"]["cr_id"]
    until(lambda: caller.checked(first))

    line.cut()
    rows = client.call("GET", f"{caller.place}/rows")
    assert (rows.status, rows.code, rows.headers["retry-after"]) == (503, "table_unreachable", "30")
    assert caller.get(f"/api/v1/change_requests/{first}")["status"] == "pending"
    assert caller.get(caller.place)["meta"]["unreachable_since"]
    run = told(caller.merge(first, "respond-async"), 202)["id"]
    upload = told(caller.propose("Two", b"tailnum,seats\nN2,2\n", "respond-async"), 202)["upload"]["id"]
    look = told(
        client.send(
            "POST",
            f"{caller.place}/previews",
            {"rows": [{"tailnum": "N3", "seats": 3}]},
            Prefer="respond-async",
        ),
        202,
    )["id"]
    told(client.send("POST", f"{caller.place}/maintenance", {"jobs": ["checkpoint"]}), 202)
    followed = [f"/api/v1/runs/{run}", f"/api/v1/uploads/{upload}", f"/api/v1/previews/{look}"]

    def waiting() -> list[Any]:
        every = [caller.get(one) for one in followed] + caller.get(f"{caller.place}/maintenance")["runs"]
        return [one["waits_for_store"] for one in every]

    until(lambda: all(waiting()))
    assert StorePlace.objects.count() == 1
    assert all("cannot be connected to" in one["reason"] for one in waiting())

    line.back()

    def done() -> list[bool]:
        sweep.apply()  # as the schedule does
        visits = caller.get(f"{caller.place}/maintenance")["runs"]
        told_of = [caller.get(one) for one in followed]
        return [
            (one.get("status") or one["state"]) in ("succeeded", "staged") for one in (*told_of, visits[-1])
        ]

    until(lambda: all(done()))
    second = caller.get(followed[1])["change_request"]
    assert told(caller.merge(second, "wait=30"), 200)["status"] == "succeeded"
    assert [row["seats"] for row in rows_of(dataset)] == [1, 2]
    meta = DatasetMeta.objects.get(dataset=dataset)
    assert (meta.unreachable_since, meta.unreachable_reason) == (None, "")
    assert not StorePlace.objects.exists()


def test_fo3_a_key_that_was_revoked_ends_work_with_the_reason_until_it_is_given_again(
    client: Connection, dataset: Dataset, line: Line
) -> None:
    caller = Caller(client, dataset)
    first = told(caller.propose("One", b"tailnum,seats\nN1,1\n"), 201)["change_request"]["cr_id"]
    until(lambda: caller.checked(first))

    line.is_revoked = True
    line.drop()
    refused = client.call("GET", f"{caller.place}/rows")
    assert (refused.status, refused.code) == (503, "table_unreachable")
    assert "retry-after" not in refused.headers, "it does not pass by itself"
    failed = caller.merge(first, "wait=30")
    assert (failed.status, failed.code) == (503, "table_unreachable")
    assert caller.get(f"/api/v1/change_requests/{first}")["status"] == "pending"
    assert caller.get(caller.place)["meta"]["unreachable_for_good"]
    assert not StorePlace.objects.exists(), "nothing is shut off that somebody has to mend"

    line.back()
    assert told(caller.merge(first, "wait=30"), 200)["status"] == "succeeded"
    meta = caller.get(caller.place)["meta"]
    assert (meta["unreachable_since"], meta["unreachable_for_good"]) == (None, False)
    assert [row["seats"] for row in rows_of(dataset)] == [1]
