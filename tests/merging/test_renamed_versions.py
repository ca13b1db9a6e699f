"""Versions with other columns between them, by name or by type: compared, gone back to, and cloned."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging.staging.clones import changes_of_clone
from tests.merging.test_clones import replace_all, shallow_clone
from tests.merging.test_rules import commit_by_hand
from tests.merging.test_schema import S, add_column, map_columns
from tests.merging.world import STRATEGIES, Row, World, arrow

Fields = dict[str, dict[str, Any]]
ROWS: list[Row] = [{"id": n, "a": n * 10, "b": f"b{n}"} for n in range(1, 4)]
NESTED = pa.schema([("id", pa.int64()), ("s", pa.struct([("x", pa.int64()), ("y", pa.string())]))])


@pytest.fixture(params=STRATEGIES)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A table of two files."""
    world = World(tmp_path, request.param, S, ROWS)
    world.base_version = world.merge(world.stage([{"id": 4, "a": 40, "b": "b4"}]), "CR-0").merged_version
    return world


def alter(world: World, change: Callable[[Fields], Any]) -> int:
    """The next version, in which somebody changed the columns alone."""
    commit_by_hand(world.uri, lambda _, fields: change(fields))
    return world.version


def drop(world: World, name: str) -> int:
    """The next version, without a column."""

    def changed(metadata: dict[str, Any], fields: Fields) -> None:
        del fields[name]
        metadata["kept"] = [*fields.values()]

    commit_by_hand(world.uri, changed)
    state = Path(world.uri, "_delta_log", f"{world.version:020d}.json")
    actions = [json.loads(line) for line in state.read_text().splitlines()]
    stated = actions[-1]["metaData"]
    stated["schemaString"] = json.dumps({"type": "struct", "fields": stated.pop("kept")})
    state.write_text("".join(json.dumps(one) + "\n" for one in actions))
    return world.version


def compact(world: World) -> int:
    merging.compact(world.uri, attempt_id=uuid.uuid4().hex, application_id="c", generation=1)
    return world.version


def compared(world: World, before: int, after: int) -> list[tuple[Any, str, Any, Any]]:
    """The rows that differ: their keys, what happened, and the changed cells of both sides."""
    with closing(
        merging.compare_versions(world.uri, primary_keys=["id"], before=before, after=after)
    ) as found:
        return [
            (
                row.key["id"],
                row.operation,
                *({name: (side or {}).get(name) for name in row.changed} for side in (row.before, row.after)),
            )
            for row in found.page().items
        ]


def gone_back(world: World, version: int) -> list[Row]:
    """The table's rows after a merge of what leads back to a version."""
    back = merging.stage_version(world.uri, version, ["id"], str(world.folder / uuid.uuid4().hex))
    world.merge(back, uuid.uuid4().hex)
    return list(merging.preview(world.uri, primary_keys=["id"]).rows)


@pytest.mark.parametrize("mapped_before", [False, True])
def test_a_renamed_column_is_the_same_column(table: World, mapped_before: bool) -> None:
    """Also in files that were written anew since, where it stands under the new name."""
    if mapped_before:
        map_columns(table)
    first = table.version
    if mapped_before:
        alter(table, lambda fields: fields["b"].update(name="bb"))
    else:
        map_columns(table, b="bb")
    assert compared(table, first, table.version) == []
    changed = table.merge(table.stage([{"id": 1, "bb": "new"}], base_version=None), "CR-1").merged_version
    for last in (changed, compact(table)):
        assert compared(table, first, last) == [(1, "update", {"bb": "b1"}, {"bb": "new"})]
        assert compared(table, last, first) == [(1, "update", {"b": "new"}, {"b": "b1"})]
    assert gone_back(table, first) == [{"id": row["id"], "a": row["a"], "bb": row["b"]} for row in ROWS] + [
        {"id": 4, "a": 40, "bb": "b4"}
    ]


@pytest.mark.parametrize("mapped_before", [False, True])
def test_contents_on_both_sides_of_a_rename_are_compared(table: World, mapped_before: bool) -> None:
    if mapped_before:
        map_columns(table)
    rows: list[Row] = [
        {"id": 1, "a": 10, "b": "x"},
        {"id": 2, "a": 20, "b": "y"},
        {"id": 3, "a": 5, "b": "b3"},
    ]
    first = table.stage(rows, base_version=None)
    if mapped_before:
        alter(table, lambda fields: fields["b"].update(name="bb"))
    else:
        map_columns(table, b="bb")
    changed = pa.table({"id": [1, 2, 3], "a": pa.array([10, 20, 5], pa.int32()), "bb": ["x", "z", "b3"]})
    second = table.stage(changed, base_version=None)
    with closing(merging.compare_staged(first.location, second.location)) as found:
        assert [(row.key, row.operation, row.changed) for row in found.page().items] == [
            ({"id": 2}, "update", ("bb",))
        ]


def test_columns_that_swapped_their_names_did_not_swap_their_values(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("a", pa.string()), ("b", pa.string())])
    table = World(tmp_path, "copy-on-write", schema, [{"id": n, "a": f"a{n}", "b": f"b{n}"} for n in (1, 2)])
    map_columns(table)
    first = table.version
    alter(table, lambda fields: (fields["a"].update(name="b"), fields["b"].update(name="a")))
    table.merge(table.stage([{"id": 1, "a": "new"}], base_version=None))
    assert compared(table, first, table.version) == [(1, "update", {"a": "b1"}, {"a": "new"})]
    assert compared(table, table.version, first) == [(1, "update", {"b": "new"}, {"b": "b1"})]
    assert gone_back(table, first) == [{"id": n, "b": f"a{n}", "a": f"b{n}"} for n in (1, 2)]


def test_a_column_that_was_dropped_and_given_again_lost_its_values(table: World) -> None:
    """In all files, those that both versions have included."""
    map_columns(table)
    first = table.version
    drop(table, "b")
    assert compared(table, first, table.version) == []
    assert compared(table, table.version, first) == [
        (n, "update", {"b": None}, {"b": f"b{n}"}) for n in range(1, 5)
    ]
    add_column(table.uri, "b", "col-9")
    table.merge(table.stage([{"id": 2, "b": "new"}], base_version=None), "CR-1")
    now = {1: None, 2: "new", 3: None, 4: None}
    assert compared(table, first, table.version) == [
        (n, "update", {"b": f"b{n}"}, {"b": now[n]}) for n in now
    ]
    assert compared(table, table.version, first) == [
        (n, "update", {"b": now[n]}, {"b": f"b{n}"}) for n in now
    ]
    assert [row["b"] for row in gone_back(table, first)] == ["b1", "b2", "b3", "b4"]


def test_a_column_that_went_comes_back_with_all_its_values(table: World) -> None:
    map_columns(table)
    first = table.version
    drop(table, "b")
    table.merge(table.stage([{"id": 2, "a": 0}], base_version=None), "CR-1")
    assert gone_back(table, first) == [*ROWS, {"id": 4, "a": 40, "b": "b4"}]


@pytest.mark.parametrize("name", ["a", "A"])
def test_a_column_whose_name_another_one_has_is_left_out(table: World, name: str) -> None:
    """In other letters, too."""
    map_columns(table)
    first = table.version
    staged = table.stage(
        pa.table({"id": [1, 2], "a": pa.array([0, 0], pa.int32()), "b": ["b1", "new"]}), base_version=None
    )
    drop(table, "a")
    alter(table, lambda fields: fields["b"].update(name=name))
    changed = table.stage(pa.table({"id": [1, 2], name: ["b1", "new"]}), base_version=None)
    with closing(merging.compare_staged(staged.location, changed.location)) as found:
        assert [(row.key["id"], row.operation) for row in found.page().items] == [(1, "delete")]
    table.merge(changed, "CR-1")
    assert compared(table, first, table.version) == [(2, "update", {name: "b2"}, {name: "new"})]
    assert gone_back(table, first) == [{"id": n, name: f"b{n}"} for n in range(1, 5)]


def test_columns_that_an_overwrite_wrote_in_other_letters_are_the_same(tmp_path: Path) -> None:
    """Without column mapping: partitions, keys, and fields within a column as well."""
    parts = pa.struct([("X", pa.int64()), ("y", pa.string())])
    first = pa.table(
        {"Id": [1, 2], "P": ["p", "q"], "A": ["a", "b"], "S": pa.array([{"X": 1, "y": "z"}] * 2, parts)}
    )
    second = pa.table(
        {
            "id": [1, 2],
            "p": ["p", "q"],
            "a": ["a", "c"],
            "s": pa.array([{"x": 1, "Y": "z"}] * 2),
        }
    )
    uri = str(tmp_path / "table")
    deltalake.write_deltalake(uri, first, partition_by=["P"])
    deltalake.write_deltalake(uri, second, partition_by=["p"], mode="overwrite", schema_mode="overwrite")
    with closing(merging.compare_versions(uri, primary_keys=["id"], before=0, after=1)) as found:
        assert [(row.key["id"], row.changed) for row in found.page().items] == [(2, ("a",))]
    back = merging.stage_version(uri, 0, ["id"], str(tmp_path / "back"))
    assert back.counts == {"insert": 0, "update": 1, "delete": 0}
    assert [row.changed for row in back.page().items] == [("a",)]
    clone = pa.table({"ID": [1, 2], "p": ["p", "q"], "A": ["a", "d"], "S": first["S"]})
    deltalake.write_deltalake(tmp_path / "clone", clone)
    with changes_of_clone(uri, str(tmp_path / "clone"), ["id"], base_version=1, proved_only=False) as changes:
        assert changes.rows.read_all().select(["id", "a", "_op"]).to_pylist() == [
            {"id": 2, "a": "d", "_op": "update"}
        ]


def test_a_column_that_was_given_again_in_other_letters_is_found(table: World) -> None:
    map_columns(table)
    first = table.version
    drop(table, "b")
    add_column(table.uri, "B", "col-9")
    table.merge(table.stage([{"id": 2, "B": "new"}], base_version=None), "CR-1")
    now = {1: None, 2: "new", 3: None, 4: None}
    assert compared(table, first, table.version) == [
        (n, "update", {"B": f"b{n}"}, {"B": now[n]}) for n in now
    ]
    assert [row["B"] for row in gone_back(table, first)] == ["b1", "b2", "b3", "b4"]


def test_fields_whose_names_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    """One of them went, the other one got its name."""
    world = World(tmp_path, "copy-on-write", NESTED)
    world.uri += "-mapped"
    rows = [{"id": n, "s": {"x": n, "y": f"y{n}"}} for n in (1, 2)]
    deltalake.write_deltalake(
        world.uri, arrow(NESTED, rows), configuration={"delta.columnMapping.mode": "name"}
    )

    def changed(fields: Fields) -> None:
        del fields["s"]["type"]["fields"][0]
        fields["s"]["type"]["fields"][0]["name"] = "X"

    alter(world, changed)
    assert compared(world, 0, 1) == []


@pytest.mark.parametrize("again", [False, True], ids=["renamed", "given again"])
def test_fields_within_a_column_are_told_apart_as_columns_are(tmp_path: Path, again: bool) -> None:
    rows = [{"id": n, "s": {"x": n, "y": f"y{n}"}} for n in (1, 2)]
    world = World(tmp_path, "copy-on-write", NESTED, rows)
    world.uri += "-mapped"
    deltalake.write_deltalake(
        world.uri, arrow(NESTED, rows), configuration={"delta.columnMapping.mode": "name"}
    )

    def changed(metadata: dict[str, Any], fields: Fields) -> None:
        part = fields["s"]["type"]["fields"][0]
        if again:
            part["metadata"] = {"delta.columnMapping.id": 99, "delta.columnMapping.physicalName": "col-99"}
            metadata["configuration"]["delta.columnMapping.maxColumnId"] = "99"
        else:
            part["name"] = "x 1"

    commit_by_hand(world.uri, changed)
    name = "x" if again else "x 1"
    values = [None, None] if again else [1, 2]
    lost = [(n, "update", {"s": {"x": n, "y": f"y{n}"}}, {"s": {"x": None, "y": f"y{n}"}}) for n in (1, 2)]
    assert compared(world, 0, 1) == (lost if again else [])
    new = pa.schema([("id", pa.int64()), ("s", pa.struct([(name, pa.int64()), ("y", pa.string())]))])
    world.merge(world.stage(arrow(new, [{"id": 2, "s": {name: 7, "y": "z"}}]), base_version=None))
    second = (2, "update", {"s": {name: 2, "y": "y2"}}, {"s": {name: 7, "y": "z"}})
    assert compared(world, 0, world.version) == ([lost[0], second] if again else [second])
    back = merging.stage_version(world.uri, 0, ["id"], str(tmp_path / "back"))
    assert [row.before["s"][name] for row in back.page().items if row.before] == (
        [values[0], 7] if again else [7]
    )
    world.merge(back, "CR-2")
    assert merging.preview(world.uri, primary_keys=["id"]).rows == tuple(
        {"id": n, "s": {name: n, "y": f"y{n}"}} for n in (1, 2)
    )


def test_a_column_that_a_clone_calls_otherwise_is_the_same_column(table: World, tmp_path: Path) -> None:
    map_columns(table)
    clone = shallow_clone(table, tmp_path / "clone", table.version)
    commit_by_hand(str(clone), lambda _, fields: fields["b"].update(name="bb"))
    replace_all(
        clone,
        pa.table(
            {"id": [1, 2, 3, 4], "a": pa.array([10, 20, 30, 40], pa.int32()), "b": ["b1", "new", "b3", "b4"]}
        ),
    )
    with changes_of_clone(table.uri, str(clone), ["id"]) as found:
        assert found.rows.read_all().to_pylist() == [{"id": 2, "a": 20, "b": "new", "_op": "update"}]


MORE = pa.struct([("a", pa.int64()), ("b", pa.int64())])


@pytest.mark.parametrize(
    ("old", "new", "differing"),
    [
        (pa.array(["abc", "7"]), pa.array([1, 7]), {1: ("abc", "1")}),
        (pa.array([1.5, 7.0]), pa.array([2, 7]), {1: ("1.5", "2"), 2: ("7.0", "7")}),
        (pa.array([2**53 + 1]), pa.array([2.0**53]), {1: ("9007199254740993", "9007199254740992.0")}),
        (pa.array([1]).view(pa.timestamp("us", "UTC")), pa.array([0], pa.date32()),
         {1: ("1970-01-01 00:00:00.000001+00", "1970-01-01")}),
        (pa.array([{"a": 1}] * 2), pa.array([{"a": 1, "b": 2}, {"a": 1, "b": None}], MORE),
         {1: ("{'a': 1}", "{'a': 1, 'b': 2}"), 2: ("{'a': 1}", "{'a': 1, 'b': NULL}")}),
        (pa.array([{"a": 1}] * 2), pa.array([{"b": 1}] * 2), dict.fromkeys((1, 2), ("{'a': 1}", "{'b': 1}"))),
        (pa.array([[1], []]), pa.array(["[1]", "x"]), {2: ("[]", "x")}),
    ],
    ids=lambda one: str(getattr(one, "type", "")),
)  # fmt: skip
def test_values_of_types_that_none_holds_together_are_compared_as_texts(
    tmp_path: Path, old: pa.Array, new: pa.Array, differing: dict[int, tuple[str, str]]
) -> None:
    """Nothing is rounded to be the same, and nothing that cannot be the other ends the comparison."""
    world = World(tmp_path, "copy-on-write")
    world.uri += "-overwritten"
    for values in (old, new):
        table = pa.table({"id": [1, 2][: len(values)], "v": values})
        deltalake.write_deltalake(world.uri, table, mode="overwrite", schema_mode="overwrite")
    there = [(n, "update", {"v": a}, {"v": b}) for n, (a, b) in differing.items()]
    assert compared(world, 0, 1) == there
    assert compared(world, 1, 0) == [(n, what, b, a) for n, what, a, b in there]
