"""Where users' patterns and schemas, and Great Expectations, judge: confined processes with little time and memory.

Functions for it answer ``{"answer": ...}``, or ``{"unable": why}`` where they cannot judge at all.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

from merging.confinement import Bounds, run_confined
from merging.confinement.bounds import bytes_of
from merging.errors import ConfinedDied, ConfinedOutOfMemory, ConfinedTooLong
from merging.expectations.findings import NotChecked
from merging.sql.session import limits

QUICK_SECONDS = 5
"""What one expectation may take at most where a quick answer is wanted."""
_SHARES = 10
"""All expectations of a suite together may take so many times what one may."""
_LOOK_SECONDS = 1.0
_BORDER = "merging.expectations.border:"


class Cage:
    """The confined processes of one check of a suite, and what is left of the time that they may take.

    ``while_waiting`` is called about once a second meanwhile; what it raises ends the check.
    """

    def __init__(self, while_waiting: Callable[[], None] | None = None, *, quick: bool = False) -> None:
        self._while_waiting = while_waiting
        self.seconds = float(min(QUICK_SECONDS, limits().check_seconds) if quick else limits().check_seconds)
        self._left_in_all = self.seconds * _SHARES
        self._left: dict[int, float] = {}
        self._looked = time.monotonic()

    def ask(self, number: int, function: str, argument: Mapping[str, Any], *, advice: str = "") -> Any:
        """What a function answers for the expectation of this number. Raises NotChecked."""
        if function.startswith(_BORDER) and importlib.util.find_spec("great_expectations") is None:
            raise NotChecked(
                "it needs the package great_expectations, which is not installed here (extra: expectations)"
            )
        left = min(self._left.get(number, self.seconds), self._left_in_all)
        if left <= 0:
            raise NotChecked(
                f"the expectations before it took the {self.seconds * _SHARES:g} s of the whole suite"
            )
        started = time.monotonic()
        bounds = Bounds(memory_bytes=bytes_of(limits().check_memory), seconds=left)
        try:
            told = run_confined(function, argument, bounds, is_cancelled=self._look)
        except ConfinedTooLong:
            # What it took of the time of others stays taken; it has none left itself.
            raise NotChecked(f"it was stopped after {self.seconds:g} s. {advice}".rstrip()) from None
        except ConfinedOutOfMemory as error:
            raise NotChecked(
                f"it needs more memory than the {bounds.memory_bytes / 1e6:,.0f} MB that it may take"
            ) from error
        except ConfinedDied as error:
            raise NotChecked(f"it could not be judged. {error}") from error
        finally:
            used = time.monotonic() - started
            self._left[number] = left - used
            self._left_in_all -= used
        if "unable" in told:
            raise NotChecked(str(told["unable"]))
        return told["answer"]

    def _look(self) -> bool:
        if self._while_waiting is not None and time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._while_waiting()
        return False
