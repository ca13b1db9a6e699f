"""A table as people edit its rows by hand: rows by their keys, values typed, and its own rules asked of the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from merging.delta import Snapshot, open_snapshot
from merging.delta.column_rules import rules_of_schema
from merging.delta.keys import check_key_columns
from merging.engines import DuckDBEngine, Keys
from merging.model import Row
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import Session, session
from merging.sql.strict_json import read_json
from merging.sql.types import is_nested
from merging.sql.values import arrow_values, stored_value

_NUMBER = "n"
"""Counts the given rows; no label of a user's column is so called."""


@dataclass(frozen=True)
class BrokenRule:
    """What a row would break: its place among those that were judged, the columns that the rule looks at, and why."""

    row: int
    columns: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class EditedTable:
    """One version of a table, for whoever edits some of its rows. Made by ``open_for_editing``."""

    snapshot: Snapshot
    keys: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version that is looked at."""
        return self.snapshot.version

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, in the table's order."""
        return tuple(self.snapshot.schema.names)

    @property
    def computed(self) -> Mapping[str, str]:
        """The columns that the table computes or numbers itself, with how it does: they take no values."""
        filled, generated = self.snapshot.filled_columns, self.snapshot.generated_columns
        return {
            name: generated.get(name, made.words) for name, made in filled.items() if not made.takes_values
        }

    def typed(self, column: str, value: Any) -> Any:
        """A JSON value, or the text that somebody typed, as a value of the column. Raises ``Refused`` with a sentence.

        The text of a nested value is its JSON.
        """
        if column not in self.snapshot.schema.names:
            raise Refused(f"the table has no column {column}.")
        data_type = self.snapshot.schema.field(column).type
        if isinstance(value, str) and is_nested(data_type):
            try:
                value = read_json(value, cells=True)
            except ValueError as error:
                raise Refused(f"{error}; expected JSON of the column's type.") from error
        return stored_value(cell_value(value, data_type), data_type)

    def rows(self, keys: Sequence[Mapping[str, Any]]) -> tuple[Row | None, ...]:
        """The rows with these keys, in their order; None for each that the table does not have."""
        found: list[Row | None] = [None] * len(keys)
        if not keys:
            return ()
        with session(self.snapshot.uri) as opened:
            self._register(opened, keys, self.keys)
            read = DuckDBEngine(opened).rows_of(self.snapshot, Keys("given", self.keys), self.columns, None)
            using = " AND ".join(f"f.{column_sql(name)} = g.{column_sql(name)}" for name in self.keys)
            joined = f"FROM {read.sql} f JOIN given g ON {using} ORDER BY g.{_NUMBER}"
            listed = ", ".join(f"f.{column_sql(name)}" for name in self.columns)
            numbers = opened.rows(f"SELECT g.{_NUMBER} {joined}")
            for number, row in zip(numbers, opened.user_rows(f"SELECT {listed} {joined}"), strict=True):
                found[number[_NUMBER]] = row
        return tuple(found)

    def broken(self, rows: Sequence[Row]) -> tuple[BrokenRule, ...]:
        """What whole rows with typed values would break of the table's own rules: NOT NULL, lengths, constraints."""
        if not rows:
            return ()
        found = list(self._without_value(rows))
        checked = [name for name in self.columns if name not in self.computed]
        with session() as opened:
            self._register(opened, rows, checked)
            self._fill(opened, rows, checked)
            for columns, sentence, broken in self._conditions(checked):
                numbers = opened.rows(f"SELECT {_NUMBER} FROM given WHERE {broken} ORDER BY {_NUMBER}")
                found += [BrokenRule(one[_NUMBER], columns, sentence) for one in numbers]
        return tuple(found)

    def _without_value(self, rows: Sequence[Row]) -> Iterator[BrokenRule]:
        needed = [
            field.name
            for field in self.snapshot.schema
            if not field.nullable and field.name not in self.computed
        ]
        filled = self.snapshot.filled_columns
        for number, row in enumerate(rows):
            for name in needed:
                if row.get(name) is None and not (name in filled and name not in row):
                    yield BrokenRule(number, (name,), f"{name} takes no NULL: give a value.")

    def _conditions(self, checked: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
        """Each rule that is judged on given values alone: its columns, a sentence, and SQL of a row that breaks it."""
        for name, known in rules_of_schema(self.snapshot.schema_json).items():
            for rule in known.rules:
                if name in checked:
                    yield (name,), f"{rule.place} {rule.demand}.", rule.broken_by(column_sql(name))
        for one in self.snapshot.rules.conditions:
            if set(one.expression.columns) <= set(checked):
                holds, doubtful = one.expression.sql(column_sql), one.expression.doubtful(column_sql)
                broken = f"CASE WHEN {doubtful} THEN true ELSE {holds} IS NOT TRUE END"
                yield tuple(one.expression.columns), f"The table asks for {one.sentence}.", broken

    def _fill(self, opened: Session, rows: Sequence[Row], checked: Sequence[str]) -> None:
        """Give the rows of ``given`` that say nothing of a column what the table fills it with."""
        for name, default in self.snapshot.rules.defaults.items():
            silent = [str(number) for number, row in enumerate(rows) if name not in row]
            if silent and name in checked:
                opened.execute(
                    f"UPDATE given SET {column_sql(name)} = {default.sql(str)} "
                    f"WHERE {_NUMBER} IN ({', '.join(silent)})"
                )

    def _register(self, opened: Session, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """The temporary table ``given``: the rows with these columns under their labels, and their numbers."""
        arrays: dict[str, pa.Array] = {_NUMBER: pa.array(range(len(rows)), pa.int64())}
        for name in columns:
            data_type = self.snapshot.schema.field(name).type
            arrays[column_label(name)] = arrow_values([row.get(name) for row in rows], data_type)
        opened.connection.register("given_rows", pa.table(arrays))
        try:
            opened.execute("CREATE TEMP TABLE given AS SELECT * FROM given_rows")
        finally:
            opened.connection.unregister("given_rows")


def open_for_editing(
    table_uri: str,
    *,
    primary_keys: Sequence[str],
    version: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> EditedTable:
    """The table at a version (default: the newest), for whoever edits its rows. No data file is read yet.

    Raises TableNotFound, VersionGone, UnsupportedTable, and InvalidKeys.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    check_key_columns(snapshot.schema, list(primary_keys), snapshot.rules.compared_otherwise)
    return EditedTable(snapshot, tuple(primary_keys))
