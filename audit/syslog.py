"""Messages to a syslog receiver: RFC 5424, over UDP (RFC 5426), TCP with counted octets (RFC 6587) or a unix socket."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import urlsplit

#: Facility 13 (log audit), severity 5 (notice): RFC 5424, 6.2.1.
PRIORITY: Final = 13 * 8 + 5
#: Every receiver takes messages of this length: RFC 5424, 6.1, asks for 2048 octets.
LONGEST: Final = 2048
SECONDS: Final = 5.0


class InvalidReceiver(ValueError):
    """The address of a receiver cannot be read."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address!r} is no syslog receiver: write udp://host:514, tcp://host:601 or unix:///dev/log."
        )


@dataclass(frozen=True)
class Receiver:
    """Where messages go: ``host`` is a path for unix sockets."""

    transport: Literal["udp", "tcp", "unix"]
    host: str
    port: int = 0

    def send(self, messages: list[str]) -> None:
        """Send messages in their order. Raises ``OSError`` where they are known not to arrive; UDP tells rarely."""
        encoded = [message.encode() for message in messages]
        if self.transport == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connected:
                connected.settimeout(SECONDS)
                connected.connect(self.host)
                for message in encoded:
                    connected.send(message)
            return
        kind = socket.SOCK_STREAM if self.transport == "tcp" else socket.SOCK_DGRAM
        family, _, _, _, address = socket.getaddrinfo(self.host, self.port, type=kind)[0]
        with socket.socket(family, kind) as connected:
            connected.settimeout(SECONDS)
            connected.connect(address)
            for message in encoded:
                connected.sendall(b"%d %b" % (len(message), message) if self.transport == "tcp" else message)


def receiver_of(address: str) -> Receiver:
    """The receiver of an address. Raises ``InvalidReceiver``."""
    try:
        parts = urlsplit(address)
        if parts.scheme == "unix" and parts.path:
            return Receiver("unix", parts.path)
        if parts.scheme == "udp" and parts.hostname:
            return Receiver("udp", parts.hostname, parts.port or 514)
        if parts.scheme == "tcp" and parts.hostname:
            return Receiver("tcp", parts.hostname, parts.port or 601)
    except ValueError as error:
        raise InvalidReceiver(address) from error
    raise InvalidReceiver(address)


def message(kind: str, text: str, *, at: datetime) -> str:
    """One message: header, no structured data, and the text."""
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"<{PRIORITY}>1 {moment} {socket.gethostname() or '-'} headgate {os.getpid()} {kind} - {text}"
