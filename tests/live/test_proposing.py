"""Proposals as real clients send them: large bodies in a stream, in chunks, cut off, and what the process needs."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from changerequests.models import ChangeRequest, Upload
from datasets.models import Dataset
from tests.kept import incoming_folder, names_in, uploads_folder
from tests.live.server import Answer, Connection, open_files, peak_of, process_at
from tests.patience import until

CSV = b"tailnum,seats\nN1,7\n"
BLOCK = b"\n" * (1 << 20)
MIB = 1 << 20


def address(dataset: Dataset, rest: str = "title=Seats") -> str:
    return f"/api/v1/datasets/{dataset.project.slug}/{dataset.slug}/proposals?{rest}"


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_body_is_the_content(client: Connection, dataset: Dataset, chunked: bool) -> None:
    where = address(dataset, "title=Seats&submit=true")
    answer = client.call("POST", where, CSV, chunked=chunked, Content_Type="text/csv")
    assert (answer.status, answer.json()["outcome"]) == (201, "submitted"), answer.body
    packed = gzip.compress(CSV)
    answer = client.call(
        "POST", where, packed, chunked=chunked, Content_Type="text/csv", Content_Encoding="gzip"
    )
    assert (answer.status, answer.json()["upload"]["size_bytes"]) == (201, len(packed)), answer.body


def test_a_large_body_is_streamed_and_the_web_process_does_not_grow(
    client: Connection, dataset: Dataset
) -> None:
    """64 MiB in chunks, blank lines behind two rows: the process may hold some blocks of it, never the whole."""
    client.call("POST", address(dataset), CSV, Content_Type="text/csv")  # whatever the first call loads
    server = process_at(client.address)
    (server / "clear_refs").write_text("5")  # the mark of its peak begins anew (man 5 proc)
    before = peak_of(server)

    def body() -> Iterator[bytes]:
        yield CSV
        for _ in range(64):
            yield BLOCK

    answer = client.call("POST", address(dataset), body(), chunked=True, Content_Type="text/csv")
    assert (answer.status, answer.json()["upload"]["size_bytes"]) == (201, len(CSV) + 64 * MIB), answer.body
    assert peak_of(server) - before < 24 * MIB


def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing(
    client: Connection, dataset: Dataset
) -> None:
    def standing() -> tuple[int, int, list[str], list[str]]:
        counts = Upload.objects.count(), ChangeRequest.objects.count()
        return *counts, names_in(uploads_folder()), names_in(incoming_folder())

    def received() -> list[str]:
        return [name for name in open_files(server) if name.startswith("/") and name.endswith("(deleted)")]

    before = standing()
    place, server = urlsplit(client.address), process_at(client.address)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=10) as gone:
        gone.sendall(
            f"POST {address(dataset)} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Token {client.token}\r\n"
            "Content-Type: text/csv\r\nContent-Length: 8000000\r\n\r\n".encode()
            + CSV
            + 4 * BLOCK
        )
        until(received, "the body is received")
    until(lambda: not received(), "what was received is gone")
    assert client.call("GET", "/api/v1/datasets").status == 200
    assert standing() == before


def test_a_body_of_json_is_bounded_and_no_file_is_taken_from_strangers(
    server: str, client: Connection, dataset: Dataset
) -> None:
    where = address(dataset).partition("?")[0]
    long = b'{"title": "x", "rows": [' + b" " * (17 << 20) + b"]}"
    answer = client.call("POST", where, long, Content_Type="application/json")
    assert (answer.status, answer.code) == (413, "too_large")
    assert Connection(server).declare("POST", where, 10**8, Content_Type="text/csv").status == 413
    assert client.declare("POST", where, 10**13, Content_Type="text/csv").status == 413


def test_whoever_hangs_up_while_the_content_is_read_finds_it_by_the_same_key(
    client: Connection, dataset: Dataset, staging_worker: threading.Event
) -> None:
    staging_worker.clear()
    key = f"hung-up-{dataset.pk}"

    def send(caller: Connection, prefer: str = "respond-async") -> Answer:
        return caller.call(
            "POST",
            address(dataset, f"title={key}"),
            CSV,
            Content_Type="text/csv",
            Idempotency_Key=key,
            Prefer=prefer,
        )

    impatient = Connection(client.address, token=client.token, seconds=1)
    with pytest.raises(TimeoutError):
        send(impatient, "wait=3")
    assert send(client).status in (202, 409)
    staging_worker.set()
    answer = send(client)
    while answer.status == 409:
        time.sleep(0.2)
        answer = send(client)
    assert answer.status in (201, 202)
    assert Upload.objects.filter(dataset=dataset, title=key).count() == 1
