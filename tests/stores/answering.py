"""A server on the loopback address that answers whatever it is told to, as stores do that fail."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Answering:
    """Answers every request alike, and notes them and the headers of the last. ``options`` open a table of it as S3."""

    status: int = 200
    body: bytes = b""
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    port: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def options(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "AKIA-of-somebody",
            "AWS_SECRET_ACCESS_KEY": "very-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "max_retries": "2",
        }


@contextmanager
def answering(status: int = 200, body: bytes = b"", *, hangs: bool = False) -> Iterator[Answering]:
    told = Answering(status, body, hangs)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            told.asked.append(f"{self.command} {self.path}")
            told.headers = {name.lower(): value for name, value in self.headers.items()}
            if told.hangs:
                told.released.wait(20)
                return
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients that give up are what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        told.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
