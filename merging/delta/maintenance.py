"""Looking after a table: compaction, vacuum, checkpoints, orphans, vectors switched on and off.

Compaction is written here and not through delta-rs, whose optimize doubles a table when two run at once: ours
is one strict put-if-absent like every merge, so it either sits on exactly the version it read or fails with
VersionMoved. It is still meant to run under the same lease as merges, so as not to make them start again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import deltalake
import duckdb
from deltalake.exceptions import DeltaError

from merging.delta.committing import Commit, commit, discard, verify
from merging.delta.features import upgraded_protocol
from merging.delta.log import list_commits, load_tombstones, read_commit
from merging.delta.snapshot import Snapshot, open_snapshot
from merging.delta.store import LOG_FOLDER, TableStore
from merging.delta.writing import prepare_rewrite, target_file_size, vector_prefix
from merging.errors import MergeFailed, UnsupportedTable

HOUR_MS = 3_600_000
DEFAULT_RETENTION_HOURS = 168
DEFAULT_CHECKPOINT_INTERVAL = 10
_LOG_TEMPORARY_AGE_MS = HOUR_MS


@dataclass(frozen=True)
class Compaction:
    """What a compaction did; `commit` is None when there was nothing to do."""

    commit: Commit | None
    files_removed: int
    files_added: int
    vectors_folded: int
    bytes_written: int


def compact(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    *,
    attempt_id: str,
    application_id: str,
    generation: int = 1,
    small_file_share: float = 0.5,
    dead_share: float = 0.0,
    user: str = "",
) -> Compaction:
    """Rewrite small files together and fold vectors away; the rows stay the same.

    A file counts as small below `small_file_share` of the target size, and is rewritten when its partition
    has another such; a file with a vector is rewritten when more than `dead_share` of its rows are dead.
    Raises VersionMoved when somebody committed meanwhile (nothing is changed then), UnsupportedTable for
    features that only delta-rs can write.
    """
    groups = _groups(snapshot, small_file_share, dead_share)
    chosen = [index for group in groups for index in group]
    if not chosen:
        return Compaction(None, 0, 0, 0, 0)
    folded = sum(1 for index in chosen if snapshot.files[index].vector)
    metrics = {"numRemovedFiles": len(chosen), "numDeletionVectorsRemoved": folded}
    committed, added, written = _rewrite(
        connection, snapshot, groups, [], attempt_id, application_id, generation, "OPTIMIZE", user, metrics
    )
    return Compaction(committed, len(chosen), added, folded, written)


def _rewrite(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    groups: Sequence[Sequence[int]],
    leading: Sequence[dict[str, Any]],
    attempt_id: str,
    application_id: str,
    generation: int,
    operation: str,
    user: str,
    metrics: Mapping[str, int],
) -> tuple[Commit, int, int]:
    prepared = prepare_rewrite(connection, snapshot, groups, leading, attempt_id=attempt_id)
    added = sum(1 for action in prepared.actions if "add" in action)
    info: dict[str, Any] = {"operation": operation, "operationMetrics": {**metrics, "numAddedFiles": added}}
    if user:
        info["userName"] = user
    try:
        committed = commit(prepared, application_id=application_id, generation=generation, commit_info=info)
    except BaseException:
        discard(prepared)
        raise
    verify(prepared, committed)
    return committed, added, prepared.bytes_written


def _groups(snapshot: Snapshot, small_file_share: float, dead_share: float) -> list[list[int]]:
    """Files to write again, those of one partition together."""
    limit = target_file_size(snapshot) * small_file_share
    by_partition: dict[tuple[tuple[str, str | None], ...], list[int]] = {}
    for index, file in enumerate(snapshot.files):
        by_partition.setdefault(tuple(sorted(file.partition_values.items())), []).append(index)
    groups = []
    for indexes in by_partition.values():
        small = [index for index in indexes if snapshot.files[index].size < limit]
        chosen = set(small) if len(small) > 1 else set()
        for index in indexes:
            file = snapshot.files[index]
            if file.vector and file.vector.cardinality > dead_share * snapshot.physical_records(file):
                chosen.add(index)
        if chosen:
            groups.append(sorted(chosen))
    return groups


def set_deletion_vectors(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    enabled: bool,
    *,
    attempt_id: str,
    application_id: str,
    generation: int = 1,
    user: str = "",
) -> Commit | None:
    """Switch merge-on-read on (property and protocol) or off (vectors are folded away in the same commit).

    None when the table is so already. Raises VersionMoved, UnsupportedTable.
    """
    if snapshot.strategy() == "delta-rs":
        raise UnsupportedTable(snapshot.requirements.foreign)
    if snapshot.requirements.deletion_vectors == enabled:
        return None
    configuration = {**snapshot.properties, "delta.enableDeletionVectors": "true" if enabled else "false"}
    leading: list[dict[str, Any]] = []
    if enabled:
        protocol = upgraded_protocol(snapshot.protocol, {"deletionVectors"}, {"deletionVectors"})
        if protocol != snapshot.protocol:
            leading.append({"protocol": protocol})
    leading.append({"metaData": {**snapshot.metadata, "configuration": configuration}})
    holed = [] if enabled else [[index] for index, file in enumerate(snapshot.files) if file.vector]
    committed, _, _ = _rewrite(
        connection,
        snapshot,
        holed,
        leading,
        attempt_id,
        application_id,
        generation,
        "SET TBLPROPERTIES",
        user,
        {},
    )
    return committed


def checkpoint_if_due(
    table_uri: str, version: int, *, storage_options: Mapping[str, str] | None = None
) -> bool:
    """Write a checkpoint when `version` is a multiple of the table's interval; call it after a commit.

    Raises MergeFailed when delta-rs cannot write it; the table is none the worse for that.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    stated = snapshot.properties.get("delta.checkpointInterval", "")
    interval = int(stated) if stated.isdigit() and int(stated) > 0 else DEFAULT_CHECKPOINT_INTERVAL
    if version == 0 or version % interval:
        return False
    try:
        deltalake.DeltaTable(
            table_uri, version=version, storage_options=dict(storage_options) if storage_options else None
        ).create_checkpoint()
    except DeltaError as error:
        raise MergeFailed(f"No checkpoint of version {version} could be written: {error}") from error
    return True


def vacuum(
    snapshot: Snapshot,
    *,
    retention_hours: float = DEFAULT_RETENTION_HOURS,
    protect: Iterable[Snapshot] = (),
    protect_attempts: Collection[str] = (),
    dry_run: bool = False,
    now_ms: int | None = None,
) -> tuple[str, ...]:
    """Delete files that no version needs any more; the paths deleted (or that would be).

    Kept are: files of this snapshot and of those in `protect` (versions that open requests may still read),
    files that were removed from the table within the retention, files younger than it (a commit may be about
    to name them), files of the running attempts `protect_attempts`, and every folder that begins with "_"
    except the change data feed.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    horizon = now - int(retention_hours * HOUR_MS)
    store = snapshot.store
    keep: set[str] = set()
    for kept in (snapshot, *protect):
        keep |= _named_files(kept)
    keep |= _recently_removed(store, snapshot, horizon)
    running = [marker for attempt in protect_attempts for marker in _marks(attempt)]
    doomed = []
    for item in store.walk():
        if item.path in keep or item.modified_ms >= horizon or _spared(item.path):
            continue
        name = item.path.rpartition("/")[2]
        if any(marker in name for marker in running):
            continue
        doomed.append(item.path)
    if not dry_run:
        store.delete(doomed)
    return tuple(sorted(doomed))


def collect_orphans(snapshot: Snapshot, attempt_id: str) -> tuple[str, ...]:
    """Delete what an attempt wrote and never committed, by its name in the files; the paths deleted.

    Only call it for an attempt that is proven dead and whose marker is not in the log. Files that the log
    names, now or as removed, stay in any case.
    """
    store = snapshot.store
    keep = _named_files(snapshot) | _recently_removed(store, snapshot, 0)
    for number, item in list_commits(store).items():
        if read_commit(store, number, item.modified_ms).info.get("attemptId") == attempt_id:
            return ()
    marks = _marks(attempt_id)
    doomed = [
        item.path
        for item in store.walk()
        if item.path not in keep and any(mark in item.path.rpartition("/")[2] for mark in marks)
    ]
    store.delete(doomed)
    return tuple(sorted(doomed))


def collect_log_temporaries(snapshot: Snapshot, *, now_ms: int | None = None) -> tuple[str, ...]:
    """Delete commits that were written beside the log on local disk and never linked, when older than an hour."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    store = snapshot.store
    doomed = [
        item.path
        for item in store.list(LOG_FOLDER)
        if item.path.rpartition("/")[2].startswith(".")
        and item.path.endswith(".tmp")
        and item.modified_ms < now - _LOG_TEMPORARY_AGE_MS
    ]
    store.delete(doomed)
    return tuple(doomed)


def _named_files(snapshot: Snapshot) -> set[str]:
    store = snapshot.store
    named = set()
    for file in snapshot.files:
        named.add(store.relative(file.path))
        vector = file.vector.file_path if file.vector else None
        if vector is not None:
            named.add(store.relative(vector))
    return named


def _recently_removed(store: TableStore, snapshot: Snapshot, horizon: int) -> set[str]:
    named = set()
    for removed in load_tombstones(store, snapshot.version):
        if removed.deleted_ms < horizon:
            continue
        named.add(store.relative(removed.path))
        if removed.vector_path is not None:
            named.add(store.relative(removed.vector_path))
    return named


def _spared(path: str) -> bool:
    folders = path.split("/")
    if folders[0] == "_change_data":
        return False
    return any(part.startswith(("_", ".")) and "=" not in part for part in folders)


def _marks(attempt_id: str) -> tuple[str, str]:
    return f"-{attempt_id}-", f"deletion_vector_{vector_prefix(attempt_id)}"
