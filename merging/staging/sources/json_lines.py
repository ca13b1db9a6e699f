"""JSON lines: one object a line, names found in a first pass, cells as text of the kind their column wants."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.columns import is_nested, is_text, type_name
from merging.parsing import NumberText, Refused, cell_value
from merging.staging.sources.base import (
    ABSENT_TYPE,
    BATCH_ROWS,
    OPERATION_COLUMN,
    CellKind,
    Problems,
    RepeatedName,
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


def open_json_lines(path: Path, targets: Targets, problems: Problems) -> Source:
    """JSON objects, one a line. Two passes: the first finds the names that occur anywhere."""
    columns: dict[str, None] = {}
    line = 0
    try:
        with open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                row = _json_row(text, line, None)
                if row is not None:
                    columns.update(dict.fromkeys(row))
    except UnicodeDecodeError as error:
        raise encoding_problem(line + 1) from error
    names = list(columns)
    if not names:
        with open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    _json_row(text, line, problems)
        if problems.total:
            raise problems.rejection({})
        raise refuse("empty_file", "the file has no JSON objects, one on each line.", line=1)
    check_header(names)
    kinds = [targets[name] if is_nested_target(targets, name) else pa.string() for name in names]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    seen: dict[int, set[CellKind]] = {place: set() for place in range(len(names))}

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        with open_text(path) as file:
            rows = (
                (line, row)
                for line, text in enumerate(file, start=1)
                if text.strip() and (row := _json_row(text, line, problems)) is not None
            )
            while chunk := list(itertools.islice(rows, BATCH_ROWS)):
                for place, name in enumerate(names):
                    seen[place].update(_json_kind(row[name]) for _, row in chunk if row.get(name) is not None)
                yield _json_batch(chunk, start, names, kinds, targets, problems)
                start += len(chunk)

    def lines(ordinals: set[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        ordinal = 0
        with open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if text.strip() and _json_row(text, line, None) is not None:
                    if ordinal in ordinals:
                        found[ordinal] = line
                    ordinal += 1
        return found

    return Source(tuple(names), schema, True, None, batches(), lines, kinds=seen)


def _json_kind(value: Any) -> CellKind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, NumberText):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _json_row(text: str, line: int, problems: Problems | None) -> dict[str, Any] | None:
    try:
        row = load_json(text)
    except RepeatedName as error:
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
    return numbered(start, len(rows), columns, pa.array(absent, ABSENT_TYPE))


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
