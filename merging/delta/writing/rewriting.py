"""Files written again: one without the rows that go, or several as one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from merging.delta.actions import DataFile
from merging.delta.snapshot import Snapshot
from merging.delta.writing.asked import Rewrite
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.data_files import WrittenFile, target_file_size
from merging.delta.writing.file_names import folder_beside
from merging.errors import MergeFailed


def rewrite_without(builder: CommitBuilder, removed: Mapping[int, np.ndarray]) -> None:
    """Each touched file again without the rows that go (their numbers, by the index of their file), and without those
    gone already. Raises MergeFailed for rows that are not live, and where a new file is not what it was made from."""
    rewrites = _take_out(builder, removed)
    for rewrite, written in zip(rewrites, _rewritten(builder, rewrites), strict=True):
        [index] = rewrite.files
        file = builder.snapshot.files[index]
        gone = len(removed[index])
        builder.require_live(file, gone, rewrite.rows - written.rows + gone)
        builder.count("numTargetRowsCopied", written.rows)
        builder.count("numTargetFilesAdded", 1)
        builder.add(written, file.partition_values)


def _rewritten(builder: CommitBuilder, rewrites: Sequence[Rewrite]) -> list[WrittenFile]:
    if not rewrites:
        return []
    builder.paths += [one.path for one in rewrites]
    columns = builder.stored(builder.columns_in_files(builder.snapshot.schema))
    written = builder.writer.rewrite(builder.snapshot, columns, rewrites)
    builder.bytes_written += sum(one.size for one in written)
    return written


def _take_out(builder: CommitBuilder, removed: Mapping[int, np.ndarray]) -> list[Rewrite]:
    """Remove the files from the log; what is to be written in place of those that keep rows."""
    rewrites = []
    for file, (index, numbers) in zip(builder.snapshot.files.at(removed), removed.items(), strict=True):
        live = builder.live_records(file)
        builder.remove_rows(file, len(numbers), len(np.unique(numbers)))
        builder.count("numTargetFilesRemoved", 1)
        if len(numbers) < live:
            path = folder_beside(builder.snapshot, file) + builder.file_name()
            rewrites.append(Rewrite((index,), path, live - len(numbers), numbers))
    return rewrites


def rewrite_together(builder: CommitBuilder, groups: Sequence[Sequence[int]]) -> None:
    """The live rows of each group of files (of one partition) in as few new files as the table's target size allows.

    Raises MergeFailed where a new file is not what it was made from.
    """
    rewrites = []
    for group in groups:
        live = {index: builder.live_records(file) for index, file in _files_of(builder.snapshot, group)}
        rewrites += [one for one in _batches(builder, group, live) if one.rows]
        for _, file in _files_of(builder.snapshot, group):
            builder.remove(file)
        builder.rows_removed += sum(live.values())
    for rewrite, written in zip(rewrites, _rewritten(builder, rewrites), strict=True):
        if written.rows != rewrite.rows:
            raise MergeFailed(
                f"Rewriting {len(rewrite.files)} files gave {written.rows} rows where {rewrite.rows} are live.",
                data={"table_uri": builder.snapshot.uri},
            )
        builder.add(written, builder.snapshot.files[rewrite.files[0]].partition_values)
        builder.rows_added += written.rows


def _files_of(snapshot: Snapshot, group: Sequence[int]) -> Iterator[tuple[int, DataFile]]:
    return zip(group, snapshot.files.at(group), strict=True)


def _batches(builder: CommitBuilder, group: Sequence[int], live: Mapping[int, int]) -> Iterator[Rewrite]:
    """Whole files stay together: only rows of one batch of files are read at a time, and order is kept."""
    snapshot = builder.snapshot
    files = snapshot.files.at(group)
    bytes_live = sum(
        file.size * snapshot.live_records(file) / max(1, snapshot.physical_records(file)) for file in files
    )
    count = max(1, math.ceil(bytes_live / target_file_size(snapshot)))
    share = max(1, math.ceil(sum(live.values()) / count))
    folder = folder_beside(snapshot, files[0])
    batch: list[int] = []
    rows = 0
    for index in group:
        batch.append(index)
        rows += live[index]
        if rows >= share or index == group[-1]:
            yield Rewrite(tuple(batch), folder + builder.file_name(), rows)
            batch, rows = [], 0
