"""Receivers of webhooks on the loopback address, as good and as bad as those of other people."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import h11


@dataclass(frozen=True)
class Received:
    """One request, whole."""

    target: str
    headers: dict[str, str]
    body: bytes


#: What is done with a connection whose request was read: answer it, or not.
Behaviour = Callable[[socket.socket, Received], None]


def answering(status: int, body: bytes = b"ok", **headers: str) -> Behaviour:
    """Answer with a status."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    def answer(connection: socket.socket, _: Received) -> None:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


def sending(*parts: bytes, pause: float = 0) -> Behaviour:
    """Send these bytes, whatever they are, with pauses between, and close."""

    def answer(connection: socket.socket, _: Received) -> None:
        for part in parts:
            connection.sendall(part)
            threading.Event().wait(pause)

    return answer


@dataclass
class Receiver:
    """A receiver that listens: ``behave`` may be changed while it does; ``received`` is what came, in order."""

    port: int
    behave: Behaviour
    received: list[Received] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook?from=headgate"


@contextlib.contextmanager
def receiver(
    behave: Behaviour | None = None, *, port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """A receiver in a thread, until the end of the block: after that nobody listens at its port."""
    listening = socket.create_server(("127.0.0.1", port))
    listening.settimeout(0.02)
    made = Receiver(listening.getsockname()[1], behave or answering(200))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            answering_one = threading.Thread(target=serve_one, args=(connection,), name="receiver-answer")
            answering_one.start()
            threads.append(answering_one)

    def serve_one(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                _serve_one(made, connection, context)
            except (OSError, h11.RemoteProtocolError) as error:
                made.failures.append(type(error).__name__)

    threads = [threading.Thread(target=serve, name="receiver")]
    threads[0].start()
    try:
        yield made
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        listening.close()


def _serve_one(made: Receiver, connection: socket.socket, context: ssl.SSLContext | None) -> None:
    if context is None:
        _answer_one(made, connection)
        return
    with context.wrap_socket(connection, server_side=True) as encrypted:
        _answer_one(made, encrypted)


def _answer_one(made: Receiver, connection: socket.socket) -> None:
    found = _read(connection)
    made.received.append(found)
    made.behave(connection, found)


def _read(connection: socket.socket) -> Received:
    http: Any = h11.Connection(h11.SERVER)
    request, body = None, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(connection.recv(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Received(request.target.decode(), headers, body)
        else:
            raise ConnectionResetError
