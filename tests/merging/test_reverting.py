"""Reverts merge three-way and need nothing but the stored images (group I)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet
import pytest

import merging
from merging import MergeConflict, MergeResult, Staged, StagedCorrupt
from merging.delta import open_snapshot
from merging.engines import TableReader
from merging.sql.session import session
from merging.staging.pinning import find_standing
from merging.store.publishing import file_facts
from tests.merging.world import B, Row, World, with_rows

pytestmark = pytest.mark.any_store

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


def test_a_column_that_no_row_changes_is_held_once(world: World) -> None:
    result = merged(world)
    assert result.artefacts is not None
    folder = Path(result.artefacts)
    schema = pyarrow.parquet.read_schema(folder / "images.parquet")
    assert schema.names == ["op", "k0", "b1", "a1", "v2", "v3"]
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["alike"] == [2, 3]


def test_a_merge_of_before_is_reverted_and_read(world: World) -> None:
    """Its images have every column twice."""
    result = merged(world)
    assert result.artefacts is not None
    folder = Path(result.artefacts)
    page = merging.read_diff(result.artefacts)
    images = pyarrow.parquet.read_table(folder / "images.parquet").to_pylist()
    for row in images:
        for position in (2, 3):
            value = row.pop(f"v{position}")
            row[f"b{position}"] = None if row["op"] == "insert" else value
            row[f"a{position}"] = None if row["op"] == "delete" else value
    pyarrow.parquet.write_table(pa.Table.from_pylist(images), folder / "images.parquet")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    del summary["alike"]
    summary |= {"format": 1}
    summary["files"]["images.parquet"] = file_facts(folder / "images.parquet")
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert merging.read_diff(result.artefacts) == page
    world.merge(inverse(world, result), "CR-2")
    assert world.rows() == B


def columns_of(staged: Staged) -> set[str]:
    """The columns of ``rows.parquet`` that hold images."""
    return {
        name
        for name in pyarrow.parquet.read_schema(staged.rows_path).names
        if name[0] in "bp" and name[1:].isdigit()
    }


def pins_of(staged: Staged) -> list[tuple[str, bool]]:
    """Of each row its operation and whether it is known where it stood (or that it stood nowhere)."""
    rows = pyarrow.parquet.read_table(staged.rows_path, columns=["op", "base_file"]).to_pylist()
    return [(row["op"], row["base_file"] is not None) for row in rows]


def test_a_reverse_gives_values_for_what_the_merge_changed(make_world: Callable[..., World]) -> None:
    """All columns only where deleted rows come back. The base images are whole in any case."""
    world = make_world()
    result = world.merge(world.stage([{"id": 1, "a": 11}, {"id": 4, "a": 40}]))
    staged = inverse(world, result)
    assert (staged.columns, staged.counts) == (("id", "a"), {"insert": 0, "update": 1, "delete": 1})
    assert staged.cells_updated == {"a": 1}
    assert columns_of(staged) == {"b1", "b2", "b3", "p1"}
    world.merge(staged, "CR-2")
    assert world.rows() == B
    deleting = world.stage(
        pa.table({"id": [1, 3], "a": pa.array([12, None], pa.int32()), "_op": ["update", "delete"]}),
        base_version=world.version,
    )
    staged = inverse(world, world.merge(deleting, "CR-3"))
    assert (staged.columns, staged.counts) == (("id", "a", "b", "c"), {"insert": 1, "update": 1, "delete": 0})
    assert columns_of(staged) == {"b1", "b2", "b3", "p1", "p2", "p3"}
    world.merge(staged, "CR-4")
    assert world.rows() == B


def test_a_reverse_of_added_rows_gives_no_values(world: World) -> None:
    result = world.merge(world.stage([{"id": 4, "a": 40}]))
    staged = inverse(world, result)
    assert (staged.columns, staged.counts) == (("id",), {"insert": 0, "update": 0, "delete": 1})
    world.merge(staged, "CR-2")
    assert world.rows() == B


def test_a_reverse_knows_where_the_merge_put_its_rows(make_world: Callable[..., World]) -> None:
    """So its merge reads nothing of the table."""
    world = make_world()
    staged = inverse(world, merged(world))
    assert pins_of(staged) == [("update", True), ("insert", True), ("delete", True)]
    with session() as opened:
        snapshot = open_snapshot(world.uri)
        reader = TableReader(opened, snapshot)
        standing = find_standing(opened, staged, reader, snapshot.schema.names)
    assert (standing.pinned, standing.held, standing.found.number, standing.lost) == (True, 2, 0, 0)
    world.merge(staged, "CR-2")
    assert world.rows() == B


def test_a_reverse_of_an_older_merge_is_found_by_keys(make_world: Callable[..., World]) -> None:
    """A key that the merge deleted may be back in a file that a later version would call its own."""
    world = make_world()
    result = merged(world)
    again = world.stage([{"id": 3, "a": 33}, {"id": 2, "b": "since"}], base_version=world.version)
    world.merge(again, "CR-2")
    before = world.rows()
    staged = inverse(world, result)
    assert pins_of(staged) == [("update", False), ("insert", False), ("delete", False)]
    with pytest.raises(MergeConflict) as refused:
        world.merge(staged, "CR-3")
    [conflict] = refused.value.conflicts
    assert (conflict.key, conflict.column, conflict.kind) == ({"id": 3}, "a", "add/add")
    assert world.rows() == before


@pytest.mark.in_folder
def test_a_reverse_is_not_of_the_newest_version_that_a_table_has_since_a_backup_was_put_back(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Version numbers are given again there: the keys that the merge deleted were doubled."""
    world = make_world()
    shutil.copytree(world.uri, tmp_path / "backup")
    result = world.merge(world.stage([{"id": 1, "_op": "delete"}, {"id": 3, "_op": "delete"}]))
    shutil.rmtree(world.uri)
    shutil.copytree(tmp_path / "backup", world.uri)
    world.merge(world.stage([{"id": 2, "b": "since"}]), "CR-2")
    before = world.rows()
    assert world.version == result.merged_version
    world.merge(inverse(world, result), "CR-3")
    assert world.rows() == before


@pytest.mark.parametrize(
    ("since", "place"),
    [
        ({"id": 1, "a": 99}, ({"id": 1}, "a", "modify/modify")),
        ({"id": 4, "b": "edited"}, ({"id": 4}, None, "modify/delete")),
        ({"id": 3, "a": 3}, ({"id": 3}, "a", "add/add")),
    ],
)
def test_edits_after_a_pinned_reverse_conflict(
    make_world: Callable[..., World], since: Row, place: tuple[Row, str | None, str]
) -> None:
    world = make_world()
    staged = inverse(world, merged(world))
    world.merge(world.stage([since], base_version=world.version), "CR-2")
    before = world.rows()
    with pytest.raises(MergeConflict) as refused:
        world.merge(staged, "CR-3")
    [conflict] = refused.value.conflicts
    assert (conflict.key, conflict.column, conflict.kind) == place
    assert world.rows() == before


def test_edits_of_other_columns_stay(make_world: Callable[..., World]) -> None:
    world = make_world()
    result = world.merge(world.stage([{"id": 1, "a": 11}]))
    staged = inverse(world, result)
    world.merge(world.stage([{"id": 1, "b": "since"}], base_version=world.version), "CR-2")
    world.merge(staged, "CR-3")
    assert world.rows() == with_rows(B, {"id": 1, "b": "since"})
