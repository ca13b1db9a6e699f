"""Requests to object stores, told to whoever counts them."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from merging.errors import MergeError


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One request to an object store, with all that the client tried for it.

    ``place`` is the scheme and the bucket or host, ``operation`` one of get, head, list, put, copy and delete.
    ``outcome`` is "ok" where the store answered, even that there is no such object, else the code of the error.
    """

    place: str
    operation: str
    seconds: float
    outcome: str


class _Observed:
    by: Callable[[StoreRequest], None] | None = None


def on_store_request(observer: Callable[[StoreRequest], None] | None) -> None:
    """Tell ``observer`` of each request of this process once it has ended, from the thread that made it; None for
    nobody. It must neither take long nor raise.
    """
    _Observed.by = observer


@contextmanager
def observed(operation: str, address: str) -> Iterator[None]:
    """Tell of the request that is made within; of what is no request of its own (no ``operation``) nothing."""
    observer = _Observed.by
    if observer is None or not operation:
        yield
        return
    started, outcome = time.perf_counter(), "ok"
    try:
        yield
    except MergeError as error:
        outcome = error.code
        raise
    finally:
        found = urllib.parse.urlsplit(address)
        place = f"{found.scheme}://{found.netloc.rpartition('@')[2]}"
        observer(StoreRequest(place, operation, time.perf_counter() - started, outcome))
