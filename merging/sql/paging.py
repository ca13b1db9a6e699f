"""Pages of numbered rows, forwards and backwards, with exact counts: which rows stand on one, and what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from merging.sql.cursors import BACK, NumberedPlace, make_cursor
from merging.sql.session import Session


@dataclass(frozen=True)
class ChosenRows:
    """The rows of one page by their numbers, ascending; the cursors of the pages around it; ``start`` rows stand before
    them, of ``total``.
    """

    numbers: Sequence[int]
    previous: str | None
    next: str | None
    start: int
    total: int

    @property
    def condition(self) -> str:
        """SQL predicate of the rows, written so that no other row group is read."""
        if not self.numbers:
            return "false"
        first, last = self.numbers[0], self.numbers[-1]
        within = f"n >= {first} AND n <= {last}"
        if last - first + 1 == len(self.numbers):
            return within
        return f"{within} AND n IN ({', '.join(str(one) for one in self.numbers)})"


def choose_all(rows: int, *, listing: str, after: str | None, limit: int) -> ChosenRows:
    """A page of rows that are numbered from 0 on without gaps, none of them left out."""
    place = NumberedPlace.at(after, listing)
    first = max(0, place.number - limit) if place.back else place.number + 1
    last = min(rows, place.number if place.back else first + limit)
    return _chosen(range(first, max(first, last)), first, rows, listing)


def choose(opened: Session, matching: str, *, listing: str, after: str | None, limit: int) -> ChosenRows:
    """A page of the rows whose numbers the relation ``matching`` (``n``) holds; it is read once."""
    place = NumberedPlace.at(after, listing)
    opened.execute(f"CREATE OR REPLACE TEMP TABLE matching AS SELECT n FROM {matching}")
    found = opened.connection.execute(
        f"SELECT n FROM matching WHERE {place.condition('n')} ORDER BY {place.order('n')} LIMIT {limit}"
    ).fetchall()
    numbers = sorted(number for (number,) in found)
    first = numbers[0] if numbers else 0
    total, start = opened.row(f"SELECT count(*), count(*) FILTER (n < {first}) FROM matching")
    return _chosen(numbers, start, total, listing)


def _chosen(numbers: Sequence[int], start: int, total: int, listing: str) -> ChosenRows:
    more = bool(numbers) and start + len(numbers) < total
    return ChosenRows(
        numbers,
        previous=make_cursor(listing + BACK, numbers[0]) if numbers and start else None,
        next=make_cursor(listing, numbers[-1]) if more else None,
        start=start,
        total=total,
    )
