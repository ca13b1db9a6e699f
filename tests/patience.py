"""Waiting for what others do: workers, servers, threads."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], what: str = "", *, seconds: float = 90) -> Found:
    """What ``look`` finds, as soon as it finds something; fails after so many seconds, with what was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or 'it did not come'}"
        time.sleep(0.05)
    return found
