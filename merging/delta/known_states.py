"""What this process remembers of tables: their states; opening one reads only what came since.

A state is remembered with what tells the files that it was made from from others: of a distant table the object of its
version, as a listing tells of it. Who opens the table lists the log from there, and sees by the same answer what came
since and whether the table is still the one. Whoever has other credentials has other memories
(``TableStore.identity``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_MOST_BYTES = 128 * 1024 * 1024


class KeptState(Protocol):
    """What is asked of a state: how much it holds."""

    version: int

    def weight(self) -> int:
        """About how many bytes it takes."""


State = TypeVar("State", bound=KeptState)


@dataclass(frozen=True, slots=True)
class KnownState(Generic[State]):
    """A state, and the files of the log that it was made from, with what tells them from others by path."""

    state: State
    sources: Mapping[str, object]
    weight: int


class KnownStates(Generic[State]):
    """States by store and version, bounded in bytes: what was not asked for the longest goes first."""

    def __init__(self, limit: int = _MOST_BYTES) -> None:
        self._known: OrderedDict[tuple[str, int], KnownState[State]] = OrderedDict()
        self._versions: dict[str, set[int]] = {}
        self._lock = threading.Lock()
        self._limit = limit
        self._weight = 0

    def nearest(self, identity: str, version: int | None) -> KnownState[State] | None:
        """The newest that is remembered of a table, up to a version."""
        with self._lock:
            versions = self._versions.get(identity, ())
            number = max((one for one in versions if version is None or one <= version), default=None)
            if number is None:
                return None
            self._known.move_to_end((identity, number))
            return self._known[identity, number]

    def put(self, identity: str, state: State, sources: Mapping[str, object]) -> None:
        """Remember a state, which nobody advances from now on."""
        known = KnownState(state, sources, state.weight())
        with self._lock:
            self._forget((identity, state.version))
            if known.weight > self._limit:
                return
            self._known[identity, state.version] = known
            self._versions.setdefault(identity, set()).add(state.version)
            self._weight += known.weight
            while self._weight > self._limit:
                self._forget(next(iter(self._known)))

    def forget(self, identity: str, up_to: int | None = None) -> None:
        """Remember nothing of a table any more, or of its versions up to one: others have taken their places."""
        with self._lock:
            for version in [*self._versions.get(identity, ())]:
                if up_to is None or version <= up_to:
                    self._forget((identity, version))

    def _forget(self, key: tuple[str, int]) -> None:
        gone = self._known.pop(key, None)
        if gone is None:
            return
        self._weight -= gone.weight
        identity, version = key
        self._versions[identity].discard(version)
        if not self._versions[identity]:
            del self._versions[identity]
