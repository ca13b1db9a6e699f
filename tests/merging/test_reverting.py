"""Reverts merge three-way and need nothing but the stored images (group I)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet
import pytest

import merging
from merging import MergeConflict, MergeResult, Staged, StagedCorrupt
from tests.merging.world import B, Row, World, with_rows

CHANGES = pa.table(
    {
        "id": [1, 3, 4],
        "a": pa.array([11, None, 40], pa.int32()),
        "_op": ["update", "delete", "insert"],
    }
)
MERGED = [{**B[0], "a": 11}, B[1], {"id": 4, "a": 40, "b": None, "c": None}]


def merged(world: World) -> MergeResult:
    result = world.merge(world.stage(CHANGES))
    assert world.rows() == MERGED
    return result


def inverse(world: World, result: MergeResult) -> Staged:
    assert result.artefacts is not None
    return merging.invert(world.uri, result.artefacts, world.keys, str(world.folder / "staging"))


def test_a_revert_brings_everything_back(make_world: Callable[..., World]) -> None:
    """I01, I09, I12: also after VACUUM, and the revert of the revert."""
    world = make_world()
    result = merged(world)
    deltalake.DeltaTable(world.uri).vacuum(0, enforce_retention_duration=False, dry_run=False)
    staged = inverse(world, result)
    assert staged.counts == {"insert": 1, "update": 1, "delete": 1}
    reverted = world.merge(staged, "CR-2")
    assert world.rows() == B
    world.merge(inverse(world, reverted), "CR-3")
    assert world.rows() == MERGED


@pytest.mark.parametrize(
    ("since", "place"),
    [
        (with_rows(MERGED, {"id": 1, "a": 99}), ({"id": 1}, "a", "modify/modify")),
        (with_rows(MERGED, {"id": 4, "b": "edited"}), ({"id": 4}, None, "modify/delete")),
        (with_rows(MERGED, delete=[1]), ({"id": 1}, None, "delete/modify")),
        (with_rows(MERGED, {"id": 3, "a": 3, "b": None, "c": None}), ({"id": 3}, "a", "add/add")),
    ],
)
def test_later_edits_conflict_instead_of_being_lost(
    world: World, since: list[Row], place: tuple[Row, str | None, str]
) -> None:
    """I03, I04, I10."""
    result = merged(world)
    world.set_current(since)
    before = world.rows()
    with pytest.raises(MergeConflict) as refused:
        world.merge(inverse(world, result), "CR-2")
    [conflict] = refused.value.conflicts
    assert (conflict.key, conflict.column, conflict.kind) == place
    assert world.rows() == before


def test_what_was_undone_by_hand_leaves_nothing_to_do(world: World) -> None:
    """I06, I07."""
    result = merged(world)
    world.set_current(B)
    reverted = world.merge(inverse(world, result), "CR-2")
    assert (reverted.marker_only, reverted.rows_agreed) == (True, 3)


def test_columns_that_came_with_the_merge_stay(world: World) -> None:
    """I11."""
    result = world.merge(world.stage(world.file("x.csv", "id,a,n\n1,11,5\n9,9,9\n")))
    world.merge(inverse(world, result), "CR-2")
    assert [(row["id"], row["a"], row["n"]) for row in world.rows()] == [
        (1, 10, 5),
        (2, 20, None),
        (3, 30, None),
    ]


def test_artefacts_tell_the_diff(world: World) -> None:
    result = merged(world)
    assert result.artefacts is not None
    folder = Path(result.artefacts)
    diff = pyarrow.parquet.read_table(folder / "diff.parquet").to_pylist()
    assert diff == [
        {"operation": "update", "key_id": 1, "column": "a", "old": "10", "new": "11"},
        {"operation": "delete", "key_id": 3, "column": None, "old": None, "new": None},
        {"operation": "insert", "key_id": 4, "column": None, "old": None, "new": None},
    ]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["rows_added"], summary["rows_updated"], summary["rows_deleted"]) == (1, 1, 1)
    page = merging.read_diff(result.artefacts)
    assert [row.operation for row in page.items] == ["update", "delete", "insert"]


@pytest.mark.parametrize("name", ["images.parquet", "summary.json"])
def test_damaged_artefacts_are_refused(world: World, name: str) -> None:
    result = merged(world)
    assert result.artefacts is not None
    path = Path(result.artefacts) / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StagedCorrupt):
        inverse(world, result)
    path.unlink()
    with pytest.raises(StagedCorrupt):
        inverse(world, result)
