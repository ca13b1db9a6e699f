"""Looking after a table: compaction, vacuum, checkpoints, orphans, vectors switched on and off.

What deletes is split in two: finding (which is also the dry run and the report) and deleting what was found.

Compaction is written here and not through delta-rs, whose optimize doubles a table when two run at once: ours
is one strict put-if-absent like every merge, so it either sits on exactly the version it read or fails with
VersionMoved. It is still meant to run under the same lease as merges, so as not to make them start again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import deltalake
import duckdb
from deltalake.exceptions import DeltaError

from merging.delta.committing import Commit, commit, discard, may_still_land, verify
from merging.delta.features import upgraded_protocol
from merging.delta.log import list_commits, load_tombstones, newest_checkpoint, read_commit
from merging.delta.snapshot import Snapshot, open_snapshot
from merging.delta.writing import Step, no_step, prepare_rewrite, target_file_size, vector_prefix
from merging.errors import MergeFailed
from merging.store.stores import LOG_FOLDER, StoredObject, TableStore

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
    step: Step = no_step,
) -> Compaction:
    """Rewrite small files together and fold vectors away; the rows stay the same.

    A file counts as small below `small_file_share` of the target size, and is rewritten when its partition
    has another such; a file with a vector is rewritten when more than `dead_share` of its rows are dead.
    `step` is called as in `commit`: what it raises before the put leaves the table as it was.
    Raises VersionMoved when somebody committed meanwhile (nothing is changed then), UnsupportedTable for
    features that we cannot write.
    """
    groups = files_to_compact(snapshot, small_file_share=small_file_share, dead_share=dead_share)
    chosen = [index for group in groups for index in group]
    if not chosen:
        return Compaction(None, 0, 0, 0, 0)
    folded = sum(1 for index in chosen if snapshot.files[index].vector)
    metrics = {"numRemovedFiles": len(chosen), "numDeletionVectorsRemoved": folded}
    committed, added, written = _rewrite(
        connection,
        snapshot,
        groups,
        [],
        attempt_id,
        application_id,
        generation,
        "OPTIMIZE",
        user,
        metrics,
        step,
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
    step: Step = no_step,
) -> tuple[Commit, int, int]:
    prepared = prepare_rewrite(connection, snapshot, groups, leading, attempt_id=attempt_id)
    added = sum(1 for action in prepared.actions if "add" in action)
    info: dict[str, Any] = {"operation": operation, "operationMetrics": {**metrics, "numAddedFiles": added}}
    if user:
        info["userName"] = user
    try:
        committed = commit(
            prepared, application_id=application_id, generation=generation, commit_info=info, step=step
        )
    except BaseException as error:
        if not may_still_land(error):
            discard(prepared)
        raise
    verify(prepared, committed)
    return committed, added, prepared.bytes_written


def files_to_compact(
    snapshot: Snapshot, *, small_file_share: float = 0.5, dead_share: float = 0.0
) -> list[list[int]]:
    """Indexes of the files that `compact` would write again, those of one partition together."""
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
    snapshot.strategy()
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


def checkpoint_is_due(snapshot: Snapshot) -> bool:
    """Whether the snapshot is as many versions past the newest checkpoint as the table's interval says."""
    stated = snapshot.properties.get("delta.checkpointInterval", "")
    interval = int(stated) if stated.isdigit() and int(stated) > 0 else DEFAULT_CHECKPOINT_INTERVAL
    newest = newest_checkpoint(snapshot.store, snapshot.version)
    return snapshot.version - (newest or 0) >= interval


def checkpoint_if_due(
    table_uri: str, version: int | None = None, *, storage_options: Mapping[str, str] | None = None
) -> int | None:
    """Write a checkpoint of `version` (None: the newest) if one is due; its version, or None.

    Counted from the newest checkpoint, whoever wrote it, so that versions of others count too. A checkpoint
    holds only what its version holds: writing one beside merges, or twice, does no harm.
    Raises MergeFailed when delta-rs cannot write it; the table is none the worse for that.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    if not checkpoint_is_due(snapshot):
        return None
    try:
        deltalake.DeltaTable(
            table_uri,
            version=snapshot.version,
            storage_options=dict(storage_options) if storage_options else None,
        ).create_checkpoint()
    except (DeltaError, OSError) as error:
        raise MergeFailed(f"No checkpoint of version {snapshot.version} could be written: {error}") from error
    return snapshot.version


def vacuum(
    snapshot: Snapshot,
    *,
    retention_hours: float = DEFAULT_RETENTION_HOURS,
    protect: Iterable[Snapshot] = (),
    protect_attempts: Collection[str] = (),
    dry_run: bool = False,
    now_ms: int | None = None,
) -> tuple[str, ...]:
    """Delete what `find_unneeded` finds; the paths deleted (or that would be)."""
    found = find_unneeded(
        snapshot,
        retention_hours=retention_hours,
        protect=protect,
        protect_attempts=protect_attempts,
        now_ms=now_ms,
    )
    paths = tuple(item.path for item in found)
    if not dry_run:
        snapshot.store.delete(paths)
    return paths


def find_unneeded(
    snapshot: Snapshot,
    *,
    retention_hours: float = DEFAULT_RETENTION_HOURS,
    protect: Iterable[Snapshot] = (),
    protect_attempts: Collection[str] = (),
    now_ms: int | None = None,
) -> tuple[StoredObject, ...]:
    """Files that no version needs any more, by path. Deletes nothing.

    Left out are: files of this snapshot and of those in `protect` (versions that open requests may still read),
    files that were removed from the table within the retention, files younger than it (a commit may be about
    to name them), files of the running attempts `protect_attempts`, and every folder that begins with "_"
    except the change data feed.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    horizon = now - int(retention_hours * HOUR_MS)
    keep = _needed(snapshot, protect, horizon)
    running = [marker for attempt in protect_attempts for marker in _marks(attempt)]
    found = [
        item
        for item in snapshot.store.walk()
        if item.path not in keep
        and item.modified_ms < horizon
        and not _spared(item.path)
        and not any(marker in item.path.rpartition("/")[2] for marker in running)
    ]
    return tuple(sorted(found, key=lambda item: item.path))


def _needed(snapshot: Snapshot, protect: Iterable[Snapshot], horizon: int) -> set[str]:
    keep: set[str] = set()
    for kept in (snapshot, *protect):
        keep |= named_files(kept)
    return keep | _recently_removed(snapshot.store, snapshot, horizon)


def collect_orphans(snapshot: Snapshot, attempt_id: str) -> tuple[str, ...]:
    """Delete what an attempt wrote and never committed, by its name in the files; the paths deleted.

    Only call it for an attempt that is proven dead and whose marker is not in the log. Files that the log
    names, now or as removed, stay in any case.
    """
    paths = tuple(item.path for item in find_orphans(snapshot, [attempt_id]))
    snapshot.store.delete(paths)
    return paths


#: The name of a data file of ours holds its attempt, that of a file of vectors the beginning of its UUID.
_OUR_PART = re.compile(r"[a-z]+-(.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.parquet")
_VECTOR_FILE = re.compile(r"deletion_vector_([0-9a-f-]{28})[0-9a-f]{8}\.bin")


def find_orphans(
    snapshot: Snapshot,
    attempt_ids: Iterable[str],
    *,
    protect: Iterable[Snapshot] = (),
    written_before_ms: int | None = None,
) -> tuple[StoredObject, ...]:
    """What the attempts wrote and never committed, by path. Deletes nothing; looks at every file of the table once.

    Left out are files that the log or a version in `protect` names, and those written at `written_before_ms` or
    later. An attempt that the log knows as committed has no orphans.
    """
    by_mark = {mark: attempt for attempt in attempt_ids for mark in (attempt, vector_prefix(attempt))}
    keep = _needed(snapshot, protect, 0)
    found: dict[str, list[StoredObject]] = {}
    for item in snapshot.store.walk():
        if item.path in keep or (written_before_ms is not None and item.modified_ms >= written_before_ms):
            continue
        name = item.path.rpartition("/")[2]
        named = _OUR_PART.fullmatch(name) or _VECTOR_FILE.fullmatch(name)
        attempt = by_mark.get(named[1]) if named else None
        if attempt is not None:
            found.setdefault(attempt, []).append(item)
    if found:
        for number, item in list_commits(snapshot.store).items():
            info = read_commit(snapshot.store, number, item.modified_ms).info
            found.pop(str(info.get("attemptId")), None)
    return tuple(sorted((item for items in found.values() for item in items), key=lambda item: item.path))


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


def named_files(snapshot: Snapshot) -> set[str]:
    """The data files and vectors of a snapshot, relative to the table's root."""
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
        vector = removed.vector.file_path if removed.vector else None
        if vector is not None:
            named.add(store.relative(vector))
    return named


def _spared(path: str) -> bool:
    folders = path.split("/")
    if folders[0] == "_change_data":
        return False
    return any(part.startswith(("_", ".")) and "=" not in part for part in folders)


def _marks(attempt_id: str) -> tuple[str, str]:
    return f"-{attempt_id}-", f"deletion_vector_{vector_prefix(attempt_id)}"
