"""What a data file itself says it holds: its Parquet footer, read once a process.

Statistics in the log only bound values; which columns a file has, how they nest, their field ids and the calendar
of their dates stand in its footer alone. Files with the same columns share one `FileLayout`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from merging.delta.actions import DataFile
from merging.errors import FileMissing, TableDamaged, UnsupportedTable
from merging.sql.quoting import literal
from merging.store.stores import TableStore, each_at_once

_TAIL = 64 * 1024
#: Of so large files, whose footers are large too, DuckDB asks for twice as much.
_LARGE = 64 << 20
_REMEMBERED = 50_000
_REMEMBERED_LAYOUTS = 1_000
_FIELD_ID = b"PARQUET:field_id"

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """A bounded memory of the process, safe between threads: what was not asked for the longest goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value of the key, where it is still known."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> Value:
        """Remember the value; the one that is remembered."""
        with self._lock:
            kept = self._values.setdefault(key, value)
            if len(self._values) > self._limit:
                self._values.popitem(last=False)
            return kept


@dataclass(frozen=True, slots=True)
class Calendar:
    """In which calendar a file's days are counted (Spark's DataSourceUtils, "datetimeRebaseSpec").

    `legacy_days`: dates and timestamps are in the Julian calendar before 15 October 1582, as Spark 2 wrote them;
    `legacy_int96`: so are timestamps stored as INT96; `int96_by_spark`: they are whole microseconds, for Spark wrote
    them. `zone` is where the writer was, None where it did not say.
    """

    legacy_days: bool = False
    legacy_int96: bool = False
    has_int96: bool = False
    int96_by_spark: bool = False
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class FileField:
    """A column, or a part of a nested one, as a file has it: DuckDB's type, the parts by place.

    `parts` are the fields of a struct, the one element of a list, or the key and the value of a map. `unclear`: two
    readers of Parquet understand the nesting differently, so nobody can say what it holds.
    """

    name: str
    field_id: int | None
    type_text: str
    kind: str
    parts: tuple[FileField, ...] = ()
    unclear: bool = False


@dataclass(frozen=True, eq=False)
class FileLayout:
    """The columns of a file, in their order, by place; files with equal columns share one object."""

    signature: str
    arrow: pa.Schema = field(repr=False)
    calendar: Calendar


@dataclass(frozen=True, slots=True)
class Footer:
    """Rows of a file, what it holds, and the bytes of its largest row group, decompressed."""

    rows: int
    layout: FileLayout
    largest_group: int


_FOOTERS: Remembered[Footer] = Remembered(_REMEMBERED)
_LAYOUTS: Remembered[FileLayout] = Remembered(_REMEMBERED_LAYOUTS)
_RECENT: deque[tuple[pq.ParquetSchema, Any, FileLayout]] = deque(maxlen=4)
_FIELDS: Remembered[tuple[FileField, ...]] = Remembered(_REMEMBERED_LAYOUTS)


def read_footers(store: TableStore, files: Sequence[DataFile]) -> list[Footer]:
    """The footers of the files, in their order; many are read at once.

    Raises TableDamaged naming the file that is missing, cut short, replaced by another, or no Parquet.
    """
    return each_at_once(store, functools.partial(read_footer, store), files)


def read_footer(store: TableStore, file: DataFile) -> Footer:
    """The footer of one file. Raises as `read_footers` does."""
    path = store.relative(file.path)
    try:
        key = (store.uri, path, file.size, store.mark(path))
        known = _FOOTERS.get(key)
        if known is not None:
            return known
        size, tail = store.read_tail(path, _TAIL if file.size < _LARGE else 2 * _TAIL, file.size)
        if size != file.size:
            raise _broken(
                store, path, f"has {size:,} bytes where the log says {file.size:,}: it was cut or replaced"
            )
        return _FOOTERS.put(key, _parsed(pq.read_metadata(io.BytesIO(_footer_of(store, path, size, tail)))))
    except FileNotFoundError as error:
        broken = _broken(store, path, "is missing")
        raise FileMissing(str(broken), data=broken.data) from error
    except (pa.ArrowException, OSError) as error:
        raise _broken(store, path, f"is damaged ({str(error).splitlines()[0]})") from error


def footer_bytes(store: TableStore, path: str) -> bytes:
    """The footer of a file as bytes that read like a file of their own. Raises TableDamaged, FileNotFoundError."""
    return _footer_of(store, path, *store.read_tail(path, _TAIL))


def _footer_of(store: TableStore, path: str, size: int, tail: bytes) -> bytes:
    if len(tail) < 12 or tail[-4:] != b"PAR1":
        encrypted = tail[-4:] == b"PARE"
        raise _broken(store, path, "is encrypted" if encrypted else "does not end as a Parquet file does")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size:
        raise _broken(store, path, "states a footer longer than itself")
    if length > len(tail):
        tail = store.read_tail(path, length)[1]
    # A Parquet footer is found from the end of the file, so the footer alone reads like a file.
    return b"PAR1" + tail[-length:]


def _broken(store: TableStore, path: str, what: str) -> TableDamaged:
    return TableDamaged(
        f"The data file {path} of {store.uri} cannot be read: it {what}. Restore the file, or the table to a "
        "version without it.",
        data={"table_uri": store.uri, "path": path},
    )


def _parsed(metadata: pq.FileMetaData) -> Footer:
    # Most files of a table have the columns of the one before: that is told at a glance.
    groups = (metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    largest = max(groups, default=0)
    for schema, stated, known in (*_RECENT,):
        if stated == metadata.metadata and schema.equals(metadata.schema):
            return Footer(metadata.num_rows, known, largest)
    layout = _layout_of(metadata)
    _RECENT.appendleft((metadata.schema, metadata.metadata, layout))
    return Footer(metadata.num_rows, layout, largest)


def _layout_of(metadata: pq.FileMetaData) -> FileLayout:
    arrow = metadata.schema.to_arrow_schema()
    calendar = calendar_of(metadata)
    stated = json.dumps([str(metadata.schema), arrow.names, repr(calendar)])
    signature = hashlib.blake2b(stated.encode(), digest_size=16).hexdigest()
    layout = _LAYOUTS.get(signature)
    if layout is None:
        layout = _LAYOUTS.put(signature, FileLayout(signature, arrow.remove_metadata(), calendar))
    return layout


def calendar_of(metadata: pq.FileMetaData) -> Calendar:
    """Which calendar a file's days are in, by what Spark states in its footer."""
    stated: Mapping[bytes, bytes] = metadata.metadata or {}
    leaves = range(len(metadata.schema))
    has_int96 = any(metadata.schema.column(leaf).physical_type == "INT96" for leaf in leaves)
    version = stated.get(b"org.apache.spark.version", b"").decode("utf-8", "replace")
    # Without a version the file is nobody's in particular: Spark 4 takes it as it stands, and so do we.
    legacy_days = bool(version) and (version < "3.0.0" or b"org.apache.spark.legacyDateTime" in stated)
    legacy_int96 = bool(version) and (version < "3.1.0" or b"org.apache.spark.legacyINT96" in stated)
    zone = stated.get(b"org.apache.spark.timeZone")
    return Calendar(
        legacy_days,
        legacy_int96 and has_int96,
        has_int96,
        has_int96 and bool(version),
        None if zone is None else zone.decode("utf-8", "replace"),
    )


def file_fields(
    connection: duckdb.DuckDBPyConnection, layout: FileLayout, engine_path: str
) -> tuple[FileField, ...]:
    """The columns of a layout as DuckDB reads them; `engine_path` is any file of that layout.

    Raises duckdb.Error where DuckDB cannot read the file at all.
    """
    known = _FIELDS.get(layout.signature)
    if known is not None:
        return known
    connection.complete()
    types = connection.sql(
        f"SELECT * FROM read_parquet([{literal(engine_path)}], hive_partitioning = false)"
    ).types
    if len(types) != len(layout.arrow):
        raise UnsupportedTable(
            ["Parquet layout"], f"Two readers disagree on how many columns {engine_path} has."
        )
    fields = tuple(_file_field(column, kind) for column, kind in zip(layout.arrow, types, strict=True))
    return _FIELDS.put(layout.signature, fields)


def _file_field(column: pa.Field, duckdb_type: Any) -> FileField:
    kind = str(duckdb_type.id)
    arrow = column.type
    parts: tuple[FileField, ...] = ()
    unclear = pa.types.is_nested(arrow) != (kind in ("struct", "list", "map"))
    if kind == "struct":
        children = duckdb_type.children
        unclear = not pa.types.is_struct(arrow) or arrow.num_fields != len(children)
        if not unclear:
            parts = tuple(_file_field(arrow.field(i), child) for i, (_, child) in enumerate(children))
    elif kind == "list":
        unclear = not (pa.types.is_list(arrow) or pa.types.is_large_list(arrow))
        if not unclear:
            parts = (_file_field(arrow.value_field, duckdb_type.children[0][1]),)
    elif kind == "map":
        unclear = not pa.types.is_map(arrow)
        if not unclear:
            (_, key), (_, value) = duckdb_type.children
            parts = (_file_field(arrow.key_field, key), _file_field(arrow.item_field, value))
    stated = (column.metadata or {}).get(_FIELD_ID)
    return FileField(
        column.name,
        None if stated is None else int(stated),
        str(duckdb_type),
        kind,
        parts,
        unclear or any(part.unclear for part in parts),
    )
