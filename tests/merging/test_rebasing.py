"""Rebased content merges as the content that it was made from would, and says when it is not the same content."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import Staged
from tests.merging.world import T, World, arrow, resolve

pytestmark = pytest.mark.any_store

WIDER = T.append(pa.field("d", pa.string()))
ROWS = [{"id": number, "a": number, "b": f"row {number}", "c": None} for number in range(12)]


def rebase(world: World, staged: Staged, **options: Any) -> merging.Rebased:
    return merging.rebase(world.request(staged, **options), str(world.folder / "staging"))


def outcome(world: World, staged: Staged, **options: Any) -> Any:
    """What a merge would make of the table, and what stands in its way."""
    with world.plan(staged, force_merge=True, **options) as made:
        rows = [(row.key["id"], row.operation, row.current, row.merged) for row in made.rows(limit=100).items]
        return rows, sorted((str(one.key), one.column, one.kind) for one in made.conflicts)


def test_a_column_that_both_sides_gained_stays_in_conflict_and_so_does_its_choice(
    make_world: Callable[..., World],
) -> None:
    """D10: added on both sides, NULL here and a value there."""
    world = make_world()
    staged = world.stage([{"id": 1, "d": "mine"}])
    deltalake.write_deltalake(
        world.uri, arrow(WIDER, [{"id": 9, "d": "theirs"}]), mode="append", schema_mode="merge"
    )
    with world.plan(staged) as made:
        chosen = resolve(made.conflicts, "current")
    rebased = rebase(world, staged, resolutions=chosen)
    assert (rebased.rows_kept, rebased.staged.digest) == (1, staged.digest)
    assert rebased.staged.new_columns == ("d",)
    with world.plan(rebased.staged, resolutions=chosen) as made:
        assert ([one.column for one in made.conflicts], made.unresolved) == (["d"], 0)
    world.merge(rebased.staged, resolutions=chosen)
    assert {row["id"]: row["d"] for row in world.rows()}[1] is None


def test_a_column_left_out_is_other_content(make_world: Callable[..., World]) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11, "b": "new"}])
    narrower = pa.schema([field for field in T if field.name != "b"])
    world.set_current([{name: row[name] for name in narrower.names} for row in world.rows()], narrower)
    with world.plan(staged) as made:
        chosen = resolve(made.conflicts, "current")
    rebased = rebase(world, staged, resolutions=chosen)
    assert rebased.staged.columns == ("id", "a")
    assert rebased.staged.digest != staged.digest


@pytest.mark.parametrize("ask", [merging.changes_under, merging.rebase])
def test_conflicts_are_looked_for_even_where_the_merge_will_not(
    make_world: Callable[..., World], ask: Callable[..., Any]
) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 2, "a": 22}])
    world.merge(world.stage([{"id": 1, "a": 12}]), "CR-2")
    where = [str(world.folder / "staging")] if ask is merging.rebase else []
    found = ask(world.request(staged, skip_conflict_check=True), *where)
    assert found.rows_moved == 1


@pytest.mark.parametrize("seed", range(6))
def test_it_merges_as_before(make_world: Callable[..., World], seed: int) -> None:
    """Random proposals, with and without a column of their own, on tables that others change meanwhile."""
    chance = random.Random(seed)  # noqa: S311  (to be repeated, no secret)
    world = make_world(rows=ROWS)
    schema = pa.schema([*list(T)[:2], ("b", pa.string()), ("d", pa.string()), ("_op", pa.string())])
    if chance.random() < 0.4:
        schema = pa.schema([*list(T)[:2], ("_op", pa.string())])
    changes = []
    for number in chance.sample(range(24), 9):
        row = {
            "id": number,
            "a": chance.randrange(3),
            "b": chance.choice(["row 1", "q"]),
            "d": chance.choice([None, "D"]),
            "_op": "delete" if chance.random() < 0.3 and number < 12 else "upsert",
        }
        changes.append({name: row[name] for name in schema.names})
    staged = world.stage(arrow(schema, changes))
    for step in range(chance.randrange(1, 5)):
        _happen(world, chance, step)
    before = outcome(world, staged)
    rebased = rebase(world, staged)
    assert outcome(world, rebased.staged) == before
    again = rebase(world, rebased.staged)
    assert (again.staged.digest, again.rows_settled) == (rebased.staged.digest, 0)
    assert outcome(world, again.staged) == before


def _happen(world: World, chance: random.Random, step: int) -> None:
    """Somebody else does something to the table."""
    number = chance.randrange(12)
    table = deltalake.DeltaTable(world.uri)
    match chance.choice(["merge", "delete", "gain", "update", "compact"]):
        case "merge":
            change = {"id": number, "a": chance.randrange(3), "b": chance.choice(["q", "z"])}
            world.merge(world.stage([change], base_version=None), f"CR-{uuid.uuid4().hex}")
        case "delete":
            table.delete(f"id = {number}")
        case "update":
            table.update({"a": "2"}, predicate=f"id = {number}")
        case "gain":
            gained = arrow(WIDER, [{"id": 100 + step, "d": "D"}])
            deltalake.write_deltalake(world.uri, gained, mode="append", schema_mode="merge")
        case "compact":
            table.optimize.compact()
