"""Column mapping on the way out: stored names and field ids at every depth, in every file that we write."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import merging
from merging import delta
from merging.delta.fields import TableField
from merging.delta.snapshot import Snapshot, snapshot_in
from tests.merging.delta.delta_tables import Merger
from tests.merging.delta.test_layouts import Model, read
from tests.merging.stores import put_commit
from tests.merging.world import World, arrow

ADDED = pa.struct([("p", pa.int64()), ("q r", pa.list_(pa.struct([("s", pa.string())])))])


def with_features(model: Model, *, vectors: bool, feed: bool) -> Snapshot:
    """The model's table, with vectors and a change data feed where they are wanted."""
    snapshot = snapshot_in(model.place.store, model.place.uri)
    features = ["columnMapping", *(["deletionVectors"] if vectors else [])]
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": features,
        "writerFeatures": [*features, "changeDataFeed"],
    }
    configuration = {
        **snapshot.properties,
        "delta.columnMapping.maxColumnId": str(next(model.numbers)),
        "delta.enableDeletionVectors": str(vectors).lower(),
        "delta.enableChangeDataFeed": str(feed).lower(),
    }
    model.commit(
        [{"protocol": protocol}, {"metaData": {**snapshot.metadata, "configuration": configuration}}]
    )
    return snapshot_in(model.place.store, model.place.uri)


def stored_names(fields: list[Any]) -> Any:
    """Names and field ids as the schema of a Parquet file states them, at every depth."""
    return [
        (field.name, int((field.metadata or {}).get(b"PARQUET:field_id", -1)), stored_within(field.type))
        for field in fields
    ]


def stored_within(data_type: pa.DataType) -> Any:
    if pa.types.is_struct(data_type):
        return stored_names([data_type.field(place) for place in range(data_type.num_fields)])
    if pa.types.is_map(data_type):
        return [stored_within(data_type.key_type), stored_within(data_type.item_type)]
    if pa.types.is_list(data_type):
        return [stored_within(data_type.value_type)]
    return []


def wanted_names(fields: list[TableField] | tuple[TableField, ...]) -> Any:
    return [(one.stored_name, one.field_id, wanted_within(one)) for one in fields]


def wanted_within(field: TableField) -> Any:
    if pa.types.is_struct(field.type):
        return wanted_names(field.parts)
    return [wanted_within(part) for part in field.parts]


def parquet_names(snapshot: Snapshot, path: str) -> Any:
    content = snapshot.store.read(path)
    return stored_names(list(pq.read_schema(io.BytesIO(content))))


def same(row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(row, default=str))


@pytest.mark.parametrize("mode", ["name", "id"])
@pytest.mark.parametrize("vectors", [True, False])
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32), feed=st.booleans(), widened=st.booleans())
def test_fp1_fp16_merges_keep_names_and_ids_at_every_depth(
    mode: str, vectors: bool, seed: int, feed: bool, widened: bool
) -> None:
    model = Model(seed, mode)
    for _ in range(4):
        model.step()
    before = with_features(model, vectors=vectors, feed=feed)
    rows = {row["id"]: row for row in read(before)}
    chance = model.random
    updated = chance.sample(sorted(rows), 3)
    deleted = chance.sample([number for number in rows if number not in updated], 2)
    donors = [rows[chance.choice(sorted(rows))] for _ in range(5)]
    changes = {
        number: {**donor, "id": number} for number, donor in zip([*updated, 900, 901], donors, strict=True)
    }
    schema = before.schema
    if widened:
        schema = schema.append(pa.field("new column", ADDED))
        rows = {number: {**row, "new column": None} for number, row in rows.items()}
        changes = {
            number: {**row, "new column": {"p": number, "q r": [{"s": "x"}, None]}}
            for number, row in changes.items()
        }
    upsert = pa.Table.from_pylist(list(changes.values()), schema=schema)
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        merger = Merger(connection)
        prepared = merger.prepare(
            before, upsert=upsert, delete=deleted, new_schema=schema if widened else None
        )
        after = delta.verify(prepared, delta.commit(prepared, application_id="mapping", generation=1))
        expected = {number: row for number, row in {**rows, **changes}.items() if number not in deleted}
        assert [same(row) for row in read(after)] == [same(expected[number]) for number in sorted(expected)]
        check_files(after, prepared.actions, widened=widened)
        attempt = delta.compact(connection, after, attempt_id="compaction", application_id="compaction")
        assert attempt.commit is not None
    compacted = snapshot_in(model.place.store, model.place.uri)
    assert len(compacted.files) == 1
    assert read(compacted) == read(after)
    assert parquet_names(compacted, compacted.files[0].path) == wanted_names(compacted.fields)


def check_files(after: Snapshot, actions: tuple[dict[str, Any], ...], *, widened: bool) -> None:
    """Every file that a merge wrote states the stored names and ids; so do the statistics and the schema."""
    wanted = wanted_names(after.fields)
    ids = [number for number, _ in identities(after.fields)]
    assert len(ids) == len(set(ids))
    if widened:
        assert int(after.properties["delta.columnMapping.maxColumnId"]) == max(ids)
        assert after.fields[-1].stored_name.startswith("col-")
    for action in actions:
        if "add" in action and "deletionVector" not in action["add"]:
            found = parquet_names(after, action["add"]["path"])
            # A file that was written anew for the rows that stay has no new column.
            assert found in (wanted, wanted[:-1] if widened else wanted)
            stats = json.loads(action["add"]["stats"])
            for kind in ("minValues", "maxValues", "nullCount"):
                assert stats[kind].keys() <= {one.stored_name for one in after.fields}
            assert after.fields[0].stored_name in stats["nullCount"] or after.fields[0].name != "id"
        if "cdc" in action:
            *found, change_type = parquet_names(after, action["cdc"]["path"])
            assert found == wanted
            assert change_type == ("_change_type", -1, [])


def identities(fields: tuple[TableField, ...]) -> list[tuple[int, str]]:
    found = []
    for one in fields:
        if one.field_id is not None:
            found.append((one.field_id, one.stored_name))
        found += identities(one.parts)
    return found


@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
def test_fp16_a_mapped_and_partitioned_table_merges_with_a_constraint(tmp_path: Path, strategy: str) -> None:
    """Everything that went through delta-rs at once, and delta-rs still reads it."""
    schema = pa.schema([("id", pa.int64()), ("part", pa.string()), ("a b", pa.int32())])
    rows = [{"id": n, "part": f"ü{n % 2}", "a b": n} for n in range(6)]
    world = World(tmp_path, strategy, schema, rows)
    world.uri += "-mapped"
    deltalake.write_deltalake(
        world.uri,
        arrow(schema, rows),
        partition_by=["part"],
        configuration={
            "delta.columnMapping.mode": "name",
            "delta.enableDeletionVectors": str(strategy == "merge-on-read").lower(),
        },
    )
    deltalake.DeltaTable(world.uri).alter.add_constraint({"small": "id < 100"})
    world.base_version = world.version
    assert merging.inspect_table(world.uri).strategy == strategy
    result = world.merge(world.stage([{"id": 1, "part": "ü0", "a b": 50}, {"id": 9, "part": None, "a b": 9}]))
    assert (result.strategy, result.diff.rows_added, result.diff.rows_updated) == (strategy, 1, 1)
    expected = [rows[0], {"id": 1, "part": "ü0", "a b": 50}, *rows[2:], {"id": 9, "part": None, "a b": 9}]
    assert world.rows() == expected
    snapshot = delta.open_snapshot(world.uri)
    [stored] = [one.stored_name for one in snapshot.fields if one.name == "part"]
    assert stored.startswith("col-") is (strategy == "copy-on-write")  # delta-rs maps no table with vectors
    assert {key for file in snapshot.files for key in file.partition_values} == {stored}
    with pytest.raises(merging.ValidationFailed, match="break the constraint small"):
        world.merge(world.stage([{"id": 100, "part": "x", "a b": 100}]), "CR-2")
    assert world.rows() == expected


@pytest.mark.parametrize("largest", [None, str(2**31 - 1), str(2**63), "9" * 5_000])
def test_fp1_no_column_is_added_where_an_id_could_be_given_twice_or_is_none(largest: str | None) -> None:
    """The largest id may have been a column's that was dropped: files of a table mapped by id still hold it. One
    of more than 32 bits is in no file."""
    model = Model(3, "id")
    snapshot = snapshot_in(model.place.store, model.place.uri)
    if largest is not None:
        configuration = {**snapshot.properties, "delta.columnMapping.maxColumnId": largest}
        model.commit([{"metaData": {**snapshot.metadata, "configuration": configuration}}])
        snapshot = snapshot_in(model.place.store, model.place.uri)
    before = model.place.store.list("_delta_log")
    schema = snapshot.schema.append(pa.field("more", pa.int64()))
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        row = pa.Table.from_pylist([{"id": 1, "more": 2}], schema=schema)
        with pytest.raises(
            merging.UnsupportedTable, match=r"without delta\.columnMapping\.maxColumnId|largest"
        ):
            Merger(connection).prepare(snapshot, upsert=row, new_schema=schema)
    assert model.place.store.list("_delta_log") == before


def test_fp1_mapping_counts_where_the_protocol_has_it(tmp_path: Path) -> None:
    """delta-rs makes such tables when vectors are asked for too: its files hold the logical names."""
    uri = str(tmp_path / "half mapped")
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "v": ["a", "b"]})
    properties = {"delta.columnMapping.mode": "name", "delta.enableDeletionVectors": "true"}
    deltalake.write_deltalake(uri, rows, configuration=properties)
    snapshot = delta.open_snapshot(uri)
    assert "columnMapping" not in snapshot.protocol["readerFeatures"]
    assert snapshot.physical_names == {"id": "id", "v": "v"}
    assert read(snapshot) == rows.to_pylist()
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        after = Merger(connection).merge(uri, upsert=pa.table({"id": pa.array([2], pa.int64()), "v": ["c"]}))
    assert read(after) == [{"id": 1, "v": "a"}, {"id": 2, "v": "c"}]


@pytest.mark.parametrize("enabled", [True, False])
def test_vectors_are_switched_on_and_off_under_mapping(enabled: bool) -> None:
    model = Model(5, "name")
    put_commit(model.place, model.version + 1, [{"commitInfo": {"operation": "NOTHING"}}])
    before = with_features_at(model, vectors=not enabled)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        delta.set_deletion_vectors(connection, before, enabled, attempt_id="x", application_id="x")
    after = snapshot_in(model.place.store, model.place.uri)
    assert after.strategy().name == ("merge-on-read" if enabled else "copy-on-write")
    assert read(after) == read(before)


def with_features_at(model: Model, *, vectors: bool) -> Snapshot:
    model.version += 1
    return with_features(model, vectors=vectors, feed=False)
