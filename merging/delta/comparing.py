"""What changed between two versions, from their file sets.

Files that both versions hold, with the same vector, cancel unread. A file that both hold with different
vectors gives only the rows whose vectors differ. The rest is read, and equal rows on both sides cancel, so
that OPTIMIZE, Z-ORDER and RESTORE show no changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyroaring

from merging.delta.actions import DataFile
from merging.delta.reading import files_sql, register_positions, scan_sql
from merging.delta.snapshot import Snapshot
from merging.delta.vectors import read_vector
from merging.errors import TableChanged
from merging.sql.quoting import column_sql
from merging.sql.types import can_widen, duckdb_type


@dataclass(frozen=True)
class Compared:
    """How many rows differ, and how many data files had to be read for that."""

    inserted: int
    updated: int
    deleted: int
    files_read: int


def compare(
    connection: duckdb.DuckDBPyConnection,
    before: Snapshot,
    after: Snapshot,
    key_columns: Sequence[str],
    into: str,
) -> Compared:
    """Create the temporary table `into`(operation, key columns, before STRUCT, after STRUCT) of changed rows.

    `operation` is insert, update or delete; `before` is NULL for inserts, `after` for deletes. Both have the
    columns (by label) of `schema_of_both`, NULL where a version had none.
    Raises TableChanged when the versions belong to different tables.
    """
    if before.table_id != after.table_id:
        raise TableChanged(
            f"{after.uri} was created anew between versions {before.version} and {after.version}.",
            data={"table_uri": after.uri},
        )
    schema = schema_of_both(before, after)
    gone, gone_files = _side(connection, before, after, schema)
    come, come_files = _side(connection, after, before, schema)
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
    counted = dict(
        connection.execute(f"SELECT operation, count(*) FROM {into} GROUP BY operation").fetchall()
    )
    return Compared(
        inserted=counted.get("insert", 0),
        updated=counted.get("update", 0),
        deleted=counted.get("delete", 0),
        files_read=gone_files + come_files,
    )


def schema_of_both(before: Snapshot, after: Snapshot) -> pa.Schema:
    """The columns of `after`, each in the type that holds what it has in either version."""
    fields = []
    for field in after.schema:
        known = before.schema.field(field.name).type if field.name in before.schema.names else field.type
        fields.append(field.with_type(known) if can_widen(field.type, known) else field)
    return pa.schema(fields)


def _struct(alias: str, schema: pa.Schema) -> str:
    return "{" + ", ".join(f"{column_sql(name)}: {alias}.{column_sql(name)}" for name in schema.names) + "}"


def _side(
    connection: duckdb.DuckDBPyConnection, mine: Snapshot, other: Snapshot, schema: pa.Schema
) -> tuple[str, int]:
    """A SELECT of the rows that `mine` shows and `other` does not show from the same place; files it reads."""
    known = [name for name in schema.names if name in mine.schema.names]
    twins = other.files.twins_of(mine.files.told())
    whole = np.flatnonzero(twins.places < 0).tolist()
    partly: list[tuple[int, np.ndarray]] = []
    pairs = zip(mine.files.at(twins.changed), other.files.at(twins.places[twins.changed]), strict=True)
    for index, (file, twin) in zip(twins.changed.tolist(), pairs, strict=True):
        revived = np.asarray((_dead(other, twin) - _dead(mine, file)).to_array(), dtype=np.int64)
        if len(revived):
            partly.append((index, revived))
    parts = []
    if whole:
        parts.append(scan_sql(connection, mine, known, files=whole))
    if partly:
        indexes = np.concatenate([np.full(len(rows), index, dtype=np.int64) for index, rows in partly])
        positions = register_positions(connection, indexes, np.concatenate([rows for _, rows in partly]))
        selected = ", ".join(f"p.{column_sql(name)}" for name in known)
        parts.append(
            f"SELECT {selected} FROM ({files_sql(connection, mine, [index for index, _ in partly], known)}) p "
            f"SEMI JOIN {positions} d ON p.row_number = d.row_number AND p.file_index = d.file_index"
        )
    if not parts:
        parts.append(scan_sql(connection, mine, known, files=[]))
    columns = ", ".join(
        f"CAST({column_sql(name) if name in known else 'NULL'} AS {duckdb_type(schema.field(name).type)}) "
        f"AS {column_sql(name)}"
        for name in schema.names
    )
    return f"SELECT {columns} FROM ({' UNION ALL '.join(parts)})", len(whole) + len(partly)


def _dead(snapshot: Snapshot, file: DataFile) -> pyroaring.BitMap64:
    return read_vector(snapshot.store, file.vector) if file.vector else pyroaring.BitMap64()
