"""Waiting for what the server does in the background."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from headgate.errors import HeadgateError, WaitedTooLong
from headgate.protocol import Call
from headgate.synchronous.running import pause
from headgate.synchronous.transport import Transport

#: Seconds between two looks at what is waited for: the first and the longest.
FIRST_LOOK, LONGEST_LOOK = 0.1, 2.0


def look_until(
    transport: Transport,
    path: str,
    has_ended: Callable[[Any], bool],
    deadline: float,
    show: Callable[[Any], None],
) -> Any:
    """What stands at an address once it has ended; a server that is away meanwhile is waited for, too.

    ``deadline`` is of ``monotonic()``. Raises ``WaitedTooLong``.
    """
    interval = FIRST_LOOK
    while True:
        try:
            seen = (transport.send(Call("GET", path))).json()
        except HeadgateError as error:
            if not error.passes or monotonic() > deadline:
                raise
        else:
            show(seen)
            if has_ended(seen):
                return seen
        if monotonic() > deadline:
            raise WaitedTooLong(f"{path} has not got there in time.")
        pause(interval)
        interval = min(interval * 1.5, LONGEST_LOOK)
