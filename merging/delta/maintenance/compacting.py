"""Files written again so that there are fewer, and vectors folded away or switched on.

Compaction is written here and not through delta-rs, whose optimize doubles a table when two run at once: ours
is one strict put-if-absent like every merge, so it either sits on exactly the version it read or fails with
VersionMoved. It is still meant to run under the same lease as merges, so as not to make them start again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from merging.delta.committing import Commit, commit, discard, may_still_land, verify
from merging.delta.features import upgraded_protocol
from merging.delta.snapshot import Snapshot
from merging.delta.writing import PreparedCommit, Step, no_step, prepare_rewrite, target_file_size


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
    has another such; a file with a vector is rewritten when more than `dead_share` of its rows are dead. A file that
    somebody clustered is not put together with others: its rows would no longer be where they were put.
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
    prepared = prepare_rewrite(connection, snapshot, groups, (), attempt_id=attempt_id)
    added = _files_added(prepared)
    committed = _commit(
        prepared,
        _info("OPTIMIZE", user, {**metrics, "numAddedFiles": added}),
        application_id=application_id,
        generation=generation,
        step=step,
    )
    return Compaction(committed, len(chosen), added, folded, prepared.bytes_written)


def _files_added(prepared: PreparedCommit) -> int:
    return sum(1 for action in prepared.actions if "add" in action)


def _info(operation: str, user: str, metrics: Mapping[str, int]) -> dict[str, Any]:
    """What history tells of the commit."""
    info = {"operation": operation, "operationMetrics": metrics}
    return {**info, "userName": user} if user else info


def _commit(
    prepared: PreparedCommit,
    info: Mapping[str, Any],
    *,
    application_id: str,
    generation: int,
    step: Step = no_step,
) -> Commit:
    try:
        committed = commit(
            prepared, application_id=application_id, generation=generation, commit_info=info, step=step
        )
    except BaseException as error:
        if not may_still_land(error):
            discard(prepared)
        raise
    verify(prepared, committed)
    return committed


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
        clustered = {index for index in indexes if "clusteringProvider" in snapshot.files[index].extra}
        small = {index for index in indexes if snapshot.files[index].size < limit} - clustered
        chosen = small if len(small) > 1 else set()
        for index in indexes:
            file = snapshot.files[index]
            if file.vector and file.vector.cardinality > dead_share * snapshot.physical_records(file):
                chosen.add(index)
        groups += [[index] for index in sorted(chosen & clustered)]
        if chosen - clustered:
            groups.append(sorted(chosen - clustered))
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
    snapshot.require_writable()
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
    prepared = prepare_rewrite(connection, snapshot, holed, leading, attempt_id=attempt_id)
    added = _files_added(prepared)
    info = _info("SET TBLPROPERTIES", user, {"numAddedFiles": added})
    return _commit(prepared, info, application_id=application_id, generation=generation)
