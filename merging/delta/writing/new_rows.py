"""Rows that come: one new file per partition, or several where they are many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from merging.delta.row_tracking import ROW_ID
from merging.delta.snapshot import Snapshot
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

    most = _rows_per_file(builder.snapshot)

    def files(partitions: Iterable[Partition]) -> Iterator[NewFile]:
        for partition in partitions:
            count = -(-partition.rows // most)
            for part, rows in partition.cut(-(-partition.rows // count)):
                path = partition.folder + builder.file_name()
                values[path] = partition.values
                query = f"SELECT {cells}{f', {ROW_ID}' if kept else ''} {part}"
                yield NewFile(query, rows, path, _rows_per_group(partition.rows))

    with partitions_of(builder, relation, number, most) as found:
        made = [*builder.write(columns, files(found), kept)]
    for written in made:
        builder.rows_added += written.rows
        builder.count("numTargetFilesAdded", 1)
        builder.add(written, values[written.path])


def _rows_per_group(rows: int) -> int:
    """A row group is encoded by one thread: where all rows would fit into one, each thread gets one."""
    share = -(-rows // limits().threads)
    return max(_LEAST_ROWS_PER_GROUP, min(share, ROWS_PER_GROUP))


def _rows_per_file(snapshot: Snapshot) -> int:
    """Rows that make a file of about the table's target size; the size of a row is taken from the table's own files."""
    physical = snapshot.stored_row_count
    bytes_per_row = max(1.0, snapshot.size_bytes / physical) if physical else 100.0
    return max(_LEAST_ROWS_PER_FILE, int(target_file_size(snapshot) / bytes_per_row))


def cast_columns(schema: pa.Schema, columns: Sequence[str] | None = None) -> str:
    """A select list that gives `columns` of a relation, which has them by label, their exact types."""
    return ", ".join(
        f"CAST({column_sql(name)} AS {duckdb_type(schema.field(name).type)}) AS {column_sql(name)}"
        for name in (schema.names if columns is None else columns)
    )
