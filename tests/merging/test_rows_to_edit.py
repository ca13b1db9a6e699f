"""Rows that leave to be edited in a spreadsheet or an editor come back as they were, to the last digit."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

import merging
from merging import FileFormat
from merging.sql import workbook_files
from tests.merging.world import Row, World

STRUCT = pa.struct([("x", pa.int64()), ("when", pa.date32())])
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("byte", pa.int8()),
        ("long", pa.int64()),
        ("single", pa.float32()),
        ("double", pa.float64()),
        ("money", pa.decimal128(10, 2)),
        ("exact", pa.decimal128(38, 18)),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us", tz="UTC")),
        ("local", pa.timestamp("us")),
        ("blob", pa.binary()),
        ("record", STRUCT),
        ("list", pa.list_(pa.string())),
    ]
)
UTC = datetime.UTC
EXACT = datetime.datetime(2024, 1, 2, 3, 4, 5, 678_901, UTC)
LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC).replace(tzinfo=None)
NIGHT = datetime.datetime(2024, 3, 31, 2, 30, tzinfo=UTC).replace(tzinfo=None)
TEXTS = [
    "=1+1", "+49 30 1", "-5", "@SUM(A1)", "007", "1e5", "2024-01-02", "TRUE", "NULL", " both sides ", "", "\t",
    "two\nlines", "two\r\nlines", "lone\rreturn", 'a "quote", and; more', "_x0041_", "<r><t>x</t></r>", "</c>&amp;",
    "https://example.org", "日本語 \U0001f600", "e\u0301 and \xe9", "\u200eleft",
    "a\x01b", "\ufffe", "123456789012345678",
]  # fmt: skip


def nothing(number: int) -> Row:
    return {"id": number, **dict.fromkeys(SCHEMA.names[1:])}


ROWS: list[Row] = [
    *({**nothing(number), "text": text} for number, text in enumerate(TEXTS)),
    nothing(100),
    {**nothing(101), "flag": True, "byte": -128, "long": 9_223_372_036_854_775_807, "single": 0.1, "double": 0.1},
    {**nothing(102), "flag": False, "long": -999_999_999_999_999, "single": 1.17e-38, "double": 1 / 3},
    {**nothing(103), "long": 10**15, "double": 1e300, "single": float("inf")},
    {**nothing(104), "double": float("nan"), "single": -0.0},
    {**nothing(105), "double": -5e-324, "money": Decimal("-0.01"), "exact": Decimal("0.000000000000000001")},
    {**nothing(106), "money": Decimal("99999999.99"), "exact": Decimal("12345678901234567890.123456789012345678")},
    {**nothing(107), "money": Decimal("8.40"), "exact": Decimal("0")},
    {**nothing(108), "day": datetime.date(1, 1, 1), "moment": datetime.datetime(1, 1, 1, tzinfo=UTC)},
    {**nothing(109), "day": datetime.date(1900, 2, 28), "local": LAST},
    {**nothing(110), "day": datetime.date(1900, 3, 1), "local": NIGHT},
    {**nothing(111), "day": datetime.date(9999, 12, 31), "moment": EXACT},
    {**nothing(112), "blob": b"\x00\xff=cmd", "record": {"x": 1, "when": datetime.date(2024, 1, 2)}},
    {**nothing(113), "blob": b"", "record": {"x": None, "when": None}, "list": []},
    {**nothing(115), "exact": Decimal("10000000000000.000000000000000001")},
    {**nothing(114), "list": ["a", "", None, "=1", "ü"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("edited"), "merge-on-read", SCHEMA, ROWS)


def taken(world: World, file_format: FileFormat, **asked: Any) -> Path:
    stream = merging.stream_rows(world.uri, primary_keys=world.keys, **asked)
    try:
        content = b"".join(merging.encoded(stream.schema, stream.batches, file_format))
    finally:
        stream.close()
    return world.file(f"rows.{file_format}", content)


@pytest.mark.parametrize("empty_cells", [None, "null"])
@pytest.mark.parametrize("file_format", [FileFormat.CSV, FileFormat.XLSX])
def test_what_comes_back_unchanged_is_no_change(
    table: World, file_format: FileFormat, empty_cells: Any
) -> None:
    staged = table.stage(taken(table, file_format), empty_cells=empty_cells, asks_about_columns=True)
    assert list(staged.page().items) == []
    assert (staged.noop_rows, staged.unknown_columns, staged.warnings) == (len(ROWS), (), ())


def test_one_changed_cell_is_one_change_in_csv(table: World) -> None:
    path = taken(table, FileFormat.CSV, order_by="id")
    old = path.read_bytes()
    assert old.count(b"8.40") == 1
    path.write_bytes(old.replace(b"8.40", b"8.41"))
    staged = table.stage(path)
    [row] = staged.page().items
    assert (row.key, row.changed, (row.after or {})["money"]) == ({"id": 107}, ("money",), Decimal("8.41"))


@pytest.mark.parametrize(
    ("number", "column", "typed", "expected"),
    [
        (107, "money", 8.41, Decimal("8.41")),
        (110, "day", datetime.date(1900, 3, 2), datetime.date(1900, 3, 2)),
        (0, "text", "=1+2", "=1+2"),
        (101, "flag", False, False),
        (112, "blob", None, None),
    ],
)
def test_one_changed_cell_is_one_change_in_a_workbook(
    table: World, number: int, column: str, typed: Any, expected: Any
) -> None:
    path = taken(table, FileFormat.XLSX)
    book = openpyxl.load_workbook(path)
    [row] = [row for row in book.active.iter_rows(min_row=2) if row[0].value == number]
    cell = row[SCHEMA.names.index(column)]
    cell.value = typed
    if column == "text":
        cell.data_type = "s"
    book.save(path)  # by another program: formats, escapes and numbers as it writes them
    staged = table.stage(path)
    [changed] = staged.page().items
    assert (changed.key, changed.changed) == ({"id": number}, (column,))
    assert (changed.after or {})[column] == expected


def test_no_text_becomes_a_formula_or_a_link(table: World) -> None:
    book = openpyxl.load_workbook(taken(table, FileFormat.XLSX))
    kinds = {cell.data_type for row in book.active.iter_rows() for cell in row}
    assert "f" not in kinds
    assert not book.active._hyperlinks


def test_only_some_rows_and_columns_leave(table: World) -> None:
    path = taken(table, FileFormat.XLSX, columns=["id", "money"], filters=[("id", "=", "107")])
    rows = [[cell.value for cell in row] for row in openpyxl.load_workbook(path).active.iter_rows()]
    assert rows == [["id", "money"], [107, 8.4]]


def test_what_a_workbook_cannot_hold_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    world = World(tmp_path, "merge-on-read", schema, [{"id": 1, "text": "x" * 32_768}, {"id": 2, "text": ""}])
    with pytest.raises(merging.TooLargeForWorkbook, match="row 2 has a text of 32,768"):
        taken(world, FileFormat.XLSX)
    monkeypatch.setattr(workbook_files, "MOST_ROWS", 1)
    with pytest.raises(merging.TooLargeForWorkbook, match="up to 1 rows"):
        taken(world, FileFormat.XLSX)


@pytest.mark.parametrize("file_format", [FileFormat.CSV, FileFormat.XLSX])
def test_an_empty_text_is_a_key_that_comes_back(tmp_path: Path, file_format: FileFormat) -> None:
    schema = pa.schema([("code", pa.string()), ("part", pa.string()), ("seats", pa.int64())])
    rows: list[Row] = [
        {"code": "", "part": "", "seats": 1},
        {"code": "", "part": "a", "seats": 2},
        {"code": "b", "part": "", "seats": None},
    ]
    table = World(tmp_path, "merge-on-read", schema, rows, keys=("code", "part"))
    path = taken(table, file_format)
    staged = table.stage(path)
    assert (list(staged.page().items), staged.noop_rows) == ([], 3)
