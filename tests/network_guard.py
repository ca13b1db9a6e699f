"""Keeps the tests off the network: only unix sockets and the loopback address are let through.

Python code is what it guards; native libraries and child processes are told by their own settings.
"""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", socket.gethostname()})


class NetworkBlockedError(RuntimeError):
    """A test tried to reach another machine."""


def is_local(host: object) -> bool:
    """Is this host name or address the machine itself?"""
    if isinstance(host, bytes):
        host = host.decode()
    if host is None or host in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback


def require_local(host: object) -> None:
    if not is_local(host):
        raise NetworkBlockedError(f"Tests reach nothing but the loopback address; this one tried {host!r}.")


@contextmanager
def only_loopback() -> Iterator[None]:
    """Refuse connections, datagrams and name look-ups that leave the machine."""
    real_getaddrinfo = socket.getaddrinfo
    real = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}

    def guarded(name: str) -> Any:
        def call(self: socket.socket, *arguments: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                require_local(arguments[-1][0])
            return real[name](self, *arguments)

        return call

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        require_local(host)
        return real_getaddrinfo(host, *arguments, **options)

    with (
        patch.object(socket.socket, "connect", guarded("connect")),
        patch.object(socket.socket, "connect_ex", guarded("connect_ex")),
        patch.object(socket.socket, "sendto", guarded("sendto")),
        patch.object(socket, "getaddrinfo", getaddrinfo),
    ):
        yield
