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
    """Create the temporary table ``into`` of changed rows in the order of their keys: ``n`` (0, 1, …), ``op`` (insert,
    update, delete), ``k<j>`` the keys, ``b<i>`` and ``a<i>`` the other columns by their places in the schema.

    ``gone`` and ``come`` are SELECTs of the rows that either version alone shows, with the columns (by label) of the
    schema; those that are on both sides cancel. ``b<i>`` are NULL for inserts, ``a<i>`` for deletes, and both where a
    version had no such column.
    """
    keys = [f"k{place}" for place in range(len(key_columns))]
    values = {place: name for place, name in enumerate(schema.names) if name not in key_columns}
    for rows, letter, side in ((gone, "b", "headgate_gone"), (come, "a", "headgate_come")):
        named = [f"{column_sql(name)} AS k{place}" for place, name in enumerate(key_columns)]
        named += [f"{column_sql(name)} AS {letter}{place}" for place, name in values.items()]
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {side} AS SELECT {', '.join(named)} FROM ({rows})")
    before, after = _sides(connection, keys)
    same_keys = " AND ".join(f"g.{key} IS NOT DISTINCT FROM c.{key}" for key in keys)
    listed = [f"coalesce(c.{key}, g.{key}) AS {key}" for key in keys]
    listed += [f"b{place}, a{place}" for place in values]
    differ = "".join(f" OR b{place} IS DISTINCT FROM a{place}" for place in values)
    # Joined, then sorted: at once the two would share what memory there is.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE headgate_paired AS "
        "SELECT CASE WHEN g.nth IS NULL THEN 'insert' WHEN c.nth IS NULL THEN 'delete' ELSE 'update' END AS op, "
        f"{', '.join(listed)} FROM ({before}) g FULL JOIN ({after}) c ON {same_keys} AND g.nth = c.nth "
        f"WHERE g.nth IS NULL OR c.nth IS NULL{differ}"
    )
    connection.execute("DROP TABLE headgate_gone; DROP TABLE headgate_come; DROP TABLE headgate_several")
    order = ", ".join(f"{key} NULLS LAST" for key in keys)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT row_number() OVER () - 1 AS n, * "
        f"FROM (FROM headgate_paired ORDER BY {order}, op)"
    )
    connection.execute("DROP TABLE headgate_paired")


def _sides(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> list[str]:
    """SELECTs of the rows of both sides, of which those with the same keys and ``nth`` are one row before and after.

    Rows of a key that others have, too, are compared as wholes: as many as there are on both sides cancel.
    """
    listed, sides = ", ".join(keys), ("headgate_gone", "headgate_come")
    several = " UNION ".join(
        f"SELECT {listed} FROM {side} GROUP BY ALL HAVING count(*) > 1" for side in sides
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE headgate_several AS {several}")
    [[found]] = connection.execute("SELECT count(*) FROM headgate_several").fetchall()
    if not found:
        return [f"SELECT 0 AS nth, * FROM {side}" for side in sides]
    on = " AND ".join(f"r.{key} IS NOT DISTINCT FROM s.{key}" for key in keys)
    return [
        f"SELECT 0 AS nth, * FROM {mine} r ANTI JOIN headgate_several s ON {on} UNION ALL "
        f"SELECT row_number() OVER (PARTITION BY {listed}), * FROM "
        f"(SELECT * FROM {mine} r SEMI JOIN headgate_several s ON {on} EXCEPT ALL "
        f"SELECT * FROM {other} r SEMI JOIN headgate_several s ON {on})"
        for mine, other in (sides, sides[::-1])
    ]


def schema_of_both(before: Snapshot, after: Snapshot) -> pa.Schema:
    """The columns of `after`, each in the type that holds what it has in either version: as text where none does."""
    types = dict(zip(before.schema.names, before.schema.types, strict=True))
    fields = []
    for field in after.schema:
        known = types.get(field.name, field.type)
        if not can_widen(known, field.type):
            field = field.with_type(known if can_widen(field.type, known) else pa.string())
        fields.append(field)
    return pa.schema(fields)


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
    held = set(mine.schema.names)
    known = [name for name in schema.names if name in held]
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
        f"CAST({column_sql(name) if name in held else 'NULL'} AS {duckdb_type(schema.field(name).type)}) "
        f"AS {column_sql(name)}"
        for name in schema.names
    )
    return f"SELECT {columns} FROM ({' UNION ALL '.join(parts)})"
