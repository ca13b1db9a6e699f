"""Rows that come: one new file per partition, or several where they are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from merging.delta.row_tracking import ROW_ID
from merging.delta.writing.asked import NewFile
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.data_files import ROWS_PER_GROUP, target_file_size
from merging.delta.writing.partitioning import Partition, partitions_of
from merging.delta.writing.row_ids import kept_columns
from merging.sql.quoting import column_sql
from merging.sql.session import limits
from merging.sql.types import duckdb_type

_LEAST_ROWS_PER_FILE = 10_000
_LEAST_ROWS_PER_GROUP = 20_480


def write_new_rows(
    builder: CommitBuilder, relation: str, *, number: int | None = None, row_ids: bool = False
) -> None:
    """Write the rows of a relation, which has the table's new columns by label, and name their files; `number` is how
    many they are where that is known, `row_ids` of the relation are those that its rows keep."""
    columns = builder.columns_in_files(builder.schema)
    kept = kept_columns(builder.snapshot, ROW_ID) if row_ids else []
    cells = cast_columns(builder.schema, columns)
    values: dict[str, dict[str, str | None]] = {}

    def files() -> Iterator[NewFile]:
        for partition in partitions_of(builder, relation, number):
            source, parts = _parts(builder, relation, partition)
            for part in parts:
                path = partition.folder + builder.file_name()
                values[path] = partition.values
                rows = f"SELECT {cells}{f', {ROW_ID}' if kept else ''} FROM {source} {part}"
                yield NewFile(rows, path, _rows_per_group(partition.rows))

    for written in builder.write(columns, files(), kept):
        builder.rows_added += written.rows
        builder.count("numTargetFilesAdded", 1)
        builder.add(written, values[written.path])


def _rows_per_group(rows: int) -> int:
    """A row group is encoded by one thread: where all rows would fit into one, each thread gets one."""
    share = -(-rows // limits().threads)
    return max(_LEAST_ROWS_PER_GROUP, min(share, ROWS_PER_GROUP))


def _parts(builder: CommitBuilder, relation: str, partition: Partition) -> tuple[str, list[str]]:
    """A source, and WHERE clauses on it that cut the rows into files of about the table's target size.

    The size of a row is taken from the table's own files.
    """
    snapshot, where, total = builder.snapshot, partition.where, partition.rows
    physical = snapshot.stored_row_count
    bytes_per_row = max(1.0, snapshot.size_bytes / physical) if physical else 100.0
    rows_per_file = max(_LEAST_ROWS_PER_FILE, int(target_file_size(snapshot) / bytes_per_row))
    if total <= rows_per_file:
        return relation, [where]
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


def cast_columns(schema: pa.Schema, columns: Sequence[str] | None = None) -> str:
    """A select list that gives `columns` of a relation, which has them by label, their exact types."""
    return ", ".join(
        f"CAST({column_sql(name)} AS {duckdb_type(schema.field(name).type)}) AS {column_sql(name)}"
        for name in (schema.names if columns is None else columns)
    )
