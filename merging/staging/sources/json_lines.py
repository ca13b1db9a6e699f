"""JSON lines: one object a line, names found in a first pass, cells as text of the kind their column wants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.sql.parsing import NumberText, Refused, cell_value, shown
from merging.sql.types import is_nested, is_text, type_name
from merging.sql.values import arrow_values
from merging.staging.sources.base import (
    ABSENT_TYPE,
    BATCH_BYTES,
    BATCH_CELLS,
    BATCH_ROWS,
    OPERATION_COLUMN,
    CellKind,
    Problems,
    RefusedCells,
    RepeatedName,
    Source,
    Targets,
    UnfitJson,
    beyond,
    check_header,
    content_limits,
    is_nested_target,
    load_json,
    most,
    numbered,
    refuse,
)
from merging.staging.sources.content import Content

_BLANKS = " \t\r\n"
_BYTES_A_VALUE = 60
_BATCH_MEMORY = 4 * BATCH_BYTES
"""Of the text and of Python's objects made from it."""
_ONE_A_LINE = "Write one object a line (JSON lines; in pandas to_json(orient='records', lines=True))."
_NOT_AN_OBJECT = f'each line must be one JSON object, such as {{"id": 1, "name": "x"}}. {_ONE_A_LINE}'


def open_json_lines(path: Path, targets: Targets, problems: Problems) -> Source:
    """JSON objects, one a line. Two passes: the first finds the names that occur anywhere.

    Raises StagingRejected where there is no object at all.
    """
    columns: dict[str, None] = {}
    size = 0
    for line, row, _ in _rows(path, None):
        size += sum(len(name) for name in row if name not in columns)
        columns.update(dict.fromkeys(row))
        if len(columns) > content_limits().columns:
            told = f"there are more than {most('columns')} names"
            raise beyond("columns", told, code="too_many_columns", line=line)
        if size > content_limits().header_bytes:
            raise beyond(
                "header_bytes", f"the names of the columns take {size:,} characters together", line=line
            )
    names = list(columns)
    if not names:
        for _ in _rows(path, problems):
            break
        if problems.total:
            raise problems.rejection({})
        raise refuse("empty_file", "the file has no JSON objects, one on each line.", line=1)
    check_header(names)
    kinds = [targets[name] if is_nested_target(targets, name) else pa.string() for name in names]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    seen: dict[int, set[CellKind]] = {place: set() for place in range(len(names))}

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for chunk in _chunks(_rows(path, problems), len(names)):
            for place, name in enumerate(names):
                seen[place].update(_json_kind(row[name]) for _, row in chunk if row.get(name) is not None)
            yield _json_batch(chunk, start, names, kinds, targets, problems)
            start += len(chunk)

    def lines(ordinals: set[int]) -> dict[int, int]:
        numbered_rows = enumerate(_rows(path, None))
        return {ordinal: line for ordinal, (line, _, _) in numbered_rows if ordinal in ordinals}

    return Source(tuple(names), schema, True, None, batches(), lines, kinds=seen)


def _json_kind(value: Any) -> CellKind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, NumberText):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _rows(path: Path, problems: Problems | None) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The objects with their lines and about what they take in memory. Others are noted as problems where wanted."""
    with Content(path, "JSON lines") as content:
        for line, text in content.lines():
            if text.strip(_BLANKS):
                row = _json_row(text, line, problems)
                if row is not None:
                    yield line, row, len(text) + _BYTES_A_VALUE * (text.count(",") + 1)


def _chunks(
    rows: Iterator[tuple[int, dict[str, Any], int]], width: int
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Rows for one batch each: so many, so wide and so long together, that a batch fits in memory."""
    chunk: list[tuple[int, dict[str, Any]]] = []
    size = 0
    at_once = max(1, min(BATCH_ROWS, BATCH_CELLS // width))
    for line, row, length in rows:
        chunk.append((line, row))
        size += length
        if len(chunk) >= at_once or size > _BATCH_MEMORY:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _json_row(text: str, line: int, problems: Problems | None) -> dict[str, Any] | None:
    code, message, column = "", "", None
    try:
        row = load_json(text)
    except RepeatedName as error:
        code, message, column = "repeated_name", "the object gives the column twice.", str(error)
    except UnfitJson as error:
        code, message = "unfit_json", str(error)
    except ValueError:
        code, message = "not_json", _not_json(text, line)
    else:
        if isinstance(row, dict):
            return row
        code, message = "not_an_object", _NOT_AN_OBJECT
    if problems is not None:
        shown_text = text.strip(_BLANKS) if code in ("not_json", "unfit_json") else None
        problems.add(code, message, line=line, column=column, value=shown_text)
    return None


def _not_json(text: str, line: int) -> str:
    if line == 1 and text.strip(_BLANKS) in ("[", "{"):
        return f"the file is one JSON value over several lines. {_ONE_A_LINE}"
    return "the line is not valid JSON."


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
    refused = RefusedCells()
    for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        target = targets.get(name)
        values = []
        for index, (line, row) in enumerate(rows):
            value = row.get(name)
            try:
                values.append(_json_cell(value, target, name == OPERATION_COLUMN))
            except Refused as error:
                told = json.dumps(value, ensure_ascii=False)
                if name == OPERATION_COLUMN:
                    problems.add("wrong_type", str(error), line=line, column=name, value=told)
                else:
                    refused.add(index, place, "wrong_type", str(error), told)
                values.append(None)
        columns.append(arrow_values(values, kind))
    return numbered(start, len(rows), columns, pa.array(absent, ABSENT_TYPE), refused.column(len(rows)))


def _json_cell(value: Any, target: pa.DataType | None, is_operation: bool) -> Any:
    """A JSON value as text of the kind the column wants; nested ones typed. Numbers for texts are refused."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) > content_limits().cell_bytes:
        raise Refused(
            f"the cell is longer than {most('cell_bytes')} (limit cell_bytes: {most('cell_bytes')})."
        )
    if target is not None and is_nested(target):
        return cell_value(value, target)
    if isinstance(value, dict | list):
        wanted = f"expected {type_name(target)}" if target is not None else "new columns hold single values"
        raise Refused(f"found {'an object' if isinstance(value, dict) else 'a list'}; {wanted}.")
    if is_operation or (target is not None and is_text(target)):
        if type(value) is not str:
            raise Refused(
                f"found {_bare(value)} without quotes; the column holds text: put the value in quotes."
            )
        return value
    if isinstance(value, bool):
        if target is not None and not pa.types.is_boolean(target):
            raise Refused(f"found {str(value).lower()}; expected {type_name(target)}.")
        return str(value).lower()
    return str(value)


def _bare(value: str | bool) -> str:
    """A JSON number or truth value as it stood in the file."""
    return str(value).lower() if isinstance(value, bool) else shown(str(value))[1:-1]
