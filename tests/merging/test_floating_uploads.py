"""Floating point columns of uploads where the table has whole numbers or decimals: pandas makes them beside NULLs."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import StagingRejected
from tests.merging.world import Row, World, with_rows

DOUBLE = pa.float64()
SCHEMA = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("q", pa.decimal128(38, 12)), ("d", pa.float64())])
ROWS: list[Row] = [
    {"id": 1, "n": 2**53 + 1, "q": Decimal("1234567890.123456789012"), "d": 0.1},
    {"id": 2, "n": 2**62 + 1, "q": Decimal("0.100000000000"), "d": -0.5},
    {"id": 3, "n": 5, "q": Decimal("9007199254740991.000000000000"), "d": None},
]


def _world(make_world: Callable[..., World]) -> World:
    return make_world(schema=SCHEMA, rows=ROWS)


def _upload(kind: pa.DataType = DOUBLE, **columns: list[Any]) -> pa.Table:
    arrays = {
        name: pa.array(values, pa.int64() if name == "id" else kind)
        for name, values in {"id": [1, 2, 3], **columns}.items()
    }
    return pa.table(arrays)


def test_fd11_fd14_what_doubles_cannot_carry_is_no_change(make_world: Callable[..., World]) -> None:
    world = _world(make_world)
    unchanged = _upload(n=[float(row["n"]) for row in ROWS], q=[float(row["q"]) for row in ROWS])
    staged = world.stage(unchanged)
    assert (staged.counts, staged.noop_rows) == ({"insert": 0, "update": 0, "delete": 0}, 3)
    assert staged.warnings == (
        "2 rows give numbers without their last digits; where only the cut-off part differs from the table they "
        "change nothing.",
    )
    floats = world.stage(_upload(pa.float32(), d=[0.1, -0.5, None]))
    assert (floats.counts["update"], floats.noop_rows) == (0, 3)


def test_fd11_what_doubles_carry_exactly_is_merged_and_the_rest_of_the_row_left(
    make_world: Callable[..., World],
) -> None:
    world = _world(make_world)
    upload = _upload(n=[float(2**53 + 1), None, 7.0], q=[98765432.123, 1e25, 9007199254740990.0])
    world.merge(world.stage(upload))
    assert world.rows() == with_rows(
        ROWS,
        {"id": 1, "q": Decimal("98765432.123000000000")},
        {"id": 2, "n": None, "q": Decimal("1e25").quantize(Decimal(1))},
        {"id": 3, "n": 7, "q": Decimal("9007199254740990")},
    )


@pytest.mark.parametrize(
    ("kind", "column", "value", "keeps"),
    [
        (pa.float64(), "n", float(2**53 + 4), "double, which keeps 15 digits"),
        (pa.float64(), "n", -1e18, "double, which keeps 15 digits"),
        (pa.float32(), "n", float(2**24), "float, which keeps 6 digits"),
        (pa.float64(), "q", 12345678.123456789, "double, which keeps 15 digits"),
        (pa.float32(), "q", 1234567.9, "float, which keeps 6 digits"),
    ],
)
def test_fd11_a_changed_number_that_may_have_been_rounded_is_refused(
    world: World, kind: pa.DataType, column: str, value: float, keeps: str
) -> None:
    world = World(world.folder, "merge-on-read", SCHEMA, ROWS)
    for key in (1, 9):
        upload = pa.table({"id": pa.array([key], pa.int64()), column: pa.array([value], kind)})
        with pytest.raises(StagingRejected) as refusal:
            world.stage(upload)
        [problem] = refusal.value.problems
        assert (problem.code, problem.line, problem.column) == ("may_be_rounded", 1, column)
        assert keeps in problem.message
        assert f'(key id = "{key}"); write the column as' in problem.message
    assert world.rows() == ROWS


@pytest.mark.parametrize("operation", ["upsert", "update", "delete"])
def test_fd11_a_key_that_may_have_been_rounded_is_refused(world: World, operation: str) -> None:
    rows = [{"id": 2**53 + 1, "n": 1, "q": None, "d": None}, {"id": 2**53, "n": 2, "q": None, "d": None}]
    world = World(world.folder, "copy-on-write", SCHEMA, rows)
    upload = pa.table({"id": [float(2**53 + 1)], "n": [9], "_op": [operation]})
    with pytest.raises(StagingRejected) as refusal:
        world.stage(upload)
    assert [(one.code, one.column) for one in refusal.value.problems] == [("may_be_rounded", "id")]
    assert world.rows() == sorted(rows, key=lambda row: str(row["id"]))


def test_fd11_inside_values_what_may_have_been_rounded_is_refused(world: World) -> None:
    schema = pa.schema(
        [("id", pa.int64()), ("l", pa.list_(pa.int64())), ("s", pa.struct([("q", pa.decimal128(38, 12))]))]
    )
    rows: list[Row] = [{"id": 1, "l": [2**53 + 1, None], "s": {"q": Decimal("1.250000000000")}}]
    world = World(world.folder, "merge-on-read", schema, rows)
    exact = pa.table({"id": [1], "l": [[7.0, None]], "s": [{"q": 98765432.123}]})
    world.merge(world.stage(exact))
    assert world.rows() == [{"id": 1, "l": [7, None], "s": {"q": Decimal("98765432.123000000000")}}]
    for column, value in {"l": [float(2**53 + 1), None], "s": {"q": 12345678.123456789}}.items():
        with pytest.raises(StagingRejected) as refusal:
            world.stage(pa.table({"id": [1], column: [value]}))
        assert [(one.line, one.column) for one in refusal.value.problems] == [(1, column)]


def test_doubles_that_no_float_holds_stay_and_are_changed(world: World) -> None:
    rows: list[Row] = [{**ROWS[0], "id": key, "d": 1.7976931348623157e308} for key in (1, 2)]
    world = World(world.folder, "merge-on-read", SCHEMA, rows)
    changed = pa.table({"id": pa.array([1], pa.int64()), "d": pa.array([2.5], pa.float32())})
    world.merge(world.stage(changed))
    assert [row["d"] for row in world.rows()] == [2.5, 1.7976931348623157e308]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("base", [float("nan"), float("inf"), float("-inf")])
def test_fd14_a_long_number_in_the_place_of_none_or_of_infinity_is_a_change(
    tmp_path: Path, base: float, ending: str
) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"id": pa.array([1], pa.int64()), "v": [base]}))
    content = {"csv": "id,v\n1,123456789012.5\n", "jsonl": '{"id":1,"v":123456789012.5}\n'}
    (tmp_path / f"changes.{ending}").write_text(content[ending], encoding="utf-8")
    staged = merging.stage(
        uri, str(tmp_path / f"changes.{ending}"), ["id"], destination=str(tmp_path / "staged")
    )
    assert (staged.counts["update"], staged.noop_rows) == (1, 0)
