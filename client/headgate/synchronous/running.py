"""What differs between waiting and awaiting: pauses, work in a thread, the bytes of a body, the HTTP client itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from headgate.content.sent import Content

T = TypeVar("T")

HttpClient = httpx.Client


def pause(seconds: float) -> None:
    """Wait for a while."""
    time.sleep(seconds)


def apart(work: Callable[..., T], *arguments: Any) -> T:
    """Do what takes long."""
    return work(*arguments)


def pieces_of(content: Content, sent: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of a content."""
    for piece in content.pieces():
        yield piece
        sent(len(piece))
