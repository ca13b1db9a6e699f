"""Long answers in pieces: made in a thread of their own under ASGI, and ended with their caller.

While its caller takes a piece an answer holds no connection to the database, and whoever takes nothing for
``DOWNLOAD_STALL_SECONDS`` has gone. (Django itself would put all pieces of a plain iterator together first.)
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.http import StreamingHttpResponse

#: What is sent at once: whoever does not take so much in ``DOWNLOAD_STALL_SECONDS`` has gone.
PIECE = 256 << 10


class StreamedAnswer(StreamingHttpResponse):
    """An answer whose pieces are made while they are sent."""

    def __init__(self, pieces: Iterable[bytes], **options: Any) -> None:
        super().__init__(pieces, **options)
        self._resource_closers.append(self.end)  # type: ignore[attr-defined]  # Django's own, not in its stubs

    def stop(self) -> None:
        """Have the piece that is being made end soon: the caller has gone. Called from another thread."""

    def end(self) -> None:
        """Give back what the pieces are made from. May be called more than once."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await sync_to_async(leave_the_database)()
        pieces: Iterator[bytes] = self._iterator  # type: ignore[attr-defined]  # as the middleware left it
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="download")
        try:
            while (piece := await loop.run_in_executor(thread, _next, pieces)) is not None:
                with _taken_in_time(loop):
                    yield self.make_bytes(piece)
        finally:
            self.stop()
            await loop.run_in_executor(thread, self.end)  # behind what the thread was asked before
            thread.shutdown(wait=False)


class StreamedLines(StreamedAnswer):
    """Lines of text, many in a piece."""

    def __init__(self, lines: Iterator[str], **options: Any) -> None:
        super().__init__(in_pieces(lines), content_type="application/x-ndjson", **options)


def in_pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines put together until they are worth sending."""
    piece = bytearray()
    for line in lines:
        piece += line.encode()
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def leave_the_database() -> None:
    """Let others have the connection of this thread until it is needed again."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _next(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    finally:
        leave_the_database()


@contextmanager
def _taken_in_time(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """End the answer where its caller does not take what is sent inside."""
    task = asyncio.current_task()
    gone = loop.call_later(settings.DOWNLOAD_STALL_SECONDS, task.cancel) if task else None
    try:
        yield
    finally:
        if gone is not None:
            gone.cancel()
