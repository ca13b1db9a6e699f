"""New tables. Written here so that their protocol lists what they use and nothing more."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta.committing import ENGINE, log_lines, may_still_land, put_commit
from merging.delta.log import TableState, list_commits
from merging.delta.reach import open_table, options_of
from merging.delta.snapshot import Snapshot, snapshot_in, snapshot_of
from merging.delta.writing import PreparedCommit, prepare_first
from merging.errors import MergeFailed, UnsupportedTable, VersionMoved
from merging.scratch import scratch_folder
from merging.sql.types import delta_field, has_type
from merging.store.stores import TableStore, probe


def create_table(
    table_uri: str,
    data: Any,
    *,
    partition_by: Sequence[str] = (),
    deletion_vectors: bool = True,
    change_data_feed: bool = False,
    name: str = "",
    properties: Mapping[str, str] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Snapshot:
    """Create a table from a pyarrow Table or RecordBatchReader and return its first snapshot.

    With `deletion_vectors` merges are written merge-on-read. Timestamps are kept in microseconds.
    Raises MergeFailed when there is a table already, and when the store failed and the log does not show the table
    (CommitUnknown where it may be there yet); UnsupportedTable for column types Delta has not.
    """
    options = options_of(table_uri, storage_options)
    return create_in(
        open_table(table_uri, options),
        table_uri,
        data,
        partition_by=partition_by,
        deletion_vectors=deletion_vectors,
        change_data_feed=change_data_feed,
        name=name,
        properties=properties,
        storage_options=options,
    )


def create_in(
    store: TableStore,
    table_uri: str,
    data: Any,
    *,
    partition_by: Sequence[str] = (),
    deletion_vectors: bool = True,
    change_data_feed: bool = False,
    name: str = "",
    properties: Mapping[str, str] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Snapshot:
    """The same, in a store that is open already."""
    probe(store)
    if list_commits(store):
        raise _taken(table_uri)
    schema = pa.schema([_column(field) for field in data.schema])
    names = set(schema.names)
    unknown = [column for column in partition_by if column not in names]
    if unknown:
        raise UnsupportedTable(unknown, f"The table has no column {', '.join(unknown)} to partition by.")
    configuration = dict(properties or {})
    if deletion_vectors:
        configuration["delta.enableDeletionVectors"] = "true"
    if change_data_feed:
        configuration["delta.enableChangeDataFeed"] = "true"
    now = int(time.time() * 1000)
    metadata = {
        "id": str(uuid.uuid4()),
        "name": name or None,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps(
            {"type": "struct", "fields": [delta_field(field) for field in schema]}, ensure_ascii=False
        ),
        "partitionColumns": list(partition_by),
        "configuration": configuration,
        "createdTime": now,
    }
    protocol = _protocol(schema, deletion_vectors, change_data_feed)
    empty = snapshot_of(
        store, table_uri, TableState(version=-1, protocol=protocol, metadata=metadata), storage_options
    )
    with (
        scratch_folder("create") as spill,  # DuckDB's own choice is a folder in the working directory
        duckdb.connect(":memory:", config={"threads": 2, "temp_directory": str(spill)}) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("headgate_data", data)
        prepared = prepare_first(connection, empty, "headgate_data", attempt_id=uuid.uuid4().hex)
    info = {
        "timestamp": now,
        "operation": "CREATE TABLE AS SELECT",
        "operationParameters": {"partitionBy": json.dumps(list(partition_by))},
        "operationMetrics": {
            "numFiles": str(len(prepared.paths)),
            "numOutputRows": str(prepared.rows_added),
            "numOutputBytes": str(prepared.bytes_written),
        },
        "isBlindAppend": True,
        "engineInfo": ENGINE,
        "txnId": prepared.commit_token,
    }
    _put_first(
        store,
        prepared,
        [{"commitInfo": info}, {"protocol": protocol}, {"metaData": metadata}, *prepared.actions],
    )
    return snapshot_in(store, table_uri, 0, storage_options)


def _put_first(store: TableStore, prepared: PreparedCommit, actions: Sequence[Mapping[str, Any]]) -> None:
    """Commit version 0. Its files go only where they are nobody's for certain: not while the put may land."""
    try:
        put_commit(store, 0, log_lines(actions), prepared.commit_token)
    except VersionMoved as error:
        store.delete(prepared.paths)
        raise _taken(store.uri) from error
    except MergeFailed as error:
        if not may_still_land(error):
            store.delete(prepared.paths)
        raise


def _taken(table_uri: str) -> MergeFailed:
    return MergeFailed(f"There is a Delta table at {table_uri} already.", data={"table_uri": table_uri})


def _column(field: pa.Field) -> pa.Field:
    data_type = field.type
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    if pa.types.is_timestamp(data_type):
        data_type = pa.timestamp("us", tz="UTC" if data_type.tz else None)
    elif pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type):
        data_type = pa.string()
    elif pa.types.is_large_binary(data_type) or pa.types.is_binary_view(data_type):
        data_type = pa.binary()
    return pa.field(field.name, data_type, nullable=field.nullable)


def _protocol(schema: pa.Schema, deletion_vectors: bool, change_data_feed: bool) -> dict[str, Any]:
    readers = []
    if deletion_vectors:
        readers.append("deletionVectors")
    if has_type(schema, pa.timestamp("us")):
        readers.append("timestampNtz")
    if not readers:
        return {"minReaderVersion": 1, "minWriterVersion": 4 if change_data_feed else 2}
    writers = ["appendOnly", *(["changeDataFeed"] if change_data_feed else []), *readers, "invariants"]
    return {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": readers,
        "writerFeatures": sorted(writers),
    }
