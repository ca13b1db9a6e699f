"""HTTP on a socket, as clients speak it that the test client never imitates: chunked bodies, bodies that never come."""

import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
