"""Rows that come: one new file per partition, or several where they are many."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from merging.delta.row_tracking import ROW_ID
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.data_files import target_file_size
from merging.delta.writing.partitioning import partitions_of
from merging.delta.writing.row_ids import kept_columns
from merging.sql.quoting import column_label, column_sql
from merging.sql.types import duckdb_type

_LEAST_ROWS_PER_FILE = 10_000


def write_new_rows(builder: CommitBuilder, relation: str, *, row_ids: bool = False) -> None:
    """Write the rows of a relation, which has the table's new columns by label, and name their files; `row_ids` of the
    relation are those that its rows keep."""
    columns = builder.columns_in_files(builder.schema)
    casts = cast_columns(builder.connection, builder.schema, relation, columns)
    kept = kept_columns(builder.snapshot, ROW_ID) if row_ids else []
    for values, where, folder in partitions_of(builder, relation):
        source, parts = _parts(builder, relation, where)
        for part in parts:
            chosen = f"SELECT {casts}{f', {ROW_ID}' if kept else ''} FROM {source} {part}"
            written = builder.write(chosen, columns, folder + builder.file_name(), *kept)
            builder.rows_added += written.rows
            builder.count("numTargetFilesAdded", 1)
            builder.add(written, values)


def _parts(builder: CommitBuilder, relation: str, where: str) -> tuple[str, list[str]]:
    """A source, and WHERE clauses on it that cut the rows into files of about the table's target size.

    The size of a row is taken from the table's own files.
    """
    snapshot = builder.snapshot
    total = builder.count_rows(f"{relation} {where}")
    physical = sum(snapshot.physical_records(file) for file in snapshot.files)
    bytes_per_row = max(1.0, snapshot.size_bytes / physical) if physical else 100.0
    rows_per_file = max(_LEAST_ROWS_PER_FILE, int(target_file_size(snapshot) / bytes_per_row))
    if total <= rows_per_file:
        return relation, [where] if total else []
    # Cut by number from a table: a relation may give its rows in another order each time it is asked.
    builder.connection.execute(
        "CREATE OR REPLACE TEMP TABLE headgate_numbered AS "
        f"SELECT *, row_number() OVER () - 1 AS nth FROM {relation} {where}"
    )
    count = -(-total // rows_per_file)
    share = -(-total // count)
    return "headgate_numbered", [
        f"WHERE nth >= {start} AND nth < {start + share}" for start in range(0, total, share)
    ]


def cast_columns(
    connection: duckdb.DuckDBPyConnection,
    schema: pa.Schema,
    relation: str,
    columns: Sequence[str] | None = None,
) -> str:
    """A select list that gives `columns` their exact types; one that the relation lacks is NULL."""
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    return ", ".join(
        f"CAST({column_sql(name) if column_label(name) in present else 'NULL'} AS "
        f"{duckdb_type(schema.field(name).type)}) AS {column_sql(name)}"
        for name in (schema.names if columns is None else columns)
    )
