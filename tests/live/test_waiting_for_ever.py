"""``POST /delta/merge-cr?wait=forever``: callers who wait hold up nobody, hold nothing, and may leave."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from changerequests.models import ChangeRequest, MergeRun
from changerequests.states import RunStatus
from datasets.models import Dataset
from tests.api.clients import token_of
from tests.factories import ChangeRequestFactory, DatasetFactory, drain
from tests.live.server import Connection, open_files
from tests.patience import until

PLACE = "/delta/merge-cr?wait=forever"
#: How many wait at once.
WAITING = 12


@pytest.fixture
def own_dataset(delta_data_root: Path) -> Dataset:
    """One that is merged into."""
    made: Dataset = DatasetFactory.create()
    return made


def body_of(change_request: ChangeRequest) -> dict[str, object]:
    dataset = change_request.dataset
    return {
        "project_id": dataset.project.slug,
        "dataset_id": dataset.slug,
        "cr_id": change_request.cr_id,
        "primary_keys": dataset.primary_keys,
    }


def server_process(address: str) -> Path:
    """Where Linux tells of the process that listens at the address."""
    port = urlsplit(address).port
    for place in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(port).encode() in arguments and any(b"uvicorn" in one for one in arguments):
            return place
    raise AssertionError(f"nobody listens at {address}")


def threads(process: Path) -> int:
    return len(list((process / "task").iterdir()))


def open_databases(process: Path) -> int:
    """How many connections of the database (SQLite, a file) are open."""
    return sum(name.endswith("live.sqlite3") for name in open_files(process))


def test_the_answer_comes_when_the_merge_has_ended(server: str, own_dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=own_dataset, csv="tailnum,seats\nN1,150\n")
    caller = author_of(server, change_request)
    process = server_process(server)
    with ThreadPoolExecutor(WAITING) as pool:
        waiting = [pool.submit(caller.send, "POST", PLACE, body_of(change_request)) for _ in range(WAITING)]
        until(lambda: MergeRun.objects.filter(change_request=change_request).exists())
        time.sleep(1.5)
        assert [one.done() for one in waiting] == [False] * WAITING
        assert caller.call("GET", "/api/v1/datasets").status == 200
        until(lambda: open_databases(process) < 3, "between two looks nobody holds a connection", seconds=10)
        drain()
        answers = [one.result() for one in waiting]
    assert {answer.status for answer in answers} == {200}
    assert {answer.json()["merged_version"] for answer in answers} == {1}
    assert MergeRun.objects.filter(change_request=change_request).count() == 1


def test_whoever_leaves_is_noticed_and_the_merge_goes_on(server: str, own_dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=own_dataset, csv="tailnum,seats\nN2,150\n")
    caller = author_of(server, change_request)
    process = server_process(server)
    before = threads(process)
    content = json.dumps(body_of(change_request)).encode()
    lines = [
        f"POST {PLACE} HTTP/1.1",
        f"Host: {urlsplit(server).netloc}",
        f"Authorization: Token {caller.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    asked = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
    place = urlsplit(server)
    callers = [socket.create_connection((str(place.hostname), place.port or 80)) for _ in range(WAITING)]
    for one in callers:
        one.sendall(asked)
    until(lambda: threads(process) >= before + WAITING, seconds=10)
    for one in callers:
        one.close()
    until(lambda: threads(process) <= before + 2, seconds=10)
    run = MergeRun.objects.get(change_request=change_request)
    assert run.status == RunStatus.QUEUED
    drain()
    run.refresh_from_db()
    assert run.status == RunStatus.SUCCEEDED


def author_of(server: str, change_request: ChangeRequest) -> Connection:
    return Connection(server, token=token_of(change_request.author))
