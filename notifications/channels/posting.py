"""One HTTP request to a receiver that nobody here trusts: to a judged address, within a time, with a bounded answer.

Nothing is read from the environment (no proxies, no ``.netrc``), redirects are answers like any other, and every
second of the connection counts against one deadline: a receiver that drips bytes is ended as one that is silent.
HTTP itself is h11's, by the bytes.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import h11

from notifications.channels.reach import Address, Reach, Target

#: The whole of one request, from looking its name up to the status of its answer.
SECONDS: Final = 10.0
#: How long an answer's body may take beyond its status: it is kept for people, and decides nothing.
BODY_SECONDS: Final = 2.0
#: How much of an answer is kept, in bytes, and how much is read at all, headers included.
KEPT_BYTES, READ_BYTES = 1000, 64 * 1024
#: How many of a name's addresses are tried.
MOST_ADDRESSES: Final = 4
_AT_ONCE: Final = 4096


class NotReached(Exception):
    """No status came back: whether the receiver read the request is not known. The message is for its owners."""


@dataclass(frozen=True)
class ReceiverAnswer:
    """What a receiver said: its status, the seconds after which it wants to be asked again, how its body begins."""

    status: int
    retry_after: int | None
    excerpt: str


def post(target: Target, *, body: bytes, headers: Mapping[str, str], reach: Reach) -> ReceiverAnswer:
    """Send one POST. Raises ``AddressRefused`` before anything is sent, and ``NotReached``."""
    deadline = _Deadline(SECONDS)
    try:
        addresses = _looked_up(target, reach, deadline)
    except (OSError, UnicodeError) as error:
        raise NotReached(f"The name {target.host} could not be looked up.") from error
    try:
        with _connected(target, addresses, deadline) as connection:
            return _Exchange(connection, deadline).post(target, body, headers)
    except ssl.SSLCertVerificationError as error:
        raise NotReached(f"The certificate of {target.host} does not hold: {error.verify_message}") from error
    except TimeoutError as error:
        raise NotReached(f"It did not answer within {SECONDS:.0f} seconds.") from error
    except ssl.SSLError as error:
        raise NotReached(f"No TLS connection: {error.reason or 'the handshake failed'}.") from error
    except OSError as error:
        raise NotReached(f"The connection failed: {error.strerror or 'it was closed'}.") from error
    except h11.RemoteProtocolError as error:
        raise NotReached("What came back is no HTTP answer.") from error


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left. Raises ``TimeoutError`` where none are."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _looked_up(target: Target, reach: Reach, deadline: _Deadline) -> list[Address]:
    """The judged addresses of the target, as long as time is left.

    The operating system's look-up cannot be ended: it is waited for in a thread, which ends with it. Raises what
    ``Reach.addresses_of`` does, and ``TimeoutError``.
    """
    found: Future[list[Address]] = Future()

    def look_up() -> None:
        try:
            found.set_result(reach.addresses_of(target))
        except BaseException as error:  # noqa: BLE001  (whatever it is, it is raised to whoever waits)
            found.set_exception(error)

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return found.result(deadline.left())


def _connected(target: Target, addresses: Sequence[Address], deadline: _Deadline) -> socket.socket:
    """A connection to the first address that takes one, with TLS by the target's name where it wants it."""
    plain = _first_open(target.port, addresses[:MOST_ADDRESSES], deadline)
    if not target.is_encrypted:
        return plain
    try:
        context = ssl.create_default_context()
        plain.settimeout(deadline.left())
        return context.wrap_socket(plain, server_hostname=target.host)
    except BaseException:
        plain.close()
        raise


def _first_open(port: int, addresses: Sequence[Address], deadline: _Deadline) -> socket.socket:
    failed: OSError = OSError("no address")
    for tried, address in enumerate(addresses):
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        opening = socket.socket(family, socket.SOCK_STREAM)
        try:
            opening.settimeout(deadline.left() / (len(addresses) - tried))
            opening.connect((str(address), port))
        except OSError as error:
            opening.close()
            failed = error
        else:
            return opening
    raise failed


class _Exchange:
    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self.connection, self.deadline = connection, deadline
        self.http: Any = h11.Connection(h11.CLIENT, max_incomplete_event_size=READ_BYTES // 4)
        self.read = 0

    def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> ReceiverAnswer:
        sent = {
            "Host": target.authority,
            "User-Agent": "Headgate",
            "Accept": "*/*",
            "Connection": "close",
            **headers,
            "Content-Length": str(len(body)),
        }
        request = h11.Request(method="POST", target=target.resource, headers=list(sent.items()))
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            self.connection.settimeout(self.deadline.left())
            self.connection.sendall(self.http.send(event))
        event = self._next()
        while isinstance(event, h11.InformationalResponse):
            event = self._next()
        return ReceiverAnswer(
            event.status_code, _seconds(dict(event.headers).get(b"retry-after")), self._excerpt()
        )

    def _excerpt(self) -> str:
        """How the body begins, as far as it comes."""
        self.deadline = _Deadline(BODY_SECONDS)
        found = b""
        try:
            while len(found) < KEPT_BYTES and isinstance(event := self._next(), h11.Data):
                found += bytes(event.data)
        except (OSError, h11.RemoteProtocolError, NotReached):
            pass  # what came, came: the status is known
        return found[:KEPT_BYTES].decode(errors="replace").replace("\0", "�")

    def _next(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.read >= READ_BYTES:
                raise NotReached("Its answer is longer than an answer to a webhook may be.")
            self.connection.settimeout(self.deadline.left())
            data = self.connection.recv(_AT_ONCE)
            if not data and self.http.their_state is h11.SEND_RESPONSE:
                raise NotReached("The connection was closed before there was an answer.")
            self.read += len(data)
            self.http.receive_data(data)
        return event


def _seconds(header: bytes | None) -> int | None:
    """``Retry-After`` as seconds; a date, which few send, says nothing here."""
    return int(header) if header is not None and header.isdigit() and len(header) < 7 else None
