"""Columns that a table fills itself: defaults, numbers (identity columns), what it computes.

Sources: PROTOCOL.md, "Default Columns", "Identity Columns" and "Generated Columns". Who declares them here writes the
metaData that the protocol asks for; Spark does it in `interoperability` where it has SQL for it.
"""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging.delta import open_snapshot
from merging.delta.expressions import NotUnderstood, default_value
from merging.delta.identity import Numbering
from merging.errors import StagingRejected
from merging.sql.session import session
from tests.merging.delta.delta_tables import own_rows
from tests.merging.test_rules import FULL, commit_by_hand
from tests.merging.world import Row, World, arrow, resolve

STRATEGIES = pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
FEEDS = pytest.mark.parametrize("feed", [False, True], ids=["no feed", "feed"])
FILLING = {
    **FULL,
    "writerFeatures": [*FULL["writerFeatures"], "allowColumnDefaults", "identityColumns"],  # type: ignore[misc]
}
SCHEMA = pa.schema(
    [("id", pa.int64()), ("a", pa.int32()), ("s", pa.string()), ("price", pa.decimal128(10, 2))]
)
ROWS: list[Row] = [{"id": n, "a": n, "s": f"t{n}", "price": Decimal("1.00")} for n in range(1, 4)]


def filling(
    folder: Path,
    strategy: str,
    columns: dict[str, dict[str, Any]],
    *,
    schema: pa.Schema = SCHEMA,
    rows: list[Row] = ROWS,
    properties: dict[str, str] | None = None,
    required: tuple[str, ...] = (),
    **options: Any,
) -> World:
    """A table of whose columns somebody else wrote such metadata; `required` ones take no NULL."""
    world = World(folder, strategy, schema, rows, **options)

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        metadata["configuration"] |= properties or {}
        for name, stated in columns.items():
            fields[name]["metadata"] |= stated
        for name in required:
            fields[name]["nullable"] = False

    commit_by_hand(world.uri, change, FILLING)
    world.base_version += 1
    return world


def default(text: str) -> dict[str, str]:
    return {"CURRENT_DEFAULT": text}


def identity(start: int = 1, step: int = 1, given: int | None = None, *, explicit: bool = False) -> Row:
    stated: Row = {
        "delta.identity.start": start,
        "delta.identity.step": step,
        "delta.identity.allowExplicitInsert": explicit,
    }
    return stated if given is None else {**stated, "delta.identity.highWaterMark": given}


def mark(world: World, column: str) -> Any:
    """The high-water mark of a column in the newest version."""
    return mark_of(world.uri, column)


def mark_of(uri: str, column: str) -> Any:
    """The same of a table."""
    fields = {one["name"]: one for one in json.loads(open_snapshot(uri).schema_json)["fields"]}
    return fields[column]["metadata"].get("delta.identity.highWaterMark")


def refusals(world: World, changes: Any, **options: Any) -> list[tuple[int | None, str | None, str]]:
    """Line, column and code of each problem for which the content is refused."""
    version = world.version
    with pytest.raises(StagingRejected) as refused:
        world.stage(changes, **options)
    assert world.version == version
    return [(one.line, one.column, one.code) for one in refused.value.problems]


# ---- defaults -------------------------------------------------------------------------------------------------------


@STRATEGIES
@FEEDS
def test_a_new_row_that_says_nothing_of_a_column_gets_its_default(
    tmp_path: Path, strategy: str, feed: bool
) -> None:
    world = filling(
        tmp_path,
        strategy,
        {"a": default("7"), "s": default("'new'"), "price": default("CAST(0.5 AS DECIMAL(10,2))")},
        required=("a",),
        change_data_feed=feed,
    )
    assert "allowColumnDefaults" in merging.inspect_table(world.uri).features
    world.merge(world.stage([{"id": 1, "a": 10}, {"id": 9, "a": 90}]))
    held = [(1, 10, "t1", Decimal("1.00")), (2, 2, "t2", Decimal("1.00")), (3, 3, "t3", Decimal("1.00"))]
    held.append((9, 90, "new", Decimal("0.50")))
    assert own_rows(world.uri) == held
    assert [tuple(row.values()) for row in world.rows()] == held

    # The content lacks all of it, a row of JSON lacks some, and NULL that is given is NULL.
    world.base_version = world.version
    world.merge(world.stage([{"id": 10}]), "CR-2")
    lines = '{"id": 11, "s": null}\n{"id": 12, "a": 1}\n{"id": 2, "a": 20}\n'
    world.merge(world.stage(world.file("x.jsonl", lines), base_version=3), "CR-3")
    new = [(10, 7, "new"), (11, 7, None), (12, 1, "new")]
    held[1] = (2, 20, "t2", Decimal("1.00"))
    assert own_rows(world.uri) == [*held, *((*row, Decimal("0.50")) for row in new)]
    if feed:
        cdf = pa.table(deltalake.DeltaTable(world.uri).load_cdf(starting_version=3).read_all()).to_pylist()
        found = {row["id"]: (row["a"], row["s"]) for row in cdf if row["_change_type"] == "insert"}
        assert found == {number: (a, s) for number, a, s in new}


@STRATEGIES
def test_the_default_of_the_day_of_the_merge_counts(tmp_path: Path, strategy: str) -> None:
    world = filling(tmp_path, strategy, {"s": default("'old'")})
    staged = world.stage([{"id": 9, "a": 9}])

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        fields["s"]["metadata"]["CURRENT_DEFAULT"] = "'newer'"

    commit_by_hand(world.uri, change)
    with world.plan(staged) as plan:
        [row] = plan.rows().items
        assert row.merged == {"id": 9, "a": 9, "s": "newer", "price": None}
        assert row.filled == ("s",)
    world.merge(staged)
    assert own_rows(world.uri)[-1] == (9, 9, "newer", None)


@STRATEGIES
def test_content_that_is_rebased_or_divided_says_nothing_of_it_either(tmp_path: Path, strategy: str) -> None:
    world = filling(tmp_path, strategy, {"s": default("'filled'"), "price": default("0.25")})
    staged = world.stage(
        world.file("x.jsonl", '{"id": 8, "a": 8}\n{"id": 9, "a": 9, "s": "x"}\n{"id": 1, "a": 10}')
    )
    assert [row.filled for row in staged.page().items] == [(), ("s", "price"), ("price",)]
    world.merge(world.stage([{"id": 1, "s": "theirs"}]), "CR-2")
    rebased = merging.rebase(world.request(staged), str(tmp_path / "rebased")).staged
    assert [row.filled for row in rebased.page().items] == [(), ("s", "price"), ("price",)]
    parted = merging.split(rebased.location, merging.LeftOut(keys=({"id": 9},)), str(tmp_path / "split"))
    world.merge(parted.kept, "CR-3")
    world.merge(parted.left, "CR-4")
    price = Decimal("0.25")
    assert own_rows(world.uri)[0] == (1, 10, "theirs", Decimal("1.00"))
    assert own_rows(world.uri)[3:] == [(8, 8, "filled", price), (9, 9, "x", price)]


@STRATEGIES
def test_a_row_that_somebody_added_meanwhile_keeps_its_values(tmp_path: Path, strategy: str) -> None:
    """It says nothing of the column either: what stands there now is no conflict, and no default."""
    world = filling(tmp_path, strategy, {"s": default("'filled'")})
    staged = world.stage([{"id": 9, "a": 9}])
    world.merge(world.stage([{"id": 9, "a": 9, "s": "theirs"}]), "CR-2")
    world.merge(staged, "CR-3")
    assert own_rows(world.uri)[-1] == (9, 9, "theirs", None)


def test_constraints_and_generated_columns_see_what_was_filled(tmp_path: Path) -> None:
    world = filling(
        tmp_path,
        "merge-on-read",
        {"a": default("7"), "price": {"delta.generationExpression": "CAST(a AS DECIMAL(10,2))"}},
        properties={"delta.constraints.some": "a IS NOT NULL"},
    )
    world.merge(world.stage([{"id": 9, "s": "x"}]))
    assert own_rows(world.uri)[-1] == (9, 7, "x", Decimal("7.00"))


PROVED: dict[str, tuple[pa.DataType, Any]] = {
    "7": (pa.int32(), 7),
    "-7": (pa.int16(), -7),
    "1.5": (pa.float64(), 1.5),
    "0.1": (pa.float32(), pa.scalar(0.1, pa.float32()).as_py()),
    "3": (pa.float64(), 3.0),
    "2.50": (pa.decimal128(10, 2), Decimal("2.50")),
    "'text'": (pa.string(), "text"),
    "NULL": (pa.string(), None),
    "true": (pa.bool_(), True),
    "DATE '2024-02-29'": (pa.date32(), datetime.date(2024, 2, 29)),
    "TIMESTAMP '2024-02-29 12:00:00Z'": (
        pa.timestamp("us", "UTC"),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
    ),
    "upper('ab')": (pa.string(), "AB"),
    "1 + 2 * 3": (pa.int32(), 7),
    "CAST('2024-02-29' AS DATE)": (pa.date32(), datetime.date(2024, 2, 29)),
    "coalesce(NULL, 'x')": (pa.string(), "x"),
}


@pytest.mark.parametrize("text", PROVED)
def test_defaults_that_are_proved(text: str) -> None:
    data_type, expected = PROVED[text]
    made = default_value(text, data_type, zone=None)
    with session() as opened:
        [found] = opened.rows(f"SELECT {made.sql(str)} AS found")[0].values()
        assert (found, type(found)) == (expected, type(expected))
        assert opened.row(f"SELECT {made.doubtful(str)} AS doubtful") == (False,)


@pytest.mark.parametrize("text", ["current_timestamp()", "CURRENT_TIMESTAMP", "now()"])
def test_a_default_may_be_the_moment_of_the_merge(tmp_path: Path, text: str) -> None:
    schema = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("at", pa.timestamp("us", "UTC"))])
    world = filling(tmp_path, "merge-on-read", {"at": default(text)}, schema=schema, rows=[])
    before = datetime.datetime.now(datetime.UTC)
    world.merge(world.stage([{"id": 1, "a": 1}, {"id": 2, "a": 2}]))
    [first, second] = [row["at"] for row in world.rows()]
    assert first == second
    assert before <= first <= datetime.datetime.now(datetime.UTC)


def test_the_day_of_the_merge_hangs_on_a_time_zone() -> None:
    assert default_value("current_date()", pa.date32(), zone="UTC").type == pa.date32()
    with pytest.raises(NotUnderstood, match="the time zone of the session that writes"):
        default_value("current_date()", pa.date32(), zone=None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("uuid()", "the function uuid"),
        ("a + 1", "a: there is no such column"),
        ("current_timestamp()", "the function current_timestamp"),
        ("(SELECT 1)", ""),
    ],
)
@STRATEGIES
def test_a_default_that_is_not_proved_refuses_the_table_by_name(
    tmp_path: Path, strategy: str, text: str, reason: str
) -> None:
    world = filling(tmp_path, strategy, {"s": default(text)})
    before = sorted(Path(world.uri).rglob("*"))
    with pytest.raises(merging.UnsupportedTable) as refused:
        merging.inspect_table(world.uri)
    [told] = refused.value.features
    assert told.startswith(f"default of column s ({text}): ")
    assert reason in told
    assert sorted(Path(world.uri).rglob("*")) == before


def test_a_default_that_does_not_fit_its_column_is_written_nowhere(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("a", pa.int8())])
    world = filling(tmp_path, "merge-on-read", {"a": default("300")}, schema=schema, rows=[])
    with pytest.raises(merging.ValidationFailed) as caught:
        world.merge(world.stage([{"id": 1}]))
    [failed] = [one for one in caught.value.report.checks if not one.ok]
    assert (failed.name, failed.failures) == ("default:a", 1)
    world.merge(world.stage([{"id": 1, "a": 3}]), "CR-2")
    assert own_rows(world.uri) == [(1, 3)]


PARTED = pa.schema([("id", pa.int64()), ("s", pa.string()), ("p", pa.string())])
PARTED_ROWS: list[Row] = [{"id": 1, "s": "a", "p": "a"}]


@STRATEGIES
@pytest.mark.parametrize(
    ("columns", "changes", "id_"),
    [
        ({"p": default("''")}, [{"id": 2, "s": "b"}], 2),
        ({"p": {"delta.generationExpression": "substring(s, 1, 1)"}}, [{"id": 2, "s": ""}], 2),
        ({"p": {"delta.generationExpression": "substring(s, 1, 1)"}}, [{"id": 1, "s": ""}], 1),
        ({}, [{"id": 1, "p": "b"}], 1),
    ],
    ids=["default", "computed for a new row", "computed for a changed row", "chosen"],
)
def test_an_empty_text_that_comes_to_a_partition_after_staging_is_a_check_of_the_plan(
    tmp_path: Path, strategy: str, columns: dict[str, dict[str, Any]], changes: list[Row], id_: int
) -> None:
    world = filling(tmp_path, strategy, columns, schema=PARTED, rows=PARTED_ROWS, partition_by=["p"])
    staged = world.stage(changes)
    chosen: list[merging.Resolution] = []
    if not columns:
        world.merge(world.stage([{"id": 1, "p": "c"}]), "CR-0")
        with world.plan(staged) as plan:
            chosen = resolve(plan.conflicts, "custom", "")
    before = world.rows()
    with world.plan(staged, resolutions=chosen) as plan:
        told = [(one.name, one.examples) for one in plan.validation.checks if not one.ok]
    assert told == [("partition:p", ({"id": id_},))]
    with pytest.raises(merging.ValidationFailed):
        world.merge(staged, resolutions=chosen)
    assert world.rows() == before


# ---- identity columns -----------------------------------------------------------------------------------------------

NUMBERED = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("nr", pa.int64())])
NUMBERED_ROWS: list[Row] = [{"id": n, "a": n, "nr": n} for n in (1, 2, 3)]


@STRATEGIES
@FEEDS
@pytest.mark.parametrize("explicit", [False, True], ids=["always", "by default"])
def test_new_rows_are_numbered_in_the_order_of_their_keys(
    tmp_path: Path, strategy: str, feed: bool, explicit: bool
) -> None:
    world = filling(
        tmp_path,
        strategy,
        {"nr": identity(given=3, explicit=explicit)},
        schema=NUMBERED,
        rows=NUMBERED_ROWS,
        change_data_feed=feed,
    )
    assert "identityColumns" in merging.inspect_table(world.uri).features
    staged = world.stage([{"id": 9, "a": 9}, {"id": 7, "a": 7}, {"id": 2, "a": 20}])
    with world.plan(staged) as plan:
        assert [(row.key["id"], row.filled) for row in plan.rows().items] == [
            (2, ()),
            (7, ("nr",)),
            (9, ("nr",)),
        ]
    world.merge(staged)
    held = [(1, 1, 1), (2, 20, 2), (3, 3, 3), (7, 7, 4), (9, 9, 5)]
    assert own_rows(world.uri) == held
    assert mark(world, "nr") == 5

    # A merge that adds no row leaves the mark, and an empty cell is no number of a row's own.
    world.base_version = world.version
    world.merge(world.stage([{"id": 1, "a": 10}]), "CR-2")
    assert mark(world, "nr") == 5
    world.merge(world.stage(world.file("x.csv", "id,a,nr\n8,8,\n3,30,3\n")), "CR-3")
    held = [(1, 10, 1), (2, 20, 2), (3, 30, 3), (7, 7, 4), (8, 8, 6), (9, 9, 5)]
    assert own_rows(world.uri) == held
    assert mark(world, "nr") == 6
    if feed:
        cdf = pa.table(deltalake.DeltaTable(world.uri).load_cdf(starting_version=2).read_all()).to_pylist()
        assert {row["id"]: row["nr"] for row in cdf if row["_change_type"] == "insert"} == {7: 4, 9: 5, 8: 6}


@pytest.mark.parametrize(
    ("stated", "numbers", "last"),
    [
        (identity(100, 10), [100, 110], 110),
        (identity(-5, -3), [-5, -8], -8),
        (identity(-5, -3, -11), [-14, -17], -17),
        (identity(1, 5, 12), [16, 21], 21),
        (identity(10, 1, 3), [10, 11], 11),
        (identity(1, 1, 2**63 - 3), [2**63 - 2, 2**63 - 1], 2**63 - 1),
    ],
    ids=["first", "downwards", "further down", "mark beside", "mark before", "last"],
)
@STRATEGIES
def test_numbers_go_on_where_the_table_stands(
    tmp_path: Path, strategy: str, stated: Row, numbers: list[int], last: int
) -> None:
    world = filling(tmp_path, strategy, {"nr": stated}, schema=NUMBERED, rows=[])
    world.merge(world.stage([{"id": 1, "a": 1}, {"id": 2, "a": 2}]))
    assert [row[2] for row in own_rows(world.uri)] == numbers
    assert mark(world, "nr") == last


@STRATEGIES
@pytest.mark.parametrize(
    "stated",
    [identity(1, 1, 2**63 - 2), identity(1, -1, -(2**63) + 1), identity(1, 7, 2**63 - 1)],
    ids=["one left", "one left below", "none left"],
)
def test_a_table_without_numbers_left_is_not_changed(tmp_path: Path, strategy: str, stated: Row) -> None:
    world = filling(tmp_path, strategy, {"nr": stated}, schema=NUMBERED, rows=NUMBERED_ROWS)
    before = (own_rows(world.uri), world.version, mark(world, "nr"))
    with pytest.raises(merging.ValidationFailed) as caught:
        world.merge(world.stage([{"id": 7, "a": 1}, {"id": 8, "a": 2}]))
    [failed] = [one for one in caught.value.report.checks if not one.ok]
    assert failed.name == "identity:nr"
    assert "numbers that the table has left: " in failed.message
    assert (own_rows(world.uri), world.version, mark(world, "nr")) == before


@STRATEGIES
def test_numbers_are_the_tables_own(tmp_path: Path, strategy: str) -> None:
    world = filling(tmp_path, strategy, {"nr": identity(given=3)}, schema=NUMBERED, rows=NUMBERED_ROWS)
    content = "id,a,nr\n1,10,1\n2,2,20\n3,3,\n8,8,8\n"
    assert refusals(world, world.file("x.csv", content)) == [
        (3, "nr", "identity_column"),
        (4, "nr", "identity_column"),
        (5, "nr", "identity_column"),
    ]
    world.merge(world.stage(world.file("x.csv", "id,a,nr\n1,10,1\n8,8,\n")))
    assert own_rows(world.uri) == [(1, 10, 1), (2, 2, 2), (3, 3, 3), (8, 8, 4)]


@STRATEGIES
def test_a_new_row_brings_a_number_where_the_table_lets_it(tmp_path: Path, strategy: str) -> None:
    stated = identity(given=3, explicit=True)
    world = filling(tmp_path, strategy, {"nr": stated}, schema=NUMBERED, rows=NUMBERED_ROWS)
    assert refusals(world, [{"id": 2, "nr": 20}]) == [(1, "nr", "identity_column")]
    world.merge(world.stage(world.file("x.csv", "id,a,nr\n7,7,70\n8,8,\n")))
    assert own_rows(world.uri)[3:] == [(7, 7, 70), (8, 8, 4)]
    assert mark(world, "nr") == 4


@STRATEGIES
def test_keys_that_the_table_numbers(tmp_path: Path, strategy: str) -> None:
    schema, rows = pa.schema([("id", pa.int64()), ("a", pa.int32())]), [{"id": n, "a": n} for n in (1, 2)]
    world = filling(tmp_path, strategy, {"id": identity(given=2)}, schema=schema, rows=rows)
    assert refusals(world, [{"id": 1, "a": 10}, {"id": 3, "a": 3}]) == [(2, "id", "identity_column")]
    changes = arrow(
        schema.append(pa.field("_op", pa.string())),
        [{"id": 1, "a": 10, "_op": "update"}, {"id": 2, "_op": "delete"}],
    )
    world.merge(world.stage(changes))
    assert own_rows(world.uri) == [(1, 10)]
    by_default = filling(
        tmp_path, strategy, {"id": identity(given=2, explicit=True)}, schema=schema, rows=rows
    )
    by_default.merge(by_default.stage([{"id": 9, "a": 9}]))
    assert own_rows(by_default.uri) == [(1, 1), (2, 2), (9, 9)]
    assert mark(by_default, "id") == 2


@STRATEGIES
def test_a_row_that_comes_back_has_its_number_again(tmp_path: Path, strategy: str) -> None:
    world = filling(tmp_path, strategy, {"nr": identity(given=3)}, schema=NUMBERED, rows=NUMBERED_ROWS)
    changes = arrow(
        pa.schema([*NUMBERED.remove(2), ("_op", pa.string())]),
        [{"id": 2, "_op": "delete"}, {"id": 8, "a": 8, "_op": "insert"}],
    )
    result = world.merge(world.stage(changes))
    assert own_rows(world.uri) == [(1, 1, 1), (3, 3, 3), (8, 8, 4)]
    assert result.artefacts is not None
    reverse = merging.invert(world.uri, result.artefacts, ["id"], str(tmp_path / "reverse"))
    world.merge(reverse, "CR-2")
    assert own_rows(world.uri) == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    assert mark(world, "nr") == 4


@STRATEGIES
def test_numbers_and_a_new_column_in_one_merge(tmp_path: Path, strategy: str) -> None:
    world = filling(tmp_path, strategy, {"nr": identity(given=3)}, schema=NUMBERED, rows=NUMBERED_ROWS)
    world.merge(world.stage([{"id": 8, "a": 8, "more": "x"}]))
    assert own_rows(world.uri)[-1] == (8, 8, 4, "x")
    assert mark(world, "nr") == 4


@STRATEGIES
def test_whoever_lost_a_race_numbers_anew(tmp_path: Path, strategy: str) -> None:
    world = filling(tmp_path, strategy, {"nr": identity(given=3)}, schema=NUMBERED, rows=NUMBERED_ROWS)
    mine, theirs = world.stage([{"id": 8, "a": 8}]), world.stage([{"id": 9, "a": 9}])
    raced: list[merging.MergeResult] = []

    def meanwhile(phase: str, **_: Any) -> None:
        if phase == "committing" and not raced:
            raced.append(world.merge(theirs, "CR-2"))

    assert world.merge(mine, "CR-1", meanwhile).attempts == 2
    assert own_rows(world.uri)[3:] == [(8, 8, 5), (9, 9, 4)]
    assert mark(world, "nr") == 5


@pytest.mark.parametrize(
    "stated",
    [identity(1, 0), {"delta.identity.start": 1}, {"delta.identity.start": 1, "delta.identity.step": "x"}],
    ids=json.dumps,
)
def test_what_makes_no_numbers_is_refused_by_name(tmp_path: Path, stated: Row) -> None:
    world = filling(tmp_path, "merge-on-read", {"nr": stated}, schema=NUMBERED, rows=NUMBERED_ROWS)
    with pytest.raises(merging.UnsupportedTable, match=r"identityColumns: .*column nr"):
        merging.inspect_table(world.uri)


def test_numbers_that_are_left() -> None:
    assert Numbering(1, 1, None, False).left == 2**63 - 1
    assert Numbering(1, 10, 2**63 - 1, False).left == 0
    assert Numbering(0, -1, -(2**63) + 1, False).left == 1


# ---- what the table computes ----------------------------------------------------------------------------------------

COMPUTED = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("b", pa.int32()), ("twice", pa.int64())])
COMPUTED_ROWS: list[Row] = [{"id": n, "a": n, "b": 1, "twice": 2 * n} for n in (1, 2, 3)]


@STRATEGIES
def test_an_upload_may_show_what_the_table_computes(tmp_path: Path, strategy: str) -> None:
    stated = {"twice": {"delta.generationExpression": "a * 2"}, "a": default("21")}
    world = filling(tmp_path, strategy, stated, schema=COMPUTED, rows=COMPUTED_ROWS)
    # As it follows from the row, as it was before the row was edited, and empty in a new one.
    content = "id,a,b,twice\n1,10,1,20\n2,20,1,4\n3,3,5,6\n8,8,1,16\n9,9,1,\n"
    staged = world.stage(world.file("x.csv", content))
    assert "twice" not in staged.columns
    world.merge(staged)
    assert own_rows(world.uri) == [
        *((1, 10, 1, 20), (2, 20, 1, 40), (3, 3, 5, 6)),
        *((8, 8, 1, 16), (9, 9, 1, 18)),
    ]
    world.base_version = world.version
    world.merge(world.stage(world.file("x.csv", "id,twice\n1,20\n7,42\n")), "CR-2")
    assert own_rows(world.uri)[3] == (7, 21, None, 42)


@STRATEGIES
def test_another_value_than_the_table_computes_is_a_problem_of_its_line(
    tmp_path: Path, strategy: str
) -> None:
    stated = {"twice": {"delta.generationExpression": "a * 2"}}
    world = filling(tmp_path, strategy, stated, schema=COMPUTED, rows=COMPUTED_ROWS)
    content = "id,a,twice\n1,10,21\n2,2,5\n3,3,6\n8,8,8\n"
    assert refusals(world, world.file("x.csv", content)) == [
        (line, "twice", "generated_column") for line in (2, 3, 5)
    ]
    with pytest.raises(
        StagingRejected, match=r'computes this column \(a \* 2\), .*key id = "1" .*another value'
    ):
        world.stage(world.file("x.csv", content))
    lines = '{"id": 1, "twice": 3}\n{"id": 2, "a": 3}\n{"id": 3, "b": 2, "twice": "no"}\n'
    assert refusals(world, world.file("x.jsonl", lines)) == [
        (1, "twice", "generated_column"),
        (3, "twice", "not_number"),
    ]
    assert own_rows(world.uri) == [tuple(row.values()) for row in COMPUTED_ROWS]
