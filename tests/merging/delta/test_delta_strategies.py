"""Every strategy writes what everybody reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

from merging import delta
from merging.delta.reach import open_table
from merging.delta.writing.changes import classify
from merging.errors import MergeFailed, UnsupportedTable
from tests.merging.delta.delta_tables import (
    ODD,
    Merger,
    after_merge,
    assert_all_readers_agree,
    changed,
    delta_rs_rows,
    named,
    own_rows,
    sample,
    sorted_rows,
)
from tests.merging.sites import paths_below

pytestmark = pytest.mark.any_store

KINDS: dict[str, dict[str, Any]] = {
    "merge-on-read": {},
    "copy-on-write": {"deletion_vectors": False},
    "merge-on-read with feed": {"change_data_feed": True},
    "copy-on-write with feed": {"deletion_vectors": False, "change_data_feed": True},
    "partitioned merge-on-read": {"partition_by": ["part"]},
    "partitioned copy-on-write": {"deletion_vectors": False, "partition_by": ["part"]},
    "partitioned by two with feed": {"partition_by": ["day", "flag"], "change_data_feed": True},
    "partitioned by moment": {"partition_by": ["moment"]},
}


def actions_of(uri: str, version: int) -> list[dict[str, Any]]:
    text = open_table(uri).read(f"_delta_log/{version:020d}.json")
    return [json.loads(line) for line in text.splitlines()]


def of_kind(actions: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [action[kind] for action in actions if kind in action]


@pytest.mark.parametrize("kind", KINDS)
def test_merge_of_updates_deletes_and_inserts(
    kind: str, make_table: Callable[..., str], merger: Merger
) -> None:
    table = sample(40)
    uri = make_table(table, **KINDS[kind])
    assert_all_readers_agree(uri, after_merge(table, None, []))
    snapshot = delta.open_snapshot(uri)
    assert snapshot.strategy().name == (
        "copy-on-write" if not KINDS[kind].get("deletion_vectors", True) else "merge-on-read"
    )

    updates = changed(table, [3, 17, 31], whole=-1)
    upsert = pa.concat_tables([updates, sample(3, start=100)])
    done = merger.merge(uri, upsert=upsert, delete=[5, 38])
    assert done.row_count == 41
    first = after_merge(table, upsert, [5, 38])
    assert_all_readers_agree(uri, first)

    # Again on top: rows of the new files and of files with vectors.
    again = changed(upsert, [3, 101], flag=None)
    merger.merge(uri, upsert=again, delete=[31, 100, 4])
    both = pa.concat_tables([table.filter(~pa.compute.field("id").isin([3, 17, 31])), upsert])
    assert_all_readers_agree(uri, after_merge(both, again, [5, 38, 31, 100, 4]))
    # The older versions are still what they were.
    assert own_rows(uri, version=1) == first
    assert own_rows(uri, version=0) == after_merge(table, None, [])


@pytest.mark.parametrize("kind", [name for name in KINDS if "feed" in name])
def test_change_data_feed_has_both_images(kind: str, make_table: Callable[..., str], merger: Merger) -> None:
    table = sample(20)
    uri = make_table(table, **KINDS[kind])
    merger.merge(
        uri, upsert=pa.concat_tables([changed(table, [3], whole=-1), sample(1, start=50)]), delete=[4]
    )
    feed = pa.table(deltalake.DeltaTable(uri).load_cdf(starting_version=1).read_all())
    found = sorted(
        (row["_change_type"], row["id"], row["whole"], row["_commit_version"]) for row in feed.to_pylist()
    )
    assert found == [
        ("delete", 4, None, 1),
        ("insert", 50, 50, 1),
        ("update_postimage", 3, -1, 1),
        ("update_preimage", 3, 3, 1),
    ]
    images = pa.Table.from_pylist(
        [row for row in feed.to_pylist() if row["_change_type"] == "update_preimage"]
    )
    assert sorted_rows(images, table.column_names) == after_merge(changed(table, [3]), None, [])


@pytest.mark.parametrize("value", ["a b/ü%=1", "plain", "x\ny", "%25", "2020-01-01 00:00:00", None])
def test_everybody_finds_the_change_files_of_a_partition(
    value: str | None, make_table: Callable[..., str], merger: Merger
) -> None:
    """delta-rs opens them by their paths as the log spells them, and decodes nothing."""
    table = changed(sample(5), [*range(5)], part=value)
    uri = make_table(table, partition_by=["part"], change_data_feed=True)
    merger.merge(uri, upsert=changed(table, [3], whole=-1), delete=[4])
    feed = pa.table(deltalake.DeltaTable(uri).load_cdf(starting_version=1).read_all())
    found = sorted((row["_change_type"], row["id"], row["part"]) for row in feed.to_pylist())
    assert found == [("delete", 4, value), ("update_postimage", 3, value), ("update_preimage", 3, value)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_files_in_the_commit_are_those_of_its_actions(
    kind: str, make_table: Callable[..., str], merger: Merger
) -> None:
    table = sample(40)
    uri = make_table(table, **KINDS[kind])
    merger.merge(
        uri, upsert=pa.concat_tables([changed(table, [3], whole=-1), sample(3, start=100)]), delete=[5]
    )
    actions = actions_of(uri, 1)
    added = {one["path"] for one in of_kind(actions, "add")}
    removed = {one["path"] for one in of_kind(actions, "remove")}
    [told] = [one["operationMetrics"] for one in of_kind(actions, "commitInfo")]
    # A file that gets a vector is removed and added again in the log: it is neither a new one nor a lost one.
    assert int(told.get("numTargetFilesAdded", 0)) == len(added - removed)
    assert int(told.get("numTargetFilesRemoved", 0)) == len(removed - added)
    assert int(told.get("numTargetDeletionVectorsAdded", 0)) == len(added & removed)
    assert int(told.get("numTargetChangeFilesAdded", 0)) == len(of_kind(actions, "cdc"))


def test_merge_on_read_writes_a_vector_and_one_file(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table()
    merger.merge(uri, upsert=changed(sample(), [3], whole=-1), delete=[4])
    actions = actions_of(uri, 1)
    [removed] = of_kind(actions, "remove")
    marked, added = of_kind(actions, "add")
    assert marked["path"] == removed["path"]
    assert "deletionVector" not in removed
    assert marked["deletionVector"]["cardinality"] == 2
    stats = json.loads(marked["stats"])
    assert (stats["numRecords"], stats["tightBounds"]) == (40, False)
    assert json.loads(added["stats"])["numRecords"] == 1

    merger.merge(uri, delete=[7])
    [removed_again] = of_kind(actions_of(uri, 2), "remove")
    assert removed_again["deletionVector"] == marked["deletionVector"]
    [marked_again] = of_kind(actions_of(uri, 2), "add")
    assert marked_again["deletionVector"]["cardinality"] == 3


def test_a_file_whose_rows_all_go_is_only_removed(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(5))
    merger.merge(uri, delete=[0, 1])
    done = merger.merge(uri, delete=[2, 3, 4])
    assert (done.row_count, done.files) == (0, ())
    [removed] = of_kind(actions_of(uri, 2), "remove")
    assert removed["deletionVector"]["cardinality"] == 2
    assert of_kind(actions_of(uri, 2), "add") == []
    assert_all_readers_agree(uri, [])
    merger.merge(uri, upsert=sample(2))
    assert_all_readers_agree(uri, after_merge(sample(2), None, []))


def test_a_merge_of_nothing_writes_the_marker_alone(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table()
    prepared = delta.prepare(
        merger.connection, delta.open_snapshot(uri), delta.RowChanges(None, None), attempt_id="attempt"
    )
    done = delta.commit(prepared, application_id="here/CR-7", generation=3, commit_info={"crId": "CR-7"})
    assert [list(action) for action in actions_of(uri, 1)] == [["commitInfo"], ["txn"]]
    found = delta.verify(prepared, done).find_transaction("here/CR-7")
    assert found is not None
    assert (found.version, found.commit_version) == (3, 1)
    assert found.commit_info is not None
    assert (found.commit_info["crId"], found.commit_info["attemptId"]) == ("CR-7", "attempt")
    assert deltalake.DeltaTable(uri).transaction_version("here/CR-7") == 3


# Polars takes the folder of such a partition for another column where it lies in S3.
@pytest.mark.in_folder
def test_partition_values_that_need_encoding(make_table: Callable[..., str], merger: Merger) -> None:
    odd = ["a/b", "ü", "50%", "x=y", "q?#", "sp ace", "'", '"', "[1]", "*", "\\", "new\nline", "z" * 150]
    table = pa.table(
        {"id": pa.array(range(len(odd)), pa.int64()), ODD: odd, "n": pa.array(range(len(odd)), pa.int64())}
    )
    uri = make_table(table, partition_by=[ODD])
    assert_all_readers_agree(uri, sorted_rows(table, table.column_names))
    upsert = pa.table(
        {"id": pa.array([1, 4, 99], pa.int64()), ODD: ["a/b", "fresh/é", None], "n": pa.array([7, 8, 9])}
    )
    merger.merge(uri, upsert=upsert, delete=[2])
    assert_all_readers_agree(uri, after_merge(table, upsert, [2]))


def test_a_table_in_a_folder_with_an_odd_name(tmp_path: Path, merger: Merger) -> None:
    uri = str(tmp_path / "sp ace [x] * ? ü's")
    delta.create_table(uri, sample(8), partition_by=["part"])
    merger.merge(uri, delete=[3])
    expected = after_merge(sample(8), None, [3])
    assert own_rows(uri) == expected
    assert delta_rs_rows(uri, sample(0).column_names) == expected


def test_a_partition_value_too_long_for_a_folder_name(make_table: Callable[..., str], merger: Merger) -> None:
    table = pa.table({"id": pa.array([1, 2], pa.int64()), "p": ["é" * 300, "x"]})
    uri = make_table(table, partition_by=["p"])
    merger.merge(uri, delete=[2])
    assert own_rows(uri) == [(1, "é" * 300)]
    assert delta_rs_rows(uri, ["id", "p"]) == [(1, "é" * 300)]


FAR_DAYS = {
    -735_635: "-0045-11-26",
    -719_528: "0000-01-01",
    -719_162: "0001-01-01",
    2_932_896: "9999-12-31",
    2_932_897: "+10000-01-01",
    100_000_000: "+275760-09-13",
}


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")], ids=str)
def test_partitions_of_years_that_have_no_four_digits(
    make_table: Callable[..., str], merger: Merger, kind: pa.DataType
) -> None:
    """Spark writes and reads years before Christ and after 9999 with their signs."""
    unit = 1 if pa.types.is_date(kind) else 86_400_000_000
    plain = pa.int32() if pa.types.is_date(kind) else pa.int64()

    def rows(days: dict[int, int], n: int) -> pa.Table:
        values = pa.array([day * unit for day in days.values()], plain).cast(kind)
        return pa.table({"id": pa.array(days, pa.int64()), "p": values, "n": pa.array([n] * len(days))})

    days = dict(enumerate(FAR_DAYS))
    uri = make_table(rows(days, 1), partition_by=["p"])
    more = {number + 100: day for number, day in days.items()}
    moved = {0: 100_000_000, 5: -735_635}
    merger.merge(uri, upsert=rows({**more, **moved, 1: days[1]}, 2), delete=[2])

    snapshot = delta.open_snapshot(uri)
    end = "" if pa.types.is_date(kind) else " 00:00:00.000000" if kind.tz is None else "T00:00:00.000000Z"
    found = {file.partition_values["p"] for file in snapshot.files}
    assert found == {text + end for text in FAR_DAYS.values()}
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        read = named(connection.sql(delta.scan_sql(connection, snapshot)).to_arrow_table())
    held = zip(read["id"].to_pylist(), read["p"].cast(plain).to_pylist(), read["n"].to_pylist(), strict=True)
    expected = {**days, **more, **moved}
    assert {number: (day, n) for number, day, n in held} == {
        number: (day * unit, 1 if number in (3, 4) else 2) for number, day in expected.items() if number != 2
    }


def test_empty_text_in_a_partition_column_is_refused(make_table: Callable[..., str], merger: Merger) -> None:
    table = pa.table({"id": pa.array([1], pa.int64()), "p": ["x"]})
    uri = make_table(table, partition_by=["p"])
    before = paths_below(uri)
    with pytest.raises(MergeFailed, match="partitions the table"):
        merger.merge(uri, upsert=pa.table({"id": pa.array([2], pa.int64()), "p": [""]}))
    assert paths_below(uri) == before


def test_append_only_table_takes_inserts_and_refuses_the_rest(
    make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(5), properties={"delta.appendOnly": "true"})
    merger.merge(uri, upsert=sample(1, start=9))
    with pytest.raises(UnsupportedTable) as caught:
        merger.merge(uri, delete=[1])
    assert caught.value.features == ("appendOnly",)
    assert delta.open_snapshot(uri).version == 1


def test_new_columns_and_widened_ones(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(6))
    schema = delta.open_snapshot(uri).schema.append(pa.field("noted at", pa.timestamp("us")))
    rows = changed(sample(6), [2]).append_column("noted at", pa.array([1_000_001], pa.timestamp("us")))
    done = merger.merge(uri, upsert=rows, new_schema=schema)
    assert done.schema.equals(schema)
    assert "timestampNtz" in done.protocol["readerFeatures"]
    assert_all_readers_agree(uri)
    index = schema.names.index("noted at")
    assert {row[0]: row[index] for row in own_rows(uri)}[1] is None
    assert str({row[0]: row[index] for row in own_rows(uri)}[2]) == "1970-01-01 00:00:01.000001"


def test_values_are_written_in_the_exact_type(make_table: Callable[..., str], merger: Merger) -> None:
    table = pa.table({"id": pa.array([1], pa.int64()), "price": pa.array([1], pa.decimal128(15, 2))})
    uri = make_table(table)
    loose = pa.table({"id": pa.array([2], pa.int32()), "price": pa.array([3], pa.decimal128(20, 4))})
    merger.merge(uri, upsert=loose)
    assert_all_readers_agree(uri)
    store = open_table(uri)
    contents = [pa.BufferReader(store.read(path)) for path in paths_below(uri) if path.endswith(".parquet")]
    stored = [pa.parquet.read_schema(content) for content in contents]
    assert {str(schema.field("price").type) for schema in stored} == {"decimal128(15, 2)"}
    assert {str(schema.field("id").type) for schema in stored} == {"int64"}


def test_large_changes_are_split_into_files(make_table: Callable[..., str], merger: Merger) -> None:
    table = pa.table({"id": pa.array(range(50_000), pa.int64())})
    uri = make_table(table, properties={"delta.targetFileSize": "40kb"})
    done = merger.merge(uri, upsert=pa.table({"id": pa.array(range(50_000, 90_000), pa.int64())}))
    assert done.row_count == 90_000
    added = of_kind(actions_of(uri, 1), "add")
    assert len(added) > 2
    assert sum(json.loads(add["stats"])["numRecords"] for add in added) == 40_000
    assert [row[0] for row in own_rows(uri)] == list(range(90_000))


# ---- column mapping and generated columns (more of them in test_rules.py and test_delta_mapping.py) ------------


def test_column_mapping_is_read_and_written(tmp_path: Path, merger: Merger) -> None:
    uri = str(tmp_path / "mapped")
    table = pa.table({"id": pa.array(range(5), pa.int64()), "a b": pa.array(range(5), pa.int64())})
    deltalake.write_deltalake(uri, table, configuration={"delta.columnMapping.mode": "name"})
    snapshot = delta.open_snapshot(uri)
    assert snapshot.strategy().name == "copy-on-write"
    assert snapshot.physical_names["id"] != "id"
    assert own_rows(uri) == [(n, n) for n in range(5)]
    upsert = pa.table({"id": pa.array([1, 9], pa.int64()), "a b": pa.array([10, 90], pa.int64())})
    merger.merge(uri, upsert=upsert, delete=[4])
    expected = [(0, 0), (1, 10), (2, 2), (3, 3), (9, 90)]
    assert own_rows(uri) == expected
    assert sorted_rows(pa.table(deltalake.DeltaTable(uri).scan().read_all()), table.column_names) == expected


@pytest.mark.parametrize(
    "expression", ["(SELECT content FROM read_text('/etc/passwd'))", "v; DROP TABLE x", "v -- x"]
)
def test_generation_expressions_that_are_more_than_expressions_are_refused(
    tmp_path: Path, merger: Merger, expression: str
) -> None:
    uri = make_generated_by_hand(tmp_path, expression)
    with pytest.raises(UnsupportedTable, match="generated column"):
        merger.merge(uri, upsert=pa.table({"id": pa.array([1], pa.int64()), "g": ["x"]}))
    assert delta.open_snapshot(uri).version == 1


def make_generated_by_hand(tmp_path: Path, expression: str) -> str:
    uri = str(tmp_path / "by hand")
    delta.create_table(uri, pa.table({"id": pa.array([0], pa.int64()), "g": ["y"]}), deletion_vectors=False)
    metadata = next(action["metaData"] for action in actions_of(uri, 0) if "metaData" in action)
    schema = json.loads(metadata["schemaString"])
    schema["fields"][1]["metadata"]["delta.generationExpression"] = expression
    metadata["schemaString"] = json.dumps(schema)
    write_version(
        uri, 1, [{"metaData": metadata}, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}]
    )
    return uri


def write_version(uri: str, version: int, actions: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(action) + "\n" for action in actions)
    open_table(uri).write(f"_delta_log/{version:020d}.json", text.encode())


# ---- what nobody here can write -----------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[str], dict[str, str], dict[str, Any]]] = {
    "icebergCompatV2": (["icebergCompatV2"], {}, {}),
    "identityColumns: column id has no delta.identity.step": (
        ["identityColumns"],
        {},
        {"delta.identity.start": 1},
    ),
    'typeWidening of id by {"fromType": "string", "toType": "long"}': (
        ["typeWidening"],
        {},
        {"delta.typeChanges": [{"fromType": "string", "toType": "long"}]},
    ),
    "somethingNew": (["somethingNew"], {}, {}),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_tables_that_nobody_can_write_are_refused_by_name(
    feature: str, make_table: Callable[..., str], merger: Merger
) -> None:
    writers, properties, column = REFUSED[feature]
    uri = make_table(sample(5))
    metadata = next(action["metaData"] for action in actions_of(uri, 0) if "metaData" in action)
    schema = json.loads(metadata["schemaString"])
    schema["fields"][0]["metadata"].update(column)
    metadata["schemaString"] = json.dumps(schema)
    metadata["configuration"].update(properties)
    readers = ["deletionVectors"]
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": readers,
        "writerFeatures": [*readers, *writers],
    }
    write_version(uri, 1, [{"protocol": protocol}, {"metaData": metadata}])
    before = paths_below(uri)
    with pytest.raises(UnsupportedTable) as caught:
        merger.merge(uri, delete=[1])
    assert caught.value.features == (feature,)
    dropped = (
        f" Where it can do without: ALTER TABLE … DROP FEATURE `{feature}`." if feature.isalnum() else ""
    )
    assert str(caught.value).endswith(f"it uses: {feature}.{dropped}")
    assert paths_below(uri) == before
    assert delta.open_snapshot(uri).row_count == 5


@pytest.mark.parametrize("feature", ["catalogManaged", "somethingNew"])
def test_tables_that_nobody_can_read_are_refused_by_name(
    feature: str, make_table: Callable[..., str]
) -> None:
    uri = make_table(sample(5))
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors", feature],
        "writerFeatures": ["deletionVectors", feature],
    }
    write_version(uri, 1, [{"protocol": protocol}])
    with pytest.raises(UnsupportedTable) as caught:
        delta.open_snapshot(uri)
    assert caught.value.features == (feature,)
    said = "only its catalogue may write" if feature == "catalogManaged" else f"DROP FEATURE `{feature}`"
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "told",
    [
        delta.RowChanges("gone", "new", inserted="new", key_columns=("id",)),
        delta.RowChanges("gone", "new", updated_before="gone", updated_after="new"),
        delta.RowChanges(None, None),
    ],
    ids=["inserted", "updated", "nothing"],
)
def test_rows_whose_kinds_are_told_are_not_told_apart_again(
    told: delta.RowChanges, make_table: Callable[..., str], merger: Merger
) -> None:
    """Reading them would fail: there are no such relations."""
    snapshot = delta.open_snapshot(make_table(sample(2)))
    assert classify(merger.connection, snapshot, snapshot.schema, told) is told
