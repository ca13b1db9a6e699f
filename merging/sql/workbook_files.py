"""Rows as a workbook (.xlsx) for people who edit them in a spreadsheet and send them back.

A spreadsheet keeps 15 digits of a number and knows no time zones, and an empty cell is all that it has for NULL. So
what it would change is written as text (longer numbers, moments, binary and nested values), and what is a text stays
one, whatever it looks like: nothing becomes a formula or a link. An empty text is a cell that holds a text without
characters, and reads as one; where a program writes it back as an empty cell, staging takes that for unchanged, and
refuses it in a key.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import xlsxwriter

from merging.errors import TooLargeForWorkbook
from merging.scratch import scratch_folder
from merging.sql.types import is_text
from merging.sql.values import python_values, text_form

#: As many as somebody edits by hand; a sheet itself ends at 1,048,576 rows.
MOST_ROWS = 200_000
MOST_CELLS = 4_000_000
#: "Excel specifications and limits": total number of characters that a cell can contain.
LONGEST_TEXT = 32_767
_MOST_DIGITS = 15
_ALL_DIGITS = Context(prec=38)
_PIECE = 1 << 18
#: Before it a spreadsheet's days are not those of the calendar: it knows a 29 February 1900.
_FIRST_DAY = datetime.date(1900, 3, 1)

_Write = Callable[[int, int, Any], object]


def workbook(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """The bytes of a workbook with these rows, once all of them are written to a file of its own.

    Raises ``TooLargeForWorkbook`` for more rows, or a longer text, than a sheet holds.
    """
    with scratch_folder("workbook") as folder:
        path = str(folder / "rows.xlsx")
        _write(path, str(folder), schema, batches)
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                yield piece


def _write(path: str, folder: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    options = {
        "constant_memory": True,
        "tmpdir": folder,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
        "strings_to_urls": False,
    }
    with xlsxwriter.Workbook(path, options) as book:
        sheet = book.add_worksheet("Rows")
        sheet.freeze_panes(1, 0)
        writer = _Writer(book, sheet)
        for column, field in enumerate(schema):
            writer.text(0, column, field.name)
        writes = [writer.of(field.type) for field in schema]
        row = 0
        for batch in batches:
            _check_size(row + batch.num_rows, len(schema))
            columns = [python_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                row += 1
                for column, value in enumerate(values):
                    if value is not None:
                        writes[column](row, column, value)


def _check_size(rows: int, columns: int) -> None:
    most = min(MOST_ROWS, MOST_CELLS // max(1, columns))
    if rows > most:
        raise TooLargeForWorkbook(
            f"A workbook is made of up to {most:,} rows of this table. Choose fewer by a filter, or take CSV."
        )


class _Writer:
    """Writes the cells of each type as a spreadsheet keeps them whole."""

    def __init__(self, book: Any, sheet: Any) -> None:
        self._book = book
        self._sheet = sheet
        self._text = book.add_format({"num_format": "@"})
        self._plain = book.add_format({})
        self._day = book.add_format({"num_format": "yyyy-mm-dd"})
        self._whole = book.add_format({"num_format": "0"})

    def of(self, data_type: pa.DataType) -> _Write:
        """What writes the values of a type."""
        if is_text(data_type):
            return self.text
        if pa.types.is_boolean(data_type):
            return self._boolean
        if pa.types.is_integer(data_type):
            return self._integer
        if pa.types.is_float32(data_type):
            return self._single
        if pa.types.is_floating(data_type):
            return self._double
        if pa.types.is_decimal(data_type):
            return self._decimals(data_type.scale)
        if pa.types.is_date(data_type):
            return self._date
        return self._told

    def text(self, row: int, column: int, value: str) -> None:
        """A text as it is."""
        if len(value) > LONGEST_TEXT:
            raise TooLargeForWorkbook(
                f"A cell of a workbook holds {LONGEST_TEXT:,} characters, and row {row + 1} has a text of "
                f"{len(value):,}. Take CSV."
            )
        if value.startswith("<r>") and value.endswith("</r>"):  # the library takes it for markup of its own
            self._sheet.write_rich_string(row, column, value[:1], self._plain, value[1:], self._text)
        else:
            self._sheet.write_string(row, column, value, self._text)

    def _told(self, row: int, column: int, value: Any) -> None:
        self.text(row, column, text_form(value))

    def _boolean(self, row: int, column: int, value: bool) -> None:
        self._sheet.write_boolean(row, column, value)

    def _integer(self, row: int, column: int, value: int) -> None:
        if len(str(abs(value))) > _MOST_DIGITS:
            self._told(row, column, value)
        else:
            self._sheet.write_number(row, column, value, self._whole)

    def _double(self, row: int, column: int, value: float) -> None:
        if not math.isfinite(value) or float(format(value, f".{_MOST_DIGITS}g")) != value:
            self._told(row, column, value)
        else:
            self._sheet.write_number(row, column, value)

    def _single(self, row: int, column: int, value: float) -> None:
        if math.isfinite(value):
            self._sheet.write_number(row, column, float(str(np.float32(value))))
        else:
            self._told(row, column, value)

    def _decimals(self, scale: int) -> _Write:
        shown = self._book.add_format({"num_format": f"0.{'0' * scale}" if scale else "0"})

        def write(row: int, column: int, value: Decimal) -> None:
            if (
                len(value.normalize(_ALL_DIGITS).as_tuple().digits) > _MOST_DIGITS
                or abs(value) >= 10**_MOST_DIGITS
            ):
                self._told(row, column, value)
            else:
                self._sheet.write_number(row, column, float(value), shown)

        return write

    def _date(self, row: int, column: int, value: Any) -> None:
        if isinstance(value, datetime.date) and value >= _FIRST_DAY:
            self._sheet.write_datetime(row, column, value, self._day)
        else:
            self._told(row, column, value)
