"""New columns: what they may be called, which type they are given, and what a merge says again (FD13, FD18, FD21)."""

from __future__ import annotations

import datetime
import json
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import openpyxl
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import merging
from merging import MergeConflict, MergeFailed, StagingRejected
from merging.delta.naming import folded, name_problem
from merging.delta.writing import new_schema
from merging.sql.types import delta_field
from tests.merging.world import Row, World, resolve

S = pa.schema([("id", pa.int64()), ("a", pa.string())])
ROWS: list[Row] = [{"id": 1, "a": "x"}, {"id": 2, "a": "y"}]
QUICK = settings(
    max_examples=40,
)


@pytest.fixture(params=["merge-on-read", "copy-on-write"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.param, S, ROWS)


@pytest.fixture
def table(tmp_path: Path) -> World:
    return World(tmp_path, "merge-on-read", S, ROWS)


def codes(world: World, changes: Any, **options: Any) -> list[tuple[str, str | None]]:
    """Codes and columns of what is refused; nothing may be left behind."""
    before = set((world.folder / "staging").glob("*"))
    with pytest.raises(StagingRejected) as refused:
        world.stage(changes, **options)
    assert set((world.folder / "staging").glob("*")) == before
    return [(one.code, one.column) for one in refused.value.problems]


def workbook(world: World, rows: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    path = world.file("x.xlsx", b"")
    book.save(path)
    book.close()
    return path


# FD21: names

UNFIT = {
    "control": "a\x07b",
    "nul": "a\0b",
    "bidi": "a\u202eb",
    "zero width": "a\u200bb",
    "variation selector": "a\ufe0fb",
    "line separator": "a\u2028b",
    "no-break space": "a\u00a0b",
    "blank": "a b",
    "comma": "a,b",
    "dot": "a.b",
    "slash": "a/b",
    "quote": 'a"b',
    "emoji": "a😀",
    "leading mark": "\u0301a",
    "too long": "x" * 256,
    "too many bytes": "ä" * 128,
    "very long": "y" * 5000,
    "change feed": "_change_type",
    "change feed, any case": "_Commit_Version",
    "change feed, full width": "\uff3fcommit_timestamp",
    "Spark's metadata": "_METADATA",
    "pandas' index": "__index_level_0__",
}


@pytest.mark.parametrize("name", UNFIT.values(), ids=UNFIT.keys())
def test_fd21_unfit_names_are_refused_when_staged(table: World, name: str) -> None:
    content = pa.table({"id": [1], name: ["v"]})
    if not name.startswith("__index"):  # typed content knows an index of pandas, and leaves it out
        assert [code for code, _ in codes(table, content)] == ["bad_column_name"]
    lines = json.dumps({"id": 1, name: "v"})
    assert [code for code, _ in codes(table, table.file("x.jsonl", lines))] == ["bad_column_name"]


def test_fd21_the_sentence_shows_what_nobody_sees(table: World) -> None:
    with pytest.raises(StagingRejected) as refused:
        table.stage(pa.table({"id": [1], "a\u202eb": ["v"]}))
    assert refused.value.problems[0].describe() == (
        'column a\\u202eb: a new column cannot be named so: the name holds the character "\\u202e"; '
        "letters, digits, _ and - are possible."
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Foo", "foo"),
        ("ß", "SS"),
        ("ﬁ", "fi"),
        ("İ", "i"),
        ("K", "k"),
        ("é", "e\u0301"),
        ("ς", "Σ"),
        ("ı", "I"),
    ],
)
def test_fd21_names_that_some_reader_takes_for_one(table: World, one: str, other: str) -> None:
    [(code, column)] = codes(table, pa.table({"id": [1], one: ["v"], other: ["w"]}))
    assert (code, column) == ("repeated_column", other)
    nested = pa.table({"id": [1], "n": [{one: 1, other: 2}]})
    [(code, column)] = codes(table, nested)
    assert column == "n"
    assert code in ("bad_column_name", "unsupported_type")  # the latter where nothing can hold such a struct


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (
            pa.struct([("street", pa.string()), ("house_number", pa.int64())]),
            {"street": "s", "house_number": 1},
        ),
        (pa.struct([("inner", pa.struct([("inner", pa.int64())]))]), {"inner": {"inner": 1}}),
        (pa.map_(pa.string(), pa.string()), [("k", "v")]),
        (pa.map_(pa.string(), pa.null()), [("k", None)]),
        (
            pa.map_(pa.string(), pa.struct([("key", pa.int64()), ("value", pa.int64())])),
            [("k", {"key": 1, "value": 2})],
        ),
        (
            pa.list_(pa.map_(pa.int64(), pa.list_(pa.struct([("city", pa.string())])))),
            [[(1, [{"city": "c"}])]],
        ),
    ],
    ids=str,
)
def test_fd21_fields_and_entries_inside_a_new_column_have_names_of_any_length(
    table: World, kind: pa.DataType, value: Any
) -> None:
    table.merge(table.stage(pa.table({"id": pa.array([1], pa.int64()), "new": pa.array([value], kind)})))
    assert pa.array([table.rows()[0]["new"]], kind).to_pylist() == pa.array([value], kind).to_pylist()
    assert str(polars.read_delta(table.uri)["new"].to_list()[0])


@pytest.mark.parametrize("name", ["A", " a", "a ", "a\u200b", "Ａ"])
def test_fd21_a_slip_of_the_pen_is_no_new_column(table: World, name: str) -> None:
    with pytest.raises(StagingRejected, match="did you mean a"):
        table.stage(pa.table({"id": [1], name: ["v"]}))


@pytest.mark.parametrize(
    "name", ["größe", "naïve-x", "данные", "数据", "_x", "x_1", "9lives", "e\u0301", "row_number"]
)
def test_fd21_letters_of_every_script_are_possible(small: World, name: str) -> None:
    result = small.merge(small.stage(pa.table({"id": [1], name: ["v"]})))
    assert [one.column for one in result.schema_changes] == [name]
    assert small.rows() == [{**ROWS[0], name: "v"}, {**ROWS[1], name: None}]
    assert polars.read_delta(small.uri).columns == ["id", "a", name]


@pytest.mark.parametrize(("first", "second"), [("Foo", "foo"), ("STRASSE", "straße"), ("ﬁx", "fix")])
def test_fd21_two_requests_staged_before_either_merges(small: World, first: str, second: str) -> None:
    one = small.stage(pa.table({"id": [1], first: ["v"]}))
    two = small.stage(pa.table({"id": [2], "a": ["z"], second: ["w"]}))
    small.merge(one, "CR-1")
    before, version = small.rows(), small.version
    with small.plan(two) as plan:
        [conflict] = plan.conflicts
    assert (conflict.kind, conflict.column, conflict.legal_choices) == ("schema", second, ("current",))
    assert f"the table has {first} now" in conflict.message
    with pytest.raises(MergeConflict) as refused:
        small.merge(two, "CR-2")
    assert list(refused.value.conflicts) == [conflict]
    with pytest.raises(MergeConflict):
        small.merge(two, "CR-2", force_merge=True)
    assert (small.rows(), small.version) == (before, version)
    small.merge(two, "CR-2", resolutions=resolve([conflict], "current"))
    assert small.rows() == [{**ROWS[0], first: "v"}, {"id": 2, "a": "z", first: None}]
    assert polars.read_delta(small.uri).columns == ["id", "a", first]


def test_fd21_the_same_name_added_by_both_is_one_column(small: World) -> None:
    one, two = (small.stage(pa.table({"id": [number], "n": ["v"]})) for number in (1, 2))
    small.merge(one, "CR-1")
    with small.plan(two) as plan:
        chosen = resolve(plan.conflicts, "proposed")
    small.merge(two, "CR-2", resolutions=chosen)
    assert small.rows() == [{**ROWS[0], "n": "v"}, {**ROWS[1], "n": "v"}]


def test_fd21_names_are_judged_again_at_the_merge(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that was staged under other rules."""
    monkeypatch.setattr("merging.staging.mapping.name_problem", lambda name, blanks: None)
    staged = small.stage(pa.table({"id": [1], "a b": ["v"]}))
    with small.plan(staged) as plan:
        [conflict] = plan.conflicts
    assert (conflict.kind, conflict.column) == ("schema", "a b")
    assert "holds a blank" in conflict.message


def test_fd21_the_schema_is_read_back_before_the_commit(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = small.stage(pa.table({"id": [1], "n": ["v"]}))
    whole = delta_field
    monkeypatch.setattr(
        new_schema,
        "delta_field",
        lambda field: {**whole(field), "type": "long"} if field.name == "n" else whole(field),
    )
    monkeypatch.setattr(
        new_schema,
        "delta_schema",
        lambda text: pa.schema([*S, pa.field("N", pa.string()), pa.field("n", pa.string())]),
    )
    before = sorted(Path(small.uri).rglob("*"))
    with pytest.raises(MergeFailed, match="not the one that was planned"):
        small.merge(staged)
    assert sorted(Path(small.uri).rglob("*")) == before


LETTERS = some.characters(
    categories=["Lu", "Ll", "Lt", "Lo", "Lm", "Mn", "Mc", "Nd", "Cc", "Cf", "Zs", "Po", "So"]
)
NAMES = some.one_of(
    some.text(LETTERS, min_size=1, max_size=8),
    some.sampled_from(["a", "A", "ID", "ß", "ss", "SS", "ﬁ", "FI", "İ", "i", "_op", "_OP", "ǅ", "µ", "μ"]),
)


@QUICK
@given(names=some.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_fd21_what_is_taken_is_read_by_everybody(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    world = World(tmp_path_factory.mktemp("names"), "merge-on-read", S, ROWS)
    content = pa.table({"id": [1], **{name: ["insert"] for name in names if name != "id"}})
    try:
        result = world.merge(world.stage(content))
    except StagingRejected:
        assert world.version == world.base_version
        return
    added = [change.column for change in result.schema_changes]
    columns = [column.name for column in merging.inspect_table(world.uri).columns]
    assert columns == ["id", "a", *added]
    assert len({folded(name) for name in columns}) == len(columns)
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in columns}) == len(columns)
    assert len({name.lower() for name in columns}) == len({name.upper() for name in columns}) == len(columns)
    assert all(name_problem(name, blanks=False) is None for name in added)
    assert deltalake.DeltaTable(world.uri).schema().to_arrow() is not None
    assert polars.read_delta(world.uri).columns == columns


# FD18: the column of operations


@pytest.mark.parametrize("name", ["_OP", "_Op", " _op", "_op ", "\ufeff_op", "＿op"])
def test_fd18_a_misspelt_operation_column_is_named_first(table: World, name: str) -> None:
    rows = {"id": [1, 1], name: ["delete", "nonsense"], "bad\u202ename": ["1", "1"]}
    content = pa.table(rows)
    path = table.file("x.parquet", b"")
    pyarrow.parquet.write_table(content, path)
    lines = "\n".join(json.dumps(row) for row in content.to_pylist())
    cells = [list(rows), *([row[key] for key in rows] for row in content.to_pylist())]
    sources: list[Any] = [content, path, table.file("x.jsonl", lines)]
    if not name.startswith("\ufeff"):
        text = "\n".join(",".join(map(str, row)) for row in cells)
        sources += [table.file("x.csv", text), workbook(table, cells)]
    for source in sources:
        with pytest.raises(StagingRejected) as refused:
            table.stage(source)
        [problem] = refused.value.problems
        assert problem.code == "misspelt_operation_column"
        assert "did you mean _op?" in problem.message


def test_fd18_a_column_that_looks_like_operations_is_mentioned(table: World) -> None:
    staged = table.stage(table.file("x.csv", "id,op\n1,delete\n2,UPDATE\n"))
    assert staged.new_columns == ("op",)
    assert staged.warnings == (
        "The new column op holds nothing but names of operations; a column named _op says what happens to a row.",
    )
    assert table.stage(table.file("x.csv", "id,op\n1,delete\n2,other\n")).warnings == ()


# FD13: types

AS_WRITTEN: dict[str, tuple[list[str], str]] = {
    "whole": (["1", "-5", "0", "9223372036854775807"], "long"),
    "20 digits": (["12345678901234567890"], "string"),
    "19 decimals": (["0.1234567890123456789"], "string"),
    "fractions": (["1.5", "-0.25"], "double"),
    "fractions and whole": (["1.5", "2"], "string"),
    "trailing zero": (["1.10"], "string"),
    "plus": (["+4915112345"], "string"),
    "exponent": (["1E5"], "string"),
    "huge": (["1e400"], "string"),
    "vanishing": (["1e-400"], "string"),
    "exponent as a double gives it": (["1e-07", "1e+20"], "string"),
    "no numbers": (["nan", "inf", "-inf"], "string"),
    "bare point": ([".5", "1."], "string"),
    "underscore": (["1_000"], "string"),
    "hexadecimal": (["0x10"], "string"),
    "minus zero": (["-0"], "string"),
    "fraction minus zero": (["-0.0"], "double"),
    "zero padded": (["007"], "string"),
    "letters": (["T", "F"], "string"),
    "booleans": (["true", "false"], "boolean"),
    "Booleans": (["True", "False"], "string"),
    "blank around": (["1", " 2"], "string"),
    "dates": (["2024-01-05", "0001-01-01"], "date"),
    "loose dates": (["2024-1-5"], "string"),
    "no such day": (["2023-02-29"], "string"),
    "endless": (["infinity"], "string"),
    "moments": (["2024-01-05T10:11:12Z", "2024-01-05T10:11:12.500000Z"], "timestamp"),
    "moments without zone": (["2024-01-05T10:11:12"], "string"),
    "moments of other zones": (["2024-01-05T10:11:12+02:00"], "string"),
    "moments to the millisecond": (["2024-01-05T10:11:12.500Z"], "string"),
    "json": (['{"x": 1}'], "string"),
}


@pytest.mark.parametrize(("values", "expected"), AS_WRITTEN.values(), ids=AS_WRITTEN.keys())
def test_fd13_a_type_is_guessed_only_where_every_text_comes_back(
    table: World, values: list[str], expected: str
) -> None:
    rows = "".join(
        f'{number},"{value.replace(chr(34), chr(34) * 2)}"\n' for number, value in enumerate(values)
    )
    staged = table.stage(table.file("x.csv", f"id,n\n{rows}"))
    assert staged.new_column_types == {"n": expected}
    if expected == "string":
        assert [row.proposed["n"] for row in staged.page().items if row.proposed] == values


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("1", "2", "long"),
        ("1", "1.5", "string"),
        ("1", "x", "string"),
        ("1.5", "1e5", "string"),
        ("", "7", "long"),
        ("", "2024-01-05", "date"),
        ("true", "", "boolean"),
        ("", "", "string"),
    ],
)
def test_fd13_a_type_is_guessed_from_all_rows_not_from_a_few(
    table: World, first: str, last: str, expected: str
) -> None:
    rows = "".join(f"{number},{first}\n" for number in range(3_000))
    staged = table.stage(table.file("x.csv", f"id,n\n{rows}3000,{last}\n"))
    assert staged.new_column_types == {"n": expected}


def test_a_time_of_day_among_texts_is_another_value(table: World) -> None:
    book = workbook(table, [["id", "n"], [1, datetime.time(8, 30)], [2, "noon"]])
    warning = "The new column n mixes other values and texts, and is taken as text."
    assert table.stage(book).warnings == (warning,)


def test_fd13_texts_in_json_stay_texts_and_numbers_numbers(table: World) -> None:
    rows = [
        {"t": "1", "b": "true", "d": "2024-01-05", "n": 1, "f": 1.5, "yes": True, "mixed": 1, "long": 10**19},
        {"t": "2", "b": "false", "d": "2024-01-06", "n": -7, "f": 2, "yes": False, "mixed": "x", "long": 5},
    ]
    lines = "\n".join(json.dumps({"id": number, **row}) for number, row in enumerate(rows))
    staged = table.stage(table.file("x.jsonl", lines))
    assert staged.new_column_types == {
        "t": "string",
        "b": "string",
        "d": "string",
        "n": "long",
        "f": "double",
        "yes": "boolean",
        "mixed": "string",
        "long": "decimal(20,0)",
    }
    assert staged.warnings == ("The new column mixed mixes numbers and texts, and is taken as text.",)
    given = [{key: row.proposed[key] for key in rows[0]} for row in staged.page().items if row.proposed]
    assert given == [{**rows[0], "mixed": "1"}, rows[1]]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (["1.10", "2.25"], "double"),
        (["0.1234567890123456789"], "decimal(19,19)"),
        (["12345678901234567890", "0.5"], "decimal(21,1)"),
        (["1E5"], "decimal(6,0)"),
        (["1.5e-7"], "double"),
        (["-0"], "double"),
        (["1e400"], "string"),
        (["1e-99999999999999999999"], "string"),
    ],
)
def test_fd13_no_digit_of_a_json_number_is_lost(table: World, numbers: list[str], expected: str) -> None:
    lines = "\n".join(f'{{"id": {place}, "n": {number}}}' for place, number in enumerate(numbers))
    staged = table.stage(table.file("x.jsonl", lines))
    assert staged.new_column_types == {"n": expected}
    values = [row.proposed["n"] for row in staged.page().items if row.proposed]
    if expected != "string":
        assert [Decimal(repr(value) if isinstance(value, float) else value) for value in values] == [
            Decimal(number) for number in numbers
        ]


def test_fd13_kinds_of_a_workbook_are_kept(table: World) -> None:
    day, moment = datetime.date(2024, 1, 5), datetime.datetime(2024, 1, 5, 10, 11, 12)  # noqa: DTZ001
    header = ["id", "day", "moment", "number", "whole", "flag", "text", "digits"]
    staged = table.stage(
        workbook(
            table, [header, [1, day, day, 1.5, 7, True, "x", "007"], [2, day, moment, 2, 8, False, "y", "1"]]
        )
    )
    assert staged.new_column_types == {
        "day": "date",
        "moment": "timestamp",
        "number": "double",
        "whole": "long",
        "flag": "boolean",
        "text": "string",
        "digits": "string",
    }
    [first, second] = [row.proposed for row in staged.page().items]
    assert first is not None
    assert second is not None
    assert first["day"] == datetime.date(2024, 1, 5)
    assert second["moment"] == moment.replace(tzinfo=datetime.UTC)


def test_fd13_the_uploader_chooses_the_type(small: World) -> None:
    path = small.file("x.csv", "id,price,code,day\n1,1.10,1,2024-01-05\n2,2,2,\n")
    types = {"price": "decimal(10,2)", "code": "string"}
    staged = small.stage(path, column_types=types)
    assert staged.new_column_types == {"price": "decimal(10,2)", "code": "string", "day": "date"}
    small.merge(staged)
    assert small.rows() == [
        {**ROWS[0], "price": Decimal("1.10"), "code": "1", "day": datetime.date(2024, 1, 5)},
        {**ROWS[1], "price": Decimal("2.00"), "code": "2", "day": None},
    ]
    lines = small.file("x.jsonl", '{"id": 1, "n": 1}')
    assert small.stage(lines, column_types={"n": "string"}).new_column_types == {"n": "string"}


def test_fd13_a_chosen_type_that_does_not_fit_is_refused_with_the_values(table: World) -> None:
    path = table.file("x.csv", "id,n\n1,5\n2,x\n3,1.5\n")
    with pytest.raises(StagingRejected) as refused:
        table.stage(path, column_types={"n": "long"})
    assert [(one.line, one.column, one.value) for one in refused.value.problems] == [
        (3, "n", "x"),
        (4, "n", "1.5"),
    ]
    for wrong in ("text", "decimal(50,2)", "decimal(2,5)", "array<long>", "", "[]"):
        assert codes(table, path, column_types={"n": wrong}) == [("unknown_type", "n")]
    assert codes(table, path, column_types={"m": "long"}) == [("type_of_missing_column", "m")]
    assert codes(table, path, column_types={"a": "long"}) == [("type_of_known_column", "a")]


TEXTS = some.one_of(
    some.from_regex(r"[+-]?[0-9]{0,22}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    some.from_regex(
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?Z?)?", fullmatch=True
    ),
    some.sampled_from(["true", "True", "T", "f", "NaN", "inf", "null", "1e400", "-0", "infinity", "epoch"]),
).filter(bool)


def written(value: Any) -> str:
    """A value as it is given out."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


@QUICK
@given(texts=some.lists(TEXTS, min_size=1, max_size=3))
def test_fd13_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    world = World(tmp_path_factory.mktemp("texts"), "merge-on-read", S, ROWS)
    rows = "".join(f'{number},"{text}"\n' for number, text in enumerate(texts))
    staged = world.stage(world.file("x.csv", f"id,n\n{rows}"))
    assert [written(row.proposed["n"]) for row in staged.page().items if row.proposed] == texts


def test_fd13_the_hour_24_is_no_time_that_comes_back(world: World) -> None:
    staged = world.stage(world.file("x.csv", "id,m\n1,2024-01-01T24:00:00Z\n2,2024-01-01T23:00:00Z\n"))
    assert staged.schema.field("m").type == pa.string()
    world.merge(staged)
    assert [row["m"] for row in world.rows()] == ["2024-01-01T24:00:00Z", "2024-01-01T23:00:00Z", None]
