"""Rows as files: CSV, Parquet, the stream format of Arrow and workbooks, piece by piece, with no value rounded.

Parquet and Arrow carry the exact types. CSV carries the text of each value (``values.text_form``); a text stands in
quotes always and NULL is the cell without anything, so that a file comes back through staging as it was (RFC 4180;
``null_token`` is the empty one). No cell is changed for the sake of spreadsheets that take texts for formulas.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from merging.sql.types import is_text
from merging.sql.values import fits_python, python_values, text_form
from merging.sql.workbook_files import workbook

#: Rows in one row group of Parquet, or fewer where they are long: what is held before it is written.
_GROUP_ROWS = 131_072
_GROUP_BYTES = 16 << 20
#: "End-of-stream marker" of "IPC Streaming Format".
_END_OF_ARROW = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_WHOLE_SECOND = r"\.000000$"


class FileFormat(StrEnum):
    """Formats that rows leave in."""

    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"
    XLSX = "xlsx"


def encoded(schema: pa.Schema, batches: Iterable[pa.RecordBatch], file_format: FileFormat) -> Iterator[bytes]:
    """The bytes of a file with these rows, as they come."""
    return _ENCODERS[file_format](schema, batches)


def _arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    yield schema.serialize().to_pybytes()
    for batch in batches:
        yield batch.serialize().to_pybytes()
    yield _END_OF_ARROW


class _Outlet(io.RawIOBase):
    """A file that is only written: what was written since it was last asked."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, piece: Any) -> int:
        written = bytes(piece)
        self._pieces.append(written)
        self._length += len(written)
        return len(written)

    def taken(self) -> bytes:
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    outlet = _Outlet()
    with parquet.ParquetWriter(outlet, schema, compression="zstd", version="2.6") as writer:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if (
                sum(one.num_rows for one in held) >= _GROUP_ROWS
                or sum(one.nbytes for one in held) >= _GROUP_BYTES
            ):
                writer.write_table(pa.Table.from_batches(held, schema), row_group_size=_GROUP_ROWS)
                held = []
                yield outlet.taken()
        if held:
            writer.write_table(pa.Table.from_batches(held, schema), row_group_size=_GROUP_ROWS)
    yield outlet.taken()


def _csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    written = pa.schema([pa.field(one.name, _csv_type(one.type)) for one in schema])
    outlet = _Outlet()
    with arrow_csv.CSVWriter(outlet, written) as writer:
        for batch in batches:
            columns = [_csv_column(column) for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=written))
            yield outlet.taken()
    yield outlet.taken()


def _is_bare(data_type: pa.DataType) -> bool:
    """Whether Arrow's own text of the type is ours."""
    return bool(pa.types.is_integer(data_type) or pa.types.is_boolean(data_type))


def _csv_type(data_type: pa.DataType) -> pa.DataType:
    return data_type if _is_bare(data_type) else pa.string()


def _csv_column(column: pa.Array) -> pa.Array:
    """The cells as CSV has them: whole numbers and truth as they are, all else as its text."""
    data_type = column.type
    if _is_bare(data_type) or is_text(data_type):
        return column
    if pa.types.is_date32(data_type) and fits_python(column):
        return pc.strftime(column, format="%Y-%m-%d")
    if pa.types.is_timestamp(data_type) and fits_python(column):
        return _moments(column, "+00:00" if data_type.tz else "")
    if pa.types.is_decimal(data_type):
        written = column.cast(pa.string())
        if not pc.any(
            pc.match_substring(written, "E")
        ).as_py():  # else with an exponent, which our text has not
            return written
    if pa.types.is_floating(data_type):
        return _each(column, _float_text)
    return _each(column, text_form)


def _moments(column: pa.Array, offset: str) -> pa.Array:
    written = pc.strftime(column.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%S")
    return pc.binary_join_element_wise(pc.replace_substring_regex(written, _WHOLE_SECOND, ""), offset, "")


def _float_text(value: float) -> str:
    return repr(value) if math.isfinite(value) else text_form(value)


def _each(column: pa.Array, form: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else form(value) for value in python_values(column)], pa.string())


_ENCODERS: dict[FileFormat, Callable[[pa.Schema, Iterable[pa.RecordBatch]], Iterator[bytes]]] = {
    FileFormat.CSV: _csv,
    FileFormat.PARQUET: _parquet,
    FileFormat.ARROW: _arrow,
    FileFormat.XLSX: workbook,
}
