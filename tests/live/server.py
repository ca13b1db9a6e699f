"""HTTP on a socket, as clients speak it that the test client never imitates: chunked bodies, bodies that never come."""

import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; empty for an answer that is none."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json()["code"])

    @property
    def errors(self) -> dict[str, str]:
        """The sentences of a problem by field."""
        return {error["field"]: error["message"] for error in self.json()["errors"]}


@dataclass(frozen=True)
class Connection:
    """One caller of a server: each call has a connection of its own."""

    address: str
    token: str = ""
    cookies: str = ""
    seconds: float = 30

    def call(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        chunked: bool = False,
        **headers: str,
    ) -> Answer:
        """Send a request, in chunks without a length where ``chunked``; names of headers have ``_`` for ``-``."""
        place = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=self.seconds)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("Authorization", f"Token {self.token}")
        if self.cookies:
            sent.setdefault("Cookie", self.cookies)
        if chunked:
            sent["Transfer-Encoding"] = "chunked"
            body = _pieces(body) if isinstance(body, bytes | None) else body
        try:
            connection.request(method, path, body, sent, encode_chunked=chunked)
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def send(self, method: str, path: str, value: Any, *, chunked: bool = False, **headers: str) -> Answer:
        """Send a value as JSON."""
        body = json.dumps(value).encode()
        return self.call(method, path, body, chunked=chunked, Content_Type="application/json", **headers)

    def declare(self, method: str, path: str, length: int, sent: bytes = b"", **headers: str) -> Answer:
        """Announce a body of a length, send no more than the beginning of it, and wait for the answer."""
        place = urlsplit(self.address)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {place.netloc}", f"Content-Length: {length}"]
        if self.token:
            lines.append(f"Authorization: Token {self.token}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        with socket.create_connection((str(place.hostname), place.port or 80), timeout=10) as plain:
            plain.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
            got = http.client.HTTPResponse(plain, method=method)
            got.begin()
            return _answer(got)


def _answer(got: http.client.HTTPResponse) -> Answer:
    with got:
        return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())


def _pieces(body: bytes | None) -> Iterator[bytes]:
    whole = body or b""
    for start in range(0, len(whole), 50_000):
        yield whole[start : start + 50_000]


def form_with(name: str, content: bytes, **fields: str) -> tuple[bytes, str]:
    """A form with one file, as browsers and curl send it: its body and its content type."""
    border = "a-border-that-no-file-has"
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    parts.append(
        f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + f"\r\n--{border}--\r\n".encode()
    )
    return b"".join(parts), f"multipart/form-data; boundary={border}"


def process_at(server: str) -> Path:
    """The web process in /proc, by the port that it was told."""
    port = str(urlsplit(server).port).encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and port in (folder / "cmdline").read_bytes().split(b"\0"):
            return folder
    raise LookupError(server)


def peak_of(process: Path) -> int:
    """The most memory that it had at once, in bytes."""
    [line] = [line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def open_files(process: Path) -> list[str]:
    """What a process in /proc holds open; files without a name on the disk end in ``(deleted)``."""
    found = []
    for one in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(os.readlink(one))
    return found


class Door:
    """A way to a server that can be slammed: every connection through it breaks, and none is taken until it opens."""

    def __init__(self, server: str) -> None:
        place = urlsplit(server)
        self._behind = (str(place.hostname), int(place.port or 0))
        self._port = 0
        self._pairs: list[socket.socket] = []
        self._listening: socket.socket | None = None

    @property
    def address(self) -> str:
        """Where clients find it, open or not."""
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Take connections, at the same port each time."""
        listening = socket.create_server(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        self._listening = listening
        threading.Thread(target=self._take, args=(listening,), daemon=True).start()

    def slam(self) -> None:
        """Break what goes on, and refuse what comes, as a server that was killed does."""
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        for one in self._pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pairs.clear()

    def _take(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            behind = socket.create_connection(self._behind)
            self._pairs += [caller, behind]
            for source, target in ((caller, behind), (behind, caller)):
                threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
