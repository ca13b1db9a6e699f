"""What differs between waiting and awaiting: pauses, work in a thread, the bytes of a body, the HTTP client itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx

from headgate.content.sent import Content

T = TypeVar("T")

HttpClient = httpx.AsyncClient


async def pause(seconds: float) -> None:
    """Let others run for a while."""
    await anyio.sleep(seconds)


async def apart(work: Callable[..., T], *arguments: Any) -> T:
    """Do what takes long in a thread, so that others run meanwhile."""
    return await anyio.to_thread.run_sync(work, *arguments)


async def pieces_of(content: Content, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    """The bytes of a content, read in a thread."""
    pieces = content.pieces()
    while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
        yield piece
        sent(len(piece))
