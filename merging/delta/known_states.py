"""What this process remembers of tables in distant stores: their states; opening one reads only what came since.

A state is remembered with the object that made its version, as a listing tells of it: who opens the table lists the log
from there, and sees by the same answer what came since and whether the table is still the one. Whoever has other
credentials has other memories (``TableStore.identity``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from merging.store.client import StoredObject

_MOST_BYTES = 128 * 1024 * 1024


class KeptState(Protocol):
    """What is asked of a state: how much it holds."""

    version: int

    def weight(self) -> int:
        """About how many bytes it takes."""


State = TypeVar("State", bound=KeptState)


@dataclass(frozen=True, slots=True)
class KnownState(Generic[State]):
    """A state, and the commit that made its version."""

    state: State
    commit: StoredObject
    weight: int


class KnownStates(Generic[State]):
    """States by store and version, bounded in bytes: what was not asked for the longest goes first."""

    def __init__(self, limit: int = _MOST_BYTES) -> None:
        self._known: OrderedDict[tuple[str, int], KnownState[State]] = OrderedDict()
        self._lock = threading.Lock()
        self._limit = limit
        self._weight = 0

    def nearest(self, identity: str, version: int | None) -> KnownState[State] | None:
        """The newest that is remembered of a table, up to a version."""
        with self._lock:
            versions = [number for of, number in self._known if of == identity]
            number = max((one for one in versions if version is None or one <= version), default=None)
            if number is None:
                return None
            self._known.move_to_end((identity, number))
            return self._known[identity, number]

    def put(self, identity: str, state: State, commit: StoredObject) -> None:
        """Remember a state, which nobody advances from now on."""
        known = KnownState(state, commit, state.weight())
        with self._lock:
            self._forget((identity, state.version))
            if known.weight > self._limit:
                return
            self._known[identity, state.version] = known
            self._weight += known.weight
            while self._weight > self._limit:
                self._forget(next(iter(self._known)))

    def forget(self, identity: str) -> None:
        """Remember nothing of a table any more: another one has taken its place."""
        with self._lock:
            for key in [key for key in self._known if key[0] == identity]:
                self._forget(key)

    def _forget(self, key: tuple[str, int]) -> None:
        gone = self._known.pop(key, None)
        if gone is not None:
            self._weight -= gone.weight
