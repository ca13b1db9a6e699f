"""Cursors of listings: opaque to callers, bound to their listing."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from merging.errors import InvalidCursor
from merging.model import Other, Page

#: What a listing is called in a cursor that leads back.
BACK = " before"
_MOST = 1 << 62


def make_cursor(listing: str, *places: int) -> str:
    """An opaque cursor: where the next page of a listing begins."""
    return base64.urlsafe_b64encode(json.dumps([listing, *places]).encode()).decode().rstrip("=")


def read_cursor(cursor: str, listing: str, places: int) -> tuple[int, ...]:
    """The places in a cursor. Raises InvalidCursor where it was not made for this listing."""
    name, found = _read(cursor)
    if name != listing or len(found) != places:
        raise InvalidCursor("The page cursor belongs to another listing; start from the first page.")
    return found


def _read(cursor: str) -> tuple[str, tuple[int, ...]]:
    """The listing and the places that a cursor names."""
    try:
        name, *places = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidCursor("The page cursor is damaged; start from the first page.") from error
    if not all(isinstance(place, int) and -_MOST < place < _MOST for place in places):
        raise InvalidCursor("The page cursor belongs to another listing; start from the first page.")
    return name, tuple(places)


@dataclass(frozen=True)
class NumberedPlace:
    """Where a page of a listing lies whose rows have rising numbers from 0 on: behind a number, or before it."""

    listing: str
    number: int
    back: bool

    @classmethod
    def at(cls, cursor: str | None, listing: str) -> NumberedPlace:
        """The place that a cursor names, the listing's beginning without one. Raises InvalidCursor."""
        if not cursor:
            return cls(listing, -1, back=False)
        back = _read(cursor)[0] == listing + BACK
        [number] = read_cursor(cursor, listing + BACK if back else listing, 1)
        return cls(listing, number, back=back)

    def condition(self, column: str) -> str:
        """SQL: the row whose number is in the column lies there."""
        return f"{column} {'<' if self.back else '>'} {self.number}"

    def order(self, column: str) -> str:
        """SQL for ORDER BY: the rows that are nearest to the place come first."""
        return f"{column} DESC" if self.back else column

    def page(self, items: Sequence[Other], numbers: Sequence[int], *, more: bool) -> Page[Other]:
        """The page of these items with the cursors of those beside it; ``more`` tells that the listing goes on in the
        direction in which it was asked.
        """
        first, last = (numbers[0], numbers[-1]) if numbers else (self.number + 1, self.number - 1)
        has_previous, has_next = (more, True) if self.back else (self.number >= 0, more)
        return Page(
            tuple(items),
            make_cursor(self.listing, last) if has_next else None,
            make_cursor(self.listing + BACK, first) if has_previous else None,
        )
