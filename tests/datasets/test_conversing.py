"""What is asked of the provider ends within a time, whatever it sends and however slowly."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from datasets.conversing import bounded_session, is_over, within

SECONDS = 0.6
#: Longer than the bound by what a busy machine takes, shorter than any step's own timeout.
SOON = 4.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@contextmanager
def sending(begin: bytes, drip: bytes) -> Iterator[str]:
    """A server that begins at once, whatever it is sent, and then sends a byte ten times a second; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def serve() -> None:
            with listening.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(begin)
                sent = 0
                while not stop.wait(0.1):
                    try:
                        connection.sendall(drip[sent % len(drip) :][:1])
                    except OSError:
                        return
                    sent += 1

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def asked(address: str) -> bytes:
    with bounded_session() as session:
        return session.get(address).content


@pytest.mark.parametrize(
    ("scheme", "begin", "drip"),
    [
        ("http", b"", b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000),
        ("http", HEAD[:-2], b"X-Next: y\r\n"),
        ("http", HEAD[:-2] + b"Content-Length: 1000\r\n\r\n", b" "),
        # The beginning of an answer to a greeting of TLS that is as long as one may be.
        ("https", b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00"),
    ],
    ids=["status", "headers", "body", "handshake"],
)
def test_whoever_drips_is_ended_in_time(scheme: str, begin: bytes, drip: bytes) -> None:
    started = time.monotonic()
    with sending(begin, drip) as place, within(SECONDS):
        with pytest.raises(requests.RequestException):
            asked(f"{scheme}://{place}/")
        assert is_over()
    assert SECONDS <= time.monotonic() - started < SOON


def test_all_that_is_asked_counts_against_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with within(SECONDS):
        time.sleep(SECONDS)
        with pytest.raises(requests.ConnectionError, match="The time for it is over"), bounded_session():
            pass
    assert not is_over(), "what comes later has a time of its own"


def test_an_answer_in_time_is_an_answer_and_leaves_nothing_behind() -> None:
    before = threading.active_count()
    with sending(HEAD[:-2] + b"Content-Length: 4\r\n\r\nfour", b"x") as place, within(SECONDS):
        assert asked(f"http://{place}/") == b"four"
    wait_for(lambda: threading.active_count() <= before)


def wait_for(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_provider_behind_a_proxy_that_drips_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    with sending(HEAD[:-2] + b"Content-Length: 1000\r\n\r\n", b" ") as place, within(SECONDS):
        monkeypatch.setenv("http_proxy", f"http://{place}")
        with pytest.raises(requests.RequestException):
            asked("http://provider.example/")
    assert time.monotonic() - started < SOON
