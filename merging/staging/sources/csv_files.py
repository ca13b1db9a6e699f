"""CSV files: delimiter and header found, cells as text with the lines they came from."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from merging.errors import StagingRejected
from merging.parsing import Refused, cell_value
from merging.staging.sources.base import (
    BLOCK_BYTES,
    OPERATION_COLUMN,
    Problems,
    Source,
    Targets,
    check_header,
    encoding_problem,
    is_nested_target,
    load_json,
    numbered,
    open_text,
    refuse,
)

csv.field_size_limit(1 << 30)


def open_csv(path: Path, targets: Targets, problems: Problems, null_token: str) -> Source:
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
                yield numbered(start, batch.num_rows, columns, None)
                start += batch.num_rows
        except pa.ArrowInvalid as error:
            raise _csv_failure(path, error) from error
        if ragged:
            _list_ragged(path, delimiter, header_lines, len(header), problems)

    def lines(ordinals: set[int]) -> dict[int, int]:
        return _csv_lines(path, delimiter, header_lines, len(header), ordinals)

    return Source(tuple(header), schema, True, null_token, batches(), lines, header_line=1)


def _csv_header(path: Path, targets: Targets) -> tuple[list[str], int, str]:
    """The header's names, how many lines it takes, and the delimiter."""
    try:
        with open_text(path) as file:
            start = "".join(itertools.islice(file, 50))
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    if not start.strip():
        raise refuse("empty_file", "the file is empty: it has no header line.", line=1)
    best: tuple[int, int, str, list[str], int] | None = None
    for preference, delimiter in enumerate([",", ";", "\t", "|"]):
        reader = csv.reader(start.splitlines(keepends=True), delimiter=delimiter)
        header = next((row for row in reader if row), [])
        known = sum(1 for name in header if name in targets or name == OPERATION_COLUMN)
        rank = (known, -preference, delimiter, header, reader.line_num)
        if best is None or rank[:2] > best[:2]:
            best = rank
    if best is None:
        raise refuse("empty_file", "the file has no header line.", line=1)
    return best[3], best[4], best[2]


def _csv_records(path: Path, delimiter: str, header_lines: int) -> Iterator[tuple[int, list[str]]]:
    """The rows after the header with the line on which each begins, as the fast reader sees them."""
    with open_text(path) as file:
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
    return refuse("unreadable", f"the CSV could not be parsed: {error}")


def _not_utf8(path: Path) -> StagingRejected:
    stream = pa.input_stream(str(path), compression="detect")
    line = 1
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        *complete, rest = (rest + block).split(b"\n")
        for text in complete:
            if not _decodes(text):
                return encoding_problem(line)
            line += 1
    return encoding_problem(line)


def _decodes(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _nested_column(
    column: pa.Array, target: pa.DataType, name: str, start: int, problems: Problems
) -> pa.Array:
    values = []
    for position, text in enumerate(column.to_pylist()):
        value = None
        if text is not None:
            try:
                value = cell_value(load_json(text), target)
            except (Refused, ValueError) as error:
                message = str(error) if isinstance(error, Refused) else "the cell is not valid JSON."
                problems.add("wrong_nested_value", message, ordinal=start + position, column=name, value=text)
        values.append(value)
    return pa.array(values, target)
