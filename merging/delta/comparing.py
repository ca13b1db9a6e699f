"""What changed between two versions, from their file sets.

Files that both versions hold, with the same vector, cancel unread. A file that both hold with different
vectors gives only the rows whose vectors differ. The rest is read, and equal rows on both sides cancel, so
that OPTIMIZE, Z-ORDER and RESTORE show no changes. Who reads is the caller's affair: `standing_apart` says what has to
be read, `standing_sql` reads it with DuckDB, `pair` makes changed rows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from merging.delta.reading import files_sql, register_positions, scan_sql
from merging.delta.renaming import stored_otherwise
from merging.delta.snapshot import Snapshot
from merging.errors import TableChanged
from merging.sql.quoting import column_sql
from merging.sql.types import can_widen, duckdb_type


@dataclass(frozen=True)
class ShownApart:
    """What one version shows and another one does not show from the same place: all live rows of the files ``whole``,
    and of others, which both hold, the rows with these numbers. Files are indexes of the snapshot's.
    """

    snapshot: Snapshot
    whole: tuple[int, ...]
    partly: tuple[tuple[int, np.ndarray], ...]

    @property
    def files(self) -> list[int]:
        """All files that have some of the rows."""
        return [*self.whole, *(index for index, _ in self.partly)]

    @property
    def bytes(self) -> int:
        """How large these files are."""
        return int(self.snapshot.files.numbers("size")[np.array(self.files, np.int64)].sum())


def pair(
    connection: duckdb.DuckDBPyConnection,
    gone: str,
    come: str,
    schema: pa.Schema,
    key_columns: Sequence[str],
    into: str,
) -> None:
    """Create the temporary table `into`(operation, key columns, before STRUCT, after STRUCT) of changed rows.

    `gone` and `come` are SELECTs of the rows that either version alone shows, with the columns (by label) of `schema`;
    those that are on both sides cancel. `operation` is insert, update or delete; `before` is NULL for inserts, `after`
    for deletes. Both have the columns of `schema`, NULL where a version had none.
    """
    names = ", ".join(column_sql(name) for name in schema.names)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE headgate_gone AS SELECT {names} FROM ({gone})")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE headgate_come AS SELECT {names} FROM ({come})")
    keys = [column_sql(name) for name in key_columns]
    numbered = f"*, row_number() OVER (PARTITION BY {', '.join(keys)}) AS headgate_nth"
    on = (
        " AND ".join(f"g.{key} IS NOT DISTINCT FROM c.{key}" for key in keys)
        + " AND g.headgate_nth = c.headgate_nth"
    )
    selected_keys = ", ".join(f"coalesce(c.{key}, g.{key}) AS {key}" for key in keys)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {into} AS "
        "WITH g AS (SELECT " + numbered + " FROM (FROM headgate_gone EXCEPT ALL FROM headgate_come)), "
        "c AS (SELECT " + numbered + " FROM (FROM headgate_come EXCEPT ALL FROM headgate_gone)) "
        "SELECT CASE WHEN g.headgate_nth IS NULL THEN 'insert' WHEN c.headgate_nth IS NULL THEN 'delete' "
        f"ELSE 'update' END AS operation, {selected_keys}, "
        f"CASE WHEN g.headgate_nth IS NOT NULL THEN {_struct('g', schema)} END AS before, "
        f"CASE WHEN c.headgate_nth IS NOT NULL THEN {_struct('c', schema)} END AS after "
        f"FROM g FULL OUTER JOIN c ON {on}"
    )
    connection.execute("DROP TABLE headgate_gone; DROP TABLE headgate_come")


def schema_of_both(before: Snapshot, after: Snapshot) -> pa.Schema:
    """The columns of `after`, each in the type that holds what it has in either version."""
    fields = []
    for field in after.schema:
        known = before.schema.field(field.name).type if field.name in before.schema.names else field.type
        fields.append(field.with_type(known) if can_widen(field.type, known) else field)
    return pa.schema(fields)


def _struct(alias: str, schema: pa.Schema) -> str:
    return "{" + ", ".join(f"{column_sql(name)}: {alias}.{column_sql(name)}" for name in schema.names) + "}"


def standing_apart(before: Snapshot, after: Snapshot) -> tuple[ShownApart, ShownApart]:
    """What each of two versions (``named_as`` one another) shows and the other does not. Raises TableChanged when they
    are of different tables."""
    if before.table_id != after.table_id:
        raise TableChanged(
            f"{after.uri} was created anew between versions {before.version} and {after.version}.",
            data={"table_uri": after.uri},
        )
    older, newer = sorted((before, after), key=lambda one: one.version)
    if stored_otherwise(older, newer, after.schema.names):
        return _whole(before), _whole(after)
    return _standing(before, after), _standing(after, before)


def _whole(mine: Snapshot) -> ShownApart:
    return ShownApart(mine, tuple(range(len(mine.files))), ())


def _standing(mine: Snapshot, other: Snapshot) -> ShownApart:
    twins = other.files.twins_of(mine.files.told())
    whole = np.flatnonzero(twins.places < 0).tolist()
    partly: list[tuple[int, np.ndarray]] = []
    pairs = zip(mine.files.at(twins.changed), other.files.at(twins.places[twins.changed]), strict=True)
    for index, (file, twin) in zip(twins.changed.tolist(), pairs, strict=True):
        revived = np.asarray((other.dead_rows(twin) - mine.dead_rows(file)).to_array(), dtype=np.int64)
        if len(revived):
            partly.append((index, revived))
    return ShownApart(mine, tuple(whole), tuple(partly))


def standing_sql(connection: duckdb.DuckDBPyConnection, standing: ShownApart, schema: pa.Schema) -> str:
    """A SELECT of these rows with the columns of a schema, for the connection."""
    mine = standing.snapshot
    known = [name for name in schema.names if name in mine.schema.names]
    parts = []
    if standing.whole:
        parts.append(scan_sql(connection, mine, known, files=standing.whole))
    if standing.partly:
        files, numbers = zip(*standing.partly, strict=True)
        indexes = np.repeat(np.array(files, np.int64), [len(rows) for rows in numbers])
        positions = register_positions(connection, indexes, np.concatenate(numbers))
        selected = ", ".join(f"p.{column_sql(name)}" for name in known)
        parts.append(
            f"SELECT {selected} FROM ({files_sql(connection, mine, files, known)}) p "
            f"SEMI JOIN {positions} d ON p.row_number = d.row_number AND p.file_index = d.file_index"
        )
    if not parts:
        parts.append(scan_sql(connection, mine, known, files=[]))
    columns = ", ".join(
        f"CAST({column_sql(name) if name in known else 'NULL'} AS {duckdb_type(schema.field(name).type)}) "
        f"AS {column_sql(name)}"
        for name in schema.names
    )
    return f"SELECT {columns} FROM ({' UNION ALL '.join(parts)})"
