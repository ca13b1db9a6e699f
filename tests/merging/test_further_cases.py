"""Cases of the collection that no other test names, on every strategy and, where they have sides, both ways round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import StagingRejected
from tests.merging.sites import Site
from tests.merging.world import B, Row, T, World, arrow, proposal, resolve, same_rows, with_rows

MakeWorld = Callable[..., World]
pytestmark = pytest.mark.any_store

BOTH_WAYS = pytest.mark.parametrize("mirrored", [False, True], ids=["direct", "mirrored"])


def meet(
    make_world: MakeWorld,
    mirrored: bool,
    current: Sequence[Row],
    proposed: Sequence[Row],
    base: Sequence[Row] = B,
    schema: pa.Schema = T,
) -> tuple[World, merging.Staged]:
    """A table in its current state and the proposal against it; mirrored, the sides change places."""
    if mirrored:
        current, proposed = proposed, current
    world = make_world(schema=schema, rows=base)
    staged = world.stage(proposal(base, proposed, schema, ["id"]))
    world.set_current(current)
    return world, staged


def conflicts(world: World, staged: merging.Staged, **options: Any) -> list[merging.Conflict]:
    with world.plan(staged, **options) as plan:
        return list(plan.conflicts)


@BOTH_WAYS
def test_a_change_taken_back_is_no_change(make_world: MakeWorld, mirrored: bool) -> None:
    """A22: touched and put back on one side, deleted on the other."""
    world, staged = meet(make_world, mirrored, list(B), with_rows(B, delete=[1]))
    if not mirrored:
        world.set_current(with_rows(B, {"id": 1, "a": 99}))
        world.set_current(B)
    world.merge(staged)
    assert same_rows(world.rows(), with_rows(B, delete=[1]), ["id"])


@BOTH_WAYS
def test_added_rows_on_both_sides_of_many(make_world: MakeWorld, mirrored: bool) -> None:
    """A26."""
    schema = pa.schema([("id", pa.int64()), ("a", pa.int32())])
    base = [{"id": number * 2, "a": number} for number in range(64)]
    one, other = {"id": 15, "a": -1}, {"id": 41, "a": -2}
    world, staged = meet(make_world, mirrored, [*base, one], [*base, other], base, schema)
    assert conflicts(world, staged) == []
    world.merge(staged)
    assert same_rows(world.rows(), [*base, one, other], ["id"])
    assert len(world.rows()) == 66


@BOTH_WAYS
def test_odd_and_even_rows_are_edited(make_world: MakeWorld, mirrored: bool) -> None:
    """A27: ten thousand edits, no conflict."""
    schema = pa.schema([("id", pa.int64()), ("a", pa.int32())])
    base = [{"id": number, "a": 0} for number in range(10_000)]
    sides = [[{**row, "a": 1} if row["id"] % 2 == side else row for row in base] for side in (0, 1)]
    world, staged = meet(make_world, mirrored, sides[0], sides[1], base, schema)
    assert staged.rows == 5_000
    assert conflicts(world, staged) == []
    assert world.merge(staged).diff.rows_updated == 5_000
    assert {row["a"] for row in world.rows()} == {1}


@BOTH_WAYS
def test_an_equal_decimal_is_no_edit(make_world: MakeWorld, mirrored: bool) -> None:
    """B24, B25: 100 and 1E+2 are one value, so a delete on the other side is clean."""
    schema = pa.schema([("id", pa.int64()), ("a", pa.decimal128(10, 2))])
    base = [{"id": 1, "a": Decimal("100.00")}, {"id": 2, "a": Decimal("1.00")}]
    written = [{"id": 1, "a": Decimal("1E+2").quantize(Decimal("1.00"))}, base[1]]
    world, staged = meet(make_world, mirrored, written, base[1:], base, schema)
    if mirrored:
        staged = world.stage(world.file("x.csv", "id,a\n1,1E+2\n"))
        assert (staged.rows, staged.noop_rows) == (0, 1)
    world.merge(staged)
    assert world.rows() == base[1:]


@pytest.mark.sample(5)
@BOTH_WAYS
@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        pytest.param("{}", '{"k1":1}', '{"k2":2}', id="B26"),
        pytest.param('{"k1":"v1"}', '{"k1":"v2"}', '{"k1":"v3"}', id="B27"),
        pytest.param('{"k1":{"a":1,"b":1}}', '{"k1":{"a":2,"b":1}}', '{"k1":{"a":1,"b":2}}', id="B28"),
        pytest.param("[1,1]", "[2,1]", "[1,2]", id="B29"),
        pytest.param(None, '{"a":1}', '{"b":1}', id="B30"),
        pytest.param('{"a":1,"aa":2}', '{"aa":2}', '{"a":1,"aa":3}', id="B31"),
        pytest.param("{}", '{"k":2,"m":1}', '{"m":1,"k":2}', id="B32"),
    ],
)
def test_json_text_is_text(
    make_world: MakeWorld, mirrored: bool, base: str | None, one: str, other: str
) -> None:
    """A Delta table has no type for JSON: a text is one value, both sides' texts are a conflict of the whole cell."""
    was = with_rows(B, {"id": 1, "b": base})
    world, staged = meet(
        make_world, mirrored, with_rows(was, {"id": 1, "b": one}), with_rows(was, {"id": 1, "b": other}), was
    )
    [conflict] = conflicts(world, staged)
    assert (conflict.key, conflict.column, conflict.base) == ({"id": 1}, "b", base)
    assert (conflict.current, conflict.proposed) == ((other, one) if mirrored else (one, other))
    chosen = '{"merged":"by hand"}'
    world.merge(staged, resolutions=resolve([conflict], "custom", chosen))
    assert world.rows()[0]["b"] == chosen


@BOTH_WAYS
def test_one_row_given_two_new_keys(make_world: MakeWorld, mirrored: bool) -> None:
    """C03: both new rows stand, and the plan tells that the proposed one is the old row under another key."""
    first, second = {**B[0], "id": 8}, {**B[0], "id": 9}
    world, staged = meet(make_world, mirrored, [first, *B[1:]], [second, *B[1:]])
    assert staged.rekeyed_rows == 1
    with world.plan(staged) as plan:
        [moved] = plan.rekeyed()
        assert (moved.old_key, moved.new_key) == ({"id": 1}, {"id": 8 if mirrored else 9})
        assert list(plan.conflicts) == []
    world.merge(staged)
    assert same_rows(world.rows(), [first, second, *B[1:]], ["id"])


@BOTH_WAYS
def test_numbered_alike_by_both(make_world: MakeWorld, mirrored: bool) -> None:
    """C21: the same new ids with different rows conflict, in every cell that differs."""
    ours = [{"id": number, "a": number, "b": "ours", "c": 1.0} for number in range(11, 15)]
    theirs = [{"id": number, "a": number, "b": "theirs", "c": 1.0} for number in range(11, 15)]
    world, staged = meet(make_world, mirrored, [*B, *ours], [*B, *theirs])
    found = conflicts(world, staged)
    assert [(one.key["id"], one.column, one.kind) for one in found] == [
        (number, "b", "add/add") for number in range(11, 15)
    ]
    world.merge(staged, resolutions=resolve(found, "proposed"))
    assert same_rows(world.rows(), [*B, *(ours if mirrored else theirs)], ["id"])


def test_a_table_without_a_key_is_refused(make_world: MakeWorld) -> None:
    """C16, C17, C18: rows that nothing tells apart cannot be merged; the way out is named."""
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    world = make_world(schema=schema, rows=[{"a": 1, "b": 2}] * 2, keys=["a"])
    with pytest.raises(merging.MergeError, match="key"):
        merging.stage(
            world.uri, arrow(schema, [{"a": 3, "b": 4}]), [], destination=str(world.folder / "staging")
        )
    with pytest.raises(merging.DuplicateKeys):
        world.stage([{"a": 1, "b": 4}])
    assert len(world.rows()) == 2


def test_a_column_that_the_table_added_as_required(site: Site) -> None:
    """D05, D12: nothing that would break it is merged, and the cell is named."""
    world = World(site, "copy-on-write")
    staged = world.stage([{"id": 1, "a": 11}, {"id": 4, "a": 40, "b": "o", "c": 1.0}])
    required = T.append(pa.field("n", pa.int64(), nullable=False))
    world.set_current([{**row, "n": 5} for row in B], required)
    version = world.version
    with pytest.raises(merging.ValidationFailed, match="n"):
        world.merge(staged)
    assert (world.version, len(world.rows())) == (version, 3)


def test_one_column_goes_and_one_comes_on_both_sides(site: Site) -> None:
    """D20: the table dropped ``a``, and both added ``d`` with the same values."""
    world = World(site, "merge-on-read")
    staged = world.stage(world.file("x.csv", "id,d\n1,4\n2,4\n3,4\n"))
    kept = [{"id": row["id"], "b": row["b"], "c": row["c"], "d": 4} for row in B]
    world.set_current(kept, T.remove(1).append(pa.field("d", pa.int64())))
    assert conflicts(world, staged) == []
    world.merge(staged)
    assert world.rows() == kept


def test_one_file_is_one_state(make_world: MakeWorld) -> None:
    """F11, F12: a file says what shall be, not steps on the way; one key given twice is refused."""
    world = make_world()
    schema = T.append(pa.field("_op", pa.string()))
    row = {"id": 4, "a": 40, "b": "o", "c": 1.0}
    for steps in (
        [{**row, "_op": "insert"}, {"id": 4, "_op": "delete"}],
        [{**row, "_op": "insert"}, {**row, "a": 41, "_op": "update"}],
    ):
        with pytest.raises(StagingRejected, match="give different rows") as refused:
            world.stage(arrow(schema, steps))
        assert "duplicate_key" in {one.code for one in refused.value.problems}
    assert world.rows() == B


def test_values_change_places_between_rows(make_world: MakeWorld) -> None:
    """F13: the final state counts, so a value may be freed and taken in one request."""
    world = make_world()
    world.merge(world.stage([{"id": 1, "b": "free"}, {"id": 4, "a": 1, "b": "x", "c": None}]))
    assert [(row["id"], row["b"]) for row in world.rows()] == [(1, "free"), (2, "y"), (3, None), (4, "x")]


def test_an_edit_made_after_a_fresh_base_is_no_conflict(make_world: MakeWorld) -> None:
    """H17: staged anew on today's table, the old difference is forgotten."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current(with_rows(B, {"id": 1, "a": 77}))
    assert len(conflicts(world, staged)) == 1
    again = world.stage([{"id": 1, "a": 78}], base_version=world.version)
    assert conflicts(world, again) == []
    world.merge(again)
    assert world.rows()[0]["a"] == 78
