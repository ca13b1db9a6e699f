"""The engine that is always there: DuckDB in this process."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import pyarrow as pa

from merging.delta import (
    DuckDBFiles,
    NarrowRows,
    ShownApart,
    Snapshot,
    fetch,
    locate,
    read_at_one_look,
    scan_sql,
    standing_sql,
)
from merging.engines.protocol import (
    Aggregated,
    Aggregates,
    Changes,
    Classified,
    EngineName,
    FirstRows,
    Images,
    Keys,
    NotSaid,
    Rows,
)
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import duckdb_type

_numbers = itertools.count()


def fresh_name() -> str:
    """A name for a relation of a session that nothing else in it has."""
    return f"rows_read_{next(_numbers)}"


class DuckDBEngine(DuckDBFiles):
    """Reads and writes with the session's own connection, so that rows stay where the session works on them.

    Keys are looked for in the key columns alone; then the files with hits are asked for the rest, but where the files
    are tiny. Raises MergeFailed where a file or vector is missing or damaged.
    """

    name: EngineName = "duckdb"

    def __init__(self, opened: Session) -> None:
        super().__init__(opened.connection)
        self._opened = opened

    def rows_of(
        self, snapshot: Snapshot, keys: Keys, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        """See ``Engine``."""
        into = fresh_name()
        others = [name for name in columns if name not in keys.columns]
        at_once = files is not None and read_at_one_look(snapshot, files)
        found = locate(
            self._opened.connection,
            snapshot,
            keys.sql,
            keys.columns,
            into,
            files=files,
            further=others if at_once else (),
        )
        if at_once or not others:
            return Rows(into, found.rows)
        rows = self._fetched(snapshot, into, columns, told=keys.columns)
        self._opened.execute(f"DROP TABLE {into}")
        return rows

    def rows_at(self, snapshot: Snapshot, positions: str, columns: Sequence[str]) -> Rows:
        """See ``Engine``."""
        return self._fetched(snapshot, positions, columns)

    def classify(self, snapshot: Snapshot, images: Images, files: Collection[int]) -> Classified:
        """See ``Engine``. What it finds is in the session already."""
        raise NotSaid("what is told apart in the session")

    def _fetched(
        self,
        snapshot: Snapshot,
        positions: str,
        columns: Sequence[str],
        narrow: NarrowRows | None = None,
        told: Sequence[str] = (),
    ) -> Rows:
        into = fresh_name()
        fetch(self._opened.connection, snapshot, positions, columns, into, narrow=narrow, told=told)
        return Rows(into, self._opened.number(f"SELECT count(*) FROM {into}"))

    def aggregate(self, snapshot: Snapshot, changes: Changes | None, asked: Aggregates) -> Aggregated:
        """See ``Engine``."""
        into = fresh_name()
        source = self.all_rows_sql(snapshot, changes, asked.columns)
        query = f"{aggregates_sql(asked)} FROM ({source}) all_rows WHERE {asked.where}"
        if not asked.by:
            self._opened.execute(f"CREATE TEMP TABLE {into} AS {query}")
            return Aggregated(into, 1)
        by = ", ".join(map(column_sql, asked.by))
        query = f"{query} GROUP BY {by} HAVING {asked.having}"
        if asked.first is None:
            self._opened.execute(f"CREATE TEMP TABLE {into} AS {query}")
            return Aggregated(into, self._opened.number(f"SELECT count(*) FROM {into}"))
        number = self._opened.number(f"SELECT count(*) FROM ({query})")
        none = "" if number else " WHERE false"
        self._opened.execute(
            f"CREATE TEMP TABLE {into} AS SELECT * FROM ({query}){none} ORDER BY {by} LIMIT {asked.first}"
        )
        return Aggregated(into, number)

    def first_rows(self, snapshot: Snapshot, asked: FirstRows, files: Sequence[int] | None) -> Rows:
        """See ``Engine``. Only the columns that choose the rows are read of all."""
        chosen = fresh_name()
        ordered = [name for name, _ in asked.order]
        read = list(dict.fromkeys([*ordered, *asked.judged]))
        source = scan_sql(self._opened.connection, snapshot, read, files=files, with_positions=True)
        listed = ", ".join(column_sql(name) for name in ordered)
        self._opened.execute(
            f"CREATE TEMP TABLE {chosen} AS SELECT file_index, row_number, {listed} FROM ({source}) "
            f"WHERE {asked.where} ORDER BY {asked.order_sql} LIMIT {asked.number}"
        )
        if set(asked.columns) <= set(ordered):
            number = self._opened.number(f"SELECT count(*) FROM {chosen}")
            return Rows(asked.told(chosen, snapshot.schema), number)
        narrow = None if asked.widest is None else NarrowRows(asked.widest, ordered)
        return self._fetched(snapshot, chosen, asked.columns, narrow)

    def apart(self, gone: ShownApart, come: ShownApart, schema: pa.Schema) -> tuple[str, str]:
        """See ``Engine``."""
        connection = self._opened.connection
        return standing_sql(connection, gone, schema), standing_sql(connection, come, schema)

    def all_rows_sql(self, snapshot: Snapshot, changes: Changes | None, columns: Sequence[str]) -> str:
        """A SELECT of all live rows of a version with changes, for this session."""
        connection = self._opened.connection
        if changes is None:
            return scan_sql(connection, snapshot, columns, with_positions=not columns)
        held = set(snapshot.schema.names)
        stored = [name for name in columns if name in held]
        cells = ", ".join(
            f"CAST({f'live.{column_sql(name)}' if name in held else 'NULL'} AS {duckdb_type(changes.types[name])}) "
            f"AS {column_sql(name)}"
            for name in columns
        )
        live = scan_sql(connection, snapshot, stored, with_positions=changes.gone is not None or not stored)
        if changes.gone is not None:
            gone = f"SELECT file_index, row_number FROM {changes.gone.sql}"
            live = f"SELECT l.* FROM ({live}) l ANTI JOIN ({gone}) g USING (file_index, row_number)"
        rows = f"SELECT {cells or '0'} FROM ({live}) live"
        if changes.added is None:
            return rows
        added = ", ".join(map(column_sql, columns))
        return f"{rows} UNION ALL SELECT {added or '0'} FROM {changes.added} added"


def aggregates_sql(asked: Aggregates) -> str:
    """The SELECT of aggregates, as far as FROM."""
    told = [f"{expression} AS a{place}" for place, expression in enumerate(asked.expressions)]
    return f"SELECT {', '.join([*map(column_sql, asked.by), *told])}"
