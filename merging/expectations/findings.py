"""What a judge found: counts, verdicts on numbers and sets, and that something could not be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class NotChecked(Exception):
    """An expectation that could not be checked; the message says why."""


@dataclass(frozen=True)
class Counts:
    """Counts as Great Expectations gives them. ``missing_count`` is None where missing values are what is judged."""

    element_count: int
    unexpected_count: int
    missing_count: int | None = None

    @property
    def considered(self) -> int:
        """The rows that were judged."""
        return self.element_count - (self.missing_count or 0)

    @property
    def missing_percent(self) -> float | None:
        """Share of rows without a value, in percent."""
        if self.missing_count is None or not self.element_count:
            return None
        return self.missing_count / self.element_count * 100

    @property
    def unexpected_percent(self) -> float | None:
        """Share of the judged rows that fail, in percent."""
        return self.unexpected_count / self.considered * 100 if self.considered else None

    @property
    def unexpected_percent_total(self) -> float | None:
        """Share of all rows that fail, in percent."""
        return self.unexpected_count / self.element_count * 100 if self.element_count else None

    def satisfies(self, mostly: float) -> bool:
        """Whether enough of the judged rows are as expected; none judged is enough."""
        if not self.considered:
            return True
        return (float(self.considered) - float(self.unexpected_count)) / float(self.considered) >= mostly


@dataclass(frozen=True)
class Finding:
    """What an expectation on a table, or on its columns, found in one relation."""

    ok: bool
    observed: Any = None
    counts: Counts | None = None
    offending: tuple[Any, ...] = ()
