"""Files written again: one without the rows that go, or several as one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb
import numpy as np

from merging.delta.content_checks import Rewritten, require_same_content, require_same_rows
from merging.delta.fields import TableField
from merging.delta.reading import register_positions, scan_sql
from merging.delta.row_tracking import ROW_COMMIT_VERSION, ROW_ID
from merging.delta.snapshot import Snapshot
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.data_files import WrittenFile, copy_to, target_file_size
from merging.delta.writing.file_names import folder_beside
from merging.delta.writing.row_ids import keeps_row_ids, kept_columns
from merging.errors import MergeFailed

_REWRITERS = 2
_ROWS_PER_GROUP = 24_576  # two files are in hand at a time


@dataclass(frozen=True)
class _Rewrite:
    """A file to write again: its index, the rows that go, where to, and how many rows must remain."""

    index: int
    removed: np.ndarray
    path: str
    rows_kept: int


def rewrite_without(builder: CommitBuilder, removed: Mapping[int, np.ndarray]) -> None:
    """Each touched file again without the rows that go (their numbers, by the index of their file), and without those
    gone already. Raises MergeFailed for rows that are not live, and where a new file is not what it was made from."""
    snapshot = builder.snapshot
    columns = builder.columns_in_files(snapshot.schema)
    rewrites = _take_out(builder, removed)
    with ThreadPoolExecutor(max_workers=_REWRITERS) as pool:
        # One connection a file: encoding is what takes the time, and one file's is not shared between threads.
        tasks = [
            pool.submit(_rewrite_file, builder.connection.cursor(), snapshot, one, builder.stored(columns))
            for one in rewrites
        ]
        for rewrite, task in zip(rewrites, tasks, strict=True):
            written = task.result()
            file = snapshot.files[rewrite.index]
            gone = len(rewrite.removed)
            builder.require_live(file, gone, rewrite.rows_kept - written.rows + gone)
            builder.bytes_written += written.size
            builder.count("numTargetRowsCopied", written.rows)
            builder.count("numTargetFilesAdded", 1)
            builder.add(written, file.partition_values)


def _take_out(builder: CommitBuilder, removed: Mapping[int, np.ndarray]) -> list[_Rewrite]:
    """Remove the files from the log; what is to be written in place of those that keep rows."""
    rewrites = []
    for file, (index, numbers) in zip(builder.snapshot.files.at(removed), removed.items(), strict=True):
        live = builder.live_records(file)
        builder.remove_rows(file, len(numbers), len(np.unique(numbers)))
        builder.count("numTargetFilesRemoved", 1)
        if len(numbers) < live:
            path = folder_beside(builder.snapshot, file) + builder.file_name()
            rewrites.append(_Rewrite(index, numbers, path, live - len(numbers)))
            builder.paths.append(path)
    return rewrites


def _rewrite_file(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, rewrite: _Rewrite, fields: Sequence[TableField]
) -> WrittenFile:
    old = snapshot.store.relative(snapshot.files[rewrite.index].path)
    with cursor, snapshot.store.keeping(old, rewrite.path):
        cursor.execute("SET TimeZone = 'UTC'")
        positions = register_positions(cursor, np.full(len(rewrite.removed), rewrite.index), rewrite.removed)
        names = [one.name for one in fields]
        kept_ids = keeps_row_ids(snapshot)
        source = scan_sql(
            cursor, snapshot, names, files=[rewrite.index], with_positions=True, row_ids=kept_ids
        )
        kept = f"SELECT s.* FROM ({source}) s ANTI JOIN {positions} r ON s.row_number = r.row_number"
        further = kept_columns(snapshot, ROW_ID, ROW_COMMIT_VERSION)
        written = copy_to(
            cursor,
            snapshot,
            kept,
            fields,
            rewrite.path,
            further=further,
            rows_per_group=_ROWS_PER_GROUP,
            in_order=False,
        )
        one = Rewritten(rewrite.index, rewrite.removed, rewrite.path)
        require_same_content(cursor, snapshot, one, names, row_ids=kept_ids)
        return written


def rewrite_together(builder: CommitBuilder, group: Sequence[int]) -> None:
    """The live rows of a group of files (of one partition) in as few new files as the table's target size allows.

    Raises MergeFailed where a new file is not what it was made from.
    """
    snapshot = builder.snapshot
    files = snapshot.files.at(group)
    columns = builder.columns_in_files(snapshot.schema)
    live = sum(builder.live_records(file) for file in files)
    bytes_live = sum(
        file.size * snapshot.live_records(file) / max(1, snapshot.physical_records(file)) for file in files
    )
    batches = max(1, math.ceil(bytes_live / target_file_size(snapshot)))
    share = max(1, math.ceil(live / batches))
    folder = folder_beside(snapshot, files[0])
    total = 0
    kept_ids, further = keeps_row_ids(snapshot), kept_columns(snapshot, ROW_ID, ROW_COMMIT_VERSION)
    # Whole files stay together: only rows of one batch of files are read at a time, and order is kept.
    for batch in _batches(snapshot, group, share):
        source = scan_sql(builder.connection, snapshot, columns, files=batch, row_ids=kept_ids)
        written = builder.write(source, columns, folder + builder.file_name(), *further)
        total += written.rows
        if written.rows:
            require_same_rows(builder.connection, snapshot, source, written.path, columns, row_ids=kept_ids)
            builder.add(written, files[0].partition_values)
    if total != live:
        raise MergeFailed(
            f"Rewriting {len(files)} files gave {total} rows where {live} are live.",
            data={"table_uri": snapshot.uri},
        )
    for file in files:
        builder.remove(file)
    builder.rows_added += total
    builder.rows_removed += live


def _batches(snapshot: Snapshot, group: Sequence[int], share: int) -> Iterator[list[int]]:
    batch: list[int] = []
    rows = 0
    for index, file in zip(group, snapshot.files.at(group), strict=True):
        batch.append(index)
        rows += snapshot.live_records(file)
        if rows >= share:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch
