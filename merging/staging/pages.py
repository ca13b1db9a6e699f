"""Staged rows as pages show them: a page reads the row groups that its rows are in, and nothing else of the rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from merging.model import ChangedRow, Operation, Page, Row, Sides, ValueGroup
from merging.sql.cursors import NumberedPlace
from merging.sql.equality import same_value
from merging.sql.quoting import literal
from merging.sql.session import Session, session, tuples
from merging.sql.values import sql_form
from merging.staging.layout import Layout
from merging.staging.summary import GROUPS, MOST_GROUPS, Summary, groups_sql, marked_sql

_LISTING = "staged"


@dataclass(frozen=True)
class Pages:
    """The rows of one staged folder: ``rows`` is the SQL that reads them, numbered without gaps from 0 on."""

    folder: str
    rows: str
    layout: Layout
    counts: Mapping[Operation, int]
    cells_updated: Mapping[str, int]
    summary: Summary | None

    def page(
        self, operation: Operation | None, column: str | None, after: str | None, limit: int
    ) -> Page[ChangedRow]:
        """Changed rows in key order, base against proposed; filtered by operation or by a changed column."""
        place = NumberedPlace.at(after, _LISTING)
        with session() as opened:
            opened.expect_columns(len(self.layout.schema))
            where = self._where(opened, operation, column, place, limit + 1)
            if where is None:
                return place.page((), (), more=False)
            order = place.order("n")
            found = opened.table(f"SELECT {self._columns()} FROM {self.rows} WHERE {where} ORDER BY {order}")
        names = found.column_names
        rows = [dict(zip(names, values, strict=True)) for values in tuples(found)]
        shown = place.shown(rows, limit)
        items = [self._changed_row(row) for row in shown]
        return place.page(items, [row["n"] for row in shown], more=len(rows) > limit)

    def row(self, key: Mapping[str, Any]) -> ChangedRow | None:
        """The row of a key, with values of the key columns' types; None where it is not among the rows."""
        types = [self.layout.schema.field(name).type for name in self.layout.keys]
        conditions = [
            f"k{place} = {sql_form(key[name], kind)}"
            for place, (name, kind) in enumerate(zip(self.layout.keys, types, strict=True))
        ]
        with session() as opened:
            opened.expect_columns(len(self.layout.schema))
            found = opened.table(
                f"SELECT {self._columns()} FROM {self.rows} WHERE {' AND '.join(conditions)}"
            )
        rows = [dict(zip(found.column_names, values, strict=True)) for values in tuples(found)]
        return self._changed_row(rows[0]) if rows else None

    def _where(
        self,
        opened: Session,
        operation: Operation | None,
        column: str | None,
        place: NumberedPlace,
        number: int,
    ) -> str | None:
        """SQL predicate of the page's rows by their numbers, so that no other row group is read; None without any."""
        if operation is None and column is None:
            return place.among(number)
        matching = self._matching(operation, column)
        if matching is None:
            return None
        found = opened.connection.execute(
            f"SELECT n FROM {matching} WHERE {place.condition('n')} ORDER BY {place.order('n')} LIMIT {number}"
        ).fetchall()
        if not found:
            return None
        chosen = sorted(n for (n,) in found)
        return f"n >= {chosen[0]} AND n <= {chosen[-1]} AND n IN ({', '.join(map(str, chosen))})"

    def _matching(self, operation: Operation | None, column: str | None) -> str | None:
        """SQL of the numbers of the rows of an operation that change a column (a deleted row changes all of them);
        None where there are none.
        """
        layout = self.layout
        position = None if column is None else layout.position(column)
        if column is not None and position is None:
            return None
        if position is not None and position not in layout.staged:
            # Only deleted rows change it, if the base had it.
            if operation not in (None, "delete") or position >= layout.base_width:
                return None
            operation, column, position = "delete", None, None
        if operation is not None and not self.counts[operation]:
            return None
        if self.summary is not None and self.summary.has_all(operation, column):
            return marked_sql(self.folder, operation, position)
        conditions = [] if operation is None else [f"op = {literal(operation)}"]
        if position is not None:
            conditions.append(f"(op = 'delete' OR {layout.differs(position)})")
        return f"(SELECT n FROM {self.rows} WHERE {' AND '.join(conditions)})"

    def _columns(self) -> str:
        """SQL of what a page shows. A column without updated or added cells is read once: its base is proposed."""
        layout, keys = self.layout, range(len(self.layout.keys))
        parts = ["n", "op", *(f"k{place}" for place in keys)]
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
        return ChangedRow(key, operation, changed, Sides(base, None, proposed))

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
