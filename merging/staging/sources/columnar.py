"""Typed sources: Arrow data in memory, DuckDB relations, Parquet and Arrow files.

What strangers hand in is validated in full, counted against what it declares, and rebuilt in one plain layout (see
``plain_arrow``) in batches bounded by rows and by bytes, before anything native of the engine reads it.
Formats: Apache Parquet (parquet-format, "File Format"), Apache Arrow ("Serialization and IPC"), pandas' metadata
(pandas, "Storing pandas DataFrame objects in Apache Parquet format").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

from merging.delta.column_chunks import RowGroup
from merging.delta.footers import calendar_of
from merging.errors import StagingRejected
from merging.model import StagingProblem
from merging.sql.parsing import shown
from merging.sql.types import is_text
from merging.staging.sources.arrow_messages import check_messages
from merging.staging.sources.base import (
    BATCH_BYTES,
    BATCH_ROWS,
    OPERATION_COLUMN,
    RefusedCells,
    Source,
    Targets,
    beyond,
    check_header,
    content_limits,
    numbered,
    refuse,
    row_lines,
)
from merging.staging.sources.content import Unpacked
from merging.staging.sources.parquet_pages import check_pages, row_groups_of
from merging.staging.sources.plain_arrow import (
    TooManyItems,
    Unsupported,
    batch_row_bytes,
    make_plain,
    plain_type,
    unknown_extensions,
)

_INDEX_LEVEL = re.compile(r"__index_level_[0-9]+__")
_ENDS_OF_STREAM = (b"\xff\xff\xff\xff\x00\x00\x00\x00", b"\x00\x00\x00\x00")
"""The end mark of today and the one before Arrow 0.15."""

_FIRST_SHARED_DAY = date(1582, 10, 15)
_FIRST_SHARED_MOMENT = datetime(1900, 1, 1)  # noqa: DTZ001 - columns without a zone are compared too
_ARROW_MAGIC = b"ARROW1"
_READ_BUFFER = 1 << 20
_FEW_ROWS = 64


@contextmanager
def named_failures(what: str) -> Iterator[None]:
    """Whatever a library says of content that it cannot read, as a refusal. ``what`` begins the sentence."""
    try:
        yield
    except (
        pa.ArrowException,
        duckdb.Error,
        OSError,
        ValueError,
        TypeError,
        OverflowError,
        KeyError,
        IndexError,
    ) as error:
        told = " ".join(str(error).split())[:300].rstrip(".")
        if "encrypt" in told.lower() or "decrypt" in told.lower():
            raise _encrypted() from error
        raise refuse("unreadable", f"{what} cannot be read: {told}. Write the file again.") from error
    except MemoryError as error:
        raise refuse(
            "too_large", f"{what} declares more than this machine's memory holds; write smaller batches."
        ) from error


def _encrypted() -> StagingRejected:
    return refuse("encrypted", "the file is encrypted (Parquet modular encryption); upload it decrypted.")


# Parquet


def open_parquet(path: Path, targets: Targets) -> Source:
    """A Parquet file: every row group read to its declared end."""
    if _ends_with(path, b"PARE"):
        raise _encrypted()
    with named_failures("the Parquet file"):
        file = _parquet(path)
        schema = file.schema_arrow
        check_header(schema.names)
        groups = row_groups_of(path)
        _check_declared_rows(file, groups)
        unpacked = Unpacked("the Parquet file", path.stat().st_size)
        with path.open("rb") as pages:
            check_pages(pages, groups, unpacked)
    batches = _parquet_batches(path, file, groups)
    calendar = calendar_of(file.metadata)
    if calendar.legacy_days or calendar.legacy_int96:
        batches = _of_one_calendar(batches)
    return _source(schema, batches, targets)


def _of_one_calendar(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of a file in the calendar of Spark 2 whose days are the same in today's."""
    start = 0
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if _holds_early_days(column):
                rows = (row for row in range(len(column)) if _holds_early_days(column.slice(row, 1)))
                raise refuse(
                    "other_calendar",
                    "the file was written in the calendar of Spark 2, in which this day, before 1582-10-15 (or moment, "
                    "before 1900), has another number than today; write it with "
                    "spark.sql.parquet.datetimeRebaseModeInWrite=CORRECTED and "
                    "spark.sql.parquet.int96RebaseModeInWrite=CORRECTED.",
                    line=start + next(rows) + 1,
                    column=name,
                )
        start += batch.num_rows
        yield batch


def _holds_early_days(array: pa.Array) -> bool:
    """Whether an array holds, at any depth, days that the two calendars number differently, or moments whose zones do.

    Spark rebases days before 1582-10-15 and moments before 1900 (RebaseDateTime).
    """
    if pa.types.is_struct(array.type):
        return any(_holds_early_days(part) for part in array.flatten())
    if pa.types.is_map(array.type):
        return _holds_early_days(array.keys) or _holds_early_days(array.items)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _holds_early_days(array.flatten())
    if not (pa.types.is_date(array.type) or pa.types.is_timestamp(array.type)):
        return False
    first = _FIRST_SHARED_DAY if pa.types.is_date(array.type) else _FIRST_SHARED_MOMENT
    return bool(pc.any(pc.less(array, pa.scalar(first).cast(array.type))).as_py())


def _ends_with(path: Path, magic: bytes) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - len(magic)))
        return file.read() == magic


def _parquet(path: Path, dictionaries: Sequence[str] = ()) -> arrow_parquet.ParquetFile:
    # Read in pieces and not mapped: a mapped file that somebody cuts while it is read ends the process.
    return arrow_parquet.ParquetFile(
        path,
        buffer_size=_READ_BUFFER,
        read_dictionary=list(dictionaries),
        coerce_int96_timestamp_unit="us",
        page_checksum_verification=True,
    )


def _check_declared_rows(file: arrow_parquet.ParquetFile, groups: Sequence[RowGroup]) -> None:
    """The footer's counts must agree with each other; what is read is compared with them later."""
    described = file.metadata
    if described.num_rows > content_limits().rows:
        raise beyond("rows", f"the file declares {described.num_rows:,} rows", code="too_many_rows")
    total = 0
    for number, group in enumerate(groups, start=1):
        total += group.rows
        if len(group.chunks) != described.num_columns or group.rows < 0:
            told = f"row group {number} has not the columns of the file: it is damaged. Write it again."
            raise refuse("incomplete", told)
        for place, chunk in enumerate(group.chunks):
            column = described.schema.column(place)
            repeated = column.max_repetition_level > 0
            if chunk.values == group.rows or (repeated and chunk.values > group.rows):
                continue
            raise refuse(
                "incomplete",
                f"row group {number} declares {group.rows:,} rows, but its column {shown(column.path)} "
                f"{chunk.values:,} values: the file is damaged. Write it again.",
                column=column.path.split(".")[0],
            )
    if total != described.num_rows:
        raise refuse(
            "incomplete",
            f"the file declares {described.num_rows:,} rows, its row groups {total:,}: the file is damaged. "
            "Write it again.",
        )


def _parquet_batches(
    path: Path, file: arrow_parquet.ParquetFile, groups: Sequence[RowGroup]
) -> Iterator[pa.RecordBatch]:
    schema = file.schema_arrow
    texts = [field.name for field in schema if is_text(field.type) or pa.types.is_binary(field.type)]
    folded = _parquet(path, texts) if texts else None
    for number, group in enumerate(groups):
        what = f"row group {number + 1}"
        rows = 0
        with named_failures(what):
            mean = max(1, group.unpacked // max(1, group.rows))
            at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // mean))
            reader = file
            # A look at the dictionaries costs as much memory as they take: not where rows are wide and few at once.
            if folded is not None and at_once > _FEW_ROWS:
                widest = _widest_repeats(folded, group, number, texts)
                reader = folded if widest * at_once > 4 * BATCH_BYTES else file
            for batch in reader.iter_batches(batch_size=at_once, row_groups=[number]):
                rows += batch.num_rows
                yield batch
        if rows != group.rows:
            raise refuse(
                "incomplete",
                f"{what} declares {group.rows:,} rows and holds {rows:,}: the file is damaged. Write it again.",
            )
        # What the allocator keeps counts as the process' memory too.
        pa.default_memory_pool().release_unused()


def _widest_repeats(
    folded: arrow_parquet.ParquetFile, group: RowGroup, number: int, names: Sequence[str]
) -> int:
    """The bytes of the longest values in a row group's dictionaries: what each of its rows may repeat."""
    widest = 0
    wanted = [chunk.path for chunk in group.chunks if chunk.dictionary is not None and chunk.path in names]
    if not wanted:
        return 0
    first = next(folded.iter_batches(batch_size=1, row_groups=[number], columns=wanted), None)
    for column in first.columns if first is not None else ():
        if pa.types.is_dictionary(column.type):
            widest += pc.max(pc.binary_length(column.dictionary)).as_py() or 0
    del first
    pa.default_memory_pool().release_unused()
    return widest


# Arrow


def open_arrow(path: Path, targets: Targets) -> Source:
    """An Arrow IPC file or stream, whole."""
    # Mapped, so that a batch of any size is read where it stands.
    with named_failures("the Arrow file"):
        mapped = pa.memory_map(str(path))
        is_file = mapped.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        mapped.seek(0)
        check_messages(mapped, Unpacked("the Arrow file", path.stat().st_size), is_file=is_file)
        if is_file:
            file = arrow_ipc.open_file(mapped)
            _check_declared_batches(path, mapped, file.num_record_batches)
            schema, batches = file.schema, _file_batches(file)
        else:
            stream = arrow_ipc.open_stream(mapped)
            schema, batches = stream.schema, _stream_batches(mapped, stream)
        check_header(schema.names)
    return _source(schema, _while_whole(path, batches), targets)


def _while_whole(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Stop where a mapped file was cut since it was opened: reading on would end the process."""
    size = path.stat().st_size
    while True:
        if path.stat().st_size != size:
            raise refuse("unreadable", "the file was changed while it was read; upload it again.")
        batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _check_declared_batches(path: Path, mapped: pa.MemoryMappedFile, declared: int) -> None:
    """The footer must list every record batch that stands before it."""
    size = path.stat().st_size
    mapped.seek(size - len(_ARROW_MAGIC) - 4)
    footer = size - len(_ARROW_MAGIC) - 4 - int.from_bytes(mapped.read(4), "little")
    mapped.seek(8)
    found = 0
    try:
        arrow_ipc.read_message(mapped)
    except (pa.ArrowException, OSError, EOFError):
        return  # Polars writes no stream before the footer, which then is all there is to go by.
    while mapped.tell() < footer:
        try:
            message = arrow_ipc.read_message(mapped)
        except EOFError:
            break
        found += message.type == "record batch"
    if found != declared:
        raise refuse(
            "incomplete",
            f"the footer lists {declared:,} record batches, the file holds {found:,}: it is damaged. Write it again.",
        )


def _file_batches(file: Any) -> Iterator[pa.RecordBatch]:
    for number in range(file.num_record_batches):
        with named_failures(f"record batch {number + 1}"):
            yield file.get_batch(number)


def _stream_batches(mapped: pa.MemoryMappedFile, stream: Any) -> Iterator[pa.RecordBatch]:
    number = 0
    while True:
        number += 1
        before = mapped.tell()
        with named_failures(f"record batch {number}"):
            try:
                batch = stream.read_next_batch()
            except StopIteration:
                break
        yield batch
    end = mapped.tell()
    mapped.seek(before)
    if mapped.read(end - before) not in _ENDS_OF_STREAM:
        raise refuse(
            "incomplete", "the Arrow stream ends without its end mark: it was cut. Write or send it again."
        )
    if mapped.size() > end:
        raise refuse(
            "incomplete",
            "more stands behind the end of the Arrow stream, as where streams were joined; upload each by itself.",
        )


# what all of them share


def open_table(table: pa.Table, targets: Targets) -> Source:
    """An Arrow table in memory."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            _validate(name, chunk, 0)
    return _source(table.schema, iter(table.to_batches()), targets, validated=True)


def open_stream(stream: pa.RecordBatchReader, targets: Targets) -> Source:
    """Any stream of record batches."""

    def batches() -> Iterator[pa.RecordBatch]:
        while True:
            with named_failures("the stream of record batches"):
                try:
                    batch = stream.read_next_batch()
                except StopIteration:
                    return
            yield batch

    return _source(stream.schema, batches(), targets)


def _source(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], targets: Targets, *, validated: bool = False
) -> Source:
    warnings: list[str] = []
    with named_failures("what the content says of its columns"):
        check_header(schema.names)
        index = _PandasIndex.of(schema)
        places = _places(schema, index, targets, warnings)
        fields = [schema.field(place) for place in places]
        counted = {name: rows for name, rows in index.ranges.items() if name in targets}
        check_header([*(field.name for field in fields), *counted])
        kinds = _plain_types(fields, targets)
        plain = pa.schema([pa.field(field.name, kind) for field, kind in zip(fields, kinds, strict=True)])
        warnings += _of_extensions(fields)

    def made_plain() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if start + batch.num_rows > content_limits().rows:
                told = f"there are {start + batch.num_rows:,} rows or more"
                raise beyond("rows", told, code="too_many_rows")
            if _plain_types([batch.schema.field(place) for place in places], targets) != kinds:
                raise refuse("unreadable", "a record batch has other columns than the stream declares.")
            columns = [batch.column(place) for place in places]
            if not validated:
                for field, column in zip(fields, columns, strict=True):
                    _validate(field.name, column, start)
            with named_failures(f"the content from row {start + 1:,} on"):
                cuts = list(_slices(columns, batch.num_rows, start))
            for first, rows in cuts:
                with named_failures(f"the content from row {start + first + 1:,} on"):
                    cut = [column.slice(first, rows) for column in columns]
                    made = _plain_batch(start + first, rows, cut, plain, counted)
                yield made
            start += batch.num_rows
        for name, declared in counted.items():
            if len(declared) != start:
                raise refuse(
                    "incomplete",
                    f"pandas' metadata declares an index of {len(declared):,} rows, the content has {start:,}; "
                    "write it again after reset_index().",
                    column=name,
                )

    whole = pa.schema([*plain, *(pa.field(name, pa.int64()) for name in counted)])
    units = {
        place: str(field.type.unit) for place, field in enumerate(fields) if pa.types.is_timestamp(field.type)
    }
    return Source(
        tuple(whole.names), whole, False, None, made_plain(), row_lines, warnings=warnings, units=units
    )


@dataclass(frozen=True)
class _PandasIndex:
    """What pandas' metadata says of a DataFrame's index: its levels by name, as columns or as a range alone."""

    columns: frozenset[str]
    ranges: Mapping[str, range]

    @classmethod
    def of(cls, schema: pa.Schema) -> _PandasIndex:
        """The index of a schema; metadata that cannot be understood says nothing."""
        names = set(schema.names)
        columns = {name for name in names if _INDEX_LEVEL.fullmatch(name)}
        ranges: dict[str, range] = {}
        try:
            levels = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
            for level in levels:
                if isinstance(level, str):
                    columns.add(level)
                elif isinstance(level["name"], str) and level["name"] not in names:
                    declared = range(level["start"], level["stop"], level["step"])
                    if len(declared) and not all(
                        -(2**63) <= end < 2**63 for end in (declared[0], declared[-1])
                    ):
                        continue
                    ranges[level["name"]] = declared
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            pass
        return cls(frozenset(columns), ranges)


def _places(schema: pa.Schema, index: _PandasIndex, targets: Targets, warnings: list[str]) -> list[int]:
    """The columns that are read: the index of a pandas DataFrame is one only where the table has it as a column."""
    known = {name.strip().casefold() for name in targets} | {OPERATION_COLUMN}
    left_out = [
        name for name in schema.names if name in index.columns and name.strip().casefold() not in known
    ]
    unread = [*left_out, *(name for name in index.ranges if name not in targets)]
    if unread:
        named = ", ".join(shown(name) for name in unread)
        warnings.append(
            f"{named}: the index of the pandas DataFrame, which is no column of the table, was left out. "
            "To propose it as a new column, write the file after reset_index()."
        )
    return [place for place, name in enumerate(schema.names) if name not in left_out]


def _plain_types(fields: Sequence[pa.Field], targets: Targets) -> list[pa.DataType]:
    """The plain types of all columns, or one refusal that names every column without one."""
    found: list[pa.DataType] = []
    problems: list[StagingProblem] = []
    for field in fields:
        try:
            kind = plain_type(field, targets.get(field.name))
        except Unsupported as error:
            message = f"the content has the column as {field.type}: {error}"
            problems.append(StagingProblem("unsupported_type", message[:1_000], None, field.name))
            continue
        if field.name == OPERATION_COLUMN and not (is_text(kind) or pa.types.is_null(kind)):
            problems.append(
                StagingProblem(
                    "unsupported_type",
                    f"the content has the column as {field.type}; operations are texts.",
                    None,
                    field.name,
                )
            )
        found.append(kind)
    if problems:
        raise StagingRejected(problems)
    return found


def _of_extensions(fields: Sequence[pa.Field]) -> list[str]:
    return [
        f"{shown(field.name)} is of the extension type {', '.join(sorted(set(names)))}, which is not known here: "
        "the values were taken as they are stored."
        for field in fields
        if (names := unknown_extensions(field))
    ]


def _validate(name: str, column: pa.Array, start: int) -> None:
    """Refuse an array whose buffers do not hold what its type promises."""
    try:
        column.validate(full=True)
    except (pa.ArrowException, OSError, MemoryError) as error:
        row = _not_utf8(column)
        if row is not None:
            raise refuse(
                "not_utf8",
                "the text is not UTF-8; write the file again with texts in UTF-8, or the column as bytes.",
                line=start + row + 1,
                column=name,
            ) from error
        told = " ".join(str(error).split())[:300].rstrip(".")
        raise refuse(
            "unreadable",
            f"the data of rows {start + 1:,} to {start + len(column):,} is damaged: {told}. Write the file again.",
            column=name,
        ) from error


def _not_utf8(column: pa.Array) -> int | None:
    """The first row whose text is not UTF-8, where that is all that is wrong with a column of texts."""
    as_bytes = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }.get(column.type)
    if as_bytes is None:
        return None
    raw = column.view(as_bytes)
    try:
        raw.validate(full=True)
    except pa.ArrowException:
        return None
    for row, value in enumerate(raw):
        try:
            (value.as_py() or b"").decode("utf-8")
        except UnicodeDecodeError:
            return row
    return None


def _slices(columns: Sequence[pa.Array], rows: int, start: int) -> Iterator[tuple[int, int]]:
    """Where to cut a batch, so that no part has more rows or takes more bytes than a batch may."""
    for first in range(0, rows, BATCH_ROWS):
        number = min(BATCH_ROWS, rows - first)
        for within, count in _slices_of_few(
            [column.slice(first, number) for column in columns], number, start + first
        ):
            yield first + within, count


def _slices_of_few(columns: Sequence[pa.Array], rows: int, start: int) -> Iterator[tuple[int, int]]:
    try:
        widths = batch_row_bytes(list(columns))
    except TooManyItems as error:
        if rows == 1:
            raise beyond("row_bytes", str(error), code="row_too_large", line=start + 1) from error
        # Layouts that share values can hold more than their buffers do: fewer rows hold less.
        half = rows // 2
        for first, number in ((0, half), (half, rows - half)):
            cut = [column.slice(first, number) for column in columns]
            for within, count in _slices_of_few(cut, number, start + first):
                yield first + within, count
        return
    if isinstance(widths, int):
        _check_width(widths, start)
        at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, widths)))
        for first in range(0, rows, at_once):
            yield first, min(at_once, rows - first)
        return
    widest = pc.max(widths).as_py()
    _check_width(widest, start + pc.index(widths, widest).as_py())
    ends = pc.cumulative_sum(widths)
    first = 0
    while first < rows:
        before = ends[first - 1].as_py() if first else 0
        fitting = pc.search_sorted(ends, pa.scalar(before + BATCH_BYTES, pa.int64()), side="right").as_py()
        last = min(max(fitting, first + 1), first + BATCH_ROWS, rows)
        yield first, last - first
        first = last


def _check_width(widest: int, row: int) -> None:
    if widest > content_limits().row_bytes:
        told = f"the row takes {widest:,} bytes"
        raise beyond("row_bytes", told, code="row_too_large", line=row + 1)


def _check_cells(name: str, column: pa.Array, start: int) -> None:
    """Refuse a text, or bytes, that are longer than any cell may be."""
    if (
        not (is_text(column.type) or pa.types.is_binary(column.type))
        or column.nbytes <= content_limits().cell_bytes
    ):
        return
    lengths = pc.binary_length(column)
    longest = pc.max(lengths).as_py() or 0
    if longest > content_limits().cell_bytes:
        told = f"the cell takes {longest:,} bytes"
        row = start + pc.index(lengths, longest).as_py() + 1
        raise beyond("cell_bytes", told, code="too_long", line=row, column=name)


def _plain_batch(
    start: int, rows: int, columns: Sequence[pa.Array], plain: pa.Schema, counted: Mapping[str, range]
) -> pa.RecordBatch:
    made = [make_plain(column, field.type) for column, field in zip(columns, plain, strict=True)]
    refused = RefusedCells()
    for place, (_, refusals) in enumerate(made):
        for row, one in refusals.items():
            refused.add(row, place, one.code, one.message, one.value)
    arrays = [array for array, _ in made]
    for field, array in zip(plain, arrays, strict=True):
        _check_cells(field.name, array, start)
    arrays += [
        pa.array([declared.start + declared.step * row for row in range(start, start + rows)], pa.int64())
        for declared in counted.values()
    ]
    return numbered(start, rows, arrays, None, refused.column(rows))
