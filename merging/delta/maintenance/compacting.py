"""Files written again so that there are fewer, and vectors folded away or switched on.

Compaction is written here and not through delta-rs, whose optimize doubles a table when two run at once: ours
is one strict put-if-absent like every merge, so it either sits on exactly the version it read or fails with
VersionMoved. It is still meant to run under the same lease as merges, so as not to make them start again.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.committing import Commit, commit, discard, may_still_land, verify
from merging.delta.features import upgraded_protocol
from merging.delta.snapshot import Snapshot
from merging.delta.writing import (
    FileWriter,
    PreparedCommit,
    Step,
    log_path,
    no_step,
    prepare_rewrite,
    target_file_size,
)

#: What every writer spells alike in the log.
_PLAIN_PATH = r"^[A-Za-z0-9/_.=-]*$"


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
    writer: FileWriter | None = None,
) -> Compaction:
    """Rewrite small files together and fold vectors away; the rows stay the same.

    A file counts as small below `small_file_share` of the target size, and is rewritten when its partition
    has another such; a file with a vector is rewritten when more than `dead_share` of its rows are dead, and one that
    is misspelt in any case (`misspelt_files`). A file that somebody clustered is not put together with others: its rows
    would no longer be where they were put.
    `step` is called as in `commit`: what it raises before the put leaves the table as it was. `writer` writes the
    files, DuckDB where nobody is named.
    Raises VersionMoved when somebody committed meanwhile (nothing is changed then), UnsupportedTable for
    features that we cannot write.
    """
    groups = files_to_compact(snapshot, small_file_share=small_file_share, dead_share=dead_share)
    chosen = [index for group in groups for index in group]
    if not chosen:
        return Compaction(None, 0, 0, 0, 0)
    folded = int(snapshot.files.having_vectors()[chosen].sum())
    metrics = {"numRemovedFiles": len(chosen), "numDeletionVectorsRemoved": folded}
    prepared = prepare_rewrite(connection, snapshot, groups, (), attempt_id=attempt_id, writer=writer)
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
    snapshot: Snapshot, *, small_file_share: float = 0.5, dead_share: float = 0.0, misspelt: bool = True
) -> list[list[int]]:
    """Indexes of the files that `compact` would write again, those of one partition together; `misspelt` ones too."""
    files = snapshot.files
    small = files.numbers("size") < target_file_size(snapshot) * small_file_share
    clustered = files.column("clustering").is_valid().to_numpy()
    worn = _worn(snapshot, dead_share)
    if misspelt:
        worn[misspelt_files(snapshot)] = True
    groups = []
    for indexes in _by_partition(snapshot):
        together = indexes[small[indexes] & ~clustered[indexes]]
        chosen = set(together.tolist() if len(together) > 1 else ()) | set(indexes[worn[indexes]].tolist())
        apart = {index for index in chosen if clustered[index]}
        groups += [[index] for index in sorted(apart)]
        if chosen - apart:
            groups.append(sorted(chosen - apart))
    return groups


def misspelt_files(snapshot: Snapshot) -> list[int]:
    """Indexes of the files whose paths the log spells otherwise than Spark does.

    Its VACUUM compares spellings, so such a file is nobody's to it, and is deleted. To remove and add it again in one
    commit would not do: readers that know files by their decoded path would have it both removed and added, so it has
    to be another file.
    """
    return snapshot.files.where("misspelt", _misspelt)


def _misspelt(columns: pa.RecordBatch) -> np.ndarray:
    paths = columns.column("path")
    found = np.zeros(len(columns), bool)
    odd = pc.invert(pc.match_substring_regex(paths, _PLAIN_PATH))
    for row in np.flatnonzero(odd.to_numpy(zero_copy_only=False)):
        path = paths[row].as_py()
        # What lies elsewhere (in a clone's source) is not looked for.
        found[row] = "://" not in path and path[:1] != "/" and log_path(urllib.parse.unquote(path)) != path
    return found


def _worn(snapshot: Snapshot, dead_share: float) -> np.ndarray:
    """Of which files more than this share of the rows are dead, by what the log says or else by their footers."""
    stored, dead = snapshot.files.numbers("records", -1).copy(), snapshot.files.numbers("dead")
    in_doubt = np.flatnonzero((stored < dead) & (dead > 0))
    stored[in_doubt] = [snapshot.physical_records(file) for file in snapshot.files.at(in_doubt)]
    worn: np.ndarray = (dead > 0) & (dead > dead_share * stored)
    return worn


def _by_partition(snapshot: Snapshot) -> Iterator[np.ndarray]:
    """The indexes of the files of each partition, in the order in which partitions come first."""
    files, places = snapshot.files, pa.array(np.arange(len(snapshot.files)))
    names = [snapshot.physical_names[name] for name in snapshot.partition_columns]
    if not names:
        yield from [np.arange(len(files))] if len(files) else []
        return
    values = {f"c{place}": files.partition_texts(name) for place, name in enumerate(names)}
    table = pa.table({**values, "place": places}).group_by([*values], use_threads=False)
    for row in table.aggregate([("place", "list")]).column("place_list").to_pylist():
        yield np.array(row)


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
    holed = [] if enabled else [[index] for index in np.flatnonzero(snapshot.files.having_vectors()).tolist()]
    prepared = prepare_rewrite(connection, snapshot, holed, leading, attempt_id=attempt_id)
    added = _files_added(prepared)
    info = _info("SET TBLPROPERTIES", user, {"numAddedFiles": added})
    return _commit(prepared, info, application_id=application_id, generation=generation)
