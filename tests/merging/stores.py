"""Places where tables live, for tests that must find the same on each: a folder, a memory store, an S3 server."""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import obstore.store
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from merging.sql.types import delta_field
from merging.store.client import ObjectClient
from merging.store.stores import LocalStore, ObjectStore, TableStore, open_store


@dataclass(frozen=True)
class Place:
    """A table's address, with the options that open it."""

    uri: str
    options: Mapping[str, str] | None
    store: TableStore


def local_place(folder: Path) -> Place:
    root = folder / f"table-{uuid.uuid4().hex}"
    root.mkdir()
    return Place(str(root), None, LocalStore(root))


def memory_store(uri: str, client: Any = None) -> ObjectStore:
    """A store in memory, or another one on the same memory."""
    return ObjectStore(ObjectClient(client or obstore.store.MemoryStore(), uri))


def memory_place() -> Place:
    uri = f"memory://bucket/{uuid.uuid4().hex}"
    return Place(uri, None, memory_store(uri))


@contextmanager
def s3_server() -> Iterator[Mapping[str, str]]:
    """A server on the loopback address that speaks S3, with a bucket `tables`; the options that open it.

    There is one for each process of tests.
    """
    yield dict(running_moto())


def started_python(module: str, *arguments: str) -> int:
    """Start a server of ours in a process of its own, which ends with this one; the port that it says."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    atexit.register(process.communicate)
    assert process.stdout is not None
    return int(process.stdout.readline())


@functools.cache
def running_moto() -> Mapping[str, str]:
    """What opens tables in moto's bucket `tables`; there is one for each process of tests."""
    options = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{started_python('tests.stores.moto_process')}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    _make_bucket(options)
    return options


def _make_bucket(options: Mapping[str, str]) -> None:
    import urllib.request

    request = urllib.request.Request(f"{options['AWS_ENDPOINT_URL']}/tables", method="PUT")  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert answer.status == 200


def s3_place(options: Mapping[str, str]) -> Place:
    uri = f"s3://tables/{uuid.uuid4().hex}"
    return Place(uri, options, open_store(uri, options))


def put(place: Place, path: str, content: bytes) -> None:
    if isinstance(place.store, LocalStore):
        target = Path(place.uri) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    else:
        obstore.put(place.store.client.raw, path, content)  # type: ignore[attr-defined]


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def add_action(
    path: str, content: bytes, partition_values: Mapping[str, str | None] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "add": {
            "path": path,
            "partitionValues": dict(partition_values or {}),
            "size": len(content),
            "modificationTime": 1_700_000_000_000,
            "dataChange": True,
            **more,
        }
    }


def put_commit(place: Place, version: int, actions: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(action) + "\n" for action in actions)
    put(place, f"_delta_log/{version:020d}.json", text.encode())


def head_actions(
    fields: list[dict[str, Any]] | pa.Schema,
    *,
    properties: Mapping[str, str] | None = None,
    partition_by: list[str] | None = None,
    vectors: bool = False,
    mapping: bool = False,
) -> list[dict[str, Any]]:
    """protocol and metaData of a table with these fields (Delta's JSON, or a pyarrow schema)."""
    stated = [delta_field(field) for field in fields] if isinstance(fields, pa.Schema) else fields
    properties = dict(properties or {})
    features = (["columnMapping"] if mapping else []) + (["deletionVectors"] if vectors else [])
    if vectors:
        properties["delta.enableDeletionVectors"] = "true"
    if features:
        protocol: dict[str, Any] = {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": features,
            "writerFeatures": features,
        }
    else:
        protocol = {"minReaderVersion": 1, "minWriterVersion": 2}
    metadata = {
        "id": str(uuid.UUID(bytes=os.urandom(16))),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": stated}),
        "partitionColumns": partition_by or [],
        "configuration": properties,
        "createdTime": 1_700_000_000_000,
    }
    return [{"protocol": protocol}, {"metaData": metadata}]


def put_table(place: Place, files: list[pa.Table], *, vectors: bool = False, **options: Any) -> None:
    """A table of these files in one commit, written by pyarrow with the options, without statistics."""
    actions = head_actions(files[0].schema, vectors=vectors)
    for number, rows in enumerate(files):
        content = parquet(rows, **options)
        put(place, f"part-{number}.parquet", content)
        actions.append(add_action(f"part-{number}.parquet", content))
    put_commit(place, 0, actions)


def lose_added_files(monkeypatch: pytest.MonkeyPatch, kind: type[TableStore] = LocalStore) -> None:
    """From now on stores of a kind put commits without the last of their added files."""
    put_new = kind.put_new

    def put(self: TableStore, path: str, data: bytes) -> None:
        if not path.startswith("_delta_log/"):
            put_new(self, path, data)
            return
        lines = data.splitlines(keepends=True)
        lost = max(number for number, line in enumerate(lines) if line.startswith(b'{"add"'))
        put_new(self, path, b"".join(lines[:lost] + lines[lost + 1 :]))

    monkeypatch.setattr(kind, "put_new", put)
