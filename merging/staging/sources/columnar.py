"""Typed sources: Arrow data in memory, DuckDB relations, Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

from merging.staging.sources.base import BATCH_ROWS, Source, check_header, numbered, row_lines


def open_parquet(path: Path) -> Source:
    """A Parquet file."""
    file = arrow_parquet.ParquetFile(path, memory_map=True)
    stream = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(batch_size=BATCH_ROWS))
    return open_stream(stream)


def open_arrow(path: Path) -> Source:
    """An Arrow IPC file or stream."""
    return open_stream(_arrow_batches(path))


def _arrow_batches(path: Path) -> pa.RecordBatchReader:
    source = pa.memory_map(str(path))
    try:
        file = arrow_ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return arrow_ipc.open_stream(source)
    batches = (file.get_batch(index) for index in range(file.num_record_batches))
    return pa.RecordBatchReader.from_batches(file.schema, batches)


def open_stream(stream: pa.RecordBatchReader) -> Source:
    """Any stream of record batches."""
    check_header(stream.schema.names)
    plain = [_plain_type(data.type) for data in stream.schema]
    schema = pa.schema([pa.field(data.name, kind) for data, kind in zip(stream.schema, plain, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in stream:
            if batch.num_rows == 0:
                continue
            columns = [_as_plain(column, kind) for column, kind in zip(batch.columns, plain, strict=True)]
            yield numbered(start, batch.num_rows, columns, None)
            start += batch.num_rows

    return Source(tuple(schema.names), schema, False, None, batches(), row_lines)


def _plain_type(data_type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(data_type):
        return _plain_type(data_type.value_type)
    if isinstance(data_type, pa.BaseExtensionType):
        return _plain_type(data_type.storage_type)
    if pa.types.is_string_view(data_type) or pa.types.is_large_string(data_type):
        return pa.string() if pa.types.is_string_view(data_type) else pa.large_string()
    return data_type


def _as_plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column if column.type == kind else column.cast(kind)
