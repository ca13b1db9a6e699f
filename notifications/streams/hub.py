"""Everybody who listens in one web process, and the one look that is taken for all of them.

Between looks a listener costs a queue: no thread, no connection to the database. A look reads what is new for all
listeners together, asks again whether those may hear it who would, and everybody from time to time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections

from datasets.errors import DomainError
from notifications.streams.callers import Caller
from notifications.streams.news import StreamEntry, StreamNews, entries_of, frames, heads_of

logger = structlog.get_logger(__name__)

#: How long news waits at most for the next look, in seconds.
LOOK_SECONDS: Final = 1.0
#: How long a listener may hear nothing before it is asked again whether it still may listen.
JUDGED_SECONDS: Final = 15.0
#: How many streams one person, and all together, have open in one web process.
MOST_OF_ONE, MOST_OF_ALL = 10, 1000
#: How much may wait for a listener that does not read, in parts that one look made.
MOST_WAITING: Final = 50


class TooManyStreams(DomainError):
    """A person, or everybody together, listens to as much as one process tells."""

    code = "throttled"


class End(StrEnum):
    """Why a stream ends before its listener leaves."""

    #: The person may not see it any more, their token was revoked, their session ended.
    NOT_ALLOWED = "not_allowed"
    #: The listener did not read what was sent.
    TOO_SLOW = "too_slow"
    #: The server stops; another one goes on where this one ended.
    STOPPING = "stopping"


@dataclass(eq=False)
class Listener:
    """One open stream: who hears what, how far they were told of each, and what waits to be sent."""

    caller: Caller
    told: Mapping[StreamNews, int]
    judged_at: float = field(default_factory=time.monotonic)
    waiting: asyncio.Queue[bytes | End] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING + 1))


@dataclass(frozen=True)
class Heard:
    """What a look found for one listener: frames to send, how far they reach, and whether it may go on."""

    allowed: bool
    judged: bool
    content: bytes
    told: Mapping[StreamNews, int]


class Hub:
    """The listeners of one process. Its own methods run in the event loop, but for ``admit`` and ``dismiss``."""

    def __init__(self) -> None:
        self._admitted: Counter[int] = Counter()
        self._counting = threading.Lock()
        self._listeners: set[Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._is_stopping = False

    def admit(self, person: int) -> None:
        """Count one more stream of a person, from any thread. Raises ``TooManyStreams``."""
        with self._counting:
            if self._admitted[person] >= MOST_OF_ONE or self._admitted.total() >= MOST_OF_ALL:
                raise TooManyStreams(
                    f"A person has at most {MOST_OF_ONE} streams open here, and all together {MOST_OF_ALL}. Close one, "
                    f"or try again later.",
                    retry_after=30,
                )
            self._admitted[person] += 1

    def dismiss(self, person: int) -> None:
        """Count it no more, from any thread."""
        with self._counting:
            self._admitted[person] -= 1
            if not self._admitted[person]:
                del self._admitted[person]

    def join(self, listener: Listener) -> None:
        """Tell a listener from now on what is new for it."""
        if self._is_stopping:
            listener.waiting.put_nowait(End.STOPPING)
            return
        self._listeners.add(listener)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_while_somebody_listens())

    def leave(self, listener: Listener) -> None:
        """Tell it nothing more."""
        self._listeners.discard(listener)

    def stop(self) -> None:
        """End every stream, and let none begin: the server is about to stop."""
        self._is_stopping = True
        for listener in list(self._listeners):
            self._end(listener, End.STOPPING)

    async def _look_while_somebody_listens(self) -> None:
        while self._listeners:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001  (whatever the database says: the next look tells what this did not)
                logger.warning("streams_not_looked_at", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        here = {listener: (listener.told, listener.judged_at) for listener in self._listeners}
        found = await sync_to_async(_look_for, thread_sensitive=False)(here)
        for listener, seen in found.items():
            if listener not in self._listeners:
                continue
            if not seen.allowed:
                self._end(listener, End.NOT_ALLOWED)
                continue
            listener.told = seen.told
            if seen.judged:
                listener.judged_at = time.monotonic()
            if seen.content:
                self._send(listener, seen.content)

    def _send(self, listener: Listener, content: bytes) -> None:
        if listener.waiting.qsize() < MOST_WAITING:
            listener.waiting.put_nowait(content)
        else:
            self._end(listener, End.TOO_SLOW)

    def _end(self, listener: Listener, end: End) -> None:
        self.leave(listener)
        listener.waiting.put_nowait(end)  # its place is kept free


def _look_for(here: Mapping[Listener, Known]) -> dict[Listener, Heard]:
    """One look at the database, in a thread that keeps nothing."""
    try:
        return look_for(here, now=time.monotonic())
    finally:
        connections.close_all()


def look_for(here: Mapping[Listener, Known], *, now: float) -> dict[Listener, Heard]:
    """What is new for listeners that were told up to numbers and judged at a time: those alone that something is new
    for, or that are to be judged again.

    Who was told more than there is listens across a restore of the database, and goes on from what it has now.
    """
    heads = heads_of({news for told, _ in here.values() for news in told})
    lowest: dict[StreamNews, int] = {}
    for told, _ in here.values():
        for news, number in told.items():
            lowest[news] = min(number, heads[news], lowest.get(news, number))
    new = entries_of(lowest, heads)
    may = _Permissions()
    found = {}
    for listener, (told, judged_at) in here.items():
        entries: list[StreamEntry] = []
        until = {news: min(number, heads[news]) for news, number in told.items()}
        for news, number in [*until.items()]:
            more, reached = new.get(news, ([], number))
            entries += [entry for entry in more if entry.number > number]
            until[news] = max(reached, number)
        is_due = now - judged_at >= JUDGED_SECONDS
        if entries or is_due:
            allowed = may.hear(listener)
            found[listener] = Heard(allowed, True, frames(entries) if allowed else b"", until)
        elif until != told:
            found[listener] = Heard(True, False, b"", until)
    return found


#: How far a listener was told of each of its news, and when it was judged last.
Known = tuple[Mapping[StreamNews, int], float]


class _Permissions:
    """Who may hear what, asked once a look."""

    def __init__(self) -> None:
        self._accounts: dict[Caller, User | None] = {}
        self._heard: dict[tuple[int, StreamNews], bool] = {}

    def hear(self, listener: Listener) -> bool:
        """Whether the listener's token or session holds, and its person may see all that it hears."""
        if listener.caller not in self._accounts:
            self._accounts[listener.caller] = listener.caller.account()
        person = self._accounts[listener.caller]
        if person is None:
            return False
        return all(self._may_hear(person, news) for news in listener.told)

    def _may_hear(self, person: User, news: StreamNews) -> bool:
        asked = person.pk, news
        if asked not in self._heard:
            self._heard[asked] = news.may_be_heard_by(person)
        return self._heard[asked]
