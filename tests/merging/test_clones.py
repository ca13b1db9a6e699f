"""Clones and copies as content: what they changed since the version that their log says they were made from.

Clones that Apache Spark made are in ``interoperability/test_spark_clones.py``; here their logs are written by hand.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging import Bounds, StagingRejected
from merging.delta import open_snapshot
from merging.staging.clones import changes_of_clone
from tests.merging.stores import add_action, parquet, put, put_commit, s3_place, s3_server
from tests.merging.world import World, arrow

Rows = list[dict[str, Any]]


def shallow_clone(world: World, clone: Path, version: int, **stated: Any) -> Path:
    """The log of a shallow clone as Spark writes it: files of the source by whole paths."""
    snapshot = open_snapshot(world.uri, version=version)
    adds = []
    for file in snapshot.files:
        add: dict[str, Any] = {
            "path": f"file:{world.uri}/{file.logged_path}",
            "partitionValues": dict(file.partition_values),
            "size": file.size,
            "modificationTime": file.modification_time,
            "dataChange": True,
        }
        if file.vector is not None:
            place = Path(world.uri) / str(file.vector.file_path)
            add["deletionVector"] = {
                **file.vector.to_log(), "storageType": "p", "pathOrInlineDv": f"file:{place}"
            }  # fmt: skip
        adds.append({"add": add})
    parameters = {"source": f"delta.`{world.uri}`", "sourceVersion": str(version), **stated}
    commit(
        clone,
        {"commitInfo": {"operation": "CLONE", "operationParameters": parameters}},
        {"protocol": dict(snapshot.protocol)},
        {"metaData": {**snapshot.metadata, "id": str(uuid.uuid4())}},
        *adds,
    )
    return clone


def commit(table: Path, *actions: Mapping[str, Any]) -> None:
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    version = len(list(log.glob("*.json")))
    (log / f"{version:020d}.json").write_text("\n".join(json.dumps(action) for action in actions))


def replace_all(table: Path, rows: pa.Table) -> None:
    """What an UPDATE of a clone writes: the files of its source are removed, one of its own is added."""
    table.mkdir(exist_ok=True)
    name = f"part-{uuid.uuid4().hex}.parquet"
    pq.write_table(rows, table / name)
    removes = []
    for file in open_snapshot(str(table)).files:
        vector = {} if file.vector is None else {"deletionVector": file.vector.to_log()}
        removes.append(
            {"remove": {"path": file.logged_path, "dataChange": True, "deletionTimestamp": 1, **vector}}
        )
    size = (table / name).stat().st_size
    add = {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": True}
    commit(table, *removes, {"add": add})


def changes(world: World, clone: Path, **options: Any) -> tuple[int, Rows]:
    with changes_of_clone(world.uri, str(clone), world.keys, **options) as found:
        rows = found.rows.read_all().sort_by("id").to_pylist()
    return found.base_version, rows


EDITED: Rows = [
    {"id": 1, "a": 10, "b": "x", "c": 1.5},
    {"id": 3, "a": 31, "b": None, "c": None},
    {"id": 4, "a": 40, "b": "z", "c": None},
]
CHANGES: Rows = [
    {"id": 2, "a": None, "b": None, "c": None, "_op": "delete"},
    {"id": 3, "a": 31, "b": None, "c": None, "_op": "update"},
    {"id": 4, "a": 40, "b": "z", "c": None, "_op": "insert"},
]


def test_rows_that_a_clone_added_changed_and_removed(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    assert changes(world, clone) == (0, [])
    replace_all(clone, arrow(world.schema, EDITED))
    world.set_current([{"id": 7, "a": 7, "b": "q", "c": 7.0}])  # somebody else, meanwhile
    assert changes(world, clone) == (0, CHANGES)


@pytest.mark.usefixtures("child_for_staging")
def test_they_meet_the_table_of_today_three_ways(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    replace_all(clone, arrow(world.schema, EDITED))
    world.merge(world.stage([{"id": 3, "a": 33}, {"id": 1, "b": "mine"}]), cr_id="CR-0")
    (tmp_path / "scratch").mkdir()
    staged = merging.stage_table_apart(
        world.uri,
        str(clone),
        world.keys,
        destination=str(tmp_path / "staged"),
        scratch=str(tmp_path / "scratch"),
        bounds=Bounds(memory_bytes=2 * 1024**3),
    )
    assert (staged.base_version, dict(staged.counts)) == (0, {"insert": 1, "update": 1, "delete": 1})
    with world.plan(staged) as planned:
        [conflict] = planned.conflicts
        assert (conflict.key, conflict.column, tuple(conflict.sides)) == ({"id": 3}, "a", (30, 33, 31))


def test_files_that_both_hold_are_not_read(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    for file in Path(world.uri).glob("*.parquet"):
        file.unlink()
    assert changes(world, clone) == (0, [])


def test_vectors_of_the_source_count(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read")
    world.merge(world.stage([{"id": 2, "_op": "delete"}]))
    clone = shallow_clone(world, tmp_path / "clone", 1)
    assert changes(world, clone) == (1, [])
    replace_all(clone, arrow(world.schema, [row for row in EDITED if row["id"] != 4]))
    assert changes(world, clone) == (1, [one for one in CHANGES if one["id"] == 3])


def test_columns_that_a_clone_gained_are_new_and_those_that_it_lost_stay(
    world: World, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    rows = pa.table(
        {"id": pa.array([1, 2, 3], pa.int64()), "a": pa.array([10, 20, 30], pa.int32()), "note": ["new", None, None]}
    )  # fmt: skip
    deltalake.write_deltalake(str(copy), rows)
    found = changes(world, copy, base_version=0, proved_only=False)
    assert found == (0, [{"id": 1, "a": 10, "note": "new", "_op": "update"}])


def test_a_copy_of_the_folder_is_compared_with_the_last_version_that_both_share(
    world: World, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world.uri, copy)
    deltalake.DeltaTable(str(copy)).optimize.compact()
    world.merge(world.stage([{"id": 1, "a": 11}]))
    replace_all(copy, arrow(world.schema, EDITED))
    assert changes(world, copy) == (0, CHANGES)


def test_a_table_that_is_no_clone_is_refused_unless_somebody_vouches_for_it(
    world: World, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    deltalake.write_deltalake(str(copy), arrow(world.schema, EDITED))
    with pytest.raises(StagingRejected, match="does not show that it was made from this dataset's table"):
        changes(world, copy)
    with pytest.raises(StagingRejected, match="say so with base_version"):
        changes(world, copy, proved_only=False)
    assert changes(world, copy, proved_only=False, base_version=0) == (0, CHANGES)
    with pytest.raises(merging.TableNotFound, match="Version 9"):
        changes(world, copy, proved_only=False, base_version=9)


def test_a_clone_of_another_table_is_no_clone_of_this_one(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0, source=f"delta.`{tmp_path / 'other'}`")
    with pytest.raises(StagingRejected, match="does not show"):
        changes(world, clone)


def test_a_source_by_its_name_in_a_catalog_is_proved_by_its_files(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0, source="spark_catalog.default.customers")
    assert changes(world, clone) == (0, [])
    replace_all(clone, arrow(world.schema, EDITED))
    with pytest.raises(StagingRejected, match="does not show"):
        changes(world, clone)


@pytest.mark.parametrize(
    "path", ["file:/etc/passwd", "/etc/passwd", "../secret/part.parquet", "{table}/../secret/part.parquet", "s3://b/x",
             "file:{table}/%2e%2e/secret/part.parquet", "{table}-not/part.parquet", "~/part.parquet"],
)  # fmt: skip
def test_files_in_a_third_place_are_never_read(path: str, world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    named = path.format(table=world.uri)
    add = {"path": named, "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": True}
    commit(clone, {"add": add})
    with pytest.raises(merging.FilesElsewhere):
        changes(world, clone)


def test_a_vector_in_a_third_place_is_never_read(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    vector = {
        "storageType": "p",
        "pathOrInlineDv": "file:/etc/passwd",
        "offset": 1,
        "sizeInBytes": 4,
        "cardinality": 1,
    }
    add = {
        "path": "mine.parquet",
        "partitionValues": {},
        "size": 1,
        "modificationTime": 1,
        "dataChange": True,
    }
    commit(clone, {"add": {**add, "deletionVector": vector}})
    with pytest.raises(merging.FilesElsewhere):
        changes(world, clone)


def test_a_clone_whose_columns_tell_no_row_or_no_operation_is_refused_by_their_names(
    world: World, tmp_path: Path
) -> None:
    clone = pa.table({"id": ["1", "2"], "_op": ["x", "y"]})
    deltalake.write_deltalake(tmp_path / "clone", clone)
    with pytest.raises(StagingRejected) as raised:
        changes(world, tmp_path / "clone", base_version=0, proved_only=False)
    assert [(problem.code, problem.column) for problem in raised.value.problems] == [
        ("key_type", "id"),
        ("reserved_column", "_op"),
    ]


def test_a_key_that_a_clone_holds_twice_is_refused(world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    replace_all(clone, arrow(world.schema, [*EDITED, EDITED[0]]))
    with pytest.raises(StagingRejected, match="1 key stands in several rows"):
        changes(world, clone)


@pytest.mark.parametrize("parameters", [None, [], {"sourceVersion": "x"}, {"source": 7, "sourceVersion": -1}])
def test_damaged_words_on_the_origin_prove_nothing(parameters: Any, world: World, tmp_path: Path) -> None:
    clone = shallow_clone(world, tmp_path / "clone", 0)
    commit(clone, {"commitInfo": {"operation": "CLONE", "operationParameters": parameters}})
    with pytest.raises(StagingRejected, match="base_version"):
        changes(world, clone)


def test_a_shallow_clone_in_an_object_store_is_compared_with_its_source_there() -> None:
    with s3_server() as options:
        source, place = "s3://tables/lake/planes", s3_place(options)
        merging.create_table(source, PLANES, storage_options=dict(options))
        snapshot = open_snapshot(source, storage_options=dict(options))
        adds = [
            {
                "add": {
                    "path": f"{source}/{file.logged_path}",
                    "partitionValues": {},
                    "size": file.size,
                    "modificationTime": file.modification_time,
                    "dataChange": True,
                }
            }
            for file in snapshot.files
        ]
        content = parquet(pa.table({"id": [3, 4], "a": [30, 41]}))
        put(place, "own.parquet", content)
        parameters = {"source": f"delta.`{source}`", "sourceVersion": "0"}
        actions = [
            {"commitInfo": {"operation": "CLONE", "operationParameters": parameters}},
            {"protocol": dict(snapshot.protocol)},
            {"metaData": {**snapshot.metadata, "id": str(uuid.uuid4())}},
            *adds,
            add_action("own.parquet", content),
        ]
        put_commit(place, 0, actions)
        with changes_of_clone(source, place.uri, ["id"], storage_options=dict(options)) as found:
            rows = found.rows.read_all().sort_by("id").to_pylist()
        assert (found.base_version, rows) == (
            0,
            [{"id": 3, "a": 30, "_op": "insert"}, {"id": 4, "a": 41, "_op": "insert"}],
        )
        elsewhere = [{**adds[0]["add"], "path": "s3://tables/other/x.parquet"}]
        put_commit(place, 1, [{"add": one} for one in elsewhere])
        with (
            pytest.raises(merging.FilesElsewhere),
            changes_of_clone(source, place.uri, ["id"], storage_options=dict(options)),
        ):
            pass


PLANES = pa.table({"id": [1, 2], "a": [10, 20]})
