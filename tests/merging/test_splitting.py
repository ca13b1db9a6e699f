"""Staged content parted in two: together both are what was there, and merging both is merging all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import merging
from merging import CellText, ChangesFilter, LeftOut, SplitCounts, Staged
from tests.merging.world import World, same_rows
from tests.options import ENGINE_EXAMPLES

EXAMPLES = ENGINE_EXAMPLES or 10
SCHEMA = pa.schema([("id", pa.int64()), ("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])
CHANGED = SCHEMA.append(pa.field("new", pa.string())).append(pa.field("_op", pa.string()))
BASE = [{"id": n, "a": n, "b": f"row {n}", "c": n / 2} for n in range(8)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("splitting"), "merge-on-read", SCHEMA, BASE)


def effects(staged: Staged) -> dict[tuple[int, str], Any]:
    """What content does, cell by cell: what is proposed and what it was made from."""
    found: dict[tuple[int, str], Any] = {}
    for row in staged.page(limit=1000).items:
        number = row.key["id"]
        if row.operation == "update":
            for name in row.changed:
                assert row.base is not None
                assert row.proposed is not None
                found[number, name] = (row.base.get(name), row.proposed[name])
        else:
            image = row.proposed if row.operation == "insert" else row.base
            assert image is not None
            given = {name: value for name, value in image.items() if value is not None}
            found[number, row.operation] = sorted(given.items())
    return found


def part(staged: Staged, leaving: LeftOut, folder: Path) -> merging.Split:
    return merging.split(staged.location, leaving, str(folder))


@st.composite
def contents(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number in draw(st.sets(st.integers(0, 11), min_size=2)):
        operation = draw(st.sampled_from(["update", "update", "delete"])) if number < 8 else "insert"
        cells = {
            "a": draw(st.sampled_from([number, -1, None])),
            "b": draw(st.sampled_from([f"row {number}", "", None])),
            "c": draw(st.sampled_from([number / 2, float("nan")])),
            "new": draw(st.sampled_from([None, None, "n"])),
        }
        rows.append({"id": number, **cells, "_op": operation})
    return rows


@given(
    contents(),
    st.sets(st.integers(0, 11), max_size=4),
    st.lists(
        st.sampled_from(
            [
                ChangesFilter(operation="insert"),
                ChangesFilter(operation="delete"),
                ChangesFilter(column="a", new=CellText(None)),
                ChangesFilter(operation="update", column="b"),
            ]
        ),
        max_size=1,
    ),
    st.sets(st.sampled_from(["a", "b", "c", "new"]), max_size=2),
)
@settings(max_examples=EXAMPLES)
def test_both_parts_are_what_was_there(
    world: World, rows: list[dict[str, Any]], keys: set[int], filters: list[ChangesFilter], columns: set[str]
) -> None:
    whole = world.stage(pa.Table.from_pylist(rows, schema=CHANGED))
    held = {row.key["id"] for row in whole.page(limit=100).items}
    leaving = LeftOut(
        tuple({"id": number} for number in sorted(keys & held)),
        tuple(filters),
        tuple(sorted(columns & set(whole.columns))),
    )
    counts = merging.split_counts(whole.location, leaving)
    try:
        parts = part(whole, leaving, world.folder / "parts")
    except merging.InvalidFilter:
        assert counts.rows_kept == 0 or not (counts.rows_left or counts.rows_parted)
        return
    kept, left = effects(parts.kept), effects(parts.left)
    assert not kept.keys() & left.keys()
    assert repr(sorted((kept | left).items())) == repr(sorted(effects(whole).items()))
    assert (parts.kept.rows, parts.left.rows) == (counts.rows_kept, counts.rows_left + counts.rows_parted)
    assert dict(parts.left.cells_updated) == dict(counts.cells_left)
    assert {*parts.kept.new_columns, *parts.left.new_columns} == {*whole.new_columns}
    for one in (parts.kept, parts.left):
        assert merging.open_staged(one.location) == one
        assert (one.base_version, one.table_id) == (whole.base_version, whole.table_id)


def test_merging_both_parts_is_merging_all_of_it(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "a": -1, "b": "other", "c": 0.5, "new": "n", "_op": "update"},
        {"id": 2, "a": 2, "b": None, "c": 9.0, "new": "n", "_op": "update"},
        {"id": 3, "_op": "delete"},
        {"id": 9, "a": 9, "b": "", "c": None, "new": None, "_op": "insert"},
        {"id": 10, "a": 10, "b": "x", "c": 1.0, "new": "n", "_op": "insert"},
    ]
    leaving = LeftOut(keys=({"id": 9},), columns=("a", "b"))
    worlds = [World(tmp_path, "merge-on-read", SCHEMA, BASE) for _ in range(2)]
    whole, split = (world.stage(pa.Table.from_pylist(rows, schema=CHANGED)) for world in worlds)
    worlds[0].merge(whole)
    parts = part(split, leaving, tmp_path / "parts")
    worlds[1].merge(parts.kept)
    worlds[1].merge(parts.left, "CR-2")
    assert same_rows(worlds[0].rows(), worlds[1].rows(), ["id"])


def test_an_added_or_deleted_row_cannot_be_parted_by_column(world: World, tmp_path: Path) -> None:
    content = world.stage(
        pa.Table.from_pylist(
            [
                {"id": 1, "a": -1, "b": "other", "_op": "update"},
                {"id": 2, "a": -1, "b": "row 2", "_op": "update"},
                {"id": 3, "a": 3, "b": "other", "_op": "update"},
                {"id": 4, "_op": "delete"},
                {"id": 20, "a": 5, "b": "new", "_op": "insert"},
            ],
            schema=pa.schema([CHANGED.field(name) for name in ("id", "a", "b", "_op")]),
        )
    )
    leaving = LeftOut(columns=("a",))
    assert merging.split_counts(content.location, leaving) == SplitCounts(1, 1, 4, 2, {"a": 2})
    parts = part(content, leaving, tmp_path)
    assert effects(parts.kept) == {
        (1, "b"): ("row 1", "other"),
        (3, "b"): ("row 3", "other"),
        (4, "delete"): [("a", 4), ("b", "row 4"), ("c", 2.0), ("id", 4)],
        (20, "insert"): [("a", 5), ("b", "new"), ("id", 20)],
    }
    assert effects(parts.left) == {(1, "a"): (1, -1), (2, "a"): (2, -1)}
    assert (parts.left.columns, parts.kept.columns) == (("id", "a"), ("id", "a", "b"))


def test_a_new_column_goes_where_its_values_go(world: World, tmp_path: Path) -> None:
    rows = [{"id": 1, "a": -1, "new": "n", "_op": "update"}, {"id": 2, "a": -1, "new": None, "_op": "update"}]
    content = world.stage(
        pa.Table.from_pylist(rows, schema=pa.schema([CHANGED.field(n) for n in ("id", "a", "new", "_op")]))
    )
    by_row = part(content, LeftOut(keys=({"id": 1},)), tmp_path / "row")
    by_column = part(content, LeftOut(columns=("new",)), tmp_path / "column")
    assert (by_row.kept.new_columns, by_row.left.new_columns) == ((), ("new",))
    assert (by_column.kept.new_columns, by_column.left.new_columns) == ((), ("new",))
    assert by_column.left.columns == ("id", "new")


@pytest.mark.parametrize(
    ("leaving", "said"),
    [
        (LeftOut(keys=({"id": 7},)), "1 of the named row is not in the content"),
        (LeftOut(columns=("c",)), "does not change a column c"),
        (LeftOut(columns=("id",)), "does not change a column id"),
        (LeftOut(filters=(ChangesFilter(operation="insert"),)), "Nothing of the content"),
        (LeftOut(filters=(ChangesFilter(operation="update"),)), "Everything would be left out"),
        (LeftOut(keys=({"id": "x"},)), "is no key of the content"),
    ],
)
def test_what_gives_no_two_parts_is_refused_and_leaves_nothing(
    world: World, tmp_path: Path, leaving: LeftOut, said: str
) -> None:
    content = world.stage(pa.table({"id": [1, 2], "a": [-1, -2]}))
    with pytest.raises(merging.InvalidFilter, match=said):
        part(content, leaving, tmp_path / "parts")
    assert [*(tmp_path / "parts").glob("*")] == []


def test_parts_stand_where_the_whole_stood(world: World, tmp_path: Path) -> None:
    """Pins are kept: nothing of the table has to be searched where nothing moved."""
    content = world.stage(pa.table({"id": [1, 2, 3], "a": [-1, -2, -3]}))
    parts = part(content, LeftOut(keys=({"id": 2},)), tmp_path)
    with world.plan(parts.left) as plan:
        assert (plan.rows_updated, len(plan.conflicts)) == (1, 0)
