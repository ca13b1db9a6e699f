"""Staged content parted in two: what is left out of it, and the rest. Together they are what was there, cell by cell.

Rows go whole, by their keys or by a filter. A column goes with its cells of updated rows: of such a row each side has
its own cells, and what it does not have proposes the base. An inserted or deleted row cannot be parted. Both sides
stand on the base images of the content that they come from, where its rows stood at the same version.

A column that both sides add has no base: in a row that is parted, the side that is merged later conflicts there with
what the earlier one put, and Current is what was meant.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from merging.errors import InvalidFilter
from merging.model import LeftOut, Row, SplitCounts
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import any_of
from merging.sql.session import Session, session
from merging.sql.values import arrow_values, json_form
from merging.staging.layout import Layout, content_digest, count_rows
from merging.staging.staged import (
    BASE_FILES,
    Staged,
    base_schema_of,
    new_content,
    open_for_pages,
    open_staged,
    write_manifest,
    write_rows,
)
from merging.staging.summary import summarize
from merging.store.publishing import NewFolder, flush_file

_KEPT, _LEFT = "NOT gone", "(gone OR parted)"


@dataclass(frozen=True)
class Split:
    """The two parts of one content, each a content of its own."""

    kept: Staged
    left: Staged


def split_counts(location: str, leaving: LeftOut) -> SplitCounts:
    """What leaving something out of staged content would do; writes nothing. Raises as ``split`` does."""
    staged = open_for_pages(location)
    with session() as opened:
        return _Parting(opened, staged, leaving).counts()


def split(location: str, leaving: LeftOut, destination: str) -> Split:
    """Write both parts of staged content below ``destination``, each whole.

    Raises InvalidFilter where a key or column is not in the content, where nothing is left out, and where nothing
    would stay; StagedCorrupt.
    """
    staged = open_staged(location)
    with (
        session() as opened,
        new_content(destination, staged.table_uri) as kept,
        new_content(destination, staged.table_uri) as left,
    ):
        opened.expect_columns(2 * len(staged.schema))
        parting = _Parting(opened, staged, leaving)
        parting.require_two_parts()
        parting.write(kept, _KEPT, parting.kept_columns)
        parting.write(left, _LEFT, parting.left_columns)
    return Split(open_for_pages(str(kept.final)), open_for_pages(str(left.final)))  # written by us just now


class _Parting:
    """One content and what becomes of each of its rows: the table ``fates`` (``n``, ``gone`` whole, ``parted``)."""

    def __init__(self, opened: Session, staged: Staged, leaving: LeftOut) -> None:
        self._opened = opened
        self._staged = staged
        self._layout = staged.layout
        self._named = self._positions(leaving.columns)
        chosen = [f"n IN (FROM {staged.matching(one)})" for one in leaving.filters]
        if leaving.keys:
            self._pick(leaving.keys)
            chosen.append("n IN (SELECT n FROM picked)")
        here, there = (
            any_of([self._layout.differs(position) for position in self._layout.staged if test(position)])
            for test in (self._named.__contains__, lambda position: position not in self._named)
        )
        opened.execute(
            "CREATE TEMP TABLE fates AS SELECT n, chosen OR (here AND NOT there) AS gone, "
            f"NOT chosen AND here AND there AS parted FROM (SELECT n, {any_of(chosen)} AS chosen, "
            f"op = 'update' AND {here} AS here, {there} AS there FROM {staged.source_sql()})"
        )
        self._joined = f"{staged.source_sql()} JOIN fates USING (n)"

    def _positions(self, names: Sequence[str]) -> frozenset[int]:
        schema = self._layout.schema
        places = {schema.field(position).name: position for position in self._layout.staged}
        for name in names:
            if name not in places:
                raise InvalidFilter(f"The content does not change a column {name}.", data={"column": name})
        return frozenset(places[name] for name in names)

    def _pick(self, keys: Sequence[Row]) -> None:
        types = [self._layout.schema.field(name).type for name in self._layout.keys]
        columns: list[list[Any]] = [[] for _ in types]
        for key in keys:
            for values, name, data_type in zip(columns, self._layout.keys, types, strict=True):
                try:
                    values.append(cell_value(key[name], data_type))
                except (KeyError, Refused) as error:
                    raise InvalidFilter(f"{json_form(key)} is no key of the content: {error}") from error
        arrays = [arrow_values(values, data_type) for values, data_type in zip(columns, types, strict=True)]
        names = [f"k{place}" for place in range(len(types))]
        self._opened.connection.register("picked_keys", pa.table(dict(zip(names, arrays, strict=True))))
        listed = ", ".join(names)
        self._opened.execute(
            f"CREATE TEMP TABLE picked AS SELECT n FROM {self._staged.source_sql()} "
            f"JOIN (SELECT DISTINCT * FROM picked_keys) USING ({listed})"
        )
        wanted, found = self._opened.row(
            "SELECT (SELECT count(*) FROM (SELECT DISTINCT * FROM picked_keys)), count(*) FROM picked"
        )
        self._opened.connection.unregister("picked_keys")
        if found < wanted:
            rows = "row is" if wanted - found == 1 else "rows are"
            raise InvalidFilter(f"{wanted - found:,} of the named {rows} not in the content.")

    def counts(self) -> SplitCounts:
        gone, parted, kept, whole = self._opened.row(
            "SELECT count(*) FILTER (gone), count(*) FILTER (parted), count(*) FILTER (NOT gone), "
            f"count(*) FILTER (NOT gone AND op <> 'update') FROM {self._joined}"
        )
        cells = self._cells(_LEFT)
        names = self._layout.schema.names
        return SplitCounts(
            rows_left=gone,
            rows_parted=parted,
            rows_kept=kept,
            rows_whole=whole if self._named else 0,
            cells_left={
                names[position]: number
                for position, number in zip(self._layout.staged, cells, strict=True)
                if number
            },
        )

    def require_two_parts(self) -> None:
        gone, parted, kept = self._opened.row(
            "SELECT count(*) FILTER (gone), count(*) FILTER (parted), count(*) FILTER (NOT gone) FROM fates"
        )
        if not gone and not parted:
            raise InvalidFilter("Nothing of the content would be left out.")
        if not kept:
            raise InvalidFilter(
                "Everything would be left out: ask for changes or reject the change request instead."
            )

    @property
    def kept_columns(self) -> tuple[int, ...]:
        """The positions of the columns that what stays gives values for."""
        has, leaves = self._has(_KEPT), self._has(_LEFT)
        inserts = self._inserts(_KEPT)
        return tuple(
            position
            for position in self._layout.staged
            if position in has
            or (inserts and not self._is_new(position))
            or (position not in self._named and not (self._is_new(position) and position in leaves))
        )

    @property
    def left_columns(self) -> tuple[int, ...]:
        """The same of what is left out. A new column without any value goes where it was named."""
        has, kept = self._has(_LEFT), self.kept_columns
        inserts = self._inserts(_LEFT)
        return tuple(
            position
            for position in self._layout.staged
            if position in has
            or ((inserts or not self._named) and not self._is_new(position))
            or position not in kept
        )

    def _is_new(self, position: int) -> bool:
        return position >= self._layout.base_width

    def _inserts(self, side: str) -> int:
        return self._opened.number(f"SELECT count(*) FROM {self._joined} WHERE {side} AND op = 'insert'")

    def _has(self, side: str) -> set[int]:
        """The columns in which a side changes a cell, or gives a new row a value."""
        given = self._opened.counts(
            f"FROM {self._joined} WHERE {side} AND op = 'insert'",
            [f"p{position} IS NOT NULL" for position in self._layout.staged],
        )
        changed = self._cells(side)
        return {
            position
            for position, *numbers in zip(self._layout.staged, given, changed, strict=True)
            if any(numbers)
        }

    def _cells(self, side: str) -> list[int]:
        """How many cells of updated rows a side changes, by column."""
        return self._opened.counts(
            f"FROM {self._joined} WHERE {side} AND op = 'update'",
            [
                f"{self._layout.differs(position)} AND NOT (parted AND {self._goes_elsewhere(side, position)})"
                for position in self._layout.staged
            ],
        )

    def _goes_elsewhere(self, side: str, position: int) -> str:
        """SQL: of a parted row the column's cell is on the other side."""
        return str((position in self._named) == (side == _KEPT)).lower()

    def write(self, folder: NewFolder, side: str, columns: Sequence[int]) -> None:
        """Write one side whole: its rows, numbered anew, and its manifest."""
        old, opened = self._staged, self._opened
        new = [position for position in columns if self._is_new(position)]
        schema = pa.schema(
            [
                *list(self._layout.schema)[: self._layout.base_width],
                *(self._layout.schema.field(one) for one in new),
            ]
        )
        places = {position: position for position in range(self._layout.base_width)}
        places |= {position: self._layout.base_width + place for place, position in enumerate(new)}
        layout = Layout(
            self._layout.keys,
            schema,
            self._layout.base_width,
            tuple(places[position] for position in columns),
        )
        rows = write_rows(opened, self._rows_sql(side, columns, places), folder.path)
        shutil.copyfile(f"{old.location}/{BASE_FILES}", folder.path / BASE_FILES)
        flush_file(folder.path / BASE_FILES)
        counts = count_rows(opened, rows, layout)
        given = {*layout.keys, *(schema.field(position).name for position in layout.staged)}
        staged = replace(
            old,
            location=str(folder.final),
            digest=content_digest(opened, rows, old.table_id, layout, counts),
            schema=schema,
            columns=tuple(name for name in schema.names if name in given),
            new_columns=tuple(schema.names[self._layout.base_width :]),
            counts=counts.operations,
            cells_updated=counts.cells_updated,
            noop_rows=old.noop_rows if side == _KEPT else 0,
            duplicate_rows=old.duplicate_rows if side == _KEPT else 0,
            rekeyed_rows=counts.rekeyed,
            has_absent=counts.has_absent,
            ranges={name: found for name, found in old.ranges.items() if name in given},
            summary=summarize(opened, folder.path, rows, layout, counts),
        )
        write_manifest(folder.path, staged, base_schema_of(old.location))

    def _rows_sql(self, side: str, columns: Sequence[int], places: dict[int, int]) -> str:
        layout = self._layout
        parts = [
            "place.new_n AS n",
            "op",
            f"{_absent(columns, places)} AS absent",
            "base_file",
            "base_row",
            *(f"k{place}" for place in range(len(layout.keys))),
            *(f"b{position}" for position in layout.based),
        ]
        for position in columns:
            proposed = f"p{position}"
            if self._goes_elsewhere(side, position) == "true":
                proposed = f"CASE WHEN parted THEN {layout.base(position)} ELSE p{position} END"
            parts.append(f"{proposed} AS p{places[position]}")
        numbered = f"SELECT n AS old_n, row_number() OVER (ORDER BY n) - 1 AS new_n FROM fates WHERE {side}"
        return (
            f"WITH places AS ({numbered}) SELECT {', '.join(parts)}, other.new_n AS rekeyed "
            f"FROM {self._joined} JOIN places place ON place.old_n = n "
            "LEFT JOIN places other ON other.old_n = rekeyed ORDER BY place.new_n"
        )


def _absent(columns: Sequence[int], places: dict[int, int]) -> str:
    """SQL: the positions of the columns that an inserted row does not give, in the new schema."""
    cases = [
        f"CASE WHEN list_contains(absent, {position}) THEN {places[position]}::SMALLINT END"
        for position in columns
    ]
    if not cases:
        return "NULL::SMALLINT[]"
    listed = f"list_filter([{', '.join(cases)}], lambda position: position IS NOT NULL)"
    return f"CASE WHEN absent IS NOT NULL AND len({listed}) > 0 THEN {listed} END"
