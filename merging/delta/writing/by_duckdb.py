"""Data files written by DuckDB, with the connection in which the rows are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress

import duckdb
import numpy as np

from merging.delta.content_checks import (
    Rewritten,
    require_same_content,
    require_same_pages,
    require_same_rows,
)
from merging.delta.fields import TableField
from merging.delta.reading import register_positions, scan_sql
from merging.delta.row_tracking import ROW_COMMIT_VERSION, ROW_ID
from merging.delta.snapshot import Snapshot
from merging.delta.writing.asked import NewFile, Rewrite
from merging.delta.writing.data_files import WrittenFile, copy_to
from merging.delta.writing.row_ids import keeps_row_ids, kept_columns
from merging.delta.writing.splicing import splice, splicing_takes

_ROWS_PER_GROUP = 24_576  # two files are in hand at a time


class DuckDBFiles:
    """Writes with a connection; see `FileWriter`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rewrite(
        self, snapshot: Snapshot, fields: Sequence[TableField], rewrites: Sequence[Rewrite]
    ) -> list[WrittenFile]:
        """See `FileWriter`."""
        whole = all(one.removed is None for one in rewrites)
        gone = _all_removed(self._connection, rewrites)
        spliced = _to_splice(snapshot, rewrites)
        turns = deque(sorted(rewrites, key=lambda one: one.path not in spliced))
        written: dict[str, WrittenFile] = {}
        flushed: list[Future[None]] = []

        def work(take: Callable[[], Rewrite]) -> None:
            for one in _taken(take):
                cursor, splicing = self._connection.cursor(), one.path in spliced
                written[one.path] = _rewritten(cursor, snapshot, fields, one, gone, splicing=splicing)
                flushed.append(flushing.submit(snapshot.store.sync, [one.path]))

        # Two at a time, from both ends: DuckDB encodes one while Python splices the other; two that are spliced would
        # only take turns. Whole files put together may be large, and nobody waits for them. Another thread waits for
        # the disk meanwhile.
        ends = [turns.popleft, turns.pop][: 1 if whole else 2]
        with ThreadPoolExecutor(max_workers=1) as flushing, ThreadPoolExecutor(max_workers=len(ends)) as pool:
            tasks = [pool.submit(work, end) for end in ends]
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                turns.clear()  # where one has failed, nobody begins another
        for task in (*tasks, *flushed):
            task.result()
        return [written[one.path] for one in rewrites]

    def write(
        self,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        files: Iterable[NewFile],
        further: Sequence[str] = (),
    ) -> Iterator[WrittenFile]:
        """See `FileWriter`."""
        for file in files:
            yield copy_to(
                self._connection,
                snapshot,
                file.rows,
                fields,
                file.path,
                further=further,
                rows_per_group=file.rows_per_group,
            )


def _all_removed(connection: duckdb.DuckDBPyConnection, rewrites: Sequence[Rewrite]) -> str:
    """A table (file_index, row_number) of the rows that all the files lose: one of its own for each took longer than
    to leave them out."""
    removed = {one.files[0]: one.removed for one in rewrites if one.removed is not None}
    indexes = np.repeat([*removed], [len(numbers) for numbers in removed.values()]).astype(np.int64)
    numbers = np.concatenate([np.empty(0, np.int64), *removed.values()])
    return register_positions(connection, indexes, numbers, for_cursors=True)


def _to_splice(snapshot: Snapshot, rewrites: Sequence[Rewrite]) -> set[str]:
    """Which files, by their new paths, keep pages: those that are spliced in less time than DuckDB takes to write them,
    but for so many of the dearest as it writes in the time of the others.

    What is known before anything is written decides it: how a file is written never depends on who was first.
    """
    files = snapshot.files.at([one.files[0] for one in rewrites])
    asked = zip(rewrites, files, strict=True)
    times = {
        one.path: (splicing_takes(snapshot, file, one.removed), file.size)
        for one, file in asked
        if one.removed is not None
    }
    spliced = sorted((path for path, (time, _) in times.items() if time < 1), key=lambda path: times[path][0])
    left = sum(time * size for time, size in (times[path] for path in spliced))
    whole = sum(file.size for file in files) - sum(times[path][1] for path in spliced)
    while spliced:
        time, size = times[spliced[-1]]
        if whole + size >= left:
            break
        spliced.pop()
        whole, left = whole + size, left - time * size
    return set(spliced)


def _taken(take: Callable[[], Rewrite]) -> Iterator[Rewrite]:
    """One after the other, until none is left."""
    with suppress(IndexError):
        while True:
            yield take()


def _rewritten(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    fields: Sequence[TableField],
    one: Rewrite,
    gone: str,
    *,
    splicing: bool,
) -> WrittenFile:
    with cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        if one.removed is None:
            return _together(cursor, snapshot, fields, one)
        return _without(cursor, snapshot, fields, one, one.removed, gone, splicing=splicing)


def _without(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    fields: Sequence[TableField],
    one: Rewrite,
    removed: np.ndarray,
    gone: str,
    *,
    splicing: bool,
) -> WrittenFile:
    [index] = one.files
    file = snapshot.files[index]
    with snapshot.store.keeping(snapshot.store.relative(file.path), one.path):
        if splicing:
            spliced = splice(snapshot, file, fields, removed, one.path)
            if spliced is not None:
                require_same_pages(cursor, snapshot, index, removed, one.path)
                return spliced
        names = [field.name for field in fields]
        kept_ids = keeps_row_ids(snapshot)
        source = scan_sql(cursor, snapshot, names, files=[index], with_positions=True, row_ids=kept_ids)
        written = copy_to(
            cursor,
            snapshot,
            f"SELECT s.* FROM ({source}) s ANTI JOIN (SELECT row_number FROM {gone} WHERE file_index = {index}) r "
            "ON s.row_number = r.row_number",
            fields,
            one.path,
            further=kept_columns(snapshot, ROW_ID, ROW_COMMIT_VERSION),
            rows_per_group=_ROWS_PER_GROUP,
            in_order=False,
        )
        require_same_content(
            cursor, snapshot, Rewritten(one.files, removed, one.path), names, row_ids=kept_ids
        )
        return written


def _together(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, fields: Sequence[TableField], one: Rewrite
) -> WrittenFile:
    names, kept_ids = [field.name for field in fields], keeps_row_ids(snapshot)
    source = scan_sql(cursor, snapshot, names, files=one.files, row_ids=kept_ids)
    further = kept_columns(snapshot, ROW_ID, ROW_COMMIT_VERSION)
    written = copy_to(cursor, snapshot, source, fields, one.path, further=further)
    require_same_rows(cursor, snapshot, source, one.path, names, row_ids=kept_ids)
    return written
