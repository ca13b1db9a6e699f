"""A proxy of our own before a store that speaks HTTP: it counts what is asked, adds latency, and fails as told.

It runs in a thread with a loop of its own. Every request is counted before its answer goes; faults are taken in the
order in which they are given, each by the requests that it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

Way = Literal["lose answer", "status", "slow", "cut", "late", "reset"]


@dataclass(frozen=True)
class Asked:
    """One request as the proxy saw it: when it began and ended, the bytes of its body and of its answer's."""

    method: str
    path: str
    range: str
    status: int
    began: float
    ended: float
    sent: int
    received: int


@dataclass
class Fault:
    """What happens to ``times`` requests of a method whose path (decoded) fits, once ``after`` of them have passed.

    "lose answer": it is done, and the connection breaks; "status": nothing is done, the answer is ``status`` with
    ``body``; "slow": it waits ``seconds`` before anything is done; "cut": half of the answer's body, then the
    connection breaks; "late": the connection breaks, and it is done ``seconds`` later; "reset": the connection breaks.
    """

    way: Way
    method: str
    path: str
    times: int = 1
    after: int = 0
    seconds: float = 0.0
    status: int = 500
    body: bytes = b"<Error><Code>InternalError</Code></Error>"
    taken: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request fails; counts it."""
        if method != self.method or re.search(self.path, unquote(path)) is None:
            return False
        self.taken += 1
        return self.after < self.taken <= self.after + self.times


@dataclass
class Proxy:
    """A running proxy; ``port`` is where it listens."""

    port: int = 0
    latency: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    late: list[threading.Event] = field(default_factory=list)
    most_at_once: int = 0
    _under_way: int = 0

    def options(self, options: dict[str, str], endpoint: str = "AWS_ENDPOINT_URL") -> dict[str, str]:
        """Options of the store behind, by way of the proxy."""
        return {**options, endpoint: f"http://127.0.0.1:{self.port}"}

    @contextmanager
    def counting(self) -> Iterator[Counted]:
        """The requests of a block."""
        self.asked.clear()
        counted = Counted([])
        yield counted
        counted.asked += self.asked

    def settled(self, seconds: float = 10) -> None:
        """Wait until what is late has arrived."""
        for event in list(self.late):
            assert event.wait(seconds)


@dataclass
class Counted:
    """Requests, with what they cost."""

    asked: list[Asked]

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def depth(self) -> int:
        """How many requests had to wait for one another: the longest row of them, one after the other's end."""
        deepest, last_end = 0, -1.0
        for one in sorted(self.asked, key=lambda asked: asked.ended):
            if one.began >= last_end:
                deepest, last_end = deepest + 1, one.ended
        return deepest

    @property
    def read(self) -> int:
        """Bytes of answers."""
        return sum(one.received for one in self.asked)

    @property
    def written(self) -> int:
        """Bytes of requests' bodies."""
        return sum(one.sent for one in self.asked)

    def of(self, method: str, path: str = "") -> list[Asked]:
        """Those of a method whose path fits."""
        return [one for one in self.asked if one.method == method and re.search(path, one.path)]

    def lines(self) -> str:
        """For people: each request on a line."""
        return "\n".join(
            f"{one.method:6} {one.status} {one.path[-90:]} {one.range} {one.sent}>{one.received}"
            for one in self.asked
        )


class _Broken(Exception):
    """The connection to the client breaks."""


async def _head(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str]] | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    headers = {}
    for line in raw.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return raw, headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """A body as it came, chunks with their sizes."""
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return b""
    whole = b""
    while True:
        line = await reader.readline()
        piece = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        whole += line + piece
        if piece == b"\r\n":
            return whole


class _Serving:
    """The proxy's loop."""

    def __init__(self, proxy: Proxy, upstream: tuple[str, int]) -> None:
        self._proxy = proxy
        self._upstream = upstream

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        behind: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        try:
            while (head := await _head(reader)) is not None:
                await self._request(head, reader, writer, behind)
        except (_Broken, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            for _, one in behind:
                one.close()
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _request(
        self,
        head: tuple[bytes, dict[str, str]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    ) -> None:
        proxy, (raw, headers) = self._proxy, head
        began = time.monotonic()
        method, path = raw.decode("latin-1").split(" ", 2)[:2]
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, headers)
        proxy._under_way += 1
        proxy.most_at_once = max(proxy.most_at_once, proxy._under_way)
        status, received = 0, 0

        def count() -> None:
            # Before the client has its answer: who asks for the count afterwards finds every request.
            proxy._under_way -= 1
            ended = time.monotonic()
            proxy.asked.append(
                Asked(method, path, headers.get("range", ""), status, began, ended, len(body), received)
            )

        try:
            if proxy.latency:
                await asyncio.sleep(proxy.latency)
            fault = next((one for one in proxy.faults if one.takes(method, path)), None)
            if fault is not None and fault.way == "slow":
                await asyncio.sleep(fault.seconds)
            if fault is not None and fault.way in ("reset", "late"):
                if fault.way == "late":
                    self._later(raw + body, method, fault.seconds)
                raise _Broken
            if fault is not None and fault.way == "status":
                status = fault.status
                count()
                writer.write(
                    f"HTTP/1.1 {status} Told\r\nContent-Length: {len(fault.body)}\r\n\r\n".encode()
                    + (b"" if method == "HEAD" else fault.body)
                )
                await writer.drain()
                return
            if not behind:
                behind.append(await asyncio.open_connection(*self._upstream))
            answered, content, status = await self._ask(behind[0], raw + body, method)
            received = len(content)
            if fault is not None and fault.way == "lose answer":
                raise _Broken
            if fault is not None and fault.way == "cut":
                writer.write(answered + content[: len(content) // 2])
                await writer.drain()
                raise _Broken
            count()
            writer.write(answered + content)
            await writer.drain()
        except _Broken:
            count()
            raise

    async def _ask(
        self, behind: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes, method: str
    ) -> tuple[bytes, bytes, int]:
        reader, writer = behind
        writer.write(request)
        await writer.drain()
        while True:
            head = await _head(reader)
            if head is None:
                raise _Broken
            raw, headers = head
            status = int(raw.split(b" ", 2)[1])
            if status != 100:
                break
        bare = method == "HEAD" or status in (204, 304)
        return raw, b"" if bare else await _body(reader, headers), status

    def _later(self, request: bytes, method: str, seconds: float) -> None:
        arrived = threading.Event()
        self._proxy.late.append(arrived)

        async def deliver() -> None:
            await asyncio.sleep(seconds)
            behind = await asyncio.open_connection(*self._upstream)
            await self._ask(behind, request, method)
            behind[1].close()
            arrived.set()

        self._task = asyncio.ensure_future(deliver())


@contextmanager
def proxy_before(
    port: int, *, host: str = "127.0.0.1", latency: float = 0.0, faults: Sequence[Fault] = ()
) -> Iterator[Proxy]:
    """A proxy before the server on a port of this machine."""
    proxy = Proxy(latency=latency, faults=[*faults])
    started = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        stopped = asyncio.Event()
        serving = _Serving(proxy, (host, port))
        server = await asyncio.start_server(serving.connected, "127.0.0.1", 0, limit=2**20)
        proxy.port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(stopped.set))
        started.set()
        await stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield proxy
    finally:
        ends[0]()
        thread.join(10)
