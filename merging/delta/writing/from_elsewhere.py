"""Data files that somebody else wrote for a commit: what they hold is read from their footers, and believed from there
alone.

Others' Parquet is told apart column by column: names, nesting, types and field ids must be the very ones of the table,
so that nobody reads another value in it than another does. Statistics are those of the footer, as far as they are sure
to be exact.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from merging.delta.actions import DataFile
from merging.delta.column_chunks import Chunk, row_groups_in
from merging.delta.fields import TableField
from merging.delta.footers import footer_bytes, read_footers
from merging.delta.snapshot import Snapshot
from merging.delta.thrift import BadThrift
from merging.delta.writing.data_files import WrittenFile
from merging.errors import MergeFailed
from merging.sql.quoting import quote

_FIELD_ID = b"PARQUET:field_id"
_PLAIN = {"INT32": "<i", "INT64": "<q", "FLOAT": "<f", "DOUBLE": "<d"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_alike(snapshot: Snapshot, fields: Sequence[TableField], files: Sequence[DataFile]) -> list[bool]:
    """Of which files every reader of Parquet reads the same in these columns: as the table has them, or not at all."""
    known: dict[str, bool] = {}
    found = []
    for footer in read_footers(snapshot.store, files):
        layout = footer.layout
        if layout.signature not in known:
            calendar = layout.calendar
            odd = calendar.legacy_days or calendar.legacy_int96
            held = _without_int96(layout.arrow) if calendar.int96_by_spark else layout.arrow
            known[layout.signature] = not odd and _is_plain(held, fields)
        found.append(known[layout.signature])
    return found


def _without_int96(held: pa.Schema) -> pa.Schema:
    """The columns of a file of Spark's, whose INT96 are moments: nothing else that it writes comes in nanoseconds."""
    moment = pa.timestamp("us", "UTC")
    return pa.schema([one.with_type(moment) if one.type == pa.timestamp("ns") else one for one in held])


def written_elsewhere(
    snapshot: Snapshot, path: str, fields: Sequence[TableField], further: Sequence[TableField] = ()
) -> WrittenFile:
    """A file at `path` that holds these columns, and `further` ones that are none of the table's. Raises MergeFailed
    where it holds others, or is no Parquet."""
    try:
        footer = footer_bytes(snapshot.store, path)
        size, _ = snapshot.store.read_tail(path, 8)
        metadata = pq.read_metadata(io.BytesIO(footer))
        _require_columns(snapshot, path, metadata.schema.to_arrow_schema(), [*fields, *further])
        return WrittenFile(path, metadata.num_rows, size, fields, _statistics(footer, metadata.schema))
    except FileNotFoundError:
        raise _wrong(snapshot, path, "is not there") from None
    except (BadThrift, pa.ArrowException, OSError) as error:
        raise _wrong(snapshot, path, f"cannot be read ({error})") from error


def _wrong(snapshot: Snapshot, path: str, what: str) -> MergeFailed:
    return MergeFailed(
        f"The file {path} that was written for a commit {what}: nothing was committed.",
        data={"table_uri": snapshot.uri, "path": path},
    )


def _require_columns(snapshot: Snapshot, path: str, held: pa.Schema, fields: Sequence[TableField]) -> None:
    for wanted in fields:
        place = held.get_field_index(wanted.stored_name)
        if place < 0 or not _is_same(held.field(place), wanted, numbered=True):
            raise _wrong(snapshot, path, f"does not hold the column {wanted.name} as the table says it")
    if len(held) != len(fields):
        raise _wrong(snapshot, path, f"holds {len(held)} columns instead of {len(fields)}")


def _is_plain(held: pa.Schema, fields: Sequence[TableField]) -> bool:
    named = [name.casefold() for name in held.names]
    if len({*named}) < len(named):
        return False
    ids = {number: column.name for column in held if (number := _id_of(column)) is not None}
    for wanted in fields:
        place = held.get_field_index(wanted.stored_name)
        if place < 0:
            if wanted.stored_name.casefold() in named or wanted.field_id in ids:
                return False
        elif not _is_same(held.field(place), wanted, numbered=False):
            return False
    return True


def _is_same(held: pa.Field, wanted: TableField, *, numbered: bool) -> bool:
    """Whether a column of a file is one of the table; `numbered` ones have its field ids, others may have none."""
    number = _id_of(held)
    if number != wanted.field_id and (numbered or None not in (number, wanted.field_id)):
        return False
    given = held.type
    if not wanted.parts:
        return bool(_plain_type(given) == _plain_type(wanted.type))
    inner: Iterable[pa.Field]
    if pa.types.is_struct(wanted.type):
        inner = [given.field(place) for place in range(given.num_fields)] if pa.types.is_struct(given) else []
        if [one.name for one in inner] != [part.stored_name for part in wanted.parts]:
            return False
    elif pa.types.is_map(wanted.type):
        inner = [given.key_field, given.item_field] if pa.types.is_map(given) else []
    else:
        inner = [given.value_field] if pa.types.is_list(given) or pa.types.is_large_list(given) else []
    inner = [*inner]
    return len(inner) == len(wanted.parts) and all(
        _is_same(one, part, numbered=numbered) for one, part in zip(inner, wanted.parts, strict=True)
    )


def _plain_type(data_type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    if pa.types.is_large_string(data_type):
        return pa.string()
    if pa.types.is_large_binary(data_type):
        return pa.binary()
    if pa.types.is_timestamp(data_type) and data_type.tz is not None:
        return pa.timestamp(data_type.unit, "UTC")
    return data_type


def _id_of(column: pa.Field) -> int | None:
    stated = (column.metadata or {}).get(_FIELD_ID)
    return None if stated is None or int(stated) < 0 else int(stated)


def _statistics(footer: bytes, schema: pq.ParquetSchema) -> dict[str, dict[str, str]]:
    """What the footer says of each column, in the words in which DuckDB tells it of a file that it wrote."""
    groups = row_groups_in(footer[len(b"PAR1") :])
    if any(len(group.chunks) != len(schema) for group in groups):
        raise BadThrift("a row group has not the columns of the file")
    found = {}
    for leaf in range(len(schema) if groups else 0):
        chunks = [group.chunks[leaf] for group in groups]
        path = ".".join(map(quote, chunks[0].names))
        found[path] = _of_column(chunks, schema.column(leaf))
    return found


def _of_column(chunks: Sequence[Chunk], column: pq.ColumnSchema) -> dict[str, str]:
    told: dict[str, str] = {}
    nulls = [chunk.nulls for chunk in chunks]
    counted = [one for one in nulls if one is not None]
    if len(counted) == len(nulls):
        told["null_count"] = str(sum(counted))
    bounds = [chunk.bounds for chunk in chunks if chunk.nulls is None or chunk.nulls < chunk.values]
    stated = [one for one in bounds if one is not None]
    if not stated or len(stated) < len(bounds) or any(chunk.bounds_are_cut for chunk in chunks):
        return told
    try:
        values = [_value(one, column) for pair in stated for one in pair]
        if any(value is None or value != value for value in values):
            return told  # the greatest of a column with NaN is NaN: nobody knows its bounds
        low, high = _text(min(values), column), _text(max(values), column)
    except (struct.error, UnicodeDecodeError, OverflowError):
        return told  # years that Python has no date for are among them
    return {**told, "min": low, "max": high, "min_is_exact": "true", "max_is_exact": "true"}


def _value(stated: bytes, column: pq.ColumnSchema) -> Any:
    """A bound as something that can be compared; None where it is of a kind whose bounds are not told."""
    if column.physical_type in _PLAIN:
        return struct.unpack(_PLAIN[column.physical_type], stated)[0]
    if column.logical_type.type == "DECIMAL":
        return int.from_bytes(stated, "big", signed=True)
    return stated.decode() if column.logical_type.type == "STRING" else None


def _text(value: Any, column: pq.ColumnSchema) -> str:
    kind = column.logical_type.type
    if kind == "DATE":
        return (_EPOCH.date() + timedelta(days=value)).isoformat()
    if kind == "TIMESTAMP":
        return (_EPOCH + timedelta(microseconds=value)).replace(tzinfo=None).isoformat()
    if kind == "DECIMAL":
        digits = str(abs(value)).zfill(column.scale + 1)
        whole, behind = digits[: len(digits) - column.scale], digits[len(digits) - column.scale :]
        return f"{'-' if value < 0 else ''}{whole}{'.' if behind else ''}{behind}"
    return str(value)
