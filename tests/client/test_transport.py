"""Calls are sent again where that is safe and of use, with the pauses that the server asks for."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import headgate
import pytest
from headgate.content.sent import Content

QUICK = headgate.Retries(attempts=4, first=0.001)
#: What a handler gets: itself, and how many calls there were before.
Answering = Callable[[BaseHTTPRequestHandler, int], None]


class Server:
    """A server on the loopback address that does as it is told, and notes what it heard."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[Answering] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.calls.append((self.command, self.path, headers, body))
                answer = outer.answers[min(len(outer.calls), len(outer.answers)) - 1]
                answer(self, len(outer.calls))

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def hg(server: Server) -> Iterator[headgate.Client]:
    with headgate.Client(server.address, "t-1", retries=QUICK, progress=False) as client:
        yield client


def says(status: int, body: Any = None, kind: str = "application/json", **headers: str) -> Answering:
    """An answer of the server."""

    def answer(handler: BaseHTTPRequestHandler, count: int) -> None:
        content = json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def fails(status: int, code: str, **headers: str) -> Answering:
    """A problem of the API."""
    return says(status, {"code": code, "message": "m."}, "application/problem+json", **headers)


def hangs_up(handler: BaseHTTPRequestHandler, count: int) -> None:
    """The connection breaks before there is an answer."""
    handler.close_connection = True
    handler.connection.close()


@pytest.mark.parametrize(
    "failing",
    [
        hangs_up,
        fails(503, "unavailable"),
        fails(409, "in_flight"),
        fails(429, "throttled", Retry_After="0"),
        says(502, kind="text/html"),
        says(503, kind="text/html"),
        says(504, kind="text/html"),
    ],
)
def test_what_fails_in_passing_is_sent_again_with_the_same_key(
    server: Server, hg: headgate.Client, failing: Answering
) -> None:
    server.answers = [failing, failing, says(200, {"ok": True})]
    assert hg.request("POST", "change_requests", json={"a": 1}).json() == {"ok": True}
    assert len(server.calls) == 3
    [key] = {headers["idempotency-key"] for _, _, headers, _ in server.calls}
    assert key
    assert {(method, path, body) for method, path, _, body in server.calls} == {
        ("POST", "/api/v1/change_requests", b'{"a":1}')
    }
    assert {headers["authorization"] for _, _, headers, _ in server.calls} == {"Token t-1"}


@pytest.mark.parametrize(
    ("failing", "kind"),
    [
        (fails(422, "staging_rejected"), headgate.StagingRejected),
        (fails(500, "internal_error"), headgate.ServerFailed),
        (fails(409, "plan_changed"), headgate.PlanChanged),
        (says(500, kind="text/html"), headgate.NotHeadgate),
        (says(302, kind="text/html", Location="http://127.0.0.1:1/"), headgate.NotHeadgate),
    ],
)
def test_what_will_not_pass_is_raised_at_once(
    server: Server, hg: headgate.Client, failing: Answering, kind: type[Exception]
) -> None:
    server.answers = [failing]
    with pytest.raises(kind):
        hg.request("POST", "change_requests", json={})
    assert len(server.calls) == 1


def test_it_gives_up_in_the_end(server: Server, hg: headgate.Client) -> None:
    server.answers = [fails(503, "unavailable")]
    with pytest.raises(headgate.Unavailable):
        hg.request("GET", "projects")
    assert len(server.calls) == QUICK.attempts


def test_a_patch_is_not_sent_twice_on_suspicion(server: Server, hg: headgate.Client) -> None:
    server.answers = [hangs_up]
    with pytest.raises(headgate.ConnectionFailed):
        hg.request("PATCH", "datasets/7", json={}, headers={"If-Match": '"3"'})
    assert len(server.calls) == 1


def test_the_server_says_how_long_to_wait(server: Server, hg: headgate.Client) -> None:
    server.answers = [fails(429, "throttled", Retry_After="1"), says(200, {})]
    begun = time.monotonic()
    hg.request("GET", "projects")
    assert time.monotonic() - begun >= 1


def test_nobody_waits_for_hours(server: Server, hg: headgate.Client) -> None:
    server.answers = [fails(429, "throttled", Retry_After="7200")]
    with pytest.raises(headgate.Throttled):
        hg.request("GET", "projects")
    assert len(server.calls) == 1


def test_content_is_sent_whole_each_time(server: Server, hg: headgate.Client, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a\n" * 700_000)
    server.answers = [fails(503, "unavailable"), says(200, {})]
    hg.request("POST", "datasets/7/proposals", content=Content.of_file(path, "csv"))
    assert [body for _, _, _, body in server.calls] == [path.read_bytes()] * 2
    assert {headers["content-type"] for _, _, headers, _ in server.calls} == {"text/csv"}


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with (
        headgate.Client(
            "http://127.0.0.1:9", "t", retries=headgate.Retries(attempts=2, first=0.001)
        ) as client,
        pytest.raises(headgate.ConnectionFailed, match="does not answer"),
    ):
        client.request("GET", "projects")


def test_who_and_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "tokens.json"
    monkeypatch.setenv("HEADGATE_CONFIG", str(kept))
    monkeypatch.delenv("HEADGATE_URL", raising=False)
    monkeypatch.delenv("HEADGATE_TOKEN", raising=False)
    with pytest.raises(headgate.NotSignedIn, match="No server is named"):
        headgate.Client()
    with pytest.raises(headgate.NotHeadgate, match="no address of a server"):
        headgate.Client("example.org", "t")
    monkeypatch.setenv("HEADGATE_URL", "https://a.example/api/v1/")
    with pytest.raises(headgate.NotSignedIn, match="no token for https"):
        headgate.Client()
    monkeypatch.setenv("HEADGATE_TOKEN", "t-secret")
    with headgate.Client() as client:
        assert client.address == "https://a.example"
        assert "t-secret" not in repr(client)
