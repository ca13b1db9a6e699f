"""Staged rows as pages show them: a page reads the row groups that its rows are in, and nothing else of the rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from merging.model import ChangedRow, ChangesFilter, ChangesPage, Operation, Row, Sides, ValueGroup
from merging.sql.equality import same_value
from merging.sql.filtering import ChangedCells
from merging.sql.paging import ChosenRows, choose, choose_all
from merging.sql.quoting import literal
from merging.sql.session import Session, session
from merging.sql.values import sql_form
from merging.staging.layout import Layout
from merging.staging.summary import GROUPS, MOST_GROUPS, Summary, groups_sql, marked_sql

_LISTING = "staged"
_NO_ROWS = "(SELECT 0::BIGINT AS n WHERE false)"


@dataclass(frozen=True)
class Pages:
    """The rows of one staged folder: ``rows`` is the SQL that reads them, numbered without gaps from 0 on."""

    folder: str
    rows: str
    layout: Layout
    counts: Mapping[Operation, int]
    cells_updated: Mapping[str, int]
    summary: Summary | None
    ranges: Mapping[str, tuple[Any, Any]]
    filled: frozenset[str]

    def page(self, wanted: ChangesFilter, after: str | None, limit: int) -> ChangesPage[ChangedRow]:
        """Changed rows in key order, base against proposed: those that the filter lets through."""
        with session() as opened:
            opened.expect_columns(len(self.layout.schema))
            chosen = self._chosen(opened, wanted, after, limit)
            if not chosen.numbers:
                return ChangesPage((), total=chosen.total)
            shown, rows = chosen.read(opened, f"SELECT {self._columns()} FROM {self.rows}")
        items = tuple(map(self._changed_row, rows))
        return ChangesPage(items, shown.next, shown.previous, shown.start, shown.total)

    def row(self, key: Mapping[str, Any]) -> ChangedRow | None:
        """The row of a key, with values of the key columns' types; None where it is not among the rows."""
        types = [self.layout.schema.field(name).type for name in self.layout.keys]
        conditions = [
            f"k{place} = {sql_form(key[name], kind)}"
            for place, (name, kind) in enumerate(zip(self.layout.keys, types, strict=True))
        ]
        with session() as opened:
            opened.expect_columns(len(self.layout.schema))
            rows = opened.rows(f"SELECT {self._columns()} FROM {self.rows} WHERE {' AND '.join(conditions)}")
        return self._changed_row(rows[0]) if rows else None

    def _chosen(self, opened: Session, wanted: ChangesFilter, after: str | None, limit: int) -> ChosenRows:
        if wanted.lets_all_through:
            rows = sum(self.counts.values())
            return choose_all(rows, listing=_LISTING, after=after, limit=limit)
        return choose(opened, self.matching(wanted), listing=_LISTING, after=after, limit=limit)

    def matching(self, wanted: ChangesFilter) -> str:
        """SQL relation of the numbers (``n``) of the rows that a filter lets through. Raises InvalidFilter."""
        layout = self.layout
        if wanted.column is not None and layout.position(wanted.column) is None:
            return _NO_ROWS
        if wanted.operation is not None and not self.counts.get(wanted.operation, 0):
            return _NO_ROWS
        if replace(wanted, operation=None, column=None).lets_all_through:
            marked = self._marked(wanted.operation, wanted.column)
            if marked is not None:
                return marked
        return f"(SELECT n FROM {self.rows} WHERE {self.cells.condition(wanted)})"

    def _marked(self, operation: Operation | None, column: str | None) -> str | None:
        """The same where the summary lists them all; else None."""
        position = None if column is None else self.layout.position(column)
        if position is not None and position not in self.layout.staged:
            # Only deleted rows change it, if the base had it.
            if operation not in (None, "delete") or position >= self.layout.base_width:
                return _NO_ROWS
            operation, column, position = "delete", None, None
        if self.summary is None or not self.summary.has_all(operation, column):
            return None
        return marked_sql(self.folder, operation, position)

    @property
    def cells(self) -> ChangedCells:
        """How the cells of the rows are read in SQL."""
        layout = self.layout
        return ChangedCells(
            layout.keys,
            layout.schema,
            before={position: layout.base(position) for position in layout.based},
            after={position: f"p{position}" for position in layout.staged},
            ranges=self.ranges,
        )

    def _columns(self) -> str:
        """SQL of what a page shows. A column without updated or added cells is read once: its base is proposed."""
        layout, keys = self.layout, range(len(self.layout.keys))
        parts = ["n", "op", "absent", *(f"k{place}" for place in keys)]
        parts += [f"b{position}" for position in layout.based]
        for position in layout.staged:
            field = layout.schema.field(position)
            same = field.name not in self.cells_updated and not self.counts["insert"]
            parts.append(f"{layout.base(position) if same else f'p{position}'} AS p{position}")
        return ", ".join(parts)

    def _changed_row(self, row: Mapping[str, Any]) -> ChangedRow:
        layout, names = self.layout, self.layout.schema.names
        operation: Operation = row["op"]
        key = {name: row[f"k{position}"] for position, name in enumerate(layout.keys)}
        base: Row | None = None
        proposed: Row | None = None
        if operation != "insert":
            base = {
                name: key[name] if name in key else row[f"b{position}"]
                for position, name in enumerate(names[: layout.base_width])
            }
        if operation != "delete":
            given = {names[position]: row[f"p{position}"] for position in layout.staged}
            unstaged = base or {}
            proposed = {
                name: key[name] if name in key else given[name] if name in given else unstaged.get(name)
                for name in names
            }
        changed = tuple(
            name
            for name in names
            if name not in key and not same_value((base or {}).get(name), (proposed or {}).get(name))
        )
        filled: tuple[str, ...] = ()
        if operation == "insert":
            silent = {*names} - {names[position] for position in layout.staged}
            silent |= {names[position] for position in row["absent"] or ()}
            filled = tuple(name for name in names if name in self.filled and name in silent)
        return ChangedRow(key, operation, changed, Sides(base, None, proposed), filled=filled)

    def value_groups(self, limit: int) -> tuple[ValueGroup, ...]:
        """Equal edits taken together, the most frequent first."""
        if not self.cells_updated:
            return ()
        with session() as opened:
            if self.summary is not None and limit <= MOST_GROUPS:
                source: str | None = f"FROM read_parquet({literal(os.path.join(self.folder, GROUPS))})"
            else:
                source = groups_sql(opened, self.rows, self.layout, self.cells_updated, limit)
            found = opened.rows(f"SELECT * FROM ({source}) LIMIT {limit}")
        names = self.layout.schema.names
        return tuple(
            ValueGroup(names[place], row.get(f"b{place}"), row[f"p{place}"], row["number"])
            for place, row in ((row["position"], row) for row in found)
        )
