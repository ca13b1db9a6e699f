"""Cursors of listings: opaque to callers, bound to their listing."""

from __future__ import annotations

import base64
import json

from merging.errors import InvalidCursor


def make_cursor(listing: str, *places: int) -> str:
    """An opaque cursor: where the next page of a listing begins."""
    return base64.urlsafe_b64encode(json.dumps([listing, *places]).encode()).decode().rstrip("=")


def read_cursor(cursor: str, listing: str, places: int) -> tuple[int, ...]:
    """The places in a cursor. Raises InvalidCursor where it was not made for this listing."""
    try:
        decoded = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError) as error:
        raise InvalidCursor("The page cursor is damaged; start from the first page.") from error
    if (
        not isinstance(decoded, list)
        or len(decoded) != places + 1
        or decoded[0] != listing
        or not all(isinstance(place, int) for place in decoded[1:])
    ):
        raise InvalidCursor("The page cursor belongs to another listing; start from the first page.")
    return tuple(decoded[1:])
