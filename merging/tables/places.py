"""Where pages of a table's rows begin and end: places in an order of its columns, written into opaque cursors."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from merging.delta import Snapshot
from merging.errors import InvalidCursor
from merging.sql.parsing import NumberText, Refused, cell_value
from merging.sql.quoting import column_sql
from merging.sql.values import json_form, sql_form


class PlaceKind(StrEnum):
    """On which side of a place a page lies, and whether the row at the place is on it."""

    AFTER = "after"
    FROM = "from"
    BEFORE = "before"
    UNTIL = "until"

    @property
    def leads_back(self) -> bool:
        """Whether the page ends at the place."""
        return self in (PlaceKind.BEFORE, PlaceKind.UNTIL)


@dataclass(frozen=True)
class RowOrder:
    """The order of a listing: by columns, rising but for those in ``falling``; NULLs come last."""

    snapshot: Snapshot
    columns: tuple[str, ...]
    falling: frozenset[str]

    def sql(self, *, back: bool = False) -> str:
        """For ORDER BY, in the order or against it."""
        nulls = "FIRST" if back else "LAST"
        return ", ".join(
            f"{column_sql(name)} {'DESC' if (name in self.falling) != back else 'ASC'} NULLS {nulls}"
            for name in self.columns
        )

    def place_in(self, cursor: str) -> RowPlace:
        """The place that a cursor names. Raises InvalidCursor where it is damaged or of another order."""
        try:
            names, forms, *ways = json.loads(
                base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)),
                parse_int=NumberText,
                parse_float=NumberText,
            )
            [way] = [PlaceKind(one) for one in ways] or [PlaceKind.AFTER]
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidCursor("The page cursor is damaged; start from the first page.") from error
        if names != list(self.columns) or not isinstance(forms, list) or len(forms) != len(names):
            raise InvalidCursor("The page cursor belongs to another listing; start from the first page.")
        types = [self.snapshot.schema.field(name).type for name in self.columns]
        try:
            values = tuple(cell_value(form, kind) for form, kind in zip(forms, types, strict=True))
        except Refused as error:
            raise InvalidCursor("The page cursor is damaged; start from the first page.") from error
        return RowPlace(self, values, way)

    def place_of(self, row: Mapping[str, Any], way: PlaceKind) -> RowPlace:
        """The place at a row."""
        return RowPlace(self, tuple(row[name] for name in self.columns), way)


@dataclass(frozen=True)
class RowPlace:
    """A place in an order: the values of a row in the order's columns, whether or not the row is still there."""

    order: RowOrder
    values: tuple[Any, ...]
    way: PlaceKind

    @property
    def cursor(self) -> str:
        """The place as callers keep it."""
        forms = [json_form(value) for value in self.values]
        named = [] if self.way is PlaceKind.AFTER else [self.way]
        text = json.dumps([list(self.order.columns), forms, *named], allow_nan=False)
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def turned(self) -> RowPlace:
        """The page on the other side, which has the row at the place where this one has not."""
        other = {
            PlaceKind.AFTER: PlaceKind.UNTIL,
            PlaceKind.FROM: PlaceKind.BEFORE,
            PlaceKind.BEFORE: PlaceKind.FROM,
            PlaceKind.UNTIL: PlaceKind.AFTER,
        }
        return RowPlace(self.order, self.values, other[self.way])

    def condition(self) -> str:
        """SQL: a row lies on the page's side of the place."""
        back = self.way.leads_back
        alternatives: list[str] = []
        equal: list[str] = []
        for name, value in zip(self.order.columns, self.values, strict=True):
            column = column_sql(name)
            text = sql_form(value, self.order.snapshot.schema.field(name).type)
            further = _further(column, value, text, back=back, falling=name in self.order.falling)
            if further:
                alternatives.append(" AND ".join([*equal, further]))
            equal.append(f"{column} IS NOT DISTINCT FROM {text}")
        if self.way in (PlaceKind.FROM, PlaceKind.UNTIL):
            alternatives.append(" AND ".join(equal))
        return "(" + " OR ".join(f"({one})" for one in alternatives) + ")" if alternatives else "false"


def _further(column: str, value: Any, text: str, *, back: bool, falling: bool) -> str:
    """SQL: a cell comes after a value in the order, or before it; empty where none can (NULLs come last)."""
    if value is None:
        return f"{column} IS NOT NULL" if back else ""
    comparison = f"{column} {'<' if back != falling else '>'} {text}"
    return comparison if back else f"({comparison} OR {column} IS NULL)"


def beside(
    place: RowPlace | None, order: RowOrder, rows: Sequence[Mapping[str, Any]], *, more: bool
) -> tuple[str | None, str | None]:
    """The cursors of the pages after and before one that was asked for at a place and has these rows; ``more`` tells
    that the listing goes on in the direction in which it was asked.
    """
    back = place is not None and place.way.leads_back
    if not rows:
        other = None if place is None else place.turned().cursor
        return (other, None) if back else (None, other)
    following = order.place_of(rows[-1], PlaceKind.AFTER).cursor if back or more else None
    has_previous = more if back else place is not None
    return following, order.place_of(rows[0], PlaceKind.BEFORE).cursor if has_previous else None
