"""Writing the files of one commit, of each kind that there is: of a merge, of files written again, of a new table."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from merging.delta.reading import positions_in
from merging.delta.snapshot import Snapshot
from merging.delta.strategies import CommitStrategy
from merging.delta.writing.asked import FileWriter
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.by_duckdb import DuckDBFiles
from merging.delta.writing.change_feed import write_change_feed
from merging.delta.writing.changes import RowChanges
from merging.delta.writing.marking import mark_rows
from merging.delta.writing.new_rows import write_new_rows
from merging.delta.writing.prepared import PreparedCommit, Step, no_step
from merging.delta.writing.rewriting import rewrite_together, rewrite_without
from merging.delta.writing.row_ids import keeps_row_ids, with_kept_ids
from merging.errors import TableUnreachable, UnsupportedTable
from merging.sql.quoting import column_sql, quote
from merging.store.stores import probe


def prepare(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    changes: RowChanges,
    *,
    attempt_id: str,
    new_schema: pa.Schema | None = None,
    step: Step = no_step,
    writer: FileWriter | None = None,
) -> PreparedCommit:
    """Write the files of one commit on top of `snapshot`; nothing is visible before `commit`.

    `new_schema`: the table's columns after the merge, when columns are added or widened. `step` is told
    "files-written" and "files-synced". `writer` writes the files, DuckDB where nobody is named.
    On any error the files already written are deleted. Raises UnsupportedTable (also for updates of an
    append-only table) and MergeFailed.
    """
    strategy = snapshot.strategy()
    writer = writer or DuckDBFiles(connection)
    builder = CommitBuilder(connection, writer, snapshot, attempt_id, new_schema or snapshot.schema)
    if snapshot.append_only and changes.removed and builder.count_rows(changes.removed):
        raise UnsupportedTable(
            ["appendOnly"],
            "The table is append-only (delta.appendOnly): rows can be added, not changed or deleted.",
        )
    probe(snapshot.store)
    with _files_of(builder):
        if changes.numbers_given or (new_schema is not None and not new_schema.equals(snapshot.schema)):
            builder.change_schema(changes.numbers_given)
        hit = (
            _remove_rows(builder, strategy, changes.removed, changes.number_removed)
            if changes.removed
            else ()
        )
        if changes.added:
            kept = keeps_row_ids(snapshot)
            added = with_kept_ids(connection, snapshot, changes.added, hit) if kept else changes.added
            write_new_rows(builder, added, number=changes.number_added, row_ids=kept)
        if snapshot.change_data_feed:
            write_change_feed(builder, changes)
        step("files-written")
        snapshot.store.sync(builder.paths)
        step("files-synced")
    return builder.prepared()


def prepare_rewrite(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    groups: Sequence[Sequence[int]],
    leading: Sequence[dict[str, Any]],
    *,
    attempt_id: str,
    writer: FileWriter | None = None,
) -> PreparedCommit:
    """Write the live rows of each group of files (one partition each) to new files; no row changes.

    `leading` are metaData and protocol actions of the same commit; `writer` as of `prepare`. Raises UnsupportedTable,
    MergeFailed.
    """
    snapshot.require_writable()
    probe(snapshot.store)
    writer = writer or DuckDBFiles(connection)
    builder = CommitBuilder(connection, writer, snapshot, attempt_id, snapshot.schema, data_change=False)
    builder.actions += leading
    with _files_of(builder):
        rewrite_together(builder, groups)
        snapshot.store.sync(builder.paths)
    return builder.prepared()


def prepare_first(
    connection: duckdb.DuckDBPyConnection, empty: Snapshot, relation: str, *, attempt_id: str
) -> PreparedCommit:
    """Write the data files of a table that is being created; `empty` is its snapshot before version 0."""
    builder = CommitBuilder(connection, DuckDBFiles(connection), empty, attempt_id, empty.schema)
    with _files_of(builder):
        # A reader can be read once only, and partitions and sizes are looked at before rows are written.
        labelled = ", ".join(f"{quote(name)} AS {column_sql(name)}" for name in empty.schema.names)
        connection.execute(f"CREATE TEMP TABLE headgate_first AS SELECT {labelled} FROM {relation}")
        write_new_rows(builder, "headgate_first")
        empty.store.sync(builder.paths)
    return builder.prepared()


@contextlib.contextmanager
def _files_of(builder: CommitBuilder) -> Iterator[None]:
    """Whatever stops the writing, no file of it stays behind."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(TableUnreachable):  # what stopped it is said; the files go with the orphans
            builder.snapshot.store.delete(builder.paths)
        raise


def _remove_rows(
    builder: CommitBuilder, strategy: CommitStrategy, removed: str, number: int | None
) -> Collection[int]:
    """Let rows go by the vectors of their files where the strategy marks those, else with their files: all of which
    are told."""
    by_file = _numbers_by_file(builder.connection, removed, number)
    files = zip(by_file.items(), builder.snapshot.files.at(by_file), strict=True)
    marked = {index: numbers for (index, numbers), file in files if strategy.marks(file)}
    mark_rows(builder, marked)
    rewrite_without(builder, {index: by_file[index] for index in by_file if index not in marked})
    return list(by_file)


def _numbers_by_file(
    connection: duckdb.DuckDBPyConnection, removed: str, number: int | None
) -> dict[int, np.ndarray]:
    """The numbers of the rows that go, in their order, by the index of their file: all that is held of them."""
    query = (
        f"SELECT file_index::BIGINT AS file_index, row_number::BIGINT AS row_number FROM {removed} "
        "ORDER BY file_index, row_number"
    )
    found: dict[int, list[np.ndarray]] = {}
    for indexes, numbers in positions_in(connection, query, number):
        starts = np.flatnonzero(np.diff(indexes, prepend=-1))
        for index, some in zip(indexes[starts].tolist(), np.split(numbers, starts)[1:], strict=True):
            found.setdefault(index, []).append(some)
    return {index: some[0] if len(some) == 1 else np.concatenate(some) for index, some in found.items()}
