"""Pages of rows: which numbered rows stand on one and what is around it, with exact counts; and where a page ends early
because its rows are large. Of rows that alone take more than their share of a page no cells are held until it is known
that they are on it: hundreds of texts of a megabyte would else stand in memory several times over, for one page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merging.sql.cursors import BACK, NumberedPlace, make_cursor
from merging.sql.session import Session

PAGE_BYTES = 16 << 20
"""What the cells of a page's rows take at most, but for a row that alone takes more: a page has one row at least."""

ROW_BYTES = "page_row_bytes"
"""The column that tells how many bytes the cells of a row take that have no fixed size."""


@dataclass(frozen=True)
class ChosenRows:
    """The rows of one page by their numbers, ascending, that lie behind a place of the listing or before it; ``start``
    rows stand before them, of ``total``.
    """

    numbers: Sequence[int]
    place: NumberedPlace
    start: int
    total: int

    @property
    def previous(self) -> str | None:
        """The cursor of the page before."""
        return (
            make_cursor(self.place.listing + BACK, self.numbers[0]) if self.numbers and self.start else None
        )

    @property
    def next(self) -> str | None:
        """The cursor of the page after."""
        more = bool(self.numbers) and self.start + len(self.numbers) < self.total
        return make_cursor(self.place.listing, self.numbers[-1]) if more else None

    def read(self, opened: Session, query: str) -> tuple[ChosenRows, list[dict[str, Any]]]:
        """The rows, of a query that has their numbers as ``n``; and which are on the page, if it ends early."""
        rows = read_numbered(opened, query, self.numbers, back=self.place.back)
        gone = len(self.numbers) - len(rows)
        start = self.start + gone if self.place.back else self.start
        return ChosenRows([row["n"] for row in rows], self.place, start, self.total), rows


def choose_all(rows: int, *, listing: str, after: str | None, limit: int) -> ChosenRows:
    """A page of rows that are numbered from 0 on without gaps, none of them left out."""
    place = NumberedPlace.at(after, listing)
    first = max(0, place.number - limit) if place.back else place.number + 1
    last = min(rows, place.number if place.back else first + limit)
    return ChosenRows(range(first, max(first, last)), place, first, rows)


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
    return ChosenRows(numbers, place, start, total)


def is_one_of(numbers: Sequence[int], column: str = "n") -> str:
    """SQL: a number is one of these, which ascend; written so that no other row group is read."""
    if not numbers:
        return "false"
    first, last = numbers[0], numbers[-1]
    within = f"{column} >= {first} AND {column} <= {last}"
    if last - first + 1 == len(numbers):
        return within
    return f"{within} AND {column} IN ({', '.join(str(one) for one in numbers)})"


def read_numbered(
    opened: Session, query: str, numbers: Sequence[int], *, back: bool = False
) -> list[dict[str, Any]]:
    """The rows of a query that have these numbers (``n``, ascending), as far as they fit on a page: the first ones, or
    the last where the page leads ``back``.
    """
    if not numbers:
        return []
    rows = f"SELECT * FROM ({query}) WHERE {is_one_of(numbers)}"
    described = opened.connection.sql(query)
    types = dict(zip(described.columns, map(str, described.dtypes), strict=True))
    widest = share_of_page(len(numbers))
    found = opened.rows(f"{narrow_rows(rows, types, widest, whole=('n',))} ORDER BY n")
    sizes = [row.pop(ROW_BYTES) for row in found]
    fitting = number_that_fits(reversed(sizes) if back else sizes)
    first, last = (len(found) - fitting, len(found)) if back else (0, fitting)
    if max(sizes[first:last], default=0) <= widest:
        return found[first:last]
    return opened.rows(f"SELECT * FROM ({query}) WHERE {is_one_of(numbers[first:last])} ORDER BY n")


def share_of_page(rows: int) -> int:
    """What each of so many rows may hold so that they fit whatever the others hold."""
    return PAGE_BYTES // rows


def number_that_fits(sizes: Iterable[int]) -> int:
    """How many rows of these sizes, from the first on, a page has."""
    taken = number = 0
    for size in sizes:
        taken += size
        if number and taken > PAGE_BYTES:
            break
        number += 1
    return number


def bytes_sql(types: Mapping[str, str]) -> str:
    """SQL of how many bytes the cells of a row take, by DuckDB's types of its columns; those of a fixed size are left
    out, since rows do not differ by them.
    """
    sizes = [
        f"octet_length({cell})" if kind == "BLOB" else f"strlen({cell}::VARCHAR)"
        for cell, kind in _long(types)
    ]
    return f"coalesce(list_sum([{', '.join(sizes)}]), 0)::BIGINT" if sizes else "0::BIGINT"


def narrow_rows(query: str, types: Mapping[str, str], widest: int, whole: Collection[str] = ()) -> str:
    """A SELECT of a query's rows, of columns with these types, that tells their ``ROW_BYTES`` first: cells without a
    fixed size are NULL in rows that take more than ``widest``, but for those of the columns ``whole``.
    """
    long = {cell for cell, _ in _long(types)} - set(whole)
    cells = (
        f"CASE WHEN {ROW_BYTES} <= {widest} THEN {cell} END AS {cell}" if cell in long else cell
        for cell in types
    )
    # Of the rows below: beside the cells the number would be an alias, and planned anew with each of them.
    return f"SELECT {', '.join((ROW_BYTES, *cells))} FROM (SELECT {bytes_sql(types)} AS {ROW_BYTES}, * FROM ({query}))"


def _long(types: Mapping[str, str]) -> list[tuple[str, str]]:
    """The columns whose values have no fixed size."""
    return [
        (cell, kind)
        for cell, kind in types.items()
        if kind in ("VARCHAR", "BLOB", "VARIANT")
        or kind.endswith("]")
        or kind.startswith(("STRUCT(", "MAP("))
    ]
