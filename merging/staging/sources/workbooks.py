"""XLSX workbooks: the first sheet that people see, cells as text of the kind their column wants.

What a spreadsheet program keeps is what is read: numbers to 15 digits, moments as fractions of a day. Where a cell
cannot be told exactly it is refused by its name; a text in it (format Text) says everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from merging.sql.parsing import Refused, shown
from merging.sql.types import is_nested, is_text, type_name
from merging.sql.values import arrow_values
from merging.staging.sources.base import (
    BATCH_BYTES,
    BATCH_CELLS,
    BATCH_ROWS,
    OPERATION_COLUMN,
    Blanks,
    CellKind,
    Problems,
    RefusedCells,
    Source,
    Targets,
    absent_cells,
    check_header,
    is_nested_target,
    nested_cell,
    numbered,
    refuse,
)
from merging.staging.sources.spreadsheets import Sheet, SheetCell, Workbook, cell_name

SPREADSHEET_DIGITS = 15
"""What Excel computes with and shows ("Excel specifications and limits": number precision)."""
_ZEROS_OF_NOISE = 2
_STEPS_OF_NOISE = 4
_ZEROS_BY_NO_CHANCE = 4
_DOUBLE_DIGITS = 17
_LARGEST_EXACT = 2**53
_LAST_SERIAL = {False: 2_958_465, True: 2_957_003}
"""9999-12-31 by each epoch (1904 or not)."""
_BYTES_A_CELL = 150
_BATCH_MEMORY = 4 * BATCH_BYTES
"""Of texts and of Python's objects round them."""
_AS_TEXT = "format the cell as Text and write all of it"

Row = tuple[int, list[SheetCell]]


def open_workbook(path: Path, targets: Targets, problems: Problems, blanks: Blanks) -> Source:
    """Open a workbook; ``blanks`` says what empty cells mean. Other sheets that hold something are named in the
    source's warnings.

    Raises StagingRejected where the file is no workbook, is damaged or beyond the limits, or has no header.
    """
    with Workbook(path) as book:
        sheet, warnings = _chosen_sheet(book)
        header_line, header = next(book.rows(sheet), (1, []))
        names = _names(header_line, header, book.epoch_1904)
    check_header(names, header_line)
    nested = [is_nested_target(targets, name) for name in names]
    types = [targets[name] if is_so else pa.string() for name, is_so in zip(names, nested, strict=True)]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, types, strict=True)])
    line_of: list[int] = []
    kinds: dict[int, set[CellKind]] = {place: set() for place in range(len(names))}

    def batches() -> Iterator[pa.RecordBatch]:
        line_of.clear()
        with Workbook(path) as book:
            rows = book.rows(sheet)
            next(rows, None)
            batch = _Batch(names, types, targets, kinds, problems, blanks, epoch_1904=book.epoch_1904)
            for chunk in _chunks(rows, len(names)):
                yield batch.of(chunk, len(line_of))
                line_of.extend(line for line, _ in chunk)
            last = line_of[-1] if line_of else header_line
            _note_merged(book, header_line, last, len(names), problems)
            warnings.extend(_said_of_hidden(book, header_line, names))

    def lines(ordinals: set[int]) -> dict[int, int]:
        return {ordinal: line_of[ordinal] for ordinal in ordinals if ordinal < len(line_of)}

    return Source(
        tuple(names),
        schema,
        True,
        None,
        batches(),
        lines,
        kinds=kinds,
        warnings=warnings,
        header_line=header_line,
        spreadsheet=True,
    )


def _chosen_sheet(book: Workbook) -> tuple[Sheet, list[str]]:
    """The first sheet that is shown, and what to say of those that are not read."""
    sheets = [sheet for sheet in book.sheets if sheet.visible] or book.sheets
    if not sheets:
        raise refuse("empty_file", "the workbook has no sheet of cells.")
    chosen = sheets[0]
    others = [
        f"{shown(sheet.name)}{'' if sheet.visible else ' (hidden)'}"
        for sheet in book.sheets
        if sheet is not chosen and book.has_content(sheet)
    ]
    if not others:
        return chosen, []
    verb = "holds cells and was" if len(others) == 1 else "hold cells and were"
    listed = ", ".join(others[:10]) + (" and others" if len(others) > 10 else "")
    return chosen, [f"Only the sheet {shown(chosen.name)} was read; {listed} {verb} not."]


def _names(line: int, header: list[SheetCell], epoch_1904: bool) -> list[str]:
    """The names in the header, an empty one where a column has none."""
    names = [""] * (header[-1].column + 1 if header else 0)
    for cell in header:
        try:
            names[cell.column] = _plain_text(cell, epoch_1904)
        except Refused as error:
            place = cell_name(line, cell.column)
            raise refuse("wrong_header", f"cell {place} in the header {error}", line=line) from error
    return names


def _chunks(rows: Iterator[Row], width: int) -> Iterator[list[Row]]:
    """Rows for one batch each: so many, so wide and so long together, that a batch fits in memory."""
    chunk: list[Row] = []
    size = 0
    at_once = max(1, min(BATCH_ROWS, BATCH_CELLS // max(1, width)))
    for row in rows:
        chunk.append(row)
        size += sum(len(cell.text) + _BYTES_A_CELL for cell in row[1])
        if len(chunk) >= at_once or size > _BATCH_MEMORY:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Batch:
    """Turns rows of a sheet into batches of the stream."""

    def __init__(
        self,
        names: list[str],
        types: list[pa.DataType],
        targets: Targets,
        kinds: dict[int, set[CellKind]],
        problems: Problems,
        blanks: Blanks,
        *,
        epoch_1904: bool,
    ) -> None:
        self._names = names
        self._types = types
        self._targets = [targets.get(name) for name in names]
        self._kinds = kinds
        self._problems = problems
        self._empty_cells = blanks.empty_cells
        self._empty: list[Any] = ["" if blanks.are_text_in(name) else None for name in names]
        self._epoch_1904 = epoch_1904

    def of(self, rows: list[Row], start: int) -> pa.RecordBatch:
        """The batch of these rows, the first of which is row ``start`` of the stream."""
        columns: list[list[Any]] = [[empty] * len(rows) for empty in self._empty]
        held = np.zeros((len(rows), len(columns)), np.bool_)
        refused = RefusedCells()
        for index, (line, cells) in enumerate(rows):
            for cell in cells:
                if cell.column >= len(columns):
                    self._beyond_header(line, cell)
                    break
                held[index, cell.column] = True
                try:
                    columns[cell.column][index] = self._value(cell)
                except Refused as error:
                    self._refuse(refused, index, line, cell, str(error))
        arrays = [arrow_values(values, kind) for values, kind in zip(columns, self._types, strict=True)]
        absent = absent_cells(~held) if self._empty_cells == "keep" else None
        return numbered(start, len(rows), arrays, absent, refused.column(len(rows)))

    def _value(self, cell: SheetCell) -> Any:
        target = self._targets[cell.column]
        self._kinds[cell.column].add(_kind(cell))
        if target is not None and is_nested(target):
            return nested_cell(_plain_text(cell, self._epoch_1904), target)
        return _cell_text(cell, target, self._epoch_1904)

    def _refuse(self, refused: RefusedCells, index: int, line: int, cell: SheetCell, message: str) -> None:
        told = f"cell {cell_name(line, cell.column)} {message}"
        name = self._names[cell.column]
        if name == OPERATION_COLUMN:
            self._problems.add("wrong_type", told, line=line, column=name, value=cell.text)
        else:
            refused.add(index, cell.column, _code(cell), told, cell.text)

    def _beyond_header(self, line: int, cell: SheetCell) -> None:
        place = cell_name(line, cell.column)
        self._problems.add(
            "cell_without_column", f"cell {place} holds something, but its column has no name.", line=line
        )


def _code(cell: SheetCell) -> str:
    codes = {"uncalculated": "never_calculated", "error": "error_cell", "unreadable": "unreadable_cell"}
    return codes.get(cell.type, "wrong_type")


def _kind(cell: SheetCell) -> CellKind:
    if cell.type == "number" and cell.shown_as:
        kinds: dict[str, CellKind] = {"date": "date", "timestamp": "timestamp"}
        return kinds.get(cell.shown_as, "other")
    if cell.type == "moment":
        return "date" if "T" not in cell.text and ":" not in cell.text else "timestamp"
    return cell.type if cell.type in ("text", "number", "boolean") else "other"


def _cell_text(cell: SheetCell, target: pa.DataType | None, epoch_1904: bool) -> str:
    """A cell as text that its column's type can be read from. Raises Refused with what is to be said of it."""
    if cell.type == "text":
        return cell.text
    _refuse_without_value(cell)
    if target is not None and is_text(target):
        raise Refused(
            f"holds {shown(_plain_text(cell, epoch_1904))} as a {_described(cell)}; the column holds text: "
            "format the cells as Text."
        )
    if cell.type == "boolean":
        return cell.text
    if cell.type == "moment" or cell.shown_as:
        return _moment_text(cell, target, epoch_1904)
    if target is not None and (pa.types.is_date(target) or pa.types.is_timestamp(target)):
        raise Refused(
            f"holds the number {shown(cell.text)} without the format of a date; the column holds "
            f"{type_name(target)}: format the cells as dates."
        )
    return _number_text(cell.text, target)


def _refuse_without_value(cell: SheetCell) -> None:
    if cell.type == "uncalculated":
        raise Refused("holds a formula that was never calculated: open and save it in a spreadsheet program.")
    if cell.type == "error":
        raise Refused(f"holds the error {cell.text}; mend its formula, or clear the cell for NULL.")
    if cell.type == "unreadable":
        raise Refused(f"{cell.text}: the workbook is damaged.")


def _described(cell: SheetCell) -> str:
    if cell.type == "boolean":
        return "truth value"
    if cell.type == "moment" or cell.shown_as in ("date", "timestamp"):
        return "date"
    return "time" if cell.shown_as else "number"


def _plain_text(cell: SheetCell, epoch_1904: bool) -> str:
    """A cell as it is shown, for names and messages."""
    _refuse_without_value(cell)
    if cell.type == "number":
        return _moment_text(cell, None, epoch_1904) if cell.shown_as else _number_text(cell.text, None)
    return cell.text


# numbers


def _number_text(text: str, target: pa.DataType | None) -> str:
    """A number by its digits. Floating point columns take them as they are, others what the digits mean."""
    simple = len(text) <= SPREADSHEET_DIGITS and not set(text) & set("eE" if target is not None else ".eE")
    if simple or (target is not None and pa.types.is_floating(target)):
        return text
    number = _decimal(text)
    if number is None:
        return text
    if target is None:
        whole = number == number.to_integral_value()
        if whole and abs(number) <= _LARGEST_EXACT:
            return format(number, ".0f")
        return _exact(text, number, 0) if whole else text
    if pa.types.is_integer(target):
        return _exact(text, number, 0)
    if pa.types.is_decimal(target):
        return _exact(text, number, target.scale)
    return text


def _decimal(text: str) -> Decimal | None:
    """The number, None where it is none or beyond what a double holds."""
    try:
        if abs(float(text)) == float("inf") or len(text) > 400:
            return None
        number = Decimal(text)
    except (ValueError, ArithmeticError):
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 400 else None


def _exact(text: str, number: Decimal, scale: int) -> str:
    """What a number means for a column with so many decimals.

    A spreadsheet keeps 15 digits and stores doubles: 3.3000000000000003 is 3.3, and what fills 16 or 17 digits may be
    a longer number that was rounded, which is refused. More digits, or digits that no double is written with, were
    written by somebody who has them all, and are taken as they are, or refused where they do not fit.
    """
    digits = _digits(number)
    exponent = "e" in text.lower()
    if digits <= SPREADSHEET_DIGITS:
        if exponent and abs(number) >= 10**SPREADSHEET_DIGITS:
            raise Refused(
                f"holds {text}, of which a spreadsheet keeps {SPREADSHEET_DIGITS} digits; {_AS_TEXT}."
            )
        return format(number, "f")
    fits = len(format(number, "f").partition(".")[2].rstrip("0")) <= scale
    has_all = digits > _DOUBLE_DIGITS or (fits and not _written_from_double(text, number))
    short = Decimal(format(float(text), f".{SPREADSHEET_DIGITS}g"))
    if not has_all and abs(number) < 10**SPREADSHEET_DIGITS and _is_noise(float(text), short):
        return format(short, "f")
    if has_all or not fits or (number == number.to_integral_value() and abs(number) <= _LARGEST_EXACT):
        return format(number, "f")
    raise Refused(
        f"holds {text}, but a spreadsheet keeps {SPREADSHEET_DIGITS} digits, so it may have been rounded; {_AS_TEXT}."
    )


def _digits(number: Decimal) -> int:
    """How many digits it has from the first to the last that is not zero, however many."""
    return len("".join(map(str, number.as_tuple().digits)).strip("0"))


def _is_noise(value: float, short: Decimal) -> bool:
    """Whether what a number has beyond its 15 digits is what calculations with doubles leave: these end in zeros, and
    where those may be by chance, it is a few of the smallest steps of a double away from them.
    """
    zeros = SPREADSHEET_DIGITS - _digits(short)
    return zeros >= _ZEROS_BY_NO_CHANCE or (
        zeros >= _ZEROS_OF_NOISE and abs(value - float(short)) <= _STEPS_OF_NOISE * math.ulp(value)
    )


def _written_from_double(text: str, number: Decimal) -> bool:
    value = float(text)
    return any(Decimal(format(value, spelled)) == number for spelled in (".16g", ".17g")) or (
        Decimal(repr(value)) == number
    )


# moments


def _moment_text(cell: SheetCell, target: pa.DataType | None, epoch_1904: bool) -> str:
    """A date or time as text, in the form that its column wants."""
    if cell.type == "moment":
        return _iso_text(cell.text, target)
    number = _decimal(cell.text)
    if number is None:
        return cell.text
    if cell.shown_as == "duration":
        if target is not None:
            raise Refused(f"holds a span of time ({cell.text} days); the column holds {type_name(target)}.")
        return cell.text
    if cell.shown_as == "time" and 0 <= number < 1:
        if target is not None:
            raise Refused(f"holds a time without a date; the column holds {type_name(target)}.")
        return (datetime.combine(date.min, time.min) + _span(number)).time().isoformat()
    moment = _moment(number, epoch_1904)
    whole = moment.time() == time.min
    wants_date = pa.types.is_date(target) if target is not None else cell.shown_as == "date"
    return moment.date().isoformat() if whole and wants_date else moment.isoformat()


def _iso_text(text: str, target: pa.DataType | None) -> str:
    """An ISO 8601 cell: a date alone or midnight, as the column wants it."""
    if target is None:
        return text
    bare = text.removesuffix("Z") if pa.types.is_date(target) else text
    try:
        moment = datetime.fromisoformat(bare)
    except ValueError:
        return text
    if pa.types.is_date(target):
        return moment.date().isoformat() if moment.time() == time.min and moment.tzinfo is None else text
    return f"{text}T00:00:00" if pa.types.is_timestamp(target) and len(text) == len("2024-01-31") else text


def _moment(serial: Decimal, epoch_1904: bool) -> datetime:
    """The moment of a serial number of days (ECMA-376, 18.17.4): two epochs, one with a 29 February 1900."""
    if not 0 <= serial < _LAST_SERIAL[epoch_1904] + 1:
        raise Refused(f"holds the date number {serial}, beyond the years of a spreadsheet; {_AS_TEXT}.")
    if epoch_1904:
        return _counted_from(date(1904, 1, 1), serial)
    if serial < 1 or 60 <= serial < 61:
        day = "1900-01-00" if serial < 1 else "1900-02-29"
        raise Refused(f"holds the date number {serial}, shown as {day}, a day that never was; {_AS_TEXT}.")
    return _counted_from(date(1899, 12, 31) if serial < 60 else date(1899, 12, 30), serial)


def _counted_from(epoch: date, serial: Decimal) -> datetime:
    try:
        return datetime.combine(epoch, time.min) + _span(serial)
    except OverflowError as error:
        raise Refused(f"holds the date number {serial}, beyond the year 9999; {_AS_TEXT}.") from error


def _span(serial: Decimal) -> timedelta:
    """Days as time, to the microsecond; within a few of them of a whole millisecond that is what is meant."""
    microseconds = int((serial * 86_400_000_000).to_integral_value())
    whole = (microseconds + 500) // 1000 * 1000
    return timedelta(microseconds=whole if abs(microseconds - whole) <= 5 else microseconds)


def _said_of_hidden(book: Workbook, header_line: int, names: list[str]) -> Iterator[str]:
    """Who filtered a sheet may take what is shown for what is proposed."""
    rows = sum(row > header_line for row in book.hidden_rows)
    if rows:
        number = "1 row" if rows == 1 else f"{rows:,} rows"
        verb = "was" if rows == 1 else "were"
        yield f"The sheet hides {number} by a filter or by hand, which {verb} read like all others."
    columns = [
        shown(name) for place, name in enumerate(names) if any(place in one for one in book.hidden_columns)
    ]
    if columns:
        listed = ", ".join(columns[:10]) + (" and others" if len(columns) > 10 else "")
        what, verb = ("column", "was") if len(columns) == 1 else ("columns", "were")
        yield f"The sheet hides the {what} {listed}, which {verb} read like all others."


def _note_merged(book: Workbook, first: int, last: int, width: int, problems: Problems) -> None:
    """Cells under a merged one are empty in the file, though people see its value there."""
    for top, left, bottom, right in book.merged:
        beside = top > last or bottom < first or left >= width
        if not beside and (top, left) != (bottom, right):
            place = f"{cell_name(top, left)}:{cell_name(bottom, right)}"
            problems.add(
                "merged_cells",
                f"the cells {place} are merged: only the first holds the value; unmerge them.",
                line=top,
            )
