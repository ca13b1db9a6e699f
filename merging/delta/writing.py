"""Writing what a merge changed: vectors for rows that go, one new file per partition for rows that come.

Nothing here is visible to readers: files get fresh names that carry the attempt, and only `committing` names
them in the log.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyroaring

from merging.delta.actions import DataFile
from merging.delta.content_checks import Rewritten, require_same_content, require_same_rows
from merging.delta.features import upgraded_protocol
from merging.delta.fields import TableField, table_fields
from merging.delta.mapping import changed_metadata, field_ids_sql, stored_sql
from merging.delta.naming import folded, spelled
from merging.delta.reading import fetch, register_positions, scan_sql
from merging.delta.schema import delta_schema
from merging.delta.snapshot import Snapshot, Strategy
from merging.delta.statistics import loose_stats, written_stats
from merging.delta.vectors import VectorFile, read_vector
from merging.errors import MergeFailed, UnsupportedTable
from merging.sql.quoting import column_label, column_sql, literal, quote
from merging.sql.types import delta_field, duckdb_type, has_type
from merging.store.stores import TableStore, probe

_INDEXED_COLUMNS = 32
_LEAST_ROWS_PER_FILE = 10_000
_REWRITERS = 2
_ROWS_PER_GROUP = 122_880
_ROWS_PER_GROUP_REWRITTEN = 24_576  # two files are in hand at a time
_PLAIN_IN_PATHS = "/=-_.~:@!$&'()*+,;"
_LONGEST_FOLDER = 255  # bytes, of every common file system


Step = Callable[[str], None]


def no_step(_: str) -> None:
    """For callers who need not be told of the steps."""


@dataclass(frozen=True)
class RowChanges:
    """What a merge changes, as names of relations on the connection (not quoted again).

    `removed`(file_index, row_number): rows of the snapshot that go, updated ones included.
    `added`: full new rows with the table's (new) columns by label; updated and inserted rows alike.
    The other four hold the same columns and are needed where the table has a change data feed: `inserted`,
    `updated_before`, `updated_after`, `deleted`. `key_columns` likewise.
    """

    removed: str | None
    added: str | None
    inserted: str | None = None
    updated_before: str | None = None
    updated_after: str | None = None
    deleted: str | None = None
    key_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreparedCommit:
    """Files written and the actions that will name them; `commit` puts them in the log, `discard` deletes them.

    `rows_removed` and `rows_added` are physical counts (an update counts in both). `rows_miscounted` is what the
    log's counts of touched files lacked: their footers decide, and what is written states the true count.
    """

    snapshot: Snapshot
    strategy: Strategy
    attempt_id: str
    actions: tuple[dict[str, Any], ...]
    paths: tuple[str, ...]
    bytes_written: int
    rows_removed: int
    rows_added: int
    metrics: Mapping[str, int]
    rows_miscounted: int = 0
    commit_token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def row_count_after(self) -> int:
        """The table's row count once this is committed."""
        return self.snapshot.row_count + self.rows_miscounted - self.rows_removed + self.rows_added


def vector_prefix(attempt_id: str) -> str:
    """How the UUIDs of an attempt's vector files begin, dashes included."""
    return str(uuid.UUID(bytes=hashlib.sha256(attempt_id.encode()).digest()[:12] + bytes(4)))[:28]


def vector_identity(attempt_id: str) -> uuid.UUID:
    """A fresh UUID for a file of vectors, whose first twelve bytes tell the attempt.

    The format lets such a file be named by its UUID alone, so its attempt must be found in that.
    """
    return uuid.UUID(bytes=hashlib.sha256(attempt_id.encode()).digest()[:12] + os.urandom(4))


class _Work:
    """Collects actions, files and figures while a commit is prepared."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        attempt_id: str,
        schema: pa.Schema,
        *,
        data_change: bool = True,
    ) -> None:
        self.data_change = data_change
        self.connection = connection
        self.snapshot = snapshot
        self.attempt_id = attempt_id
        self.schema = schema
        self.fields = {one.name: one for one in snapshot.fields}
        self.now = int(time.time() * 1000)
        self.actions: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.bytes_written = 0
        self.rows_removed = 0
        self.rows_added = 0
        self.rows_miscounted = 0
        self.metrics: dict[str, int] = {}

    def physical_records(self, file: DataFile) -> int:
        """Rows stored in a file that this commit touches, by its footer: were the log's count believed and too small,
        live rows would go with a file that seemed to have none left."""
        stored = self.snapshot.stored_records(file)
        self.rows_miscounted += stored - self.snapshot.physical_records(file)
        return stored

    def live_records(self, file: DataFile) -> int:
        """Those of them that readers see."""
        return self.physical_records(file) - (file.vector.cardinality if file.vector else 0)

    def change_schema(self, new_schema: pa.Schema) -> None:
        """Give the table `new_schema` in this commit; files written from now on hold its columns."""
        actions = schema_actions(self.snapshot, new_schema)
        self.actions += actions
        [metadata] = [action["metaData"] for action in actions if "metaData" in action]
        fields = table_fields(metadata["schemaString"], new_schema, self.snapshot.mapping_mode)
        self.fields = {one.name: one for one in fields}

    def stored(self, columns: Sequence[str]) -> list[TableField]:
        """The columns as files hold them."""
        return [self.fields[name] for name in columns]

    def count(self, name: str, amount: int) -> None:
        self.metrics[name] = self.metrics.get(name, 0) + amount

    def fresh_name(self, prefix: str = "part") -> str:
        return f"{prefix}-{self.attempt_id}-{uuid.uuid4()}.parquet"

    def remove(self, file: DataFile) -> None:
        action: dict[str, Any] = {
            "path": file.logged_path,
            "deletionTimestamp": self.now,
            "dataChange": self.data_change,
            "extendedFileMetadata": True,
            "partitionValues": dict(file.partition_values),
            "size": file.size,
        }
        if file.vector is not None:
            action["deletionVector"] = file.vector.to_log()
        self.actions.append({"remove": action})

    def add(self, path: str, partition_values: Mapping[str, str | None], size: int, stats: str) -> None:
        self.actions.append(
            {
                "add": {
                    "path": log_path(path),
                    "partitionValues": dict(partition_values),
                    "size": size,
                    "modificationTime": self.now,
                    "dataChange": self.data_change,
                    "stats": stats,
                }
            }
        )

    def prepared(self, strategy: Strategy) -> PreparedCommit:
        return PreparedCommit(
            snapshot=self.snapshot,
            strategy=strategy,
            attempt_id=self.attempt_id,
            actions=tuple(self.actions),
            paths=tuple(self.paths),
            bytes_written=self.bytes_written,
            rows_removed=self.rows_removed,
            rows_added=self.rows_added,
            metrics=self.metrics,
            rows_miscounted=self.rows_miscounted,
        )


def prepare(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    changes: RowChanges,
    *,
    attempt_id: str,
    new_schema: pa.Schema | None = None,
    step: Step = no_step,
) -> PreparedCommit:
    """Write the files of one commit on top of `snapshot`; nothing is visible before `commit`.

    `new_schema`: the table's columns after the merge, when columns are added or widened. `step` is told
    "files-written" and "files-synced".
    On any error the files already written are deleted. Raises UnsupportedTable (also for updates of an
    append-only table) and MergeFailed.
    """
    strategy = snapshot.strategy()
    if snapshot.append_only and changes.removed and _count(connection, changes.removed):
        raise UnsupportedTable(
            ["appendOnly"],
            "The table is append-only (delta.appendOnly): rows can be added, not changed or deleted.",
        )
    work = _Work(connection, snapshot, attempt_id, new_schema or snapshot.schema)
    probe(snapshot.store)
    try:
        if new_schema is not None and not new_schema.equals(snapshot.schema):
            work.change_schema(new_schema)
        if changes.removed:
            by_file = _removed_by_file(work, changes.removed)
            marked = {
                index for index in by_file if strategy == "merge-on-read" and _markable(snapshot.files[index])
            }
            _mark_removed(work, {index: by_file[index] for index in marked})
            _rewrite_without(work, {index: by_file[index] for index in by_file if index not in marked})
        if changes.added:
            _write_added(work, changes.added)
        if snapshot.change_data_feed:
            _write_change_feed(work, changes)
        step("files-written")
        snapshot.store.sync(work.paths)
        step("files-synced")
    except BaseException:
        snapshot.store.delete(work.paths)
        raise
    return work.prepared(strategy)


def prepare_rewrite(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    groups: Sequence[Sequence[int]],
    leading: Sequence[dict[str, Any]],
    *,
    attempt_id: str,
) -> PreparedCommit:
    """Write the live rows of each group of files (one partition each) to new files; no row changes.

    `leading` are metaData and protocol actions of the same commit. Raises UnsupportedTable, MergeFailed.
    """
    strategy = snapshot.strategy()
    probe(snapshot.store)
    work = _Work(connection, snapshot, attempt_id, snapshot.schema, data_change=False)
    work.actions += leading
    try:
        for group in groups:
            _rewrite_group(work, group)
        snapshot.store.sync(work.paths)
    except BaseException:
        snapshot.store.delete(work.paths)
        raise
    return work.prepared(strategy)


def prepare_first(
    connection: duckdb.DuckDBPyConnection, empty: Snapshot, relation: str, *, attempt_id: str
) -> PreparedCommit:
    """Write the data files of a table that is being created; `empty` is its snapshot before version 0."""
    work = _Work(connection, empty, attempt_id, empty.schema)
    try:
        # A reader can be read once only, and partitions and sizes are looked at before rows are written.
        labelled = ", ".join(f"{quote(name)} AS {column_sql(name)}" for name in empty.schema.names)
        connection.execute(f"CREATE TEMP TABLE headgate_first AS SELECT {labelled} FROM {relation}")
        _write_added(work, "headgate_first")
        empty.store.sync(work.paths)
    except BaseException:
        empty.store.delete(work.paths)
        raise
    return work.prepared("copy-on-write")


def _rewrite_group(work: _Work, group: Sequence[int]) -> None:
    snapshot = work.snapshot
    files = [snapshot.files[index] for index in group]
    columns = [name for name in snapshot.schema.names if name not in snapshot.partition_columns]
    live = sum(work.live_records(file) for file in files)
    bytes_live = sum(
        file.size * snapshot.live_records(file) / max(1, snapshot.physical_records(file)) for file in files
    )
    batches = max(1, math.ceil(bytes_live / target_file_size(snapshot)))
    share = max(1, math.ceil(live / batches))
    folder = _folder_of(snapshot, files[0])
    written = 0
    # Whole files stay together: only rows of one batch of files are read at a time, and order is kept.
    for batch in _batches(snapshot, group, share):
        source = scan_sql(work.connection, snapshot, columns, files=batch)
        path = folder + work.fresh_name()
        rows, size, returned = _copy(work, source, work.stored(columns), path)
        written += rows
        if rows:
            require_same_rows(work.connection, snapshot, source, path, columns)
            stats = _stats(snapshot, work.stored(columns), returned, rows)
            work.add(path, files[0].partition_values, size, stats)
    if written != live:
        raise MergeFailed(
            f"Rewriting {len(files)} files gave {written} rows where {live} are live.",
            data={"table_uri": snapshot.uri},
        )
    for file in files:
        work.remove(file)
    work.rows_added += written
    work.rows_removed += live


def _batches(snapshot: Snapshot, group: Sequence[int], share: int) -> Iterator[list[int]]:
    batch: list[int] = []
    rows = 0
    for index in group:
        batch.append(index)
        rows += snapshot.live_records(snapshot.files[index])
        if rows >= share:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    [(count,)] = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    return int(count)


def _removed_by_file(work: _Work, removed: str) -> dict[int, np.ndarray]:
    found = work.connection.execute(
        f"SELECT file_index::BIGINT AS file_index, row_number::BIGINT AS row_number FROM {removed} "
        "ORDER BY file_index, row_number"
    ).fetchnumpy()
    indexes, numbers = found["file_index"], found["row_number"]
    if not len(indexes):
        return {}
    starts = np.flatnonzero(np.r_[True, indexes[1:] != indexes[:-1]])
    ends = np.r_[starts[1:], len(indexes)]
    return {int(indexes[start]): numbers[start:end] for start, end in zip(starts, ends, strict=True)}


def _markable(file: DataFile) -> bool:
    """Whether everybody reads a vector of this file right.

    Polars (2.1 at least) looks vectors up by a path that is encoded once too often, and silently shows the
    dead rows of files whose path needs encoding: such files, in partitions of odd values, are rewritten.
    """
    return urllib.parse.quote(file.path, safe=_PLAIN_IN_PATHS) == file.path


def _mark_removed(work: _Work, removed: Mapping[int, np.ndarray]) -> None:
    vectors = VectorFile(vector_identity(work.attempt_id))
    store = work.snapshot.store
    additions: list[dict[str, Any]] = []
    for index, numbers in removed.items():
        file = work.snapshot.files[index]
        bitmap = pyroaring.BitMap64(numbers.astype(np.uint64))
        before = 0
        if file.vector is not None:
            present = read_vector(store, file.vector)
            before = len(present)
            bitmap |= present
        physical = work.physical_records(file)
        within = int(np.count_nonzero(numbers < physical))
        _require_distinct(work.snapshot, file, min(len(bitmap) - before, within), len(numbers))
        work.rows_removed += len(numbers)
        work.remove(file)
        if len(bitmap) == physical:
            work.count("numTargetFilesRemoved", 1)
            if file.vector is not None:
                work.count("numTargetDeletionVectorsRemoved", 1)
            continue
        descriptor = vectors.append(bitmap)
        work.count("numTargetDeletionVectorsUpdated" if file.vector else "numTargetDeletionVectorsAdded", 1)
        add: dict[str, Any] = {
            "path": file.logged_path,
            "partitionValues": dict(file.partition_values),
            "size": file.size,
            "modificationTime": file.modification_time,
            "dataChange": work.data_change,
            "stats": loose_stats(file, physical),
            "deletionVector": descriptor.to_log(),
            **file.extra,
        }
        additions.append({"add": add})
    if vectors:
        path = vectors.path
        work.paths.append(path)
        store.write(path, vectors.content)
        work.bytes_written += len(vectors.content)
    work.actions += additions


def _require_distinct(snapshot: Snapshot, file: DataFile, grown: int, named: int) -> None:
    if grown != named:
        raise MergeFailed(
            f"{named} rows of {file.path} were to be removed but only {grown} of them are live.",
            data={"table_uri": snapshot.uri, "path": file.path},
        )


def _rewrite_without(work: _Work, removed: Mapping[int, np.ndarray]) -> None:
    """Copy-on-write: each touched file again without the rows that go (and without those gone already)."""
    snapshot = work.snapshot
    columns = [name for name in snapshot.schema.names if name not in snapshot.partition_columns]
    rewrites = []
    for index, numbers in removed.items():
        file = snapshot.files[index]
        live = work.live_records(file)
        _require_distinct(snapshot, file, len(np.unique(numbers)), len(numbers))
        work.rows_removed += len(numbers)
        work.remove(file)
        work.count("numTargetFilesRemoved", 1)
        if len(numbers) < live:
            path = _folder_of(snapshot, file) + work.fresh_name()
            rewrites.append(_Rewrite(index, numbers, path, live - len(numbers)))
            work.paths.append(path)
    with ThreadPoolExecutor(max_workers=_REWRITERS) as pool:
        # One connection a file: encoding is what takes the time, and one file's is not shared between threads.
        tasks = [
            pool.submit(_rewrite_file, work.connection.cursor(), snapshot, rewrite, work.stored(columns))
            for rewrite in rewrites
        ]
        for rewrite, task in zip(rewrites, tasks, strict=True):
            rows, size, returned = task.result()
            file = snapshot.files[rewrite.index]
            _require_distinct(
                snapshot, file, rewrite.rows_kept - rows + len(rewrite.removed), len(rewrite.removed)
            )
            work.bytes_written += size
            work.count("numTargetRowsCopied", rows)
            work.count("numTargetFilesAdded", 1)
            stats = _stats(snapshot, work.stored(columns), returned, rows)
            work.add(rewrite.path, file.partition_values, size, stats)
    require_same_content(
        work.connection,
        snapshot,
        [Rewritten(one.index, one.removed, one.path) for one in rewrites],
        columns,
    )


@dataclass(frozen=True)
class _Rewrite:
    """A file to write again: its index, the rows that go, where to, and how many rows must remain."""

    index: int
    removed: np.ndarray
    path: str
    rows_kept: int


def _rewrite_file(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, rewrite: _Rewrite, fields: Sequence[TableField]
) -> tuple[int, int, Mapping[str, Mapping[str, str]]]:
    with cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        positions = register_positions(cursor, np.full(len(rewrite.removed), rewrite.index), rewrite.removed)
        names = [one.name for one in fields]
        source = scan_sql(cursor, snapshot, names, files=[rewrite.index], with_positions=True)
        kept = f"SELECT s.* FROM ({source}) s ANTI JOIN {positions} r ON s.row_number = r.row_number"
        return copy_to(
            cursor,
            snapshot.store,
            kept,
            fields,
            rewrite.path,
            rows_per_group=_ROWS_PER_GROUP_REWRITTEN,
        )


def _write_change_feed(work: _Work, changes: RowChanges) -> None:
    """The change data feed of the commit (PROTOCOL.md, "Add CDC File"): inserts too, since readers that find a
    feed in a commit look at nothing else."""
    classified = classify(work.connection, work.snapshot, work.schema, changes)
    kinds = (
        ("insert", classified.inserted),
        ("update_preimage", classified.updated_before),
        ("update_postimage", classified.updated_after),
        ("delete", classified.deleted),
    )
    feed = " UNION ALL ".join(
        f"SELECT {cast_columns(work.connection, work.schema, relation)}, {literal(kind)} AS change_type "
        f"FROM {relation}"
        for kind, relation in kinds
        if relation is not None
    )
    if not feed:
        return
    relation = f"headgate_feed_{work.attempt_id}"
    work.connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(relation)} AS {feed}")
    columns = [name for name in work.schema.names if name not in work.snapshot.partition_columns]
    for values, where, folder in _partitions(work, quote(relation)):
        path = f"_change_data/{folder}{work.fresh_name('cdc')}"
        rows = f"FROM {quote(relation)} {where}"
        _, size, _ = _copy(work, rows, work.stored(columns), path, "change_type AS _change_type")
        work.actions.append(
            {
                "cdc": {
                    "path": log_path(path),
                    "partitionValues": dict(values),
                    "size": size,
                    "dataChange": False,
                }
            }
        )
        work.count("numTargetChangeFilesAdded", 1)
    work.connection.execute(f"DROP TABLE {quote(relation)}")


def _write_added(work: _Work, relation: str) -> None:
    columns = [name for name in work.schema.names if name not in work.snapshot.partition_columns]
    casts = cast_columns(work.connection, work.schema, relation, columns)
    for values, where, folder in _partitions(work, relation):
        source, parts = _parts(work, relation, where)
        for part in parts:
            path = folder + work.fresh_name()
            chosen = f"SELECT {casts} FROM {source} {part}"
            rows, size, returned = _copy(work, chosen, work.stored(columns), path)
            work.rows_added += rows
            work.count("numTargetFilesAdded", 1)
            stats = _stats(work.snapshot, work.stored(columns), returned, rows)
            work.add(path, values, size, stats)


def _parts(work: _Work, relation: str, where: str) -> tuple[str, list[str]]:
    """A source, and WHERE clauses on it that cut the rows into files of about the table's target size.

    The size of a row is taken from the table's own files.
    """
    snapshot = work.snapshot
    total = _count(work.connection, f"{relation} {where}")
    physical = sum(snapshot.physical_records(file) for file in snapshot.files)
    bytes_per_row = max(1.0, snapshot.size_bytes / physical) if physical else 100.0
    rows_per_file = max(_LEAST_ROWS_PER_FILE, int(target_file_size(snapshot) / bytes_per_row))
    if total <= rows_per_file:
        return relation, [where] if total else []
    # Cut by number from a table: a relation may give its rows in another order each time it is asked.
    work.connection.execute(
        "CREATE OR REPLACE TEMP TABLE headgate_numbered AS "
        f"SELECT *, row_number() OVER () - 1 AS nth FROM {relation} {where}"
    )
    count = -(-total // rows_per_file)
    share = -(-total // count)
    return "headgate_numbered", [
        f"WHERE nth >= {start} AND nth < {start + share}" for start in range(0, total, share)
    ]


def target_file_size(snapshot: Snapshot) -> int:
    """Bytes of a data file that the table wants (`delta.targetFileSize`), 128 MB where it says nothing."""
    stated = re.fullmatch(
        r"\s*(\d+)\s*([kmg]?)b?\s*", snapshot.properties.get("delta.targetFileSize", "").lower()
    )
    if not stated:
        return 128 * 1024 * 1024
    return int(stated[1]) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[stated[2]]


def indexed_columns(snapshot: Snapshot, columns: Sequence[str]) -> list[str]:
    """The columns whose statistics are written: the first 32, or as `delta.dataSkippingNumIndexedCols` says."""
    stated = snapshot.properties.get("delta.dataSkippingNumIndexedCols", "")
    limit = int(stated) if re.fullmatch(r"-?\d+", stated) else _INDEXED_COLUMNS
    return list(columns) if limit < 0 else list(columns[:limit])


def cast_columns(
    connection: duckdb.DuckDBPyConnection,
    schema: pa.Schema,
    relation: str,
    columns: Sequence[str] | None = None,
) -> str:
    """A select list that gives `columns` their exact types; one that the relation lacks is NULL."""
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    return ", ".join(
        f"CAST({column_sql(name) if column_label(name) in present else 'NULL'} AS "
        f"{duckdb_type(schema.field(name).type)}) AS {column_sql(name)}"
        for name in (schema.names if columns is None else columns)
    )


def classify(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, schema: pa.Schema, changes: RowChanges
) -> RowChanges:
    """The same changes with all four kinds of rows told apart, by key where the caller did not do it."""
    stated = (changes.inserted, changes.updated_before, changes.updated_after, changes.deleted)
    if any(relation is not None for relation in stated) or not (changes.removed or changes.added):
        return changes
    if not changes.key_columns:
        raise ValueError("RowChanges needs key_columns, or its four kinds of rows, for this table")
    keys = " AND ".join(f"a.{column_sql(name)} = b.{column_sql(name)}" for name in changes.key_columns)
    names: dict[str, str] = {}
    if changes.removed:
        fetch(connection, snapshot, changes.removed, snapshot.schema.names, "headgate_removed_images")
    for kind, source, other, join in (
        ("inserted", changes.added, "headgate_removed_images" if changes.removed else None, "ANTI"),
        ("updated_after", changes.added, "headgate_removed_images" if changes.removed else None, "SEMI"),
        ("updated_before", "headgate_removed_images" if changes.removed else None, changes.added, "SEMI"),
        ("deleted", "headgate_removed_images" if changes.removed else None, changes.added, "ANTI"),
    ):
        if source is None or (other is None and join == "SEMI"):
            continue
        names[kind] = f"headgate_{kind}"
        joined = f"{join} JOIN {other} b ON {keys}" if other else ""
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE headgate_{kind} AS SELECT a.* FROM {source} a {joined}"
        )
    return dataclasses.replace(
        changes,
        inserted=names.get("inserted"),
        updated_before=names.get("updated_before"),
        updated_after=names.get("updated_after"),
        deleted=names.get("deleted"),
    )


def _partitions(work: _Work, relation: str) -> Iterator[tuple[dict[str, str | None], str, str]]:
    """For every partition of a relation: its values by stored name, a WHERE clause, its folder."""
    partitions = work.snapshot.partition_columns
    if not partitions:
        if _count(work.connection, relation):
            yield {}, "", ""
        return
    spelled = ", ".join(f"{_partition_text(work.schema, name)} AS {column_sql(name)}" for name in partitions)
    found = work.connection.execute(f"SELECT DISTINCT {spelled} FROM {relation} ORDER BY ALL").fetchall()
    for values in found:
        named = dict(zip(partitions, values, strict=True))
        for name, value in named.items():
            if value == "":
                raise MergeFailed(
                    f"Column {name} partitions the table, and Delta stores an empty text there as NULL.",
                    data={"column": name},
                )
        where = " AND ".join(
            f"{_partition_text(work.schema, name)} IS NOT DISTINCT FROM "
            + ("NULL" if value is None else literal(value))
            for name, value in named.items()
        )
        physical = {work.snapshot.physical_names[name]: value for name, value in named.items()}
        yield physical, f"WHERE {where}", partition_folder(physical)


def _partition_text(schema: pa.Schema, name: str) -> str:
    """A partition value as the log spells it (PROTOCOL.md, "Partition Value Serialization")."""
    data_type = schema.field(name).type
    if pa.types.is_timestamp(data_type) and data_type.tz:
        # With its zone, as Spark writes it from 4 on: without one it is whatever the reader's session makes of it.
        return f"strftime({column_sql(name)} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if pa.types.is_timestamp(data_type):
        return f"strftime({column_sql(name)}, '%Y-%m-%d %H:%M:%S.%f')"
    if pa.types.is_floating(data_type):
        value = f"CAST({column_sql(name)} AS {duckdb_type(data_type)})"
        spelled = f"CAST({value} AS VARCHAR)"
        # Java reads no other spelling of these.
        infinite = f"if({value} > 0, 'Infinity', '-Infinity')"
        return f"CASE WHEN isinf({value}) THEN {infinite} WHEN isnan({value}) THEN 'NaN' ELSE {spelled} END"
    return f"CAST(CAST({column_sql(name)} AS {duckdb_type(data_type)}) AS VARCHAR)"


def partition_folder(values: Mapping[str, str | None]) -> str:
    """The folder of a partition, ending in a slash, encoded as delta-rs does.

    By the protocol readers take the values from the log; Polars takes them from the folder, so it is exact.
    A value too long for a folder's name has a folder that claims nothing.
    """
    parts = []
    for name, value in values.items():
        text = "__HIVE_DEFAULT_PARTITION__" if value is None else urllib.parse.quote(value, safe="")
        part = f"{name.replace('/', '%2F')}={text}"
        if len(part.encode()) > _LONGEST_FOLDER:
            part = f"partition-{hashlib.sha256(part.encode()).hexdigest()[:32]}"
        parts.append(part)
    return "".join(f"{part}/" for part in parts)


def _folder_of(snapshot: Snapshot, file: DataFile) -> str:
    """Where a file that takes the place of another belongs: beside it, or in its partition's folder where the other
    is not in the table's own place at all (the table is a shallow clone)."""
    path = snapshot.store.relative(file.path)
    if os.path.isabs(path) or "://" in path:
        stored = [snapshot.physical_names[name] for name in snapshot.partition_columns]
        return partition_folder({name: file.partition_values.get(name) for name in stored})
    return "/".join([*path.split("/")[:-1], ""])


def _copy(
    work: _Work, rows: str, fields: Sequence[TableField], path: str, *further: str
) -> tuple[int, int, Mapping[str, Mapping[str, str]]]:
    """Write the rows of a query to a new Parquet file; their number, bytes and DuckDB's column statistics."""
    work.paths.append(path)
    written, size, returned = copy_to(
        work.connection, work.snapshot.store, rows, fields, path, further=further
    )
    work.bytes_written += size
    return written, size, returned


def copy_to(
    connection: duckdb.DuckDBPyConnection,
    store: TableStore,
    rows: str,
    fields: Sequence[TableField],
    path: str,
    *,
    further: Sequence[str] = (),
    rows_per_group: int = _ROWS_PER_GROUP,
) -> tuple[int, int, Mapping[str, Mapping[str, str]]]:
    """The same, for any connection and store; memory grows with the rows of a row group.

    `fields` are the columns, as files hold them; `further` are columns of the query that are none of the table's.
    """
    target = store.local_target(path)
    [(_, written, size, _, returned, *_)] = connection.execute(
        f"COPY ({stored_sql(rows, fields, *further)}) TO {literal(str(target))} (FORMAT parquet, "
        f"COMPRESSION snappy, ROW_GROUP_SIZE {rows_per_group}, RETURN_STATS{field_ids_sql(fields)})"
    ).fetchall()
    store.publish(path, target)
    return int(written), int(size), returned or {}


def _stats(
    snapshot: Snapshot, fields: Sequence[TableField], returned: Mapping[str, Mapping[str, str]], rows: int
) -> str:
    """Statistics of a file that was written, under the names that stand in it."""
    stored = pa.schema([(one.stored_name, one.type) for one in fields])
    return written_stats(stored, indexed_columns(snapshot, stored.names), returned, rows)


def schema_actions(snapshot: Snapshot, new_schema: pa.Schema) -> list[dict[str, Any]]:
    """metaData (and protocol where a type asks for it) that give the table `new_schema`."""
    metadata = changed_metadata(snapshot, new_schema)
    _read_back(metadata["schemaString"], snapshot, new_schema)
    actions: list[dict[str, Any]] = [{"metaData": metadata}]
    if has_type(new_schema, pa.timestamp("us")):
        protocol = upgraded_protocol(snapshot.protocol, {"timestampNtz"}, {"timestampNtz"})
        if "timestampNtz" not in (snapshot.protocol.get("readerFeatures") or ()):
            actions.insert(0, {"protocol": protocol})
    return actions


def _read_back(written: str, snapshot: Snapshot, planned: pa.Schema) -> None:
    """Raise MergeFailed unless a schema that is about to be committed reads as the planned one, by names all can tell
    apart: afterwards nobody could read the table to mend it."""
    before = {field.name: field for field in snapshot.schema}
    expected = [
        delta_field(field.with_nullable(before[field.name].nullable if field.name in before else True))
        for field in planned
    ]
    read = delta_schema(written)
    names = Counter(folded(name) for name in read.names)
    unclear = [name for name in read.names if name not in before and names[folded(name)] > 1]
    if unclear or [delta_field(field) for field in read] != expected:
        raise MergeFailed(
            "The schema that the merge would write is not the one that was planned; nothing was committed.",
            data={"columns": [spelled(name) for name in unclear]},
        )


def log_path(path: str) -> str:
    """A path as the log spells it: URL-encoded (PROTOCOL.md, "Add File and Remove File")."""
    return urllib.parse.quote(path, safe="/=-_.")
