"""Tables in an object store: obstore's memory store and its local one stand for S3, GCS and Azure."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import obstore.store
import pyarrow as pa
import pytest

from merging import delta
from merging.delta.creating import create_in
from merging.delta.snapshot import snapshot_in
from merging.errors import MergeFailed, TableNotFound
from merging.store import stores as store_module
from merging.store.client import ObjectClient, ObjectExists, client_settings
from merging.store.stores import ObjectStore, probe
from tests.merging.delta.delta_tables import (
    Merger,
    after_merge,
    assert_all_readers_agree,
    changed,
    named,
    sample,
    sorted_rows,
)
from tests.merging.stores import memory_store


@pytest.fixture(autouse=True)
def _forget_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_probed", set())


def rows_of(connection: duckdb.DuckDBPyConnection, snapshot: delta.Snapshot) -> list[tuple[Any, ...]]:
    found = connection.sql(delta.scan_sql(connection, snapshot)).to_arrow_table()
    return sorted_rows(named(found), snapshot.schema.names)


@pytest.mark.parametrize("options", [{}, {"deletion_vectors": False}, {"partition_by": ["part"]}], ids=str)
def test_create_merge_compact_and_vacuum_in_memory(options: dict[str, Any], merger: Merger) -> None:
    store = memory_store("memory://bucket/table")
    snapshot = create_in(store, store.uri, sample(20), **options)
    assert rows_of(merger.connection, snapshot) == after_merge(sample(20), None, [])
    upsert = pa.concat_tables([changed(sample(20), [3, 6], whole=-1), sample(2, start=70)])
    prepared = merger.prepare(snapshot, upsert=upsert, delete=[4])
    done = delta.verify(prepared, delta.commit(prepared, application_id="a", generation=1))
    expected = after_merge(sample(20), upsert, [4])
    assert rows_of(merger.connection, done) == expected
    assert done.find_transaction("a") is not None
    if options.get("partition_by"):
        return
    delta.compact(merger.connection, done, attempt_id="c", application_id="m")
    compacted = snapshot_in(store, store.uri)
    assert (compacted.version, len(compacted.files)) == (2, 1)
    assert rows_of(merger.connection, compacted) == expected
    kept = {file.path for file in compacted.files}
    delta.vacuum(compacted, retention_hours=0, now_ms=4_000_000_000_000)
    assert {item.path for item in store.walk() if item.path.endswith((".parquet", ".bin"))} == kept
    assert rows_of(merger.connection, snapshot_in(store, store.uri)) == expected


def test_the_same_bytes_are_a_table_to_everybody(tmp_path: Path, merger: Merger) -> None:
    root = tmp_path / "table"
    root.mkdir()
    store = memory_store(root.as_uri(), obstore.store.LocalStore(root))
    snapshot = create_in(store, store.uri, sample(20))
    prepared = merger.prepare(snapshot, upsert=changed(sample(20), [3], whole=-1), delete=[4])
    delta.verify(prepared, delta.commit(prepared, application_id="a", generation=1))
    assert_all_readers_agree(str(root), after_merge(sample(20), changed(sample(20), [3], whole=-1), [4]))


def test_put_if_absent_has_one_winner() -> None:
    store = memory_store("memory://bucket/table")
    store.put_new("a", b"1")
    with pytest.raises(ObjectExists):
        store.put_new("a", b"2")
    assert store.read("a") == b"1"
    with pytest.raises(FileNotFoundError):
        store.read("b")


class IgnoresTheCondition(ObjectStore):
    def put_new(self, path: str, data: bytes) -> None:
        obstore.put(self.client.raw, path, data)


def test_a_store_that_ignores_put_if_absent_is_refused_before_anything_is_written(merger: Merger) -> None:
    client = obstore.store.MemoryStore()
    good = memory_store("memory://good/table", client)
    create_in(good, good.uri, sample(5))
    bad = IgnoresTheCondition(ObjectClient(client, "memory://bad/table"))
    before = {item.path for item in bad.walk()}
    with pytest.raises(MergeFailed, match="put-if-absent is ignored"):
        merger.prepare(snapshot_in(bad, bad.uri), delete=[3])
    assert {item.path for item in bad.walk()} == before


def test_a_store_is_probed_once() -> None:
    store = memory_store("memory://bucket/table")
    probe(store)
    counted: list[str] = []
    store.put_new = lambda path, data: counted.append(path)  # type: ignore[method-assign]
    probe(store)
    assert counted == []


def test_many_may_probe_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    client = obstore.store.MemoryStore()

    class Crowded(ObjectStore):
        """Somebody else probes after each of our requests."""

        def put_new(self, path: str, data: bytes) -> None:
            super().put_new(path, data)
            monkeypatch.setattr(store_module, "_probed", set())
            probe(memory_store("memory://bucket/table", client))

    store = Crowded(ObjectClient(client, "memory://bucket/table"))
    monkeypatch.setattr(store_module, "_probed", set())
    assert store_module.create_twice(store) == (True, True)
    store.delete([store_module.PROBE])
    monkeypatch.setattr(store_module, "_probed", set())
    probe(store)
    assert list(store.walk()) == []


def test_the_checkpoint_hint_spares_the_listing_and_may_lie(merger: Merger) -> None:
    client = obstore.store.MemoryStore()
    store = memory_store("memory://bucket/table", client)
    create_in(store, store.uri, sample(5))
    store.write("_delta_log/_last_checkpoint", b'{"version": 9, "size": 1}')
    assert snapshot_in(store, store.uri).version == 0
    store.delete(["_delta_log/_last_checkpoint"])
    store.write("_delta_log/_last_checkpoint", b"not json")
    assert snapshot_in(store, store.uri).version == 0


def test_no_table_in_the_store() -> None:
    store = memory_store("memory://bucket/table")
    with pytest.raises(TableNotFound):
        snapshot_in(store, store.uri)


def test_options_as_delta_rs_names_them() -> None:
    settings = client_settings(
        {
            "AWS_ACCESS_KEY_ID": "key",
            "aws_region": "eu-1",
            "AWS_ENDPOINT_URL": "http://localhost:9000",
            "AWS_ALLOW_HTTP": "true",
            "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
            "timeout": "30s",
            "max_retries": "2",
            "retry_timeout": "1500 ms",
        },
        {"connect_timeout": "3s", "read_timeout": "4s"},
        timedelta(seconds=5),
    )
    assert settings["config"] == {
        "aws_access_key_id": "key",
        "aws_region": "eu-1",
        "aws_endpoint_url": "http://localhost:9000",
    }
    assert settings["client_options"] == {
        "connect_timeout": "3s",
        "read_timeout": "30s",
        "allow_http": True,
        "timeout": "30s",
    }
    assert (settings["retry_config"]["max_retries"], settings["retry_config"]["retry_timeout"]) == (
        2,
        timedelta(seconds=1.5),
    )
    opened = store_module.open_store(
        "s3://bucket/path/table",
        {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_ENDPOINT_URL": "http://localhost:1",
            "AWS_ALLOW_HTTP": "true",
        },
    )
    assert not opened.is_local
