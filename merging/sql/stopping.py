"""Ending statements from outside: where a caller waits no longer, or nobody wants to know any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merging.errors import CutShort
from merging.sql.session import Session

_LOOK_EVERY = 0.2  # seconds


def after(seconds: float) -> Callable[[], bool]:
    """That so much time has passed since the call, for ``stopped_when``."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


@contextmanager
def stopped_when(opened: Session, is_over: Callable[[], bool] | None, why: str) -> Iterator[None]:
    """End the session's statements as soon as it is over, which a thread of its own asks; None: never.

    Raises ``CutShort``, which says why, where that cut the work inside short.
    """
    if is_over is None:
        yield
        return
    done, cut_short = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_EVERY):
            if is_over():
                cut_short.set()
                opened.interrupt()  # again and again: it may have been between two statements

    watcher = threading.Thread(target=watch, name="stopping", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if cut_short.is_set():
            raise CutShort(why) from error
        raise
    finally:
        done.set()
        watcher.join()
