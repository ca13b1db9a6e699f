"""XLSX workbooks: the first sheet, cells as text of the kind their column wants."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.columns import is_nested, is_text
from merging.parsing import Refused, cell_value, shown
from merging.staging.sources.base import (
    BATCH_ROWS,
    CellKind,
    Problems,
    Source,
    Targets,
    check_header,
    is_nested_target,
    load_json,
    numbered,
    refuse,
)


def open_workbook(path: Path, targets: Targets, problems: Problems) -> Source:
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise refuse("unreadable", f"the file is not a readable workbook: {error}.") from error
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
    seen: dict[int, set[CellKind]] = {place: set() for place in range(len(names))}

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
                seen[position].update(
                    _xlsx_kind(row[position])
                    for _, row in chunk
                    if position < len(row) and row[position] is not None
                )
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
            yield numbered(start, len(chunk), columns, None)
            start += len(chunk)
        book.close()

    def lines(ordinals: set[int]) -> dict[int, int]:
        return {ordinal: line_of[ordinal] for ordinal in ordinals if ordinal < len(line_of)}

    return Source(tuple(names), schema, True, None, batches(), lines, kinds=seen, header_line=header_line)


def _xlsx_kind(cell: Any) -> CellKind:
    if isinstance(cell, bool):
        return "boolean"
    if isinstance(cell, int | float):
        return "number"
    if isinstance(cell, str):
        return "text"
    if isinstance(cell, datetime):
        return "date" if cell.time() == datetime.min.time() else "timestamp"
    return "date" if isinstance(cell, date) else "other"


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
        return cell_value(load_json(str(cell)), target)
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
