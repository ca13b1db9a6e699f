"""CSV read strictly and exactly: whatever is in a cell comes out as it went in, or the file is refused by its place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from merging import StagingRejected
from merging.staging.sources import Blanks, Problems, content, csv_records, format_of, open_source
from tests.merging.world import Row, World, arrow

Cell = str | None
TEXT = pa.schema([("id", pa.int64()), ("u", pa.string()), ("t", pa.string())])


def read(path: Path, targets: pa.Schema | None = None, null_token: str = "") -> list[tuple[Cell, ...]]:
    """The header and the rows of a file, as the reader gives them."""
    problems = Problems()
    types = {} if targets is None else {field.name: field.type for field in targets}
    source = open_source(path, types, problems, blanks=Blanks(null_token), file_format="csv")
    rows: list[tuple[Cell, ...]] = [source.columns]
    for batch in source.batches:
        columns = [batch.column(f"f{place}").to_pylist() for place in range(len(source.columns))]
        rows += zip(*columns, strict=True)
    if problems.total:
        raise problems.rejection(source.lines(problems.ordinals()))
    return rows


def lines_of(path: Path, names: Sequence[str] = ()) -> list[int]:
    """The line on which each row begins."""
    source = open_source(path, dict.fromkeys(names, pa.string()), Problems(), file_format="csv")
    rows = sum(batch.num_rows for batch in source.batches)
    return [line for _, line in sorted(source.lines(set(range(rows))).items())]


def refused(path: Path) -> list[tuple[int | None, str | None, str]]:
    """Where and why a file is refused."""
    with pytest.raises(StagingRejected) as rejection:
        read(path)
    return [(problem.line, problem.column, problem.code) for problem in rejection.value.problems]


def written(cells: Sequence[Sequence[Cell]], ends: Sequence[str], delimiter: str, last_end: bool) -> str:
    """CSV by hand: NULL bare and empty, text quoted where it must be, every line end as given."""
    text = ""
    for row, end in zip(cells, ends, strict=True):
        parts = []
        for cell in row:
            special = cell is not None and (not cell or set(cell) & set(f'"\r\n{delimiter}'))
            parts.append("" if cell is None else '"' + cell.replace('"', '""') + '"' if special else cell)
        text += delimiter.join(parts) + end
    return text if last_end else text.removesuffix(ends[-1])


CELLS = st.none() | st.text(
    st.sampled_from('",;\t|\r\n\\ aé\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\x00€😀'), max_size=6
)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[list[Cell]], str]:
    """Rows of a file with a header, and the file."""
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=12))
    header: list[Cell] = [f"column {place}" for place in range(width)]
    end = st.sampled_from(["\n", "\r\n", "\r"])
    ends = draw(st.lists(end, min_size=len(rows) + 1, max_size=len(rows) + 1))
    if width == 1:  # CR, an empty cell and LF would be one CR LF
        ends = [ends[0]] * len(ends)
    last_end = draw(st.booleans()) or width == 1  # an empty cell alone has a line
    delimiter = draw(st.sampled_from(",;\t|")) if width > 1 else ","
    return [header, *rows], written([header, *rows], ends, delimiter, last_end)


@given(files(), st.integers(1, 40))
@example(([["a", "b"], ["x", "1\r\n2"]], 'a,b\r\nx,"1\r\n2"\r\n'), 9)
@settings(max_examples=250)
def test_fd8_fd22_cells_come_out_as_they_went_in_at_every_block_border(
    tmp_path: Path, file: tuple[list[list[Cell]], str], block: int
) -> None:
    cells, text = file
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "BLOCK_BYTES", block)
        patch.setattr(content, "HEAD_BYTES", 1 + block % 7)
        found = read(path, pa.schema([(str(name), pa.string()) for name in cells[0]]))
    assert [list(row) for row in found] == cells


@given(files(), st.integers(1, 40))
@settings(max_examples=100)
def test_fd9_lines_are_the_lines_of_the_file(
    tmp_path: Path, file: tuple[list[list[Cell]], str], block: int
) -> None:
    cells, text = file
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    expected = []
    # The lines before a record are those of the text before it; records are found again by how they are written.
    line, rest = 1, text
    for row in cells:
        expected.append(line)
        for delimiter in ",;\t|":
            begun = written([row], [""], delimiter, True)
            if rest.startswith(begun) and (rest[len(begun) :][:1] in ("\r", "\n", "")):
                break
        end = rest[len(begun) :]
        taken = begun + ("\r\n" if end.startswith("\r\n") else end[:1])
        line += len(taken.encode().splitlines())
        rest = rest[len(taken) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "BLOCK_BYTES", block)
        assert lines_of(path, [str(name) for name in cells[0]]) == expected[1:]


def test_fd8_windows_line_ends_in_notes_are_no_change(tmp_path: Path) -> None:
    """24.5 MB of notes as an export writes them: the border of two blocks falls on every byte of CR LF somewhere."""
    notes = [
        {"id": number, "u": f"line one {number}\r\nline two\r\n" + "x" * (number % 97 + 40), "t": None}
        for number in range(200_000)
    ]
    world = World(tmp_path, "merge-on-read", schema=TEXT, rows=notes)
    path = world.folder / "notes.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "u", "t"], lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(notes)
    staged = world.stage(path)
    assert (staged.rows, staged.noop_rows) == (0, 200_000)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_fd22_the_last_cell_is_null_with_and_without_a_line_end(world: World, end: str) -> None:
    assert read(world.file("x.csv", f'id,u,t\n0,"q",{end}'), TEXT)[1:] == [("0", "q", None)]
    assert read(world.file("x.csv", f'id,u,t\n0,"q",""{end}'), TEXT)[1:] == [("0", "q", "")]
    assert read(world.file("x.csv", f"id,u,t\n0,,{end}"), TEXT)[1:] == [("0", None, None)]


def test_fd22_an_empty_line_is_a_cell_of_the_only_column_and_nothing_elsewhere(world: World) -> None:
    assert read(world.file("x.csv", 'id\na\n\n""\nb\n')) == [("id",), ("a",), (None,), ("",), ("b",)]
    assert read(world.file("x.csv", "\r\n\nid,t\n\n1,x\n\r\n\r2,y\n\n")) == [
        ("id", "t"),
        ("1", "x"),
        ("2", "y"),
    ]
    assert lines_of(world.file("x.csv", "\r\n\nid,t\n\n1,x\n\r\n\r2,y\n\n")) == [5, 8]


STRICT = {
    'id,u,t\n1,a,b\n2,"yy,c\n3,z,d\n': (3, "u", "unclosed_quote"),
    'id,u,t\n1,"x"y,b\n2,z,c\n': (2, "u", "misplaced_quote"),
    'id,u,t\n1,b,"x\\"y"\n2,z,c\n': (2, "t", "misplaced_quote"),
    'id,u,t\n1,x"y,b\n2,z,c\n': (2, "u", "misplaced_quote"),
    'id,u,t\n1, "x",b\n2,z,c\n': (2, "u", "misplaced_quote"),
    'id,u,t\n1,"x" ,b\n2,z,c\n': (2, "u", "misplaced_quote"),
    'id,u,t\n1,"a\r\nb\rc\nd",x\n2,z,"c"d\n': (6, "t", "misplaced_quote"),
    'id,u,t\n1,a,b\n2,"never closed,c\n3,d,"x"\n4,d,e\n': (3, "u", "misplaced_quote"),
    'id,u,t\n1,"""",b\n2,"""\n': (3, "u", "unclosed_quote"),
    'id,u,t\n1,"\\",b\n2,z,"\n': (3, "t", "unclosed_quote"),
    'id,"u,t\n1,a,b\n': (1, None, "unclosed_quote"),
    'id,"u"x,t\n1,a,b\n': (1, None, "misplaced_quote"),
    '"id","u","t"\n"1","a","b\n': (2, "t", "unclosed_quote"),
    'id,u,t\n"': (2, "id", "unclosed_quote"),
}


@pytest.mark.parametrize("block", [1, 2, 7, 4 << 20])
@pytest.mark.parametrize("text", STRICT)
def test_fd9_a_quote_out_of_place_is_refused_by_line_and_column(
    world: World, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", block)
    assert refused(world.file("x.csv", text)) == [STRICT[text]]


def test_fd9_a_missing_quote_is_told_by_where_its_cell_begins(world: World) -> None:
    path = world.file("x.csv", 'id,u,t\n1,a,"b\n2,c,d\n3,e,"f"\n')
    with pytest.raises(StagingRejected, match=r"ends on line 4.*is a quote missing on line 2"):
        read(path)
    with pytest.raises(StagingRejected, match="escaped by a backslash"):
        read(world.file("x.csv", 'id,u\n1,"a \\"b\\" c"\n'))


def test_fd9_nothing_is_staged_where_a_quote_is_out_of_place(world: World) -> None:
    before = sorted(path for path in world.folder.rglob("*"))
    path = world.file("x.csv", 'id,b\n1,"z"\n2,"z" \n')
    with pytest.raises(StagingRejected) as rejection:
        world.stage(path)
    [problem] = rejection.value.problems
    assert (problem.line, problem.column, problem.code) == (3, "b", "misplaced_quote")
    assert sorted(one for one in world.folder.rglob("*") if one.is_file() and one != path) == [
        one for one in before if one.is_file()
    ]


SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("quoted", [True, False])
def test_fd9_a_header_is_read_like_any_record(tmp_path: Path, separator: str, quoted: bool) -> None:
    name = f"na{separator}me"
    schema = pa.schema([("id", pa.int64()), (name, pa.string())])
    world = World(tmp_path, "merge-on-read", schema=schema, rows=[{"id": 1, name: "x"}, {"id": 2, name: "y"}])
    shown = f'"{name}"' if quoted else name
    assert world.stage(world.file("x.csv", f"id,{shown}\n1,x\n2,y\n")).rows == 0
    staged = world.stage(world.file("x.csv", f"id;{shown}\n1;z{separator}\n2;y\n"))
    assert [row.proposed for row in staged.page().items] == [{"id": 1, name: f"z{separator}"}]


def test_fd9_names_with_line_ends_are_read(world: World) -> None:
    text = 'id;"two\r\nlines";"a ""b"", c"\n"1";x;"y;z"\n'
    assert read(world.file("x.csv", text)) == [("id", "two\r\nlines", 'a "b", c'), ("1", "x", "y;z")]
    assert lines_of(world.file("x.csv", text)) == [3]


def test_fd9_the_delimiter_is_the_one_that_gives_the_most_known_names(world: World) -> None:
    assert read(world.file("x.csv", "id|t;x\n1|x;y\n"), TEXT)[0] == ("id", "t;x")
    assert read(world.file("x.csv", '"id"\t"u,x"\n1\t2\n'), TEXT)[0] == ("id", "u,x")
    assert read(world.file("x.csv", '"a";"b"\n1;2\n'), TEXT) == [("a", "b"), ("1", "2")]


def test_fd28_a_header_without_line_end_is_no_rows(world: World) -> None:
    for text in ("id,b", "id,b\n", "id,b\r", "\ufeffid,b\r\n"):
        staged = world.stage(world.file("x.csv", text))
        assert (staged.rows, staged.noop_rows) == (0, 0)


def test_ragged_rows_are_listed_by_their_lines(world: World) -> None:
    text = 'id,t\n1,"a\nb"\n2\n\n3,4,"5\n6",7\n8,9\n,,\n'
    assert refused(world.file("x.csv", text)) == [
        (4, None, "wrong_number_of_fields"),
        (6, None, "wrong_number_of_fields"),
        (9, None, "wrong_number_of_fields"),
    ]


@pytest.mark.parametrize("block", [1, 5, 4 << 20])
def test_fs3_what_is_no_utf8_is_refused_by_its_line(
    world: World, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", block)
    monkeypatch.setattr(content, "HEAD_BYTES", 1)
    for bad in (b"caf\xe9", b"\xed\xa0\x80", b"\xc3", b"\xf5\x80\x80\x80", b"\xc0\x80"):
        path = world.file("x.csv", b'id,t\n1,"a\r\nb\nc"\r\n2,' + bad + b",\n3,x\n")
        assert refused(path)[0] == (5, None, "not_utf8")
    assert refused(world.file("x.csv", b"id,caf\xe9\n1,x\n")) == [(1, None, "not_utf8")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_fs3_utf16_is_refused_with_a_sentence(world: World, encoding: str) -> None:
    for name in ("x.csv", "x.jsonl"):
        path = world.file(name, "id,t\n1,x\n2,é\n".encode(encoding))
        with pytest.raises(
            StagingRejected, match="UTF-16 or UTF-32; save the file with the encoding UTF-8"
        ) as found:
            world.stage(path)
        assert found.value.problems[0].code == "not_utf8"


def test_fs3_characters_of_every_kind_are_kept(world: World) -> None:
    path = world.file("x.csv", "\ufeffid,t\n1,a\x00b\ufeff\n2,\x1a\n")
    assert read(path) == [("id", "t"), ("1", "a\x00b\ufeff"), ("2", "\x1a")]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_fs3_a_row_may_begin_with_a_byte_order_mark(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Arrow drops the character at the beginning of what it is given, which is a block, not the file."""
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", size)
    path = world.file("x.csv", "\ufeffid,t\n\ufeff1,a\n\ufeff2,\ufeffb\n")
    assert read(path) == [("id", "t"), ("\ufeff1", "a"), ("\ufeff2", "\ufeffb")]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("ending", PACKERS)
def test_fd25_a_compressed_file_is_read_whole_or_refused(world: World, ending: str) -> None:
    text = "id,b\n" + "".join(f"{number},row {number * 7}\n" for number in range(10, 30_000))
    packed = PACKERS[ending](text.encode())
    assert world.stage(world.file(f"x.csv.{ending}", packed)).rows == 29_990
    half = text.index("\n", len(text) // 2) + 1
    members = PACKERS[ending](text[:half].encode()) + PACKERS[ending](text[half:].encode())
    assert world.stage(world.file(f"x.csv.{ending}", members)).rows == 29_990
    flipped = (
        packed[: len(packed) // 2] + bytes([packed[len(packed) // 2] ^ 255]) + packed[len(packed) // 2 + 1 :]
    )
    damaged = [packed[:-1], packed[:-9], packed[: len(packed) // 2], members[:-3], packed + b"rubbish!"]
    damaged += [] if ending == "zst" else [flipped]  # zstd as it comes has no checksum
    for data in damaged:
        with pytest.raises(StagingRejected) as rejection:
            world.stage(world.file(f"x.csv.{ending}", data))
        assert [problem.code for problem in rejection.value.problems] == ["unreadable"]
        assert "cut or damaged" in str(rejection.value)


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (1, 1), (0, 1, 2)])
def test_fd25_a_member_that_holds_nothing_ends_no_reading(
    world: World, ending: str, places: tuple[int, ...]
) -> None:
    """Its rows are read, or (Arrow does not go on behind one of bzip2) it is refused by name."""
    parts = [PACKERS[ending](b"id,b\n1,z\n"), PACKERS[ending](b"2,z\n")]
    for place in reversed(places):
        parts.insert(place, PACKERS[ending](b""))
    path = world.file(f"x.csv.{ending}", b"".join(parts))
    try:
        assert world.stage(path).rows == 2
    except StagingRejected as rejection:
        assert ending == "bz2"
        assert [problem.code for problem in rejection.problems] == ["unreadable"]  # noqa: PT017


def test_fs3_compression_is_known_by_content_and_the_format_by_name(world: World) -> None:
    text = b"id,b\n1,z\n"
    for name, data in (
        ("X.CSV.GZ", gzip.compress(text)),
        ("x.csv", gzip.compress(text)),
        ("x.csv.gz", text),
        ("x.tsv.bz2", bz2.compress(b"id\tb\n1\tz\n")),
        ("x.jsonl.gz", gzip.compress(b'{"id": 1, "b": "z"}')),
    ):
        [row] = world.stage(world.file(name, data)).page().items
        assert row.proposed is not None
        assert row.proposed["b"] == "z"
    assert format_of("a.b.CSV.GZ") == "csv"
    assert format_of("a.gz") is None
    assert format_of("csv") is None
    with pytest.raises(StagingRejected, match="compressed twice"):
        world.stage(world.file("x.csv.gz", gzip.compress(gzip.compress(text))))
    with pytest.raises(StagingRejected, match="UTF-16"):
        world.stage(world.file("x.csv.gz", gzip.compress("id,b\n1,z\n".encode("utf-16"))))


def test_fs3_other_formats_under_a_text_name_are_named(world: World, tmp_path: Path) -> None:
    parquet = tmp_path / "x.parquet"
    polars.DataFrame({"id": [1]}).write_parquet(parquet)
    workbook = tmp_path / "x.xlsx"
    import openpyxl

    openpyxl.Workbook().save(workbook)
    for data, phrase in (
        (parquet.read_bytes(), "a Parquet file"),
        (workbook.read_bytes(), "a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a document of older Office programs"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<!DOCTYPE html>\n<html>", "a page in HTML"),
        (b"PK\x03\x04 damaged", "a damaged archive"),
    ):
        for name in ("x.csv", "x.jsonl", "x.csv.gz"):
            with pytest.raises(StagingRejected, match=phrase) as rejection:
                world.stage(world.file(name, data))
            assert rejection.value.problems[0].code == "wrong_format"
    assert read(world.file("x.csv", "PK,PAR1\n1,2\n"))[0] == ("PK", "PAR1")


def test_fs3_limits_are_named_with_their_place(
    world: World, monkeypatch: pytest.MonkeyPatch, allow: Callable[..., None]
) -> None:
    long = "x" * (9 << 20)
    assert refused(world.file("x.csv", f"id,t\n1,a\n2,{long}\n3,b\n")) == [(3, "t", "too_long")]
    allow(line_bytes=1 << 20)
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 1 << 10)
    assert refused(world.file("x.csv", f"id,t\n1,a\n2,{long}\n3,b\n")) == [(3, "t", "too_long")]
    assert refused(world.file("x.csv", f'id,t\n1,a\n2,"{long}')) == [(3, "t", "too_long")]
    wide = ",".join(f"c{number}" for number in range(20_000))
    with pytest.raises(StagingRejected, match="more than 10,000 columns") as rejection:
        world.stage(world.file("x.csv", wide + "\n"))
    assert rejection.value.problems[0].line == 1


def test_fs3_a_packed_giant_is_refused_before_it_fills_the_memory(
    world: World, allow: Callable[..., None]
) -> None:
    allow(unpacked_bytes=2 << 20)
    path = world.file("x.csv.gz", gzip.compress(b"id,b\n" + b"1,z\n" * (600 << 10), 1))
    with pytest.raises(StagingRejected, match="come out of the compressed file") as rejection:
        world.stage(path)
    assert rejection.value.problems[0].code == "too_large"


def test_null_is_the_unquoted_token(world: World) -> None:
    path = world.file("x.csv", 'id,u,t\nNULL,"NULL",\n"",NULL ,NULL\n')
    assert read(path, TEXT, "NULL")[1:] == [(None, "NULL", ""), ("", "NULL ", None)]
    assert read(path, TEXT, "")[1:] == [("NULL", "NULL", None), ("", "NULL ", "NULL")]


WILD: list[Row] = [
    {"id": 1, "u": 'quotes "in", here', "t": ""},
    {"id": 2, "u": "a\r\nb\rc\nd", "t": None},
    {"id": 3, "u": "\\", "t": '\\"'},
    {"id": 4, "u": " blanks ", "t": "\ttab"},
    {"id": 5, "u": "\u2028\x85", "t": "é😀"},
    {"id": 6, "u": None, "t": "NULL"},
    {"id": 7, "u": "'", "t": ";|,"},
]


def test_unchanged_exports_are_no_changes(tmp_path: Path) -> None:
    """By pandas, Polars, pyarrow, DuckDB and Python's csv; the first and the last write NULL as they write ''."""
    world = World(tmp_path, "merge-on-read", schema=TEXT, rows=WILD)
    table = arrow(TEXT, WILD)
    folder = world.folder
    arrow_csv.write_csv(table, folder / "pyarrow.csv")
    polars.from_arrow(table).write_csv(folder / "polars.csv")  # type: ignore[union-attr]
    duckdb.from_arrow(table).write_csv(str(folder / "duckdb.csv"))
    duckdb.from_arrow(table).write_csv(str(folder / "duckdb.csv.gz"), compression="gzip")
    table.to_pandas().to_csv(folder / "pandas.csv", index=False, na_rep="NA_")
    staged = {}
    for name in ("pyarrow.csv", "polars.csv", "duckdb.csv", "duckdb.csv.gz"):
        staged[name] = world.stage(folder / name)
    staged["pandas.csv"] = world.stage(folder / "pandas.csv", null_token="NA_")
    assert {name: (one.rows, one.noop_rows) for name, one in staged.items()} == dict.fromkeys(staged, (0, 7))


def test_python_writes_what_is_read(world: World) -> None:
    rows = [
        ["id", "t"],
        *([str(number), text] for number, text in enumerate(["", 'a"b', "a\nb", "c,d", "é"])),
    ]
    for quoting in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC):
        for end in ("\r\n", "\n"):
            buffer = io.StringIO(newline="")
            csv.writer(buffer, quoting=quoting, lineterminator=end).writerows(rows)
            found = read(world.file("x.csv", buffer.getvalue()), null_token="NULL")
            assert [list(row) for row in found] == rows
