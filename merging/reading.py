"""Proposed changes of any kind as one stream of record batches, with the lines they came from.

Every batch has ``ordinal`` (0, 1, ... in file order), ``absent`` (positions of the columns that a JSON row left out,
or NULL) and ``f0`` … ``fn`` in the order of ``columns``. Text kinds (CSV, JSON lines, XLSX) deliver cells as text,
with nested ones already typed; typed kinds (Arrow, Parquet, DuckDB) deliver their own types.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

from merging.columns import is_nested, is_text, type_name
from merging.errors import StagingRejected
from merging.model import StagingProblem
from merging.parsing import NumberText, Refused, cell_value, shown

BATCH_ROWS = 50_000
BLOCK_BYTES = 4 << 20
OPERATION_COLUMN = "_op"
_ABSENT_TYPE = pa.list_(pa.int16())
_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "xlsx",
}
csv.field_size_limit(1 << 30)


@dataclass
class Problems:
    """Problems found while reading and checking: the first ``cap`` with their places, all of them counted."""

    cap: int = 1_000
    total: int = 0
    found: list[tuple[int | None, StagingProblem]] = field(default_factory=list)

    def add(
        self,
        code: str,
        message: str,
        *,
        ordinal: int | None = None,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
    ) -> None:
        """Note one problem at a row (``ordinal``, turned into its line later) or at a known line."""
        self.total += 1
        if len(self.found) < self.cap:
            safe = None if value is None else value[:200]
            self.found.append((ordinal, StagingProblem(code, message, line, column, safe)))

    def count_only(self, number: int) -> None:
        """Count problems that are not listed, because there are more than the cap."""
        self.total += number

    @property
    def room(self) -> int:
        """How many more problems are listed."""
        return max(self.cap - len(self.found), 0)

    def ordinals(self) -> set[int]:
        """The rows whose lines are wanted."""
        return {ordinal for ordinal, _ in self.found if ordinal is not None}

    def rejection(self, lines: Mapping[int, int], columns: Sequence[str] = ()) -> StagingRejected:
        """The refusal, problems in the order of their lines and then of the columns."""
        places = {name: place for place, name in enumerate(columns)}
        placed = [
            problem
            if ordinal is None
            else StagingProblem(
                problem.code, problem.message, lines.get(ordinal), problem.column, problem.value
            )
            for ordinal, problem in self.found
        ]
        placed.sort(key=lambda one: (one.line is not None, one.line or 0, places.get(one.column or "", -1)))
        return StagingRejected(placed, total=self.total)


@dataclass
class Source:
    """An opened source: its columns, its stream, and how to find lines."""

    columns: tuple[str, ...]
    schema: pa.Schema
    text: bool
    null_token: str | None
    batches: Iterator[pa.RecordBatch]
    lines: Callable[[set[int]], dict[int, int]]
    first_line: int = 1

    def reader(self) -> pa.RecordBatchReader:
        """The stream as DuckDB takes it."""
        fields = [pa.field("ordinal", pa.int64()), pa.field("absent", _ABSENT_TYPE)]
        fields += [pa.field(f"f{index}", data.type) for index, data in enumerate(self.schema)]
        return pa.RecordBatchReader.from_batches(pa.schema(fields), self.batches)


Targets = Mapping[str, pa.DataType]


def open_source(
    changes: Any,
    targets: Targets,
    problems: Problems,
    *,
    null_token: str = "",
    file_format: str | None = None,
) -> Source:
    """Open ``changes`` for reading. ``targets`` are the types of the table's columns, by name.

    Raises StagingRejected at once where nothing at all can be read (no header, unknown format, broken file).
    """
    if isinstance(changes, str | os.PathLike):
        return _open_file(Path(os.fspath(changes)), targets, problems, null_token, file_format)
    if hasattr(changes, "to_arrow_reader"):
        return _typed(changes.to_arrow_reader(BATCH_ROWS), _row_lines)
    if isinstance(changes, pa.RecordBatch):
        return _typed(pa.Table.from_batches([changes]).to_reader(BATCH_ROWS), _row_lines)
    if isinstance(changes, pa.Table):
        return _typed(changes.to_reader(BATCH_ROWS), _row_lines)
    if isinstance(changes, pa.RecordBatchReader):
        return _typed(changes, _row_lines)
    if hasattr(changes, "__arrow_c_stream__"):
        return _typed(pa.RecordBatchReader.from_stream(changes), _row_lines)
    raise TypeError(f"changes must be Arrow data, a DuckDB relation or a file, not {type(changes).__name__}")


def _open_file(
    path: Path, targets: Targets, problems: Problems, null_token: str, file_format: str | None
) -> Source:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in {".gz", ".bz2", ".zst"}
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    kind = (file_format or _EXTENSIONS.get(suffix, "")).lower()
    kind = {"jsonlines": "jsonl", "json": "jsonl", "ndjson": "jsonl", "tsv": "csv", "feather": "arrow"}.get(
        kind, kind
    )
    if not path.is_file():
        raise _refuse("no_file", f"there is no file {path.name}.")
    try:
        if kind == "csv":
            return _open_csv(path, targets, problems, null_token)
        if kind == "jsonl":
            return _open_json_lines(path, targets, problems)
        if kind == "xlsx":
            return _open_xlsx(path, targets, problems)
        if kind == "parquet":
            file = arrow_parquet.ParquetFile(path, memory_map=True)
            stream = pa.RecordBatchReader.from_batches(
                file.schema_arrow, file.iter_batches(batch_size=BATCH_ROWS)
            )
            return _typed(stream, _row_lines)
        if kind == "arrow":
            return _typed(_open_arrow(path), _row_lines)
    except pa.ArrowInvalid as error:
        raise _refuse("unreadable", f"the file is not readable as {kind}: {error}.") from error
    known = ", ".join(sorted(set(_EXTENSIONS)))
    raise _refuse("unknown_format", f"the format of {path.name} is not known; known endings are {known}.")


def _open_arrow(path: Path) -> pa.RecordBatchReader:
    source = pa.memory_map(str(path))
    try:
        file = arrow_ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return arrow_ipc.open_stream(source)
    batches = (file.get_batch(index) for index in range(file.num_record_batches))
    return pa.RecordBatchReader.from_batches(file.schema, batches)


def _refuse(
    code: str, message: str, *, line: int | None = None, column: str | None = None
) -> StagingRejected:
    return StagingRejected([StagingProblem(code, message, line, column)])


def _row_lines(ordinals: set[int]) -> dict[int, int]:
    """Sources without lines: the first row is 1."""
    return {ordinal: ordinal + 1 for ordinal in ordinals}


def check_header(columns: Iterable[str], line: int | None = None) -> None:
    """Refuse empty and repeated column names, all of them at once."""
    seen: set[str] = set()
    problems = []
    for position, name in enumerate(columns, start=1):
        if name.strip() == "":
            problems.append(
                StagingProblem("unnamed_column", f"column {position} has no name in the header.", line)
            )
        elif name in seen:
            problems.append(
                StagingProblem("repeated_column", "the column stands twice in the header.", line, name)
            )
        seen.add(name)
    if not seen:
        problems.append(StagingProblem("no_header", "there are no columns.", line))
    if problems:
        raise StagingRejected(problems)


def _typed(stream: pa.RecordBatchReader, lines: Callable[[set[int]], dict[int, int]]) -> Source:
    check_header(stream.schema.names)
    plain = [_plain_type(data.type) for data in stream.schema]
    schema = pa.schema([pa.field(data.name, kind) for data, kind in zip(stream.schema, plain, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in stream:
            if batch.num_rows == 0:
                continue
            columns = [_as_plain(column, kind) for column, kind in zip(batch.columns, plain, strict=True)]
            yield _numbered(start, batch.num_rows, columns, None)
            start += batch.num_rows

    return Source(tuple(schema.names), schema, False, None, batches(), lines)


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


def _numbered(start: int, rows: int, columns: list[pa.Array], absent: pa.Array | None) -> pa.RecordBatch:
    ordinal = pa.array(range(start, start + rows), pa.int64())
    left_out = pa.nulls(rows, _ABSENT_TYPE) if absent is None else absent
    names = ["ordinal", "absent", *(f"f{index}" for index in range(len(columns)))]
    return pa.RecordBatch.from_arrays([ordinal, left_out, *columns], names)


# CSV


def _open_csv(path: Path, targets: Targets, problems: Problems, null_token: str) -> Source:
    header, header_lines, delimiter = _csv_header(path, targets)
    check_header(header, 1)
    raw = [f"f{index}" for index in range(len(header))]
    ragged = 0

    def note_ragged(row: Any) -> str:
        nonlocal ragged
        ragged += 1
        return "skip"

    reader = arrow_csv.open_csv(
        pa.input_stream(str(path), compression="detect"),
        read_options=arrow_csv.ReadOptions(
            column_names=raw, skip_rows=header_lines, block_size=BLOCK_BYTES, use_threads=False
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note_ragged
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(raw, pa.string()),
            null_values=[null_token],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    nested = {index: targets[name] for index, name in enumerate(header) if is_nested_target(targets, name)}
    schema = pa.schema([pa.field(name, nested.get(index, pa.string())) for index, name in enumerate(header)])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        try:
            for batch in reader:
                columns = list(batch.columns)
                for index, target in nested.items():
                    columns[index] = _nested_column(columns[index], target, header[index], start, problems)
                yield _numbered(start, batch.num_rows, columns, None)
                start += batch.num_rows
        except pa.ArrowInvalid as error:
            raise _csv_failure(path, error) from error
        if ragged:
            _list_ragged(path, delimiter, header_lines, len(header), problems)

    def lines(ordinals: set[int]) -> dict[int, int]:
        return _csv_lines(path, delimiter, header_lines, len(header), ordinals)

    return Source(tuple(header), schema, True, null_token, batches(), lines)


def is_nested_target(targets: Targets, name: str) -> bool:
    """Whether the table holds structs, lists or maps in the column."""
    return name in targets and is_nested(targets[name])


def _open_text(path: Path) -> Any:
    stream = pa.input_stream(str(path), compression="detect")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _csv_header(path: Path, targets: Targets) -> tuple[list[str], int, str]:
    """The header's names, how many lines it takes, and the delimiter."""
    try:
        with _open_text(path) as file:
            start = "".join(itertools.islice(file, 50))
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    if not start.strip():
        raise _refuse("empty_file", "the file is empty: it has no header line.", line=1)
    best: tuple[int, int, str, list[str], int] | None = None
    for preference, delimiter in enumerate([",", ";", "\t", "|"]):
        reader = csv.reader(start.splitlines(keepends=True), delimiter=delimiter)
        header = next((row for row in reader if row), [])
        known = sum(1 for name in header if name in targets or name == OPERATION_COLUMN)
        rank = (known, -preference, delimiter, header, reader.line_num)
        if best is None or rank[:2] > best[:2]:
            best = rank
    if best is None:
        raise _refuse("empty_file", "the file has no header line.", line=1)
    return best[3], best[4], best[2]


def _csv_records(path: Path, delimiter: str, header_lines: int) -> Iterator[tuple[int, list[str]]]:
    """The rows after the header with the line on which each begins, as the fast reader sees them."""
    with _open_text(path) as file:
        for _ in range(header_lines):
            next(file, None)
        reader = csv.reader(file, delimiter=delimiter)
        line = header_lines + 1
        for row in reader:
            if row:
                yield line, row
            line = header_lines + reader.line_num + 1


def _csv_lines(
    path: Path, delimiter: str, header_lines: int, width: int, ordinals: set[int]
) -> dict[int, int]:
    found: dict[int, int] = {}
    last = max(ordinals, default=-1)
    ordinal = 0
    for line, row in _csv_records(path, delimiter, header_lines):
        if ordinal > last:
            break
        if len(row) != width:
            continue
        if ordinal in ordinals:
            found[ordinal] = line
        ordinal += 1
    return found


def _list_ragged(path: Path, delimiter: str, header_lines: int, width: int, problems: Problems) -> None:
    for line, row in _csv_records(path, delimiter, header_lines):
        if len(row) != width:
            problems.add(
                "wrong_number_of_fields",
                f"the row has {len(row)} fields, the header {width}; "
                "a value with a delimiter or a line break in it must stand in double quotes.",
                line=line,
            )


def _csv_failure(path: Path, error: pa.ArrowInvalid) -> StagingRejected:
    if "UTF8" in str(error) or "utf8" in str(error).lower():
        return _not_utf8(path)
    return _refuse("unreadable", f"the CSV could not be parsed: {error}")


def _not_utf8(path: Path) -> StagingRejected:
    stream = pa.input_stream(str(path), compression="detect")
    line = 1
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        *complete, rest = (rest + block).split(b"\n")
        for text in complete:
            if not _decodes(text):
                return _encoding_problem(line)
            line += 1
    return _encoding_problem(line)


def _decodes(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _encoding_problem(line: int) -> StagingRejected:
    return _refuse("not_utf8", "the text is not UTF-8; save the file with the encoding UTF-8.", line=line)


def _nested_column(
    column: pa.Array, target: pa.DataType, name: str, start: int, problems: Problems
) -> pa.Array:
    values = []
    for position, text in enumerate(column.to_pylist()):
        value = None
        if text is not None:
            try:
                value = cell_value(_load_json(text), target)
            except (Refused, ValueError) as error:
                message = str(error) if isinstance(error, Refused) else "the cell is not valid JSON."
                problems.add("wrong_nested_value", message, ordinal=start + position, column=name, value=text)
        values.append(value)
    return pa.array(values, target)


# JSON lines


class _RepeatedName(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RepeatedName(twice)
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


def _load_json(text: str) -> Any:
    return json.loads(
        text,
        parse_int=NumberText,
        parse_float=NumberText,
        parse_constant=_no_constant,
        object_pairs_hook=_pairs,
    )


def _open_json_lines(path: Path, targets: Targets, problems: Problems) -> Source:
    """JSON objects, one a line. Two passes: the first finds the names that occur anywhere."""
    columns: dict[str, None] = {}
    line = 0
    try:
        with _open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                row = _json_row(text, line, None)
                if row is not None:
                    columns.update(dict.fromkeys(row))
    except UnicodeDecodeError as error:
        raise _encoding_problem(line + 1) from error
    names = list(columns)
    if not names:
        with _open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    _json_row(text, line, problems)
        if problems.total:
            raise problems.rejection({})
        raise _refuse("empty_file", "the file has no JSON objects, one on each line.", line=1)
    check_header(names)
    kinds = [targets[name] if is_nested_target(targets, name) else pa.string() for name in names]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        with _open_text(path) as file:
            rows = (
                (line, row)
                for line, text in enumerate(file, start=1)
                if text.strip() and (row := _json_row(text, line, problems)) is not None
            )
            while chunk := list(itertools.islice(rows, BATCH_ROWS)):
                yield _json_batch(chunk, start, names, kinds, targets, problems)
                start += len(chunk)

    def lines(ordinals: set[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        ordinal = 0
        with _open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if text.strip() and _json_row(text, line, None) is not None:
                    if ordinal in ordinals:
                        found[ordinal] = line
                    ordinal += 1
        return found

    return Source(tuple(names), schema, True, None, batches(), lines)


def _json_row(text: str, line: int, problems: Problems | None) -> dict[str, Any] | None:
    try:
        row = _load_json(text)
    except _RepeatedName as error:
        if problems is not None:
            problems.add("repeated_name", "the object gives the column twice.", line=line, column=str(error))
        return None
    except ValueError:
        if problems is not None:
            problems.add("not_json", "the line is not valid JSON.", line=line, value=text.strip())
        return None
    if not isinstance(row, dict):
        if problems is not None:
            problems.add(
                "not_an_object",
                'each line must be one JSON object, such as {"id": 1, "name": "x"}.',
                line=line,
            )
        return None
    return row


def _json_batch(
    rows: list[tuple[int, dict[str, Any]]],
    start: int,
    names: list[str],
    kinds: list[pa.DataType],
    targets: Targets,
    problems: Problems,
) -> pa.RecordBatch:
    absent = [
        [position for position, name in enumerate(names) if name not in row] or None
        if len(row) < len(names)
        else None
        for _, row in rows
    ]
    columns = []
    for name, kind in zip(names, kinds, strict=True):
        target = targets.get(name)
        values = []
        for line, row in rows:
            value = row.get(name)
            try:
                values.append(_json_cell(value, target, name == OPERATION_COLUMN))
            except Refused as error:
                problems.add(
                    "wrong_type",
                    str(error),
                    line=line,
                    column=name,
                    value=json.dumps(value, ensure_ascii=False, default=str),
                )
                values.append(None)
        columns.append(pa.array(values, kind))
    return _numbered(start, len(rows), columns, pa.array(absent, _ABSENT_TYPE))


def _json_cell(value: Any, target: pa.DataType | None, is_operation: bool) -> Any:
    """A JSON value as text of the kind the column wants; nested ones typed. Numbers for texts are refused."""
    if value is None:
        return None
    if target is not None and is_nested(target):
        return cell_value(value, target)
    if isinstance(value, dict | list):
        wanted = f"expected {type_name(target)}" if target is not None else "new columns hold single values"
        raise Refused(f"found {'an object' if isinstance(value, dict) else 'a list'}; {wanted}.")
    if is_operation or (target is not None and is_text(target)):
        if type(value) is not str:
            raise Refused(f"found {value} without quotes; the column holds text: put the value in quotes.")
        return value
    if isinstance(value, bool):
        if target is not None and not pa.types.is_boolean(target):
            raise Refused(f"found {str(value).lower()}; expected {type_name(target)}.")
        return str(value).lower()
    return str(value)


# XLSX


def _open_xlsx(path: Path, targets: Targets, problems: Problems) -> Source:
    import zipfile

    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise _refuse("unreadable", f"the file is not a readable workbook: {error}.") from error
    sheet = book.worksheets[0]
    rows = sheet.iter_rows(values_only=True)
    header_row: tuple[Any, ...] = ()
    header_line = 0
    for cells in rows:
        header_line += 1
        if any(cell is not None for cell in cells):
            header_row = cells
            break
    while header_row and header_row[-1] is None:
        header_row = header_row[:-1]
    names = ["" if cell is None else str(cell) for cell in header_row]
    check_header(names, header_line or 1)
    kinds = [targets[name] if is_nested_target(targets, name) else pa.string() for name in names]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    line_of: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        filled = (
            (line, row)
            for line, row in enumerate(rows, start=header_line + 1)
            if any(cell is not None for cell in row)
        )
        while chunk := list(itertools.islice(filled, BATCH_ROWS)):
            line_of.extend(line for line, _ in chunk)
            columns = []
            for position, (name, kind) in enumerate(zip(names, kinds, strict=True)):
                values = [
                    _xlsx_cell(
                        row[position] if position < len(row) else None,
                        targets.get(name),
                        name,
                        line,
                        problems,
                    )
                    for line, row in chunk
                ]
                columns.append(pa.array(values, kind))
            for line, row in chunk:
                if any(cell is not None for cell in row[len(names) :]):
                    problems.add("cell_without_column", "the row has a cell beyond the header.", line=line)
            yield _numbered(start, len(chunk), columns, None)
            start += len(chunk)
        book.close()

    def lines(ordinals: set[int]) -> dict[int, int]:
        return {ordinal: line_of[ordinal] for ordinal in ordinals if ordinal < len(line_of)}

    return Source(tuple(names), schema, True, None, batches(), lines)


def _xlsx_cell(cell: Any, target: pa.DataType | None, name: str, line: int, problems: Problems) -> Any:
    try:
        return _xlsx_text(cell, target)
    except (Refused, ValueError) as error:
        message = str(error) if isinstance(error, Refused) else "the cell is not valid JSON."
        problems.add("wrong_type", message, line=line, column=name, value=str(cell))
        return None


def _xlsx_text(cell: Any, target: pa.DataType | None) -> Any:
    if cell is None:
        return None
    if target is not None and is_nested(target):
        return cell_value(_load_json(str(cell)), target)
    if isinstance(cell, str):
        return cell
    if target is not None and is_text(target):
        raise Refused(
            f"found {shown(str(cell))} as a number or date; the column holds text: format the cells as Text."
        )
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return format(cell, ".0f") if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, datetime):
        if target is not None and pa.types.is_date(target) and cell.time() == datetime.min.time():
            return cell.date().isoformat()
        return cell.isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell)
