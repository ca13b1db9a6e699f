"""Columns that come, go and change on either side (group D)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import polars
import pyarrow as pa
import pytest

import merging
from merging import MergeConflict, SchemaChange, TableChanged
from tests.merging.test_rules import FULL, commit_by_hand
from tests.merging.world import Row, World, arrow, resolve

S = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("b", pa.string())])
ROWS: list[Row] = [{"id": 1, "a": 10, "b": "x"}, {"id": 2, "a": 20, "b": "y"}]


@pytest.fixture(params=["merge-on-read", "copy-on-write"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.param, S, ROWS)


def without(schema: pa.Schema, name: str) -> pa.Schema:
    return schema.remove(schema.get_field_index(name))


def conflicts(world: World, staged: merging.Staged, **options: Any) -> list[merging.Conflict]:
    """What a plan lists; a merge must refuse with the same and change nothing."""
    before, version = world.rows(), world.version
    with world.plan(staged, **options) as plan:
        found = list(plan.conflicts)
    with pytest.raises(MergeConflict) as refused:
        world.merge(staged, **options)
    assert list(refused.value.conflicts) == found
    assert (world.rows(), world.version) == (before, version)
    return found


def test_new_columns_are_added_nullable(small: World) -> None:
    """D01, D02, D07."""
    staged = small.stage(small.file("x.csv", "id,a,n\n1,11,5\n9,90,\n"))
    small.set_current([{**ROWS[0], "b": "o"}, {"id": 3, "a": 30, "b": "o"}])
    result = small.merge(staged)
    assert result.schema_changes == (SchemaChange("add_column", "n", "long"),)
    assert small.rows() == [
        {"id": 1, "a": 11, "b": "o", "n": 5},
        {"id": 3, "a": 30, "b": "o", "n": None},
        {"id": 9, "a": 90, "b": None, "n": None},
    ]
    [column] = [one for one in merging.inspect_table(small.uri).columns if one.name == "n"]
    assert (column.type, column.nullable) == ("long", True)
    assert dict(result.cells_updated) == {"a": 1, "n": 1}


def test_a_new_column_alone_is_a_change(small: World) -> None:
    """D01: rows equal, the schema not."""
    staged = small.stage(pa.table({"id": [1], "n": pa.array([None], pa.float64())}))
    assert (staged.rows, staged.new_columns) == (0, ("n",))
    result = small.merge(staged)
    assert not result.marker_only
    assert [row["n"] for row in small.rows()] == [None, None]


def test_a_column_is_added_after_a_checkpoint(small: World) -> None:
    """The checkpoint's empty maps stay maps: other readers refuse a log in which they are lists."""
    deltalake.DeltaTable(small.uri).create_checkpoint()
    small.merge(small.stage(small.file("x.csv", "id,n\n1,5\n")))
    assert [row["n"] for row in small.rows()] == [5, None]
    assert polars.scan_delta(small.uri).collect().height == 2


def test_both_add_a_column(small: World) -> None:
    """D06, D08, D10."""
    staged = small.stage(small.file("x.csv", "id,n,m\n1,3,1\n2,3,1\n"))
    small.set_current(
        [{**ROWS[0], "n": 3, "o": 1}, {**ROWS[1], "n": None, "o": 1}],
        S.append(pa.field("n", pa.int64())).append(pa.field("o", pa.int64())),
    )
    [conflict] = conflicts(small, staged)
    assert (conflict.key, conflict.column, conflict.base, conflict.current, conflict.proposed) == (
        {"id": 2},
        "n",
        None,
        None,
        3,
    )
    small.merge(staged, resolutions=resolve([conflict], "proposed"))
    assert [(row["n"], row["m"], row["o"]) for row in small.rows()] == [(3, 1, 1), (3, 1, 1)]


def test_both_add_a_column_of_other_types(small: World) -> None:
    """D11: the schema first (G15)."""
    staged = small.stage(small.file("x.csv", "id,a,n\n1,12,text\n"))
    small.set_current([{**ROWS[0], "a": 11, "n": 1}], S.append(pa.field("n", pa.int64())))
    [conflict] = conflicts(small, staged)
    assert (conflict.kind, conflict.column, conflict.key) == ("schema", "n", {})
    assert (conflict.base, conflict.current, conflict.proposed) == (None, "long", "string")
    assert conflict.legal_choices == ("current",)
    chosen = resolve([conflict], "current")
    with small.plan(staged, resolutions=chosen) as plan:
        [cell] = plan.conflicts
    assert (cell.kind, cell.column) == ("modify/modify", "a")
    small.merge(staged, resolutions=[*chosen, *resolve([cell], "proposed")])
    assert small.rows() == [{"id": 1, "a": 12, "b": "x", "n": 1}]


def test_schema_changes_may_be_forbidden(small: World) -> None:
    staged = small.stage(small.file("x.csv", "id,a,n\n1,12,5\n"))
    [conflict] = conflicts(small, staged, merge_schema=False)
    assert (conflict.kind, conflict.column) == ("schema", "n")
    small.merge(staged, merge_schema=False, resolutions=resolve([conflict], "current"))
    assert small.rows() == [{"id": 1, "a": 12, "b": "x"}, ROWS[1]]


@pytest.mark.parametrize("value", ["z", None])
def test_an_edit_of_a_dropped_column_never_vanishes(small: World, value: Any) -> None:
    """D14, D15, D40: an edit to NULL too."""
    staged = small.stage([{"id": 1, "b": value}])
    small.set_current([{"id": 1, "a": 10}, {"id": 2, "a": 20}], without(S, "b"))
    [conflict] = conflicts(small, staged)
    assert (conflict.kind, conflict.column, conflict.current) == ("schema", "b", None)
    assert "no longer has the column b" in conflict.message
    with small.plan(staged, skip_conflict_check=True) as plan:
        assert plan.unresolved == 1
    with pytest.raises(MergeConflict):
        small.merge(staged, force_merge=True)
    result = small.merge(staged, resolutions=resolve([conflict], "current"))
    assert result.marker_only


def test_what_does_not_touch_a_dropped_column_merges(small: World) -> None:
    """D16, D18, D19."""
    changes = pa.table(
        {
            "id": [1, 3, 2],
            "a": pa.array([11, 30, None], pa.int32()),
            "b": ["x", None, None],
            "_op": ["update", "insert", "delete"],
        }
    )
    staged = small.stage(changes)
    small.set_current([{"id": 1, "a": 10}, {"id": 2, "a": 20}], without(S, "b"))
    small.merge(staged)
    assert small.rows() == [{"id": 1, "a": 11}, {"id": 3, "a": 30}]


def test_a_rename_without_ids_cannot_be_told(small: World) -> None:
    """D23: nobody can say whether b became b1 or b2."""
    staged = small.stage(pa.table({"id": [1, 2], "b2": ["x", "y"]}))
    small.set_current(
        [{"id": 1, "a": 10, "b1": "x"}], pa.schema([*without(S, "b"), pa.field("b1", pa.string())])
    )
    [conflict] = conflicts(small, staged)
    assert (conflict.kind, conflict.column, conflict.current) == ("schema", "b2", "b1")


def test_a_column_gained_by_the_table_is_left_alone(small: World) -> None:
    """D41."""
    changes = pa.table({"id": [1, 2], "a": pa.array([11, None], pa.int32()), "_op": ["update", "delete"]})
    staged = small.stage(changes)
    small.set_current([{**ROWS[0], "n": 7}, {**ROWS[1], "n": 8}], S.append(pa.field("n", pa.int64())))
    result = small.merge(staged)
    assert small.rows() == [{"id": 1, "a": 11, "b": "x", "n": 7}]
    assert dict(result.cells_updated) == {"a": 1}


def test_columns_may_change_places(small: World) -> None:
    """D27."""
    staged = small.stage([{"id": 1, "a": 11}])
    small.set_current(ROWS, pa.schema([S.field("b"), S.field("id"), S.field("a")]))
    small.merge(staged)
    assert small.rows()[0] == {"id": 1, "a": 11, "b": "x"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int16(), pa.int64()),
        (pa.int32(), pa.float64()),
        (pa.float32(), pa.float64()),
        (pa.decimal128(4, 2), pa.decimal128(8, 4)),
        (pa.int8(), pa.decimal128(5, 1)),
    ],
)
def test_widened_columns_take_the_values(tmp_path: Path, old: pa.DataType, new: pa.DataType) -> None:
    """D30, D34: the change of representation is no edit."""
    before, after = pa.schema([("id", pa.int64()), ("v", old)]), pa.schema([("id", pa.int64()), ("v", new)])
    rows = [{"id": 1, "v": 1}, {"id": 2, "v": 2}]
    world = World(tmp_path, "merge-on-read", before, rows)
    changes = arrow(before, [{"id": 1, "v": 5}, {"id": 2, "v": None}]).append_column(
        "_op", pa.array(["update", "delete"])
    )
    staged = world.stage(changes)
    world.set_current(rows, after)
    world.merge(staged)
    assert world.rows() == arrow(after, [{"id": 1, "v": 5}]).to_pylist()


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (pa.int64(), pa.int32(), "integer"),
        (pa.int64(), pa.string(), "string"),
        (pa.string(), pa.int64(), "long"),
        (pa.decimal128(8, 4), pa.decimal128(8, 2), "decimal(8,2)"),
        (pa.float64(), pa.float32(), "float"),
    ],
)
def test_narrowed_columns_are_schema_conflicts(
    tmp_path: Path, old: pa.DataType, new: pa.DataType, name: str
) -> None:
    """D29, D31, D32, D37."""
    before, after = pa.schema([("id", pa.int64()), ("v", old)]), pa.schema([("id", pa.int64()), ("v", new)])
    value = "5" if old == pa.string() else 5
    world = World(tmp_path, "merge-on-read", before, [{"id": 1, "v": None}])
    staged = world.stage(arrow(before, [{"id": 1, "v": value}]))
    world.set_current([{"id": 1, "v": None}], after)
    [conflict] = conflicts(world, staged)
    assert (conflict.kind, conflict.column, conflict.current) == ("schema", "v", name)


def test_a_type_change_with_a_new_value_against_a_delete(tmp_path: Path) -> None:
    """D35."""
    before, after = (
        pa.schema([("id", pa.int64()), ("v", pa.int32())]),
        pa.schema([("id", pa.int64()), ("v", pa.int64())]),
    )
    world = World(tmp_path, "merge-on-read", before, [{"id": 1, "v": 1}])
    staged = world.stage(pa.table({"id": [1], "_op": ["delete"]}))
    world.set_current([{"id": 1, "v": 2}], after)
    [conflict] = conflicts(world, staged)
    assert conflict.kind == "modify/delete"


def test_a_table_created_anew_is_refused(make_world: Callable[..., World]) -> None:
    """D38 and the trap of equal version numbers."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    deltalake.write_deltalake(world.uri + "-new", arrow(world.schema, []))
    other = merging.MergeRequest(world.uri + "-new", "CR-1", world.keys, staged)
    with pytest.raises(TableChanged, match="created anew"):
        merging.merge(other)
    assert merging.inspect_table(world.uri + "-new").version == 0


def test_a_key_column_that_went_is_refused(small: World) -> None:
    staged = small.stage([{"id": 1, "a": 11}])
    small.set_current([{"a": 10, "b": "x"}], without(S, "id"))
    with pytest.raises(TableChanged, match="key column id"):
        small.merge(staged)
    with pytest.raises(TableChanged, match="staged with id"):
        merging.merge(merging.MergeRequest(small.uri, "CR-1", ["a"], staged))


def test_a_table_with_a_constraint_gains_columns_as_others_do(tmp_path: Path) -> None:
    world = World(tmp_path, "copy-on-write", S, ROWS)
    deltalake.DeltaTable(world.uri).alter.add_constraint({"positive": "id > 0"})
    world.base_version = world.version
    result = world.merge(world.stage(world.file("x.csv", "id,n\n1,5\n")))
    assert result.strategy == "copy-on-write"
    assert world.rows() == [{"id": 1, "a": 10, "b": "x", "n": 5}, {"id": 2, "a": 20, "b": "y", "n": None}]


def rename(uri: str, old: str, new: str, version: int) -> None:
    """Rename a column as Spark does under column mapping: the metadata alone changes."""
    state = Path(uri, "_delta_log", f"{version:020d}.json")
    table = deltalake.DeltaTable(uri)
    schema = json.loads(table.schema().to_json())
    for field in schema["fields"]:
        if field["name"] == old:
            field["name"] = new
    commits = [path.read_text() for path in sorted(state.parent.glob("*.json"))]
    actions = [json.loads(line) for commit in commits for line in commit.splitlines()]
    metadata = [action["metaData"] for action in actions if "metaData" in action][-1]
    metadata["schemaString"] = json.dumps(schema)
    lines = [{"commitInfo": {"operation": "RENAME COLUMN", "timestamp": 1}}, {"metaData": metadata}]
    state.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def mapped(tmp_path: Path) -> World:
    """A table with column mapping: columns have ids that survive a rename."""
    world = World(tmp_path, "copy-on-write", S, ROWS)
    world.uri += "-mapped"
    deltalake.write_deltalake(world.uri, arrow(S, ROWS), configuration={"delta.columnMapping.mode": "name"})
    return world


def test_an_edit_follows_a_renamed_column(mapped: World) -> None:
    """D21."""
    staged = mapped.stage([{"id": 1, "b": "z"}])
    rename(mapped.uri, "b", "bb", 1)
    result = mapped.merge(staged)
    assert mapped.rows() == [{"id": 1, "a": 10, "bb": "z"}, {"id": 2, "a": 20, "bb": "y"}]
    assert dict(result.cells_updated) == {"bb": 1}


def test_swapped_names_are_no_edit(mapped: World) -> None:
    """D25, D26: what was staged goes where the column went, not where its name is now."""
    staged = mapped.stage([{"id": 1, "b": "z"}])
    rename(mapped.uri, "b", "gone", 1)
    rename(mapped.uri, "a", "b", 2)
    mapped.merge(staged)
    assert mapped.rows()[0] == {"id": 1, "b": 10, "gone": "z"}


def test_a_renamed_key_is_refused(mapped: World) -> None:
    staged = mapped.stage([{"id": 1, "b": "z"}])
    rename(mapped.uri, "id", "identity", 1)
    with pytest.raises(TableChanged, match="key column id"):
        mapped.merge(staged)


#: What was done to the fields ``x`` and ``y``: what a row holds now that held 1 and ``y1``.
INSIDE: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "renamed": lambda x, y: {"x 1": x, "y": y},
    "all renamed": lambda x, y: {"x 1": x, "y 1": y},
    "names swapped": lambda x, y: {"y": x, "x": y},
    "another of the name": lambda _, y: {"x": None, "y": y},
}


@pytest.mark.parametrize("change", INSIDE)
def test_fields_inside_a_column_that_changed_meanwhile_are_nobodys_edit(tmp_path: Path, change: str) -> None:
    """A row stands where it stood, and its base image does not tell what its fields of today hold."""
    schema = pa.schema(
        [("id", pa.int64()), ("a", pa.int32()), ("s", pa.struct([("x", pa.int32()), ("y", pa.string())]))]
    )
    rows = [{"id": n, "a": n, "s": {"x": n, "y": f"y{n}"}} for n in (1, 2)]
    world = World(tmp_path, "copy-on-write", schema, rows)
    world.uri += "-mapped"
    deltalake.write_deltalake(
        world.uri, arrow(schema, rows), configuration={"delta.columnMapping.mode": "name"}
    )
    staged = world.stage([{"id": 1, "a": 5}])

    def changed(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        [part, other] = fields["s"]["type"]["fields"]
        if change == "all renamed":
            part["name"], other["name"] = "x 1", "y 1"
        elif change == "names swapped":
            part["name"], other["name"] = "y", "x"
        elif change == "renamed":
            part["name"] = "x 1"
        else:
            part["metadata"] = {"delta.columnMapping.id": 99, "delta.columnMapping.physicalName": "col-99"}
            metadata["configuration"]["delta.columnMapping.maxColumnId"] = "99"

    commit_by_hand(world.uri, changed)
    with world.plan(staged) as made:
        assert (dict(made.cells_updated), len(made.conflicts)) == ({"a": 1}, 0)
    world.merge(staged)
    [first, second] = merging.preview(world.uri, primary_keys=["id"]).rows
    assert first == {"id": 1, "a": 5, "s": INSIDE[change](1, "y1")}
    assert second == {"id": 2, "a": 2, "s": INSIDE[change](2, "y2")}


def map_columns(world: World, **renamed: str) -> None:
    """Somebody maps the columns of a table that is there: each is stored on under the name that it has, and may be
    renamed at once."""

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        largest = str(len(fields))
        metadata["configuration"] |= {
            "delta.columnMapping.mode": "name",
            "delta.columnMapping.maxColumnId": largest,
        }
        for number, (name, field) in enumerate(fields.items(), 1):
            field["metadata"] |= {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": name}
            field["name"] = renamed.get(name, name)

    listed = {kind: [*FULL[kind], "columnMapping"] for kind in ("readerFeatures", "writerFeatures")}  # type: ignore[misc]
    commit_by_hand(world.uri, change, {**FULL, **listed})


def add_column(uri: str, name: str, stored: str) -> None:
    """Somebody adds a column of texts to a table that maps its columns."""
    log = Path(uri, "_delta_log")
    commits = sorted(log.glob("*.json"))
    actions = [json.loads(line) for path in commits for line in path.read_text().splitlines()]
    metadata = [action["metaData"] for action in actions if "metaData" in action][-1]
    schema = json.loads(metadata["schemaString"])
    number = len(schema["fields"]) + 1
    stated = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": stored}
    schema["fields"].append({"name": name, "type": "string", "nullable": True, "metadata": stated})
    metadata["schemaString"] = json.dumps(schema)
    metadata["configuration"]["delta.columnMapping.maxColumnId"] = str(number)
    lines = [{"commitInfo": {"operation": "ADD COLUMNS", "timestamp": 1}}, {"metaData": metadata}]
    (log / f"{len(commits):020d}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_an_edit_follows_a_column_that_was_mapped_since_and_renamed(small: World) -> None:
    """Columns are renamed in tables that map them, and most came to do so for that."""
    staged = small.stage([{"id": 1, "b": "z"}])
    map_columns(small, b="bb")
    result = small.merge(staged)
    assert small.rows() == [{"id": 1, "a": 10, "bb": "z"}, {"id": 2, "a": 20, "bb": "y"}]
    assert dict(result.cells_updated) == {"bb": 1}


def test_a_new_column_under_the_name_of_a_renamed_one_is_another(small: World) -> None:
    """What it holds is nobody's base, also where both hold nothing."""
    small.base_version = small.merge(small.stage([{"id": 2, "b": None}]), "CR-0").merged_version
    staged = small.stage([{"id": 1, "b": "z"}, {"id": 2, "b": "new"}])
    map_columns(small, b="bb")
    add_column(small.uri, "b", "col-1")
    small.merge(staged)
    assert small.rows() == [
        {"id": 1, "a": 10, "bb": "z", "b": None},
        {"id": 2, "a": 20, "bb": "new", "b": None},
    ]


def test_an_edit_of_a_column_that_was_dropped_and_added_again_is_a_conflict(small: World) -> None:
    map_columns(small)
    small.base_version = small.version
    staged = small.stage([{"id": 1, "a": 11, "b": "z"}])

    def drop(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        fields["b"]["metadata"] |= {
            "delta.columnMapping.id": 4,
            "delta.columnMapping.physicalName": "col-1",
        }
        metadata["configuration"]["delta.columnMapping.maxColumnId"] = "4"

    commit_by_hand(small.uri, drop)
    [conflict] = conflicts(small, staged)
    assert (conflict.kind, conflict.column) == ("schema", "b")
    small.merge(staged, resolutions=resolve([conflict], "current"))
    assert small.rows() == [{"id": 1, "a": 11, "b": None}, {"id": 2, "a": 20, "b": None}]


def unmap_columns(uri: str, **renamed: str) -> None:
    """Somebody drops the mapping of a table whose files hold its columns under their names."""

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        for name in [name for name in metadata["configuration"] if "columnMapping" in name]:
            del metadata["configuration"][name]
        for name, field in fields.items():
            field["metadata"] = {}
            field["name"] = renamed.get(name, name)

    commit_by_hand(uri, change, FULL)


def test_columns_that_are_mapped_no_longer_go_by_their_names(small: World) -> None:
    map_columns(small)
    small.base_version = small.version
    staged = small.stage([{"id": 1, "b": "z"}])
    unmap_columns(small.uri)
    small.merge(staged)
    assert small.rows() == [{"id": 1, "a": 10, "b": "z"}, {"id": 2, "a": 20, "b": "y"}]


@pytest.mark.parametrize("renamed", [{"b": "bb"}, {"b": "a", "a": "b"}], ids=["renamed", "swapped"])
def test_columns_that_are_mapped_no_longer_and_were_renamed_cannot_be_told(
    small: World, renamed: dict[str, str]
) -> None:
    map_columns(small)
    small.base_version = small.version
    staged = small.stage([{"id": 1, "b": "z"}])
    unmap_columns(small.uri, **renamed)
    version = small.version
    with pytest.raises(TableChanged, match="maps its columns no longer"):
        small.merge(staged)
    assert small.version == version


@pytest.mark.parametrize("mapped_before", [False, True])
def test_a_revert_follows_a_renamed_column(small: World, tmp_path: Path, mapped_before: bool) -> None:
    if mapped_before:
        map_columns(small)
        small.base_version = small.version
    result = small.merge(small.stage([{"id": 1, "b": "z", "n": "1"}]))
    if mapped_before:
        rename(small.uri, "b", "bb", small.version + 1)
    else:
        map_columns(small, b="bb")
    add_column(small.uri, "b", "col-1")
    assert result.artefacts is not None
    reverse = merging.invert(small.uri, result.artefacts, ["id"], str(tmp_path / "reverse"))
    undone = small.merge(reverse, "CR-2")
    assert small.rows() == [
        {"id": 1, "a": 10, "bb": "x", "n": "1", "b": None},
        {"id": 2, "a": 20, "bb": "y", "n": None, "b": None},
    ]
    assert dict(undone.cells_updated) == {"bb": 1}
