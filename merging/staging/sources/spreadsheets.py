"""The cells of an Office Open XML workbook (ECMA-376, transitional and strict), as they stand in its parts.

Read from the XML itself: python-calamine gives formulas without a result and errors as empty texts, openpyxl believes
the declared dimension, drops such formulas too, and fails on styles that it does not know. Numbers stay the texts that
they are in the file. Nothing is resolved or fetched: a document type declaration is refused.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.parsers import expat

from merging.errors import StagingRejected
from merging.sql.parsing import shown
from merging.staging.sources.base import beyond, content_limits, most, refuse
from merging.staging.sources.content import (
    HEAD_BYTES,
    Unpacked,
    described_content,
    described_format,
    open_archive,
)

MAX_STYLES = 100_000
MAX_ROWS = 1_048_576
MAX_SHEET_COLUMNS = 16_384
MAX_MERGED_RANGES = 100_000
MAX_ARRAY_FORMULAS = 1_000
MAX_DEPTH = 100
MAX_MARKUP_BYTES = 1 << 20
"""One tag, comment or declaration."""

_FEED = 1 << 16
_BYTES_A_PIECE = 50
"""What each piece of a text takes beside its characters: texts may come in millions of empty ones."""
_MAIN = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main ",
    "http://purl.oclc.org/ooxml/spreadsheetml/main ",
)
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships "
_REFERENCES = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships id",
    "http://purl.oclc.org/ooxml/officeDocument/relationships id",
)
_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_SURROGATES = re.compile("[\ud800-\udfff]")

CellType = Literal["text", "number", "boolean", "error", "moment", "uncalculated", "unreadable"]
FormatKind = Literal["", "date", "time", "timestamp", "duration"]


class SheetCell(NamedTuple):
    """A cell that holds something: its column from 0, its type, its text as in the file, and how it is shown."""

    column: int
    type: CellType
    text: str
    shown_as: FormatKind = ""


@dataclass(frozen=True)
class Sheet:
    """A sheet of cells: its name as people see it, its part, whether it is shown."""

    name: str
    part: str
    visible: bool


def cell_name(row: int, column: int) -> str:
    """``B7`` for row 7 and column 1."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"{letters}{row}"


class Workbook:
    """An opened workbook: its sheets, its rows. Closed by its context.

    Raises StagingRejected where the file is no workbook or is damaged, and where a part is beyond the limits.
    """

    def __init__(self, path: Path) -> None:
        _refuse_others(path)
        try:
            self._archive = open_archive(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise _damaged("its directory", error) from error
        self._unpacked = Unpacked("the workbook", path.stat().st_size)
        self._parts: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            if self._parts.setdefault(info.filename.lower().lstrip("/"), info) is not info:
                raise refuse("unreadable", f"the workbook is damaged: it holds {info.filename} twice.")
        self.epoch_1904 = False
        self.calculated_when_opened = False
        self.merged: list[tuple[int, int, int, int]] = []
        """Merged ranges of the sheet that was read: first row and column, last row and column."""
        self.hidden_rows: list[int] = []
        """The rows of the sheet that was read which hold something and are not shown, filtered rows among them."""
        self.hidden_columns: list[range] = []
        self._workbook = self._find_workbook()
        self._references = self._relationships(self._workbook)
        self.sheets = self._read_sheets()
        self._formats = self._read_styles()
        self._texts: _SharedTexts | None = None

    def __enter__(self) -> Workbook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._archive.close()

    def has_content(self, sheet: Sheet) -> bool:
        """Whether any cell of a sheet holds something."""
        return next(self.rows(sheet), None) is not None

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, list[SheetCell]]]:
        """The rows of a sheet that hold anything, with their numbers, whatever dimension it declares."""
        if self._texts is None:
            self._texts = self._read_texts()
        reader = _SheetReader(self._texts, self._formats, self.calculated_when_opened, sheet.name)
        self.merged, self.hidden_rows, self.hidden_columns = (
            reader.merged,
            reader.hidden_rows,
            reader.hidden_columns,
        )
        for _ in self._parse(sheet.part, reader.start, reader.end, reader.text):
            yield from reader.taken()
        yield from reader.taken()

    # parts

    def _parse(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None],
        text: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Read a part piece by piece; what it holds goes to the handlers."""
        info = self._parts.get(part.lower())
        if info is None:
            raise refuse("unreadable", f"the workbook is damaged: it lacks its part {part}.")
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        depth = 0

        def opened(name: str, attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            if depth > MAX_DEPTH:
                raise refuse("too_large", f"{part} of the workbook is nested more than {MAX_DEPTH} deep.")
            start(_local(name), attributes)

        def closed(name: str) -> None:
            nonlocal depth
            depth -= 1
            end(_local(name))

        parser.StartElementHandler = opened
        parser.EndElementHandler = closed
        if text is not None:
            parser.CharacterDataHandler = text

        def refuse_declaration(*_: Any) -> None:
            raise refuse(
                "unreadable", f"{part} of the workbook has a document type declaration, which none needs."
            )

        parser.StartDoctypeDeclHandler = refuse_declaration
        size = 0
        try:
            with self._archive.open(info) as file:
                while piece := file.read(_FEED):
                    size += len(piece)
                    self._unpacked.add(len(piece))
                    parser.Parse(piece, False)
                    if size - parser.CurrentByteIndex > MAX_MARKUP_BYTES + _FEED:
                        raise refuse(
                            "too_large",
                            f"{part} of the workbook has markup of more than {MAX_MARKUP_BYTES:,} bytes.",
                        )
                    yield
                parser.Parse(b"", True)
        except (
            expat.ExpatError,
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            LookupError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise _damaged(part, error) from error

    def _read(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] = lambda _: None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        for _ in self._parse(part, start, end, text):
            pass

    def _relationships(self, part: str) -> dict[str, tuple[str, str]]:
        """What a part refers to: by identity, the last word of the kind and the part."""
        folder, name = posixpath.split(part)
        found: dict[str, tuple[str, str]] = {}

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes.get("Target", "")))
                kind = attributes.get("Type", "").rsplit("/", 1)[-1]
                found[attributes.get("Id", "")] = kind, target.lstrip("/")

        relationships = posixpath.join(folder, "_rels", f"{name}.rels")
        if relationships.lower() in self._parts:
            self._read(relationships, start)
        return found

    def _find_workbook(self) -> str:
        for kind, part in self._relationships("").values():
            if kind == "officeDocument":
                return part
        raise refuse("unreadable", "the file is an archive, but not a workbook.")

    def _part_of_kind(self, kind: str) -> str | None:
        return next((part for found, part in self._references.values() if found == kind), None)

    def _read_sheets(self) -> list[Sheet]:
        sheets: list[Sheet] = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "workbookPr":
                self.epoch_1904 = attributes.get("date1904") in ("1", "true", "on")
            elif tag == "calcPr":
                self.calculated_when_opened = attributes.get("fullCalcOnLoad") in ("1", "true", "on")
            elif tag == "sheet":
                reference = next((attributes[name] for name in _REFERENCES if name in attributes), "")
                kind, part = self._references.get(reference, ("", ""))
                if kind == "worksheet":
                    visible = attributes.get("state", "visible") == "visible"
                    sheets.append(Sheet(unescaped(attributes.get("name", "")), part, visible))
                if len(sheets) > content_limits().sheets:
                    raise beyond("sheets", f"the workbook has more than {most('sheets')} sheets")

        self._read(self._workbook, start)
        return sheets

    def _read_styles(self) -> list[FormatKind]:
        """How each cell format shows a number; everything else about styles is left alone."""
        part = self._part_of_kind("styles")
        custom: dict[str, str] = {}
        formats: list[str] = []
        inside = False

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal inside
            if tag == "numFmt":
                custom[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif tag == "cellXfs":
                inside = True
            elif tag == "xf" and inside:
                formats.append(attributes.get("numFmtId", "0"))
            if len(formats) > MAX_STYLES or len(custom) > MAX_STYLES:
                raise refuse("too_large", f"the workbook has more than {MAX_STYLES:,} cell formats.")

        def end(tag: str) -> None:
            nonlocal inside
            inside = inside and tag != "cellXfs"

        if part is not None and part.lower() in self._parts:
            self._read(part, start, end)
        return [_format_kind(number, custom.get(number)) for number in formats]

    def _read_texts(self) -> _SharedTexts:
        texts = _SharedTexts()
        part = self._part_of_kind("sharedStrings")
        if part is not None and part.lower() in self._parts:
            self._read(part, texts.start, texts.end, texts.text)
        return texts


class _SharedTexts:
    """The texts that cells refer to by number, packed: millions of them must not fill the memory."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._ends = array("q")
        self._parts: list[str] = []
        self._size = 0
        self._open = False
        self._phonetic = False

    def start(self, tag: str, _: dict[str, str]) -> None:
        if tag == "si":
            self._parts, self._size = [], 0
        self._phonetic = self._phonetic or tag == "rPh"
        self._open = tag == "t" and not self._phonetic

    def end(self, tag: str) -> None:
        self._open = False
        if tag == "rPh":
            self._phonetic = False
        elif tag == "si":
            self._packed += "".join(self._parts).encode()
            self._ends.append(len(self._packed))
            self._parts, self._size = [], 0
            if len(self._ends) > content_limits().shared_texts:
                told = f"the workbook has more than {most('shared_texts')} shared texts"
                raise beyond("shared_texts", told)

    def text(self, text: str) -> None:
        if not self._open:
            return
        self._parts.append(text)
        self._size += len(text) + _BYTES_A_PIECE
        if self._size > content_limits().cell_bytes:
            told = f"shared text {len(self._ends) + 1:,} is longer than {most('cell_bytes')}"
            raise beyond("cell_bytes", told, code="too_long")
        if len(self._packed) + self._size > content_limits().shared_text_bytes:
            told = f"the shared texts of the workbook take more than {most('shared_text_bytes')}"
            raise beyond("shared_text_bytes", told)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._packed[start : self._ends[index]].decode()

    def __len__(self) -> int:
        return len(self._ends)


class _SheetReader:
    """Puts the rows of one sheet together from its elements."""

    def __init__(
        self,
        texts: _SharedTexts,
        formats: list[FormatKind],
        calculated_when_opened: bool,
        name: str,
    ) -> None:
        self.merged: list[tuple[int, int, int, int]] = []
        self.hidden_rows: list[int] = []
        self.hidden_columns: list[range] = []
        self._texts = texts
        self._formats = formats
        self._calculated_when_opened = calculated_when_opened
        self._name = name
        self._rows: list[tuple[int, list[SheetCell]]] = []
        self._row = 0
        self._row_is_hidden = False
        self._cells: list[SheetCell] = []
        self._row_bytes = 0
        self._column = -1
        self._attributes: dict[str, str] = {}
        self._parts: list[str] = []
        self._size = 0
        self._gathers = False
        self._phonetic = False
        self._in_cell = False
        self._has_value = False
        self._value_tag = ""
        self._has_formula = False
        self._arrays: list[tuple[int, int, int, int]] = []

    def taken(self) -> list[tuple[int, list[SheetCell]]]:
        """The rows that are whole, once."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "c":
            self._start_cell(attributes)
        elif tag == "v" or tag == "t":
            self._gathers = self._in_cell and not self._phonetic
            if self._in_cell and not self._phonetic:
                self._note_value(tag)
        elif tag == "row":
            self._start_row(attributes)
        elif tag == "f" and self._in_cell:
            self._has_formula = True
            if attributes.get("t") == "array":
                self._arrays += _range(attributes.get("ref", ""))
                if len(self._arrays) > MAX_ARRAY_FORMULAS:
                    raise refuse(
                        "too_large", f"the sheet has more than {MAX_ARRAY_FORMULAS:,} array formulas."
                    )
        elif tag == "rPh":
            self._phonetic = True
        elif tag == "col" and _is_hidden(attributes):
            self._hide_columns(attributes)
        elif tag == "mergeCell":
            self.merged += _range(attributes.get("ref", ""))
            if len(self.merged) > MAX_MERGED_RANGES:
                raise refuse("too_large", f"the sheet has more than {MAX_MERGED_RANGES:,} merged ranges.")

    def _note_value(self, tag: str) -> None:
        """A cell has one value; a text may come in runs."""
        if self._has_value and (tag == "v" or self._value_tag == "v"):
            place = cell_name(self._row, self._column)
            raise refuse(
                "unreadable", f"the workbook is damaged: cell {place} holds two values.", line=self._row
            )
        self._has_value, self._value_tag = True, tag

    def end(self, tag: str) -> None:
        if tag == "v" or tag == "t":
            self._gathers = False
        elif tag == "c":
            self._end_cell()
        elif tag == "row" and self._cells:
            self._rows.append((self._row, self._cells))
            if self._row_is_hidden:
                self.hidden_rows.append(self._row)
        elif tag == "rPh":
            self._phonetic = False

    def text(self, text: str) -> None:
        if self._gathers:
            self._parts.append(text)
            self._size += len(text) + _BYTES_A_PIECE
            if self._size > content_limits().cell_bytes:
                told = f"cell {cell_name(self._row, self._column)} is longer than {most('cell_bytes')}"
                raise beyond("cell_bytes", told, code="too_long", line=self._row)

    def _start_row(self, attributes: dict[str, str]) -> None:
        given = attributes.get("r")
        if given is not None and not (given.isascii() and given.isdigit()):
            raise refuse(
                "unreadable",
                f"the workbook is damaged: behind row {self._row} comes one numbered {shown(given)}.",
                line=self._row + 1,
            )
        row = self._row + 1 if given is None else int(given[:8])
        if row <= self._row:
            raise refuse(
                "unreadable", f"the workbook is damaged: row {row} comes behind row {self._row}.", line=row
            )
        if row > MAX_ROWS:
            raise refuse(
                "too_large", f"a sheet has {MAX_ROWS:,} rows at most, and this is row {row:,}.", line=row
            )
        self._row, self._cells, self._column, self._row_bytes = row, [], -1, 0
        self._row_is_hidden = _is_hidden(attributes)

    def _hide_columns(self, attributes: dict[str, str]) -> None:
        ends = [attributes.get(name, "") for name in ("min", "max")]
        if all(end.isascii() and end.isdigit() and len(end) < 10 for end in ends):
            self.hidden_columns.append(range(int(ends[0]) - 1, min(int(ends[1]), MAX_SHEET_COLUMNS)))
        if len(self.hidden_columns) > MAX_SHEET_COLUMNS:
            raise refuse("too_large", f"a sheet has {MAX_SHEET_COLUMNS:,} columns at most.")

    def _start_cell(self, attributes: dict[str, str]) -> None:
        reference = _REFERENCE.fullmatch(attributes.get("r", ""))
        if reference is None and "r" in attributes:
            raise refuse(
                "unreadable",
                f"the workbook is damaged: {shown(attributes['r'])} is no place of a cell.",
                line=self._row,
            )
        column = self._column + 1 if reference is None else _column_of(reference.group(1))
        if column <= self._column or (reference is not None and int(reference.group(2)) != self._row):
            place = attributes.get("r", cell_name(self._row, column))
            raise refuse(
                "unreadable", f"the workbook is damaged: cell {place} is out of order.", line=self._row
            )
        if column >= MAX_SHEET_COLUMNS:
            raise refuse("too_large", f"a sheet has {MAX_SHEET_COLUMNS:,} columns at most.", line=self._row)
        self._column, self._attributes, self._parts, self._size = column, attributes, [], 0
        self._in_cell, self._has_value, self._has_formula = True, False, False

    def _end_cell(self) -> None:
        self._in_cell = False
        kind = self._attributes.get("t", "n")
        if not self._has_value and not self._has_formula:
            return
        text = "".join(self._parts)
        if self._has_formula and (not self._has_value or (text == "" and kind != "str")):
            cell = SheetCell(self._column, "uncalculated", "")
        elif text == "" and kind in ("n", "b", "e", "d", "s"):
            return
        elif kind == "n":
            cell = self._number(text.strip())
            if len(cell.text) > content_limits().number_digits:
                told = f"holds a number of {len(cell.text):,} digits (limit number_digits: {most('number_digits')})"
                cell = SheetCell(self._column, "unreadable", told)
        else:
            cell = self._other(kind, text)
        self._cells.append(cell)
        self._row_bytes += len(cell.text) + _BYTES_A_PIECE
        if self._row_bytes > content_limits().line_bytes:
            raise beyond(
                "line_bytes", f"the row takes more than {most('line_bytes')}", code="too_long", line=self._row
            )

    def _number(self, text: str) -> SheetCell:
        if self._calculated_when_opened and text == "0" and (self._has_formula or self._in_array()):
            # What XlsxWriter stores for a formula whose result it was not given.
            return SheetCell(self._column, "uncalculated", "")
        style = self._attributes.get("s", "")
        index = int(style) if style.isascii() and style.isdigit() and len(style) < 10 else -1
        shown_as = self._formats[index] if 0 <= index < len(self._formats) else ""
        return SheetCell(self._column, "number", text, shown_as)

    def _in_array(self) -> bool:
        return any(
            top <= self._row <= bottom and left <= self._column <= right
            for top, left, bottom, right in self._arrays
        )

    def _other(self, kind: str, text: str) -> SheetCell:
        if kind == "s":
            number = text.strip()
            index = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else -1
            if not 0 <= index < len(self._texts):
                return SheetCell(
                    self._column, "unreadable", f"refers to the shared text {text[:40]!r}, which is not there"
                )
            text = self._texts[index]
        if kind in ("s", "str", "inlineStr"):
            decoded = unescaped(text)
            if _SURROGATES.search(decoded):
                return SheetCell(self._column, "unreadable", "holds half of a pair that makes one character")
            return SheetCell(self._column, "text", decoded)
        if kind == "b":
            truth = {"1": "true", "0": "false", "true": "true", "false": "false"}.get(text.strip())
            if truth is not None:
                return SheetCell(self._column, "boolean", truth)
        elif kind == "e":
            return SheetCell(self._column, "error", text.strip())
        elif kind == "d":
            return SheetCell(self._column, "moment", text.strip())
        return SheetCell(self._column, "unreadable", f"is of the kind {kind!r} with {text[:40]!r} in it")


@lru_cache(maxsize=1024)
def _local(name: str) -> str:
    """The name of an element of the main namespaces or of relationships; others are not looked at."""
    for namespace in _MAIN:
        if name.startswith(namespace):
            return name[len(namespace) :]
    return name[len(_PACKAGE) :] if name.startswith(_PACKAGE) else name


def _is_hidden(attributes: dict[str, str]) -> bool:
    """Whether a row or columns are not shown: by hand or by a filter (ECMA-376, 18.3.1.13 and 18.3.1.73)."""
    return attributes.get("hidden") in ("1", "true")


def _column_of(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _range(text: str) -> list[tuple[int, int, int, int]]:
    found = [_REFERENCE.fullmatch(part) for part in text.split(":")]
    places = [(int(one.group(2)), _column_of(one.group(1))) for one in found if one is not None]
    return [(*places[0], *places[-1])] if places else []


def unescaped(text: str) -> str:
    """A text of ST_Xstring (ECMA-376, 22.9.2.19): ``_x000D_`` is a CR, ``_x005F_`` an underscore."""
    if "_x" not in text:
        return text
    decoded = _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text)
    if _SURROGATES.search(decoded):
        decoded = decoded.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return decoded


# ECMA-376, 18.8.30: the formats that are given by number alone, with those of East Asian editions.
_BUILT_IN: dict[int, FormatKind] = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 34, 35, 36, *range(50, 59)), "date"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 45, 47), "time"),
    22: "timestamp",
    46: "duration",
}
_LITERALS = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
_SCIENTIFIC = re.compile(r"e[+-]", re.IGNORECASE)


def _format_kind(number: str, code: str | None) -> FormatKind:
    """How a number format shows numbers: as dates, times, both, spans of time, or not so."""
    if code is None:
        return (
            _BUILT_IN.get(int(number), "")
            if number.isascii() and number.isdigit() and len(number) < 10
            else ""
        )
    bare = _SCIENTIFIC.sub("", _LITERALS.sub("", code)).split(";")[0].lower()
    if "general" in bare:
        return ""
    if re.search(r"\[(h+|m+|s+)\]", bare):
        return "duration"
    has_time = re.search(r"[hs]|am/pm|a/p", bare) is not None
    without_time = re.sub(r"am/pm|a/p", "", bare)
    # An m is a minute beside hours or seconds, else a month.
    if re.search(r"[yde]", without_time) is not None or ("m" in without_time and not has_time):
        return "timestamp" if has_time else "date"
    return "time" if has_time else ""


def _refuse_others(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    found = described_format(path, head)
    if found is not None and found != "a workbook (.xlsx)":
        code = "unreadable" if found == "a damaged archive" else "wrong_format"
        raise refuse(code, f"the file is {found}, not a workbook (.xlsx).")
    if found is None:
        text = described_content(path, head)
        told = (
            f"the file is {text}, not a workbook (.xlsx)"
            if text
            else "the file is not a readable workbook (.xlsx)"
        )
        raise refuse("unreadable" if text is None else "wrong_format", f"{told}.")


def _damaged(part: str, error: BaseException) -> StagingRejected:
    reason = str(error).rstrip(".") or type(error).__name__
    return refuse(
        "unreadable", f"the workbook is damaged ({part}: {reason}); open it, save it again and upload that."
    )
