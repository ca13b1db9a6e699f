"""Talking to services of others within a bound: all that one visit asks of them counts against one deadline.

A timeout of ``requests`` is one of each read: a provider, or somebody on the way, that sends a byte a second would hold
the visit, and its thread, for ever. So whatever is open when the deadline passes is shut down from outside, in the
midst of a handshake, of headers or of a body.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: The longest that one read or one connection may take, within the deadline.
STEP_SECONDS = 5.0
_ends: ContextVar[float | None] = ContextVar("ends", default=None)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """While sessions of the block may talk, together."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def is_over() -> bool:
    """Whether the time of the block has passed: what failed did so for that."""
    ends = _ends.get()
    return ends is not None and time.monotonic() >= ends


def bounded_session() -> requests.Session:
    """A session that ends with the time of the block; use it as a context manager.

    Raises ``requests.ConnectionError`` where there is no time left; what is cut off by the deadline fails as it does
    where the other side goes away.
    """
    ends = _ends.get()
    left = STEP_SECONDS if ends is None else ends - time.monotonic()
    if left <= 0:
        raise requests.ConnectionError("The time for it is over.")
    return _Session(left)


class _Session(requests.Session):
    """A session whose connections are shut down after some seconds, whatever they wait for."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_over = False
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _TellingAdapter(self._opened))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As ever, with a timeout for each step unless another is given. Headers that were cut off are no answer."""
        kwargs.setdefault("timeout", STEP_SECONDS)
        answer = super().request(*args, **kwargs)
        if self._is_over:
            raise requests.ConnectionError("The time for it is over.")
        return answer

    def close(self) -> None:
        """End it: nothing is left to be shut down."""
        self._timer.cancel()
        super().close()
        with self._lock:
            for one in self._open:
                one.close()
            self._open.clear()

    def _opened(self, connection: socket.socket) -> None:
        # Another descriptor of the same connection: TLS takes the first one away from its object.
        with self._lock:
            self._open.append(connection.dup())
        if self._is_over:
            self._shut_down()

    def _shut_down(self) -> None:
        self._is_over = True
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


Opened = Callable[[socket.socket], None]


class _TellingAdapter(HTTPAdapter):
    """Opens connections of which it tells, directly and through a proxy."""

    def __init__(self, opened: Opened) -> None:
        self._pools = _pools_telling(opened)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pools_telling(opened: Opened) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            opened(connection)
            return connection

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            opened(connection)
            return connection

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
