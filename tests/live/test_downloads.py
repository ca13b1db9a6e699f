"""Downloads from the live server: in a stream, and ended with their caller."""

import socket
import time
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pytest

from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import token_of
from tests.factories import DatasetFactory, person_with

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
