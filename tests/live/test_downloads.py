"""Downloads from the live server: in a stream, and ended with their caller."""

import socket
import time
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pytest
from django.utils import timezone

from audit.models import Event
from audit.services import dataset_stream
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import token_of
from tests.factories import DatasetFactory, person_with
from tests.live.server import peak_of, process_at

ROWS = 400_000


@pytest.fixture
def large(dataset: Dataset) -> Dataset:
    """A dataset of more rows than sockets and buffers hold."""
    table = pa.table(
        {
            "tailnum": pa.array([f"N{number}" for number in range(ROWS)]),
            "text": pa.array(["some words that take room " * 4] * ROWS),
        }
    )
    made: Dataset = DatasetFactory.create(data=table)
    return made


def test_rows_are_streamed_and_a_caller_who_leaves_ends_them(server: str, large: Dataset) -> None:
    headers = {"Authorization": f"Token {token_of(person_with(Role.VIEWER, large))}"}
    address = f"/api/v1/datasets/{large.pk}/rows?format=arrow"
    host = urlsplit(server)
    callers = []
    for _ in range(4):  # as many as are streamed at once
        caller = socket.create_connection((host.hostname, host.port), timeout=30)
        told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        caller.sendall(f"GET {address} HTTP/1.1\r\nHost: {host.netloc}\r\n{told}\r\n".encode())
        assert caller.recv(12) == b"HTTP/1.1 200"
        callers.append(caller)
    with httpx.Client(base_url=server, headers=headers, timeout=30) as client:
        refused = client.get(address)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_downloads")
        assert client.get(f"/api/v1/datasets/{large.pk}/rows").status_code == 200  # pages go on
        for caller in callers:
            caller.close()
        deadline = time.monotonic() + 20
        while (answer := client.get(address)).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answer.headers["transfer-encoding"] == "chunked"
        table = pa.ipc.open_stream(answer.content).read_all()
        assert (table.num_rows, table.column("tailnum")[-1].as_py()) == (ROWS, f"N{ROWS - 1}")


def test_the_audit_trail_is_streamed_in_parts(server: str) -> None:
    """48 MiB of entries: the process may hold some of them, never the whole."""
    dataset = DatasetFactory.create()
    stream, entries = dataset_stream(dataset.pk), 1_500
    first = Event.objects.filter(stream=stream).count()
    Event.objects.bulk_create(
        Event(
            stream=stream,
            sequence=1_000 + number,
            occurred_at=timezone.now(),
            action="comment.added",
            subject_type="change_request",
            subject_id="CR-0",
            data={"text": "x" * (32 << 10)},
            previous_hash=str(number),
            hash=str(number + 1),
        )
        for number in range(entries)
    )
    headers = {"Authorization": f"Token {token_of(person_with(Role.OWNER, dataset))}"}
    with httpx.Client(base_url=server, headers=headers, timeout=30) as client:
        address = f"/api/v1/datasets/{dataset.pk}/audit"
        assert client.get(f"{address}?since=2999-01-01T00:00:00Z").text == ""
        process = process_at(server)
        (process / "clear_refs").write_text("5")  # the mark of its peak begins anew (man 5 proc)
        before = peak_of(process)
        with client.stream("GET", address) as answer:
            lines = sum(1 for _ in answer.iter_lines())
        assert (answer.status_code, lines) == (200, first + entries + 1)  # and the role that was given
        assert peak_of(process) - before < 32 << 20
