"""Staging: what is read, how strictly, what is refused and how it is told (cases C and F)."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

import merging
from merging import StagedCorrupt, StagingRejected
from merging.sql import parsing
from merging.staging import layout, ordering
from tests.merging.sites import Site
from tests.merging.world import B, World, arrow

pytestmark = pytest.mark.any_store

UTC = datetime.UTC


def naive(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micro: int = 0
) -> datetime.datetime:
    """A time without a zone."""
    return datetime.datetime(year, month, day, hour, minute, second, micro, UTC).replace(tzinfo=None)


WIDE = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("tiny", pa.int8()),
        ("amount", pa.decimal128(10, 2)),
        ("ratio", pa.float64()),
        ("single", pa.float32()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us", tz="UTC")),
        ("local", pa.timestamp("us")),
        ("code", pa.string()),
        ("raw", pa.binary()),
        ("tags", pa.list_(pa.string())),
        ("point", pa.struct([("x", pa.int64()), ("y", pa.decimal128(6, 2))])),
        ("named", pa.map_(pa.string(), pa.int64())),
        pa.field("owner", pa.string(), nullable=False),
    ]
)
WIDE_ROW: dict[str, Any] = {
    "id": 1,
    "tiny": 5,
    "amount": Decimal("10.50"),
    "ratio": 0.5,
    "single": 0.25,
    "flag": True,
    "day": datetime.date(2024, 2, 29),
    "moment": datetime.datetime(2024, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
    "local": naive(2024, 1, 1, 12, 0, 0, 123456),
    "code": "007",
    "raw": b"\x00\xff",
    "tags": ["a", None],
    "point": {"x": 9007199254740993, "y": Decimal("1.10")},
    "named": [("a", 1), ("b", 2)],
    "owner": "o",
}


@pytest.fixture
def wide(site: Site) -> World:
    return World(site, "merge-on-read", WIDE, [WIDE_ROW])


def problems(world: World, changes: Any, **options: Any) -> list[tuple[int | None, str | None, str]]:
    """The places and codes of what is refused; nothing may be left behind."""
    before = set((world.folder / "staging").glob("*"))
    with pytest.raises(StagingRejected) as refused:
        world.stage(changes, **options)
    assert refused.value.total >= len(refused.value.problems)
    assert set((world.folder / "staging").glob("*")) == before
    assert world.version == world.base_version
    return [(one.line, one.column, one.code) for one in refused.value.problems]


def proposed(staged: merging.Staged) -> list[dict[str, Any] | None]:
    return [row.proposed for row in staged.page(limit=1000).items]


def test_only_what_a_file_says_is_changed(world: World) -> None:
    """F01: cells that the file does not give keep the base's value."""
    staged = world.stage(world.file("x.csv", "id,b\n1,z\n"))
    [row] = staged.page().items
    assert (row.operation, row.changed) == ("update", ("b",))
    assert row.proposed == {"id": 1, "a": 10, "b": "z", "c": 1.5}
    assert row.base == B[0]
    assert (staged.rows, staged.counts, staged.cells_updated) == (
        1,
        {"insert": 0, "update": 1, "delete": 0},
        {"b": 1},
    )


def test_absent_null_and_empty_are_three_things(world: World) -> None:
    """F02, B06: a column left out, the NULL token and a quoted empty text."""
    staged = world.stage(world.file("x.csv", 'id,a,b\n1,,""\n2,20,\n'))
    assert proposed(staged) == [
        {"id": 1, "a": None, "b": "", "c": 1.5},
        {"id": 2, "a": 20, "b": None, "c": 2.5},
    ]
    declared = world.stage(world.file("y.csv", "id,a,b\n1,NULL,\n2,20,NULL\n"), null_token="NULL")
    assert proposed(declared) == proposed(staged)


def test_json_rows_may_leave_columns_out(world: World) -> None:
    lines = ['{"id": 1, "a": 11}', '{"id": 2, "b": null}', "", '{"id": 9, "b": ""}']
    staged = world.stage(world.file("x.jsonl", "\n".join(lines)))
    assert proposed(staged) == [
        {"id": 1, "a": 11, "b": "x", "c": 1.5},
        {"id": 2, "a": 20, "b": None, "c": 2.5},
        {"id": 9, "a": None, "b": "", "c": None},
    ]
    assert staged.counts == {"insert": 1, "update": 2, "delete": 0}


def test_rows_equal_to_the_base_are_dropped_and_counted(world: World) -> None:
    """F07, F10: nothing is left of content that changes nothing."""
    staged = world.stage(arrow(world.schema, B))
    assert (staged.rows, staged.noop_rows) == (0, 3)
    inserted = world.stage(world.file("x.csv", "id,a,b,c,_op\n1,10,x,1.5,insert\n"))
    assert (inserted.rows, inserted.noop_rows) == (0, 1)


def test_deletes_need_only_the_key(world: World) -> None:
    """F05: and what stands in a deleted row's other cells is not looked at."""
    staged = world.stage(world.file("x.csv", "_op,id,a\ndelete,1,rubbish\nDELETE,2,\n"))
    assert [(row.operation, row.key) for row in staged.page().items] == [
        ("delete", {"id": 1}),
        ("delete", {"id": 2}),
    ]


def test_operations_must_fit_the_base(world: World) -> None:
    """F06, F08 and their kin."""
    content = "id,a,_op\n9,1,update\n8,,delete\n1,99,insert\n2,5,replace\n"
    assert problems(world, world.file("x.csv", content)) == [
        (2, None, "key_absent"),
        (3, None, "key_absent"),
        (4, None, "key_exists"),
        (5, "_op", "unknown_operation"),
    ]


def test_wrong_cells_are_listed_with_line_and_column(world: World) -> None:
    """F15: every cell that does not fit, by the line on which its row begins."""
    content = (
        'id,a,b,c\n1,NULL,x,1\n2,NaN,x,1\n3,-,x,1\n\n4,"1,234","two\nlines",1\n5,01/02/2024,x,1\n'
        "6,1.5,x,NaN\n7,99999999999,x,1e999\n8,1e3,x,abc\n9,0x10,x,1_000\n"
    )
    with pytest.raises(StagingRejected) as refused:
        world.stage(world.file("x.csv", content))
    found = [(one.line, one.column, one.code, one.value) for one in refused.value.problems]
    assert found == [
        (2, "a", "placeholder", "NULL"),
        (3, "a", "placeholder", "NaN"),
        (4, "a", "placeholder", "-"),
        (6, "a", "thousands_separator", "1,234"),
        (8, "a", "not_number", "01/02/2024"),
        (9, "a", "not_whole", "1.5"),
        (10, "a", "out_of_range", "99999999999"),
        (10, "c", "out_of_range", "1e999"),
        (11, "a", "not_whole", "1e3"),
        (11, "c", "not_number", "abc"),
        (12, "a", "not_number", "0x10"),
        (12, "c", "not_number", "1_000"),
    ]
    assert refused.value.total == len(found)


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("tiny", "-128", -128),
        ("tiny", " 7 ", 7),
        ("tiny", "6.0", 6),
        ("tiny", "+6", 6),
        ("amount", "12345678.9", Decimal("12345678.90")),
        ("amount", "1E+2", Decimal("100.00")),
        ("amount", "1.500", Decimal("1.50")),
        ("ratio", "1e-3", 0.001),
        ("ratio", "-Infinity", float("-inf")),
        ("single", "0.1", pytest.approx(0.1)),
        ("flag", "FALSE", False),
        ("day", "1999-12-31", datetime.date(1999, 12, 31)),
        ("moment", "2024-01-01T01:00:00+01:00", datetime.datetime(2024, 1, 1, tzinfo=UTC)),
        ("moment", "2024-01-01 00:00:00.5", datetime.datetime(2024, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("moment", "2024-01-01 00:00Z", datetime.datetime(2024, 1, 1, tzinfo=UTC)),
        ("local", "2024-01-01T00:00:00.000001000", naive(2024, 1, 1, 0, 0, 0, 1)),
        ("code", " 7", " 7"),
        ("code", "0070", "0070"),
        ("code", "NULL", "NULL"),
        ("code", "e\u0301", "e\u0301"),
        ("raw", "0xCAFE", b"\xca\xfe"),
        ("tags", '"[""x"", null]"', ["x", None]),
        ("point", '"{""x"": 9007199254740995, ""y"": 2.05}"', {"x": 9007199254740995, "y": Decimal("2.05")}),
        ("named", '"{""z"": 3}"', {"z": 3}),
    ],
)
def test_text_becomes_the_columns_type(wide: World, column: str, text: str, value: Any) -> None:
    staged = wide.stage(wide.file("x.csv", f"id,{column}\n1,{text}\n"))
    [row] = staged.page().items
    assert row.proposed is not None
    assert row.proposed[column] == value
    assert type(row.proposed[column]) is type(value) or column == "single"


@pytest.mark.parametrize(
    ("column", "text", "code"),
    [
        ("tiny", "128", "out_of_range"),
        ("amount", "1.005", "decimal_does_not_fit"),
        ("amount", "123456789", "decimal_does_not_fit"),
        ("amount", "1E-3", "decimal_does_not_fit"),
        ("amount", '"1,5"', "decimal_comma"),
        ("single", "1e39", "out_of_range"),
        ("single", "1e-46", "out_of_range"),
        ("flag", "yes", "not_boolean"),
        ("flag", "1", "not_boolean"),
        ("day", "2023-02-29", "no_such_date"),
        ("day", "2024-1-2", "not_date"),
        ("moment", "2024-02-30", "no_such_date"),
        ("local", "2024-02-30", "no_such_date"),
        ("moment", "2024-01-01T00:00:00.1234567Z", "too_precise"),
        ("moment", "2024-01-01T25:00:00Z", "no_such_time"),
        ("local", "2024-01-01T00:00:00Z", "zone_not_allowed"),
        ("raw", "CAFE", "not_binary"),
        ("tags", '"[1]"', "wrong_nested_value"),
        ("point", '"{""z"": 1}"', "wrong_nested_value"),
        ("named", "{", "wrong_nested_value"),
        ("tiny", '""', "empty"),
    ],
)
def test_text_that_does_not_fit_is_refused(wide: World, column: str, text: str, code: str) -> None:
    assert problems(wide, wide.file("x.csv", f"id,{column}\n1,{text}\n")) == [(2, column, code)]


@pytest.mark.parametrize("around", [" {}", "{} ", "\t{}", "{}\t", "\t {} \t"])
def test_blanks_around_a_value_are_none_of_it_but_in_a_text(wide: World, around: str) -> None:
    cells = {
        "tiny": "6",
        "amount": "1.5e1",
        "flag": "false",
        "day": "2024-03-01",
        "moment": "2024-03-01 10:00:00 UTC",
        "code": "x",
    }
    row = ",".join(around.format(cell) for cell in cells.values())
    [found] = proposed(wide.stage(wide.file("x.csv", f"id,{','.join(cells)}\n{around.format(1)},{row}\n")))
    assert found is not None
    assert {name: found[name] for name in ("id", *cells)} == {
        "id": 1,
        "tiny": 6,
        "amount": Decimal("15.00"),
        "flag": False,
        "day": datetime.date(2024, 3, 1),
        "moment": datetime.datetime(2024, 3, 1, 10, tzinfo=UTC),
        "code": around.format("x"),
    }


def test_whole_numbers_never_pass_through_a_double(site: Site) -> None:
    """B23."""
    schema = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("d", pa.decimal128(38, 10))])
    world = World(site, "merge-on-read", schema, [{"id": 1, "n": 1, "d": None}])
    digits = "1234567890123456789012345678.0123456789"
    expected = {"id": 9007199254740993, "n": 9223372036854775807, "d": Decimal(digits)}
    csv = world.stage(world.file("x.csv", f"id,n,d\n9007199254740993,9223372036854775807,{digits}\n"))
    row = f'{{"id": 9007199254740993, "n": 9223372036854775807, "d": {digits}}}'
    lines = world.stage(world.file("x.jsonl", row))
    assert proposed(csv) == proposed(lines) == [expected]
    assert csv.digest == lines.digest


def test_all_types_survive_every_format(wide: World) -> None:
    """One content, five formats, one digest."""
    row = {**WIDE_ROW, "id": 2, "owner": "p"}
    table = arrow(WIDE, [row])
    parquet = wide.folder / "x.parquet"
    pyarrow.parquet.write_table(table, parquet)
    stream = wide.folder / "x.arrow"
    with pyarrow.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    line = {
        **row,
        "amount": 10.5,
        "day": "2024-02-29",
        "moment": "2024-01-01T12:00:00.123456Z",
        "local": "2024-01-01T12:00:00.123456",
        "raw": "0x00ff",
        "point": {"x": 9007199254740993, "y": 1.1},
        "named": {"b": 2, "a": 1},
    }
    lines = wide.file("x.jsonl", json.dumps(line))
    contents = [table, table.to_reader(), parquet, stream, lines]
    staged = [wide.stage(content) for content in contents]
    assert len({one.digest for one in staged}) == 1
    assert all(one.counts["insert"] == 1 for one in staged)
    with duckdb.connect() as connection:
        relation = connection.from_arrow(table)
        assert wide.stage(relation).digest == staged[0].digest


def test_the_digest_is_of_the_content_alone(world: World) -> None:
    rows = [{"id": number, "a": number, "b": str(number), "c": None} for number in range(10, 200)]
    first = world.stage(arrow(world.schema, rows))
    backwards = world.folder / "x.parquet"
    pyarrow.parquet.write_table(arrow(world.schema, rows[::-1]), backwards, row_group_size=7)
    assert world.stage(backwards).digest == first.digest
    assert world.stage(arrow(world.schema, rows[:-1])).digest != first.digest
    other = [*rows[:-1], {**rows[-1], "b": "other"}]
    assert world.stage(arrow(world.schema, other)).digest != first.digest


def test_xlsx_is_read_by_line(world: World) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["id", "a", "b"], [1, 11, "z"], [None, None, None], [2, None, "007"], [3, 1.5, 7]):
        sheet.append(row)
    path = world.folder / "x.xlsx"
    book.save(path)
    assert problems(world, path) == [(5, "a", "not_whole"), (5, "b", "wrong_type")]
    sheet.delete_rows(5)
    book.save(path)
    assert proposed(world.stage(path)) == [
        {"id": 1, "a": 11, "b": "z", "c": 1.5},
        {"id": 2, "a": None, "b": "007", "c": 2.5},
    ]


def test_keys_must_be_given_and_unique(world: World) -> None:
    """C09, C10, C11, F04."""
    assert problems(world, world.file("x.csv", "a,b\n1,x\n")) == [(1, "id", "missing_key_column")]
    content = 'id,b\n5,x\n,y\n5,x\n6,"p\nq"\n6,r\n6,r\n'
    with pytest.raises(StagingRejected) as refused:
        world.stage(world.file("x.csv", content))
    assert [(one.line, one.code) for one in refused.value.problems] == [(3, "null_key"), (5, "duplicate_key")]
    assert "lines 5, 7 and 8" in refused.value.problems[1].message
    staged = world.stage(world.file("x.csv", "id,b\n5,x\n5,x\n5,x\n"))
    assert (staged.rows, staged.duplicate_rows) == (1, 2)
    assert staged.warnings == ("2 rows repeat another one exactly and are counted once.",)


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(
    ("kind", "refused", "given", "near"),
    [
        (pa.int64(), "1.5", pa.decimal128(5, 2), "2"),
        (pa.int32(), "1.5", pa.float64(), "2"),
        (pa.decimal128(9, 2), "1.005", pa.decimal128(9, 3), "1.01"),
        (pa.timestamp("us"), "2020-01-01T00:00:00.1234567", pa.timestamp("ns"), "2020-01-01T00:00:00.123456"),
        (pa.date32(), "2020-01-01T12:00:00", pa.timestamp("us"), "2020-01-01"),
    ],
    ids=str,
)  # fmt: skip
def test_a_key_that_was_refused_is_no_key_that_it_is_near(
    site: Site, kind: pa.DataType, refused: str, given: pa.DataType, near: str, as_text: bool
) -> None:
    """A row is told of once: not as another one's double as well, nor as an update of a row that there is not."""
    world = World(site, "merge-on-read", pa.schema([("id", kind), ("b", pa.string())]), [])
    content: Any = world.file("x.csv", f"id,_op\n{refused},upsert\n{near},insert\n{refused},update\n")
    if not as_text:
        keys = pa.array([refused, near, refused], pa.string()).cast(given)
        content = pa.table({"id": keys, "_op": ["upsert", "insert", "update"]})
    found = problems(world, content)
    first = 2 if as_text else 1
    assert [(line, column) for line, column, _ in found] == [(first, "id"), (first + 2, "id")]


def test_text_keys_keep_their_zeros(site: Site) -> None:
    """C13, C14: binary keys, typed by the table."""
    schema = pa.schema([("k", pa.string()), ("v", pa.int64())])
    world = World(site, "merge-on-read", schema, [{"k": "7", "v": 0}], keys=["k"])
    staged = world.stage(world.file("x.csv", 'k,v\n007,1\n" 7",2\n7,3\nAb,4\nab,5\n'))
    assert staged.counts == {"insert": 4, "update": 1, "delete": 0}


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.list_(pa.int64())])
def test_keys_of_a_wrong_type_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    """C15."""
    schema = pa.schema([("id", pa.int64()), ("k", kind)])
    world = World(tmp_path, "copy-on-write", schema, [{"id": 1, "k": None}])
    with pytest.raises(merging.InvalidKeys, match="cannot be keys"):
        merging.stage(world.uri, arrow(schema, []), ["k"], destination=str(tmp_path / "s"))
    with pytest.raises(merging.InvalidKeys, match="no column"):
        merging.stage(world.uri, arrow(schema, []), ["nope"], destination=str(tmp_path / "s"))


def test_a_table_with_duplicate_keys_is_refused(site: Site) -> None:
    """C12."""
    world = World(site, "merge-on-read", rows=[*B, B[0]])
    with pytest.raises(merging.DuplicateKeys) as refused:
        world.stage([{"id": 1, "a": 5}])
    assert (refused.value.total, refused.value.examples) == (1, ({"id": 1},))
    assert world.stage([{"id": 2, "a": 5}]).rows == 1


def test_columns_that_take_no_null(wide: World) -> None:
    """F03: a new row must say something of each, and nobody may empty them."""
    assert problems(wide, wide.file("x.csv", "id,code\n2,x\n")) == [(2, "owner", "missing_value")]
    lines = '{"id": 2, "code": "x"}\n{"id": 1, "owner": null}\n{"id": 3, "owner": "q"}'
    assert problems(wide, wide.file("x.jsonl", lines)) == [
        (1, "owner", "missing_value"),
        (2, "owner", "null_not_allowed"),
    ]


def test_unknown_columns(world: World) -> None:
    """F14: refused, or staged as new nullable columns; a slip of the pen is named."""
    content = "id,note,score,big,when,zip\n1,hi,1,1.5,2024-01-01T00:00:00Z,01234\n2,,2,2.0,,\n"
    assert problems(world, world.file("x.csv", content), merge_schema=False) == [
        (1, name, "unknown_column") for name in ("note", "score", "big", "when", "zip")
    ]
    staged = world.stage(world.file("x.csv", content))
    assert staged.new_columns == ("note", "score", "big", "when", "zip")
    assert [str(staged.schema.field(name).type) for name in staged.new_columns] == [
        "string",
        "int64",
        "double",
        "timestamp[us, tz=UTC]",
        "string",
    ]
    with pytest.raises(StagingRejected, match="did you mean a"):
        world.stage(world.file("x.csv", "id,A\n1,2\n"))


@pytest.fixture(params=["nullable", "required"])
def generated(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A table that computes its column ``twice``, which may take no NULL."""
    schema = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("twice", pa.int64())])
    world = World(tmp_path, "copy-on-write", schema, [])
    world.uri += "-generated"
    types = {"id": "long", "a": "integer", "twice": "long"}
    fields = [
        deltalake.Field(
            name,
            deltalake.schema.PrimitiveType(kind),
            nullable=name != "twice" or request.param == "nullable",
            metadata={"delta.generationExpression": "a * 2"} if name == "twice" else None,
        )
        for name, kind in types.items()
    ]
    deltalake.DeltaTable.create(world.uri, deltalake.Schema(fields))
    rows = arrow(pa.schema(list(schema)[:2]), [{"id": 1, "a": 1}, {"id": 2, "a": 2}])
    deltalake.write_deltalake(world.uri, rows, mode="append", schema_mode="merge")
    world.base_version = world.version
    return world


def test_the_table_computes_its_generated_columns(generated: World) -> None:
    content = "id,a,twice\n1,5,10\n2,5,11\n"
    with pytest.raises(StagingRejected, match=r"computes this column \(a \* 2\), .* leave it out") as refused:
        generated.stage(generated.file("x.csv", content))
    assert [(one.line, one.column, one.code) for one in refused.value.problems] == [
        (3, "twice", "generated_column")
    ]
    result = generated.merge(generated.stage(generated.file("x.csv", "id,a\n1,5\n3,3\n")))
    assert result.strategy == "copy-on-write"
    assert result.cells_updated == {"a": 1, "twice": 1}
    assert generated.rows() == [
        {"id": 1, "a": 5, "twice": 10},
        {"id": 2, "a": 2, "twice": 4},
        {"id": 3, "a": 3, "twice": 6},
    ]
    assert result.artefacts is not None
    reverse = merging.invert(generated.uri, result.artefacts, ["id"], str(generated.folder / "staging"))
    generated.merge(reverse, "CR-2")
    assert generated.rows() == [{"id": 1, "a": 1, "twice": 2}, {"id": 2, "a": 2, "twice": 4}]


def test_broken_files_are_refused_with_their_place(world: World) -> None:
    assert problems(world, world.file("x.csv", "")) == [(1, None, "empty_file")]
    assert problems(world, world.file("x.csv", "id,a,a,\n1,2,3,4\n")) == [
        (1, "a", "repeated_column"),
        (1, None, "unnamed_column"),
    ]
    assert problems(world, world.file("x.csv", "id,a\n1,2\n1,2,3\n\n2\n")) == [
        (3, None, "wrong_number_of_fields"),
        (5, None, "wrong_number_of_fields"),
    ]
    assert problems(world, world.file("x.csv", b"id,b\n1,ok\n2,caf\xe9\n")) == [(3, None, "not_utf8")]
    assert problems(world, world.file("x.parquet", b"PAR1 rubbish")) == [(None, None, "unreadable")]
    assert problems(world, world.file("x.xlsx", b"rubbish")) == [(None, None, "wrong_format")]
    assert problems(world, world.file("x.doc", b"rubbish")) == [(None, None, "unknown_format")]
    assert problems(world, world.file("x.jsonl", '{"id": 1}\n[1]\n{"id": 2, "id": 3}\n{"id": NaN}\n{')) == [
        (2, None, "not_an_object"),
        (3, "id", "repeated_name"),
        (4, None, "not_json"),
        (5, None, "not_json"),
    ]
    assert problems(world, world.folder / "nowhere.csv") == [(None, None, "no_file")]


def test_json_kinds_are_not_mixed(world: World) -> None:
    lines = '{"id": 1, "b": 7}\n{"id": 2, "a": true}\n{"id": "3", "a": "31"}\n{"id": 4, "a": [1]}'
    assert problems(world, world.file("x.jsonl", lines)) == [
        (1, "b", "wrong_type"),
        (2, "a", "wrong_type"),
        (4, "a", "wrong_type"),
    ]


def test_other_delimiters_and_marks(world: World) -> None:
    staged = world.stage(world.file("x.csv", "\ufeffid;b\r\n1;z\r\n"))
    assert proposed(staged) == [{"id": 1, "a": 10, "b": "z", "c": 1.5}]


def test_typed_sources_are_taken_without_loss(wide: World) -> None:
    exact = pa.table(
        {
            "id": pa.array([1], pa.int32()),
            "tiny": pa.array([7.0]),
            "amount": pa.array([1.25]),
            "single": pa.array([0.1]),
            "moment": pa.array([1_500_000_000_000], pa.timestamp("ms", tz="Europe/Berlin")),
            "local": pa.array([1_000], pa.timestamp("ns")),
            "code": pa.array(["x"]).dictionary_encode(),
        }
    )
    [row] = wide.stage(exact).page().items
    assert row.proposed is not None
    assert (row.proposed["tiny"], row.proposed["amount"]) == (7, Decimal("1.25"))
    assert row.proposed["moment"] == datetime.datetime(2017, 7, 14, 2, 40, tzinfo=UTC)
    assert row.proposed["local"] == naive(1970, 1, 1, 0, 0, 0, 1)
    lossy = {
        "tiny": pa.array([7.5]),
        "amount": pa.array([1.001]),
        "ratio": pa.array([2**53 + 1], pa.int64()),
        "local": pa.array([1], pa.timestamp("ns")),
    }
    for name, values in lossy.items():
        assert [column for _, column, _ in problems(wide, pa.table({"id": [1], name: values}))] == [name]
    assert problems(wide, pa.table({"id": [1], "code": [5]})) == [(None, "code", "wrong_type")]
    assert problems(wide, pa.table({"id": [1], "tiny": [float("nan")]})) == [(1, "tiny", "placeholder")]


def test_timestamps_cut_by_an_export_change_nothing(wide: World) -> None:
    """B22: compared at the precision of the content, with a word about it."""
    staged = wide.stage(wide.file("x.csv", "id,moment,code\n1,2024-01-01T12:00:00.123Z,new\n"))
    [row] = staged.page().items
    assert row.changed == ("code",)
    assert staged.warnings == (
        "1 row gives timestamps cut to whole seconds or milliseconds; "
        "where only the cut-off part differs from the table they change nothing.",
    )


def test_many_problems_are_counted_exactly_and_listed_to_a_cap(world: World) -> None:
    content = "id,a\n" + "".join(f"{number},x{number}\n" for number in range(2500))
    with pytest.raises(StagingRejected) as refused:
        world.stage(world.file("x.csv", content))
    assert (len(refused.value.problems), refused.value.total) == (1000, 2500)
    assert refused.value.problems[999].line == 1001


def test_pages_and_groups(world: World) -> None:
    """F16, K03: stable pages, exact filters, equal edits taken together."""
    many = World(
        world.folder, "merge-on-read", rows=[{"id": n, "a": n % 2, "b": "x", "c": None} for n in range(500)]
    )
    rows = [{"id": n, "a": 7, "b": "x" if n % 5 else "y"} for n in range(500)] + [{"id": 900, "a": 1}]
    staged = many.stage([*rows[:-1], {"id": 900, "a": 1, "b": None}])
    seen: list[int] = []
    after = None
    while True:
        page = staged.page(after=after, limit=97)
        seen += [row.key["id"] for row in page.items]
        after = page.next
        if after is None:
            break
    assert seen == [*range(500), 900]
    assert len(staged.page(merging.ChangesFilter(column="b", operation="update"), limit=1000).items) == 100
    assert len(staged.page(merging.ChangesFilter(operation="insert")).items) == 1
    groups = [(group.column, group.old, group.new, group.rows) for group in staged.value_groups()]
    assert groups == [("a", 0, 7, 250), ("a", 1, 7, 250), ("b", "x", "y", 100)]
    first = staged.page(limit=1)
    assert staged.page(after=first.next, limit=1).items[0].key == {"id": 1}
    for cursor in ("rubbish", "eyJ9", merging.history(many.uri)[0].operation):
        with pytest.raises(merging.InvalidCursor):
            staged.page(after=cursor)


@pytest.mark.parametrize("damage", ["truncate", "flip", "lose", "manifest", "no manifest"])
def test_damaged_content_is_never_merged(world: World, damage: str) -> None:
    staged = world.stage([{"id": 1, "a": 11}])
    rows = Path(staged.location) / "rows.parquet"
    manifest = Path(staged.location) / "manifest.json"
    content = rows.read_bytes()
    if damage == "truncate":
        rows.write_bytes(content[:-10])
    elif damage == "flip":
        rows.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif damage == "lose":
        rows.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text().replace('"base_version": 0', '"base_version": 9'))
    else:
        manifest.unlink()
    with pytest.raises(StagedCorrupt):
        merging.open_staged(staged.location)
    with pytest.raises(StagedCorrupt):
        world.merge(staged)
    assert world.version == 0
    assert world.rows() == B


def test_the_digest_is_the_same_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{number * 7919 % 101},{number},text {number}" for number in range(101)]
    path = world.file("x.csv", "id,a,b\n" + "\n".join(rows) + "\n")
    whole = world.stage(path)
    monkeypatch.setattr(layout, "_DIGEST_ROWS", 5)
    sliced = world.stage(path)
    assert (sliced.digest, sliced.counts, sliced.cells_updated) == (
        whole.digest,
        whole.counts,
        whole.cells_updated,
    )
    stored = [pyarrow.parquet.read_table(Path(one.location) / "rows.parquet") for one in (whole, sliced)]
    assert stored[0].equals(stored[1])
    assert stored[1].column("k0").to_pylist() == list(range(101))


@pytest.mark.parametrize("moved", [False, True])
def test_rows_stand_the_same_way_however_they_are_numbered(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, moved: bool
) -> None:
    """Of very many rows the sort numbers them, of others a look at their keys: with rows under another key, too."""
    schema = pa.schema([("k", pa.string()), ("day", pa.date32()), ("v", pa.int64())])
    day = datetime.date(2024, 1, 1)
    base: list[dict[str, Any]] = [
        {"k": f"{number * 7919 % 6007:x}", "day": day, "v": number} for number in range(6_000)
    ]
    world = World(site, "merge-on-read", schema, base, ["k", "day"])
    changes = [{**row, "v": row["v"] // 2, "_op": "upsert"} for row in (base[0], *reversed(base[2:]))]
    changes += [
        {"k": f"new {number % 89}", "day": day, "v": -number, "_op": "upsert"} for number in range(89)
    ]
    if moved:
        changes += [{"k": "moved", "day": day, "v": 1, "_op": "insert"}, {**base[1], "_op": "delete"}]
    given = pa.Table.from_pylist(changes, pa.schema([*schema, ("_op", pa.string())]))
    numbered = world.stage(given)
    monkeypatch.setattr(ordering, "_NUMBERED_BEFORE", 0)
    in_the_sort = world.stage(given)
    stored = [
        pyarrow.parquet.read_table(Path(one.location) / "rows.parquet") for one in (numbered, in_the_sort)
    ]
    assert stored[0].to_pylist() == stored[1].to_pylist()
    assert numbered.digest == in_the_sort.digest
    assert numbered.counts == {"insert": 89 + moved, "update": 5_998, "delete": int(moved)}
    assert (numbered.noop_rows, numbered.rekeyed_rows) == (1, int(moved))
    assert stored[0].column("n").to_pylist() == list(range(6_087 + 2 * moved))
    keys = stored[0].column("k0").to_pylist()
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_a_base_version_can_be_named(world: World) -> None:
    world.set_current([{**B[0], "a": 99}, *B[1:]])
    staged = world.stage([{"id": 1, "a": 11}])
    assert staged.base_version == 0
    assert staged.page().items[0].base == B[0]
    newest = world.stage([{"id": 1, "a": 11}], base_version=None)
    assert newest.page().items[0].base == {**B[0], "a": 99}


def test_staging_needs_no_old_files_later(world: World) -> None:
    """The base is pinned: the files of the base version may go."""
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current([{**B[0], "b": "o"}, *B[1:]])
    deltalake.DeltaTable(world.uri).vacuum(0, enforce_retention_duration=False, dry_run=False)
    assert world.merge(staged).cells_updated == {"a": 1}
    assert world.rows()[0] == {"id": 1, "a": 11, "b": "o", "c": 1.5}


def test_a_day_alone_is_its_midnight(wide: World) -> None:
    """As pandas writes a column of timestamps that are all midnights."""
    staged = wide.stage(wide.file("x.csv", "id,moment,local\n1,2013-02-03,2013-02-03\n"))
    [row] = staged.page().items
    assert row.proposed is not None
    assert row.proposed["moment"] == datetime.datetime(2013, 2, 3, tzinfo=UTC)
    assert row.proposed["local"] == naive(2013, 2, 3)
    assert parsing.cell_value("2013-02-03", pa.timestamp("us", "UTC")) == datetime.datetime(
        2013, 2, 3, tzinfo=UTC
    )


def test_fd14_a_moment_in_text_is_meant_however_it_is_written(site: Site) -> None:
    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
    moment = datetime.datetime(2024, 1, 1, 12, 0, 1, 123_456, UTC)
    world = World(site, "merge-on-read", schema, [{"id": 1, "at": moment}, {"id": 2, "at": moment}])
    for written, micro in (("12:00:01", 0), ("12:00:01.12", 120_000), ("12:00:01.12345", 123_450)):
        for name, content in (
            ("x.csv", f"id,at\n1,2024-01-01T{written}Z\n"),
            ("x.jsonl", json.dumps({"id": 1, "at": f"2024-01-01T{written}Z"})),
        ):
            staged = world.stage(world.file(name, content))
            [row] = staged.page().items
            assert (row.key, row.changed) == ({"id": 1}, ("at",))
            assert row.proposed == {"id": 1, "at": moment.replace(microsecond=micro)}


def test_fd14_digits_that_a_tool_leaves_out_are_no_change(site: Site) -> None:
    held = {
        1: 3.0999999046325684,
        2: 0.5299999713897705,
        3: 54.013333333333335,
        4: 0.30000000000000004,
        5: 1e300,
    }
    schema = pa.schema([("id", pa.int64()), ("x", pa.float64())])
    world = World(site, "merge-on-read", schema, [{"id": key, "x": value} for key, value in held.items()])
    written = {
        1: "3.09999990463257",
        2: "0.52999997138977",
        3: "54.01333333333334",
        5: "1.00000000000000e300",
    }
    content = "id,x\n" + "".join(f"{key},{text}\n" for key, text in written.items())
    staged = world.stage(world.file("x.csv", content))
    assert (staged.rows, staged.noop_rows) == (0, 4)
    assert staged.warnings == (
        "3 rows give numbers without their last digits; "
        "where only the cut-off part differs from the table they change nothing.",
    )
    meant = {1: "3.1", 2: "0.53", 3: "54.01333333333", 4: "0.3", 5: "1.0000000000001e300"}
    staged = world.stage(
        world.file("x.csv", "id,x\n" + "".join(f"{key},{text}\n" for key, text in meant.items()))
    )
    assert [row.proposed for row in staged.page().items] == [
        {"id": key, "x": float(text)} for key, text in meant.items()
    ]
    typed = world.stage(pa.table({"id": [1], "x": [3.09999990463257]}))
    assert typed.rows == 1
