"""Workbooks as the ecosystem writes them: each cell as people see it, or refused by its name."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import pandas as pd
import polars
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.chartsheet import Chartsheet

from merging import StagingRejected
from merging.staging.sources import spreadsheets
from tests.merging.world import Row, World, arrow

TRANSITIONAL = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/spreadsheetml/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STRICT_RELATIONS = "http://purl.oclc.org/ooxml/officeDocument/relationships"
DATE_FORMATS = {1: "14", 2: "22", 3: "165", 4: "166", 5: "9", 6: "167", 7: "168", 8: "46", 9: "11"}
STYLES = (
    '<numFmts count="4"><numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss.000"/>'
    '<numFmt numFmtId="166" formatCode="[$-407]d\\.\\ mmmm\\ yyyy;@"/>'
    '<numFmt numFmtId="167" formatCode="0.00&quot; days&quot;;[Red]\\-0.00"/>'
    '<numFmt numFmtId="168" formatCode="[Red][&gt;100]General"/></numFmts>'
    "<fonts><font><sz val='nonsense'/></font></fonts><cellStyleXfs><xf numFmtId='14'/></cellStyleXfs>"
    + "<cellXfs><xf numFmtId='0'/>"
    + "".join(f"<xf numFmtId='{number}' fillId='77'/>" for number in DATE_FORMATS.values())
    + "</cellXfs>"
)

T = pa.schema(
    [
        ("id", pa.int64()),
        ("a", pa.int32()),
        ("b", pa.string()),
        ("c", pa.float64()),
        ("d", pa.decimal128(10, 2)),
        ("e", pa.decimal128(38, 18)),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us")),
        ("yes", pa.bool_()),
        ("list", pa.list_(pa.int64())),
    ]
)
ROW = {
    "id": 1,
    "a": 10,
    "b": "x",
    "c": 1.5,
    "d": Decimal("3.30"),
    "e": Decimal("1.5"),
    "day": datetime.date(2024, 1, 2),
    "moment": datetime.datetime(2024, 1, 2, 3, 4, 5),  # noqa: DTZ001 - the column has no zone
    "yes": True,
    "list": [1],
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "merge-on-read", schema=T, rows=[ROW])


def workbook(
    path: Path,
    sheet: str | Sequence[str],
    *,
    shared: str = "",
    names: Sequence[str] = ("Data", "Other", "Third"),
    states: Sequence[str] = ("visible",) * 3,
    workbook_extra: str = "",
    strict: bool = False,
    prefix: str = "",
) -> Path:
    """A workbook by hand: ``sheet`` is what stands in each sheet's sheetData, or a whole worksheet's inside."""
    main, relations = (STRICT, STRICT_RELATIONS) if strict else (TRANSITIONAL, RELATIONS)
    sheets = [sheet] if isinstance(sheet, str) else list(sheet)
    insides = [one if "<sheetData" in one else f"<sheetData>{one}</sheetData>" for one in sheets]
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" state="{state}" r:id="s{number}"/>'
        for number, (name, state, _) in enumerate(zip(names, states, insides, strict=False), start=1)
    )
    targets = "".join(
        f'<Relationship Id="s{number}" Type="{relations}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(insides) + 1)
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{relations}/officeDocument" '
            'Target="/xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{relations}">{workbook_extra}<sheets>{listed}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}">{targets}'
            f'<Relationship Id="t" Type="{relations}/sharedStrings" Target="sharedStrings.xml"/>'
            f'<Relationship Id="f" Type="{relations}/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{shared}</sst>')
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{main}">{STYLES}</styleSheet>')
        for number, inside in enumerate(insides, start=1):
            text = f'<worksheet xmlns="{main}">{inside}</worksheet>'
            if prefix:
                for tag in ("worksheet", "sheetData", "row", "c", "v", "is", "t"):
                    text = text.replace(f"<{tag} ", f"<{prefix}:{tag} ").replace(
                        f"<{tag}>", f"<{prefix}:{tag}>"
                    )
                    text = text.replace(f"</{tag}>", f"</{prefix}:{tag}>")
                text = text.replace(" xmlns=", f" xmlns:{prefix}=")
            archive.writestr(f"xl/worksheets/sheet{number}.xml", text)
    return path


def text(value: str, reference: str = "") -> str:
    place = f' r="{reference}"' if reference else ""
    return f'<c{place} t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def header(*names: str) -> str:
    return "<row>" + "".join(map(text, names)) + "</row>"


def rows_with(column: str, cell: str, key: int = 1) -> str:
    """A sheet with a key and one more column, ``cell`` standing in B2."""
    return header("id", column) + f'<row r="2"><c r="A2"><v>{key}</v></c>{cell}</row>'


def staged(world: World, path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row.proposed for row in world.stage(path, **options).page().items]  # type: ignore[misc]


def problems(world: World, path: Path) -> list[tuple[int | None, str | None, str, str]]:
    before = {one: one.stat().st_mtime_ns for one in world.folder.rglob("*") if one.is_file()}
    with pytest.raises(StagingRejected) as rejection:
        world.stage(path)
    assert {one: one.stat().st_mtime_ns for one in world.folder.rglob("*") if one.is_file()} == before
    return [(one.line, one.column, one.code, one.message) for one in rejection.value.problems]


def value_of(world: World, column: str, cell: str, **options: Any) -> Any:
    """What a cell in B2 proposes for a new row."""
    path = workbook(world.folder / "x.xlsx", rows_with(column, cell, 2), **options)
    [row] = staged(world, path)
    return row[column]


def test_fd10_rows_outside_the_declared_dimension_are_read(world: World) -> None:
    rows = header("id", "b") + "".join(
        f'<row r="{row}"><c r="A{row}"><v>{row}</v></c>{text("y", f"B{row}")}</row>' for row in range(2, 40)
    )
    path = workbook(world.folder / "x.xlsx", f'<dimension ref="A1:B3"/><sheetData>{rows}</sheetData>')
    assert [(row["id"], row["b"]) for row in staged(world, path)] == [
        (number, "y") for number in range(2, 40)
    ]
    # Some writers give no references at all.
    bare = header("id", "b") + f"<row><c><v>7</v></c>{text('y')}</row>"
    assert [row["id"] for row in staged(world, workbook(world.folder / "y.xlsx", bare))] == [7]


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="B2"><f>A1+1</f></c>',
        '<c r="B2"><f>A1+1</f><v/></c>',
        '<c r="B2"><f t="shared" si="0"/><v></v></c>',
    ],
)
def test_fd10_a_formula_without_result_is_refused_by_its_cell(world: World, cell: str) -> None:
    path = workbook(world.folder / "x.xlsx", rows_with("a", cell))
    [(line, column, code, message)] = problems(world, path)
    assert (line, column, code) == (2, "a", "never_calculated")
    assert message == (
        "cell B2 holds a formula that was never calculated: open and save it in a spreadsheet program."
    )


def test_fd10_formulas_of_openpyxl_are_refused_and_those_with_results_taken(world: World) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["id", "a", "b"])
    sheet.append([2, "=1+1", "y"])
    path = world.folder / "x.xlsx"
    book.save(path)
    assert [(one[0], one[1], one[2]) for one in problems(world, path)] == [(2, "a", "never_calculated")]
    assert value_of(world, "a", '<c r="B2"><f>1+1</f><v>2</v></c>') == 2
    assert value_of(world, "b", '<c r="B2" t="str"><f>"a"&amp;"b"</f><v>ab</v></c>') == "ab"
    assert value_of(world, "b", '<c r="B2" t="str"><f>""</f><v></v></c>') == ""
    # XlsxWriter stores 0 for what it did not calculate, and asks for calculation when opened.
    asks = '<calcPr fullCalcOnLoad="1"/>'
    zero = workbook(
        world.folder / "z.xlsx", rows_with("a", '<c r="B2"><f>1+1</f><v>0</v></c>'), workbook_extra=asks
    )
    assert problems(world, zero)[0][2] == "never_calculated"
    assert value_of(world, "a", '<c r="B2"><f>1+1</f><v>2</v></c>', workbook_extra=asks) == 2
    assert value_of(world, "a", '<c r="B2"><f>1-1</f><v>0</v></c>') == 0
    spilled = header("id", "a") + (
        '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><f t="array" ref="B2:B3">C1:C2</f><v>5</v></c></row>'
        '<row r="3"><c r="A3"><v>2</v></c><c r="B3"><v>0</v></c></row>'
    )
    path = workbook(world.folder / "s.xlsx", spilled, workbook_extra=asks)
    assert [one[0] for one in problems(world, path)] == [3]


ESCAPES = {
    "a_x000D_b": "a\rb",
    "_x005F_x000D_": "_x000D_",
    "_x0041__x0042_": "AB",
    "_xD83D__xDE00_": "😀",
    "_x00zz_ _x41_ x000D_": "_x00zz_ _x41_ x000D_",
    "a\nb": "a\nb",
    " blanks ": " blanks ",
}


@pytest.mark.parametrize("escaped", ESCAPES)
def test_fd10_escapes_are_decoded(world: World, escaped: str) -> None:
    expected = ESCAPES[escaped]
    assert value_of(world, "b", text(escaped, "B2")) == expected
    assert value_of(world, "b", f'<c r="B2" t="str"><f>A1</f><v>{escaped}</v></c>') == expected
    assert (
        value_of(world, "b", '<c r="B2" t="s"><v>1</v></c>', shared=f"<si/><si><t>{escaped}</t></si>")
        == expected
    )


def test_fd10_half_of_a_character_is_refused(world: World) -> None:
    path = workbook(world.folder / "x.xlsx", rows_with("b", text("a_xD83D_", "B2")))
    assert [one[:3] for one in problems(world, path)] == [(2, "b", "unreadable_cell")]


def test_fd10_rich_and_phonetic_texts_are_their_letters(world: World) -> None:
    rich = "<r><rPr><b/></rPr><t>bo</t></r><r><t xml:space='preserve'>ld </t></r><rPh sb='0' eb='1'><t>no</t></rPh>"
    assert value_of(world, "b", f'<c r="B2" t="inlineStr"><is>{rich}</is></c>') == "bold "
    assert value_of(world, "b", '<c r="B2" t="s"><v>0</v></c>', shared=f"<si>{rich}</si>") == "bold "


@pytest.mark.parametrize(
    "error", ["#REF!", "#N/A", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!"]
)
def test_fd10_errors_are_refused_by_their_cells(world: World, error: str) -> None:
    path = workbook(world.folder / "x.xlsx", rows_with("b", f'<c r="B2" t="e"><f>A9</f><v>{error}</v></c>'))
    [(line, column, code, message)] = problems(world, path)
    assert (line, column, code) == (2, "b", "error_cell")
    assert message.startswith(f"cell B2 holds the error {error};")


def test_fd10_other_sheets_with_content_are_said(world: World) -> None:
    first = rows_with("b", text("y", "B2"))
    path = workbook(
        world.folder / "x.xlsx", [first, "<row><c s='1'/></row>", rows_with("b", text("z", "B2"))]
    )
    made = world.stage(path)
    assert made.warnings == ('Only the sheet "Data" was read; "Third" holds cells and was not.',)
    hidden = workbook(
        world.folder / "y.xlsx", [rows_with("b", text("old", "B2")), first], states=("hidden", "visible")
    )
    assert [row["b"] for row in staged(world, hidden)] == ["y"]
    assert world.stage(hidden).warnings == (
        'Only the sheet "Other" was read; "Data" (hidden) holds cells and was not.',
    )


def test_fd10_hidden_rows_and_columns_are_read_and_said(world: World) -> None:
    path = world.folder / "x.xlsx"
    book = openpyxl.Workbook()
    for row in (["id", "a", "b"], [1, 10, "x"], [2, 20, "y"], [3, 30, "z"], [None, None, None]):
        book.active.append(row)
    book.save(path)
    assert world.stage(path).warnings == ()
    for line in (1, 3, 5):
        book.active.row_dimensions[line].hidden = True
    book.save(path)
    made = world.stage(path)
    assert made.warnings == ("The sheet hides 1 row by a filter or by hand, which was read like all others.",)
    assert [row["id"] for row in staged(world, path)] == [2, 3]
    book.active.row_dimensions[4].hidden = True
    book.active.column_dimensions.group("B", "C", hidden=True)
    book.active.column_dimensions["F"].hidden = True
    book.save(path)
    assert world.stage(path).warnings == (
        "The sheet hides 2 rows by a filter or by hand, which were read like all others.",
        'The sheet hides the columns "a", "b", which were read like all others.',
    )
    other = book.create_sheet("Other")
    other.append(["id"])
    other.row_dimensions[1].hidden = True
    for line in (3, 4):
        book.active.row_dimensions[line].hidden = False
    book.active.column_dimensions["B"].hidden = False
    book.save(path)
    assert world.stage(path).warnings == (
        'Only the sheet "Sheet" was read; "Other" holds cells and was not.',
    )


NUMBERS = [
    ("d", "3.3000000000000003", Decimal("3.30")),
    ("d", "3.2999999999999998", Decimal("3.30")),
    ("e", "3.3000000000000003", Decimal("3.3")),
    ("e", "1E-7", Decimal("0.0000001")),
    ("e", "12345678901.123456789012345678", Decimal("12345678901.123456789012345678")),
    ("d", "1.5E3", Decimal("1500")),
    ("d", "12345.670000000013", Decimal("12345.67")),
    ("e", "1234567890123.9998", Decimal("1234567890124")),
    ("a", "4.9999999999999996", 5),
    ("a", "1.2E+1", 12),
    ("c", "0.30000000000000004", 0.30000000000000004),
    ("c", "1.7976931348623157E+308", 1.7976931348623157e308),
    ("c", "4.9406564584124654E-324", 5e-324),
    ("a", "25", 25),
]


@pytest.mark.parametrize(("column", "written", "expected"), NUMBERS)
def test_fd10_numbers_are_what_a_spreadsheet_means(
    world: World, column: str, written: str, expected: Any
) -> None:
    assert value_of(world, column, f'<c r="B2" s="5"><v>{written}</v></c>') == expected


def test_fd10_whole_numbers_are_exact_or_refused(tmp_path: Path) -> None:
    world = World(
        tmp_path, "merge-on-read", schema=pa.schema([("id", pa.int64()), ("n", pa.int64())]), rows=[]
    )
    for written, expected in (
        ("9007199254740992", 2**53),
        ("9007199254740993", 2**53 + 1),
        ("1234567890123456789", 1234567890123456789),
        ("-9223372036854775807", -(2**63) + 1),
        ("1000000000000000", 10**15),
        ("1.23E+10", 12_300_000_000),
    ):
        assert value_of(world, "n", f'<c r="B2"><v>{written}</v></c>') == expected
    for written in ("1.234567890123457E+18", "1e+16", "12345678901234568", "1.0000000000000002E+17"):
        path = workbook(tmp_path / "x.xlsx", rows_with("n", f'<c r="B2"><v>{written}</v></c>'))
        [(line, column, code, message)] = problems(world, path)
        assert (line, column, code) == (2, "n", "wrong_type")
        assert f"cell B2 holds {written}" in message
        assert "format the cell as Text" in message
    assert value_of(world, "n", text("12345678901234568", "B2")) == 12345678901234568


def test_fd10_decimals_that_may_be_rounded_are_refused(world: World) -> None:
    for written in ("1234567890.123457", "0.12345678901234568"):
        path = workbook(world.folder / "x.xlsx", rows_with("e", f'<c r="B2"><v>{written}</v></c>'))
        assert problems(world, path)[0][:3] == (2, "e", "wrong_type")
    path = workbook(world.folder / "x.xlsx", rows_with("d", '<c r="B2"><v>3.305</v></c>'))
    assert problems(world, path)[0][:3] == (2, "d", "decimal_does_not_fit")


LONG_NUMBERS = [
    ("n", "1234567890123456.5"),
    ("n", "9007199254740993.5"),
    ("n", "12345678901234.567"),
    ("n", "12345678901234567.890123456789"),
    ("d", "12345678901234.567"),
    ("d", "1234567890123.995"),
    ("d", "1234567890123.4560000000000000000001"),
    ("d", "3.30000000000000001234"),
    ("e", "0.1234567890123456789"),
    ("e", "0.12345678901234567890123456789"),
    ("e", "1234567890123.995"),
]


@pytest.mark.parametrize(("column", "written"), LONG_NUMBERS)
def test_fd10_no_digit_of_a_long_number_is_lost(tmp_path: Path, column: str, written: str) -> None:
    kinds = {"n": pa.int64(), "d": pa.decimal128(38, 2), "e": pa.decimal128(38, 18)}
    world = World(
        tmp_path, "merge-on-read", schema=pa.schema([("id", pa.int64()), (column, kinds[column])]), rows=[]
    )
    path = workbook(tmp_path / "x.xlsx", rows_with(column, f'<c r="B2"><v>{written}</v></c>'))
    [(line, where, _, message)] = problems(world, path)
    assert (line, where) == (2, column)
    assert written in message


def naive(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - columns without a zone


MOMENTS = [
    ("day", "1", "45293", datetime.date(2024, 1, 2)),
    ("day", "4", "45293", datetime.date(2024, 1, 2)),
    ("day", "2", "45293", datetime.date(2024, 1, 2)),
    ("day", "1", "1", datetime.date(1900, 1, 1)),
    ("day", "1", "59", datetime.date(1900, 2, 28)),
    ("day", "1", "61", datetime.date(1900, 3, 1)),
    ("day", "1", "2958465", datetime.date(9999, 12, 31)),
    ("moment", "1", "45293", naive(2024, 1, 2)),
    ("moment", "3", "45293.127835648149", naive(2024, 1, 2, 3, 4, 5)),
    ("moment", "3", "45293.999999999884", naive(2024, 1, 2, 23, 59, 59, 999_990)),
    ("moment", "3", "45293.12783565972", naive(2024, 1, 2, 3, 4, 5, 1000)),
]


@pytest.mark.parametrize(("column", "style", "serial", "expected"), MOMENTS)
def test_fd10_dates_are_read_by_their_number_format(
    world: World, column: str, style: str, serial: str, expected: Any
) -> None:
    assert value_of(world, column, f'<c r="B2" s="{style}"><v>{serial}</v></c>') == expected


def test_fd10_dates_of_the_other_epoch_and_of_iso_cells(world: World) -> None:
    of_1904 = {"workbook_extra": '<workbookPr date1904="true"/>'}
    assert value_of(world, "day", '<c r="B2" s="1"><v>0</v></c>', **of_1904) == datetime.date(1904, 1, 1)
    assert value_of(world, "day", '<c r="B2" s="1"><v>43831</v></c>', **of_1904) == datetime.date(2024, 1, 2)
    for written in ("2024-01-02", "2024-01-02T00:00:00", "2024-01-02T00:00:00.000Z"):
        assert value_of(world, "day", f'<c r="B2" t="d"><v>{written}</v></c>') == datetime.date(2024, 1, 2)
    assert value_of(world, "moment", '<c r="B2" t="d"><v>2024-01-02</v></c>') == naive(2024, 1, 2)
    assert value_of(world, "moment", '<c r="B2" t="d"><v>2024-01-02T03:04:05.123456</v></c>') == naive(
        2024, 1, 2, 3, 4, 5, 123456
    )


@pytest.mark.parametrize(
    ("column", "style", "written", "code"),
    [
        ("day", "1", "60", "wrong_type"),
        ("day", "1", "0", "wrong_type"),
        ("day", "1", "-18261", "wrong_type"),
        ("day", "1", "2958466", "wrong_type"),
        ("day", "2", "45293.5", "not_date"),
        ("day", "8", "2.5", "wrong_type"),
        ("a", "1", "45293", "not_number"),
        ("day", "6", "45293", "wrong_type"),
        ("moment", "7", "45293", "wrong_type"),
        ("day", "9", "45293", "wrong_type"),
        ("b", "0", "7", "wrong_type"),
        ("b", "1", "45293", "wrong_type"),
        ("yes", "0", "1", "not_boolean"),
    ],
)
def test_fd10_what_a_cell_is_not_is_refused(
    world: World, column: str, style: str, written: str, code: str
) -> None:
    path = workbook(world.folder / "x.xlsx", rows_with(column, f'<c r="B2" s="{style}"><v>{written}</v></c>'))
    assert [one[:3] for one in problems(world, path)] == [(2, column, code)]


def test_fd10_truth_values_and_nested_texts(world: World) -> None:
    assert value_of(world, "yes", '<c r="B2" t="b"><v>0</v></c>') is False
    assert value_of(world, "list", text("[1, null]", "B2")) == [1, None]
    path = workbook(world.folder / "x.xlsx", rows_with("list", text("[" * 100_000, "B2")))
    [(line, column, _, message)] = problems(world, path)
    assert (line, column) == (2, "list")
    assert "nested more than 100 deep" in message


def test_fd26_strict_workbooks_prefixes_and_strange_styles_are_read(world: World) -> None:
    assert value_of(world, "day", '<c r="B2" s="1"><v>45293</v></c>', strict=True) == datetime.date(
        2024, 1, 2
    )
    assert value_of(world, "b", text("y", "B2"), prefix="x") == "y"
    assert value_of(world, "a", '<c r="B2" s="4711"><v>5</v></c>') == 5


def test_fd26_chart_sheets_are_passed_over(world: World) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["id", "b"])
    sheet.append([2, "y"])
    chart = book.create_chartsheet("Chart", 0)
    assert isinstance(chart, Chartsheet)
    book.save(world.folder / "x.xlsx")
    assert [row["b"] for row in staged(world, world.folder / "x.xlsx")] == ["y"]
    assert world.stage(world.folder / "x.xlsx").warnings == ()


def test_fd26_merged_cells_are_refused(world: World) -> None:
    rows = (
        header("id", "b")
        + f'<row r="2"><c r="A2"><v>1</v></c>{text("y", "B2")}</row><row r="3"><c r="A3"><v>2</v></c></row>'
    )
    merged = (
        '<mergeCells><mergeCell ref="B2:B3"/><mergeCell ref="H1:J1"/><mergeCell ref="A9:B9"/></mergeCells>'
    )
    path = workbook(world.folder / "x.xlsx", f"<sheetData>{rows}</sheetData>{merged}")
    [(line, _, code, message)] = problems(world, path)
    assert (line, code) == (2, "merged_cells")
    assert "B2:B3" in message


def test_headers_with_gaps_and_repeats_are_refused_by_line(world: World) -> None:
    gap = '<row r="3">' + text("id", "A3") + text("b", "C3") + '</row><row r="4"><c r="A4"><v>1</v></c></row>'
    path = workbook(world.folder / "x.xlsx", '<row r="1"><c s="1"/></row>' + gap)
    assert [one[:3] for one in problems(world, path)] == [(3, None, "unnamed_column")]
    path = workbook(world.folder / "x.xlsx", header("id", "b", "b"))
    assert [one[:3] for one in problems(world, path)] == [(1, "b", "repeated_column")]
    path = workbook(
        world.folder / "x.xlsx", header("id", "b") + f'<row r="2"><c><v>1</v></c>{text("y")}{text("z")}</row>'
    )
    [(line, _, code, message)] = problems(world, path)
    assert (line, code) == (2, "cell_without_column")
    assert "cell C2" in message
    path = workbook(world.folder / "x.xlsx", '<row><c t="e"><v>#REF!</v></c></row>')
    assert problems(world, path)[0][:3] == (1, None, "wrong_header")
    assert problems(world, workbook(world.folder / "x.xlsx", ""))[0][2] == "no_header"


def test_blank_cells_are_null_and_formatted_blank_rows_nothing(world: World) -> None:
    blank = '<row r="3"><c r="A3" s="1"/><c r="B3" t="s"/></row>' * 1
    rows = header("id", "b") + '<row r="2"><c r="A2"><v>1</v></c><c r="B2" s="1"/></row>' + blank
    [row] = staged(world, workbook(world.folder / "x.xlsx", rows))
    assert (row["id"], row["b"]) == (1, None)


def test_fs3_other_formats_are_refused_by_name(world: World) -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
    for data, phrase in (
        (ole + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
        (ole, "older Office programs"),
        (b"<html><table></table></html>", "a page in HTML"),
    ):
        with pytest.raises(StagingRejected, match=phrase):
            world.stage(world.file("x.xlsx", data))
    for member, content, phrase in (
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet", r"OpenDocument spreadsheet, \.ods"),
        ("xl/workbook.bin", "", r"binary workbook, \.xlsb"),
        ("readme.txt", "", r"an archive"),
    ):
        path = world.folder / "x.xlsx"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
        with pytest.raises(StagingRejected, match=phrase):
            world.stage(path)
    for name in ("x.xls", "x.ods", "x.xlsb"):
        with pytest.raises(StagingRejected, match="older Office programs") as rejection:
            world.stage(world.file(name, ole))
        assert rejection.value.problems[0].code == "unknown_format"


def test_fs3_damaged_workbooks_are_refused(world: World) -> None:
    path = workbook(world.folder / "x.xlsx", rows_with("b", text("y" * 5000, "B2")))
    data = path.read_bytes()
    place = data.index(b"xl/worksheets/sheet1.xml") + 40
    damaged = [
        data[:-30],
        data[: len(data) // 2],
        data[:place] + bytes(20) + data[place + 20 :],
        b"",
        b"PK\x03\x04",
    ]
    for one in damaged:
        assert problems(world, world.file("x.xlsx", one))[0][2] == "unreadable"
    for rows in (
        '<row r="2"/><row r="1"/>',
        header("id") + '<row r="2"><c r="B2"><v>1</v></c><c r="A2"><v>1</v></c></row>',
        header("id") + '<row r="2"><c r="A3"><v>1</v></c></row>',
        header("id") + '<row r="2"><c r="1A"><v>1</v></c></row>',
        header("id") + '<row r="-2"><c r="A2"><v>1</v></c></row>',
        header("id") + '<row r="x"><c r="A2"><v>1</v></c></row>',
        header("id") + '<row r="2"><c r="A2"><v>1</v><v>2</v></c></row>',
        header("id") + '<row r="2"><c r="A2" t="inlineStr"><v>1</v><is><t>2</t></is></c></row>',
        "<row><c></row>",
        "<row>&unknown;</row>",
    ):
        assert problems(world, workbook(world.folder / "y.xlsx", rows))[0][2] == "unreadable"


@pytest.mark.parametrize(
    "sheet",
    [
        header("id") + f"<row><c><v>{'9' * 5_000}</v></c></row>",
        header("id") + f'<row><c t="s"><v>{"9" * 5_000}</v></c></row>',
        header("id") + f'<row r="{"9" * 5_000}"><c><v>1</v></c></row>',
        header("id") + f'<row><c r="A{"9" * 5_000}"><v>1</v></c></row>',
        header("id", "b") + f'<row><c s="{"9" * 5_000}"><v>1</v></c><c r="ZZZ2"><v>1</v></c></row>',
    ],
)
def test_fs3_numbers_of_thousands_of_digits_anywhere_in_a_sheet(world: World, sheet: str) -> None:
    assert problems(world, workbook(world.folder / "x.xlsx", sheet))


def test_fs3_encodings_that_are_none_of_texts_are_refused(world: World) -> None:
    path = workbook(world.folder / "x.xlsx", header("id"))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for encoding in ("rot13", "hex", "none", "utf-7", "cp037"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                said = f'<?xml version="1.0" encoding="{encoding}"?>'.encode()
                archive.writestr(name, said + data.split(b"?>")[-1] if name.endswith("sheet1.xml") else data)
        assert problems(world, path)[0][2] == "unreadable"


def test_fs3_declarations_are_refused(world: World) -> None:
    path = workbook(world.folder / "x.xlsx", "")
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, bomb.encode() + data if name.endswith("sheet1.xml") else data)
    with pytest.raises(StagingRejected, match="document type declaration"):
        world.stage(path)


LIMITS: dict[str, tuple[int, str | list[str], Mapping[str, Any]]] = {
    "unpacked_bytes": (2_000, header("id", "b") + header("x", "y") * 100, {}),
    "shared_texts": (5, header("id"), {"shared": "<si><t>x</t></si>" * 9}),
    "shared_text_bytes": (500, header("id"), {"shared": f"<si><t>{'x' * 900}</t></si>"}),
    "MAX_ROWS": (50, header("id") + '<row r="51"/>', {}),
    "MAX_SHEET_COLUMNS": (20, header(*(f"c{number}" for number in range(30))), {}),
    "sheets": (2, ["", "", ""], {}),
    "MAX_STYLES": (3, header("id"), {}),
    "MAX_MERGED_RANGES": (1, "<sheetData/>" + '<mergeCell ref="A1:A2"/>' * 2, {}),
    "MAX_DEPTH": (20, "<sheetData>" + "<x>" * 30 + "</x>" * 30 + "</sheetData>", {}),
    "cell_bytes": (100, header("id", "x" * 200), {}),
    "MAX_MARKUP_BYTES": (10_000, f'<sheetData><row spans="{"1" * 200_000}"/></sheetData>', {}),
}  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS)
def test_fs3_what_grows_beyond_its_limit_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, allow: Callable[..., None], limit: str
) -> None:
    value, sheet, options = LIMITS[limit]
    if limit.isupper():
        monkeypatch.setattr(spreadsheets, limit, value)
    else:
        allow(**{limit: value})
    path = workbook(world.folder / "x.xlsx", sheet, **options)
    assert problems(world, path)[0][2] in ("too_large", "too_long")


CELLS = st.text(st.sampled_from("a_x0041 \n\t\"'<&é😀\ufffd"), max_size=12)


@given(st.lists(st.tuples(CELLS, st.integers(-(2**31), 2**31 - 1), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=30)
def test_fd10_cells_come_out_as_they_went_in(tmp_path: Path, rows: list[tuple[str, int, bool]]) -> None:
    schema = pa.schema([("id", pa.int64()), ("t", pa.string()), ("n", pa.int64()), ("yes", pa.bool_())])
    content: list[Row] = [
        {"id": number, "t": cell, "n": whole, "yes": truth}
        for number, (cell, whole, truth) in enumerate(rows)
    ]
    world = World(tmp_path, "merge-on-read", schema=schema, rows=content)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(schema.names)
    for row in content:
        # As Excel and XlsxWriter write: what would be read as an escape is escaped.
        sheet.append(
            [row["id"], spreadsheets._ESCAPE.sub(r"_x005F\g<0>", row["t"]) or None, row["n"], row["yes"]]
        )
    book.save(tmp_path / "x.xlsx")
    made = world.stage(tmp_path / "x.xlsx")
    assert (made.rows, made.noop_rows) == (0, len(content))


def test_fd10_an_unchanged_export_is_no_change(world: World) -> None:
    frame = arrow(T, [ROW]).drop_columns(["list"]).to_pandas()
    frame["d"] = [3.3000000000000003]  # as a calculation leaves it
    frame.to_excel(world.folder / "x.xlsx", index=False)
    made = world.stage(world.folder / "x.xlsx")
    assert (made.rows, made.noop_rows, made.warnings) == (0, 1, ())


PLAIN = pa.schema(
    [
        ("id", pa.int64()),
        ("n", pa.int32()),
        ("t", pa.string()),
        ("x", pa.float64()),
        ("d", pa.decimal128(12, 4)),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us")),
        ("yes", pa.bool_()),
    ]
)


def plain_rows() -> list[dict[str, Any]]:
    """Rows as tables hold them: a fourth of the cells NULL, whole seconds, doubles of 15 digits."""
    rows: list[dict[str, Any]] = []
    for number in range(1, 200):
        row: dict[str, Any] = {
            "id": number * 1_000_003,
            "n": number - 100,
            "t": f"text {number} 'quoted', _x0041_ <&>\nnext line 😀",
            "x": number / 8 - 7,
            "d": Decimal(number * 12_345 - 700_000).scaleb(-4),
            "day": datetime.date(1990, 1, 1) + datetime.timedelta(days=number * 61),
            "moment": naive(1999, 12, 31, 23) + datetime.timedelta(seconds=number * 7_919_333),
            "yes": number % 2 == 0,
        }
        rows.append(
            {
                name: None if (number + place) % 4 == 0 and place else value
                for place, (name, value) in enumerate(row.items())
            }
        )
    return rows


def test_fd10_unchanged_exports_of_each_writer_are_no_changes(tmp_path: Path) -> None:
    """By openpyxl, pandas with both of its engines, and Polars, which writes by XlsxWriter."""
    rows = plain_rows()
    world = World(tmp_path, "merge-on-read", schema=PLAIN, rows=rows)
    table = arrow(PLAIN, rows)
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    # These write what others would read as an escape as it is; XlsxWriter escapes it itself.
    bare = frame.assign(t=frame["t"].str.replace("_x0041_", "_x005F_x0041_"))
    bare.to_excel(tmp_path / "pandas.xlsx", index=False, engine="openpyxl")
    frame.to_excel(tmp_path / "xlsxwriter.xlsx", index=False, engine="xlsxwriter")
    polars.DataFrame(table).write_excel(tmp_path / "polars.xlsx")
    found = {}
    for path in sorted(tmp_path.glob("*.xlsx")):
        made = world.stage(path)
        found[path.name] = (made.rows, made.noop_rows, made.warnings)
    assert found == dict.fromkeys(["pandas.xlsx", "polars.xlsx", "xlsxwriter.xlsx"], (0, 199, ()))


def test_fd10_digits_and_empty_texts_that_no_workbook_keeps_are_no_change(tmp_path: Path) -> None:
    schema = pa.schema(
        [("id", pa.int64()), ("x", pa.float64()), ("d", pa.decimal128(38, 18)), ("t", pa.string())]
    )
    rows: list[Row] = [
        {"id": 1, "x": 0.43333333333333335, "d": Decimal("1234567890.12345000000001"), "t": ""},
        {"id": 2, "x": 0.1 + 0.2, "d": Decimal("0.1"), "t": "a"},
        {"id": 3, "x": -1.2345678901234567e300, "d": None, "t": None},
    ]
    world = World(tmp_path, "merge-on-read", schema=schema, rows=rows)
    frame = arrow(schema, rows).to_pandas()
    for engine in ("openpyxl", "xlsxwriter"):
        frame.to_excel(tmp_path / "x.xlsx", index=False, engine=engine)
        made = world.stage(tmp_path / "x.xlsx")
        assert (made.rows, made.noop_rows) == (0, 3)
        assert ["last digits" in warning for warning in made.warnings] == [True]
    frame.loc[0, "x"], frame.loc[1, "t"] = 0.43333333333334, None
    frame.to_excel(tmp_path / "x.xlsx", index=False)
    changed = world.stage(tmp_path / "x.xlsx").page().items
    assert [row.proposed for row in changed] == [
        {**rows[0], "x": 0.43333333333334},
        {**rows[1], "t": None},
    ]


def test_fd10_whole_numbers_of_a_new_column_are_whole(world: World) -> None:
    """Google writes 10.0, Excel 1E+3."""
    cells = "<c><v>2</v></c><c><v>10.0</v></c></row><row><c><v>3</v></c><c><v>1E+3</v></c>"
    path = workbook(world.folder / "x.xlsx", header("id", "new") + f"<row>{cells}</row>")
    assert [row["new"] for row in staged(world, path)] == [10, 1000]
    assert pa.types.is_integer(world.stage(path).schema.field("new").type)


def test_fd10_an_edited_export_changes_those_cells(tmp_path: Path) -> None:
    # openpyxl decodes what it reads and does not encode what it writes.
    rows = [{**row, "t": row["t"] and row["t"].replace("_x0041_", "")} for row in plain_rows()]
    world = World(tmp_path, "merge-on-read", schema=PLAIN, rows=rows)
    polars.DataFrame(arrow(PLAIN, rows)).write_excel(tmp_path / "x.xlsx")
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    sheet = book.active
    assert sheet is not None
    sheet["D3"], sheet["F3"], sheet["C4"] = 2.25, datetime.date(2020, 2, 29), None
    book.save(tmp_path / "y.xlsx")
    changed = {
        tuple(row.key.values()): {name: row.proposed[name] for name in row.changed}  # type: ignore[index]
        for row in world.stage(tmp_path / "y.xlsx").page().items
    }
    assert changed == {
        (2_000_006,): {"x": 2.25, "day": datetime.date(2020, 2, 29)},
        (3_000_009,): {"t": None},
    }
