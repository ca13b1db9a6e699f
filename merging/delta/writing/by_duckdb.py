"""Data files written by DuckDB, with the connection in which the rows are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

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
from merging.delta.writing.splicing import splice

_REWRITERS = 2
#: Where a page ends at the latest, as most write it: smaller files have one of each column, and keep none.
_ROWS_OF_A_PAGE = 20_000
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
        # One connection a file: encoding is what takes the time, and one file's is not shared between threads. Whole
        # files put together may be large, and nobody waits for them.
        gone = _all_removed(self._connection, rewrites)
        with ThreadPoolExecutor(max_workers=1 if whole else _REWRITERS) as pool:
            tasks = [
                pool.submit(_rewritten, self._connection.cursor(), snapshot, fields, one, gone)
                for one in rewrites
            ]
            try:
                return [task.result() for task in tasks]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

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


def _rewritten(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    fields: Sequence[TableField],
    one: Rewrite,
    gone: str,
) -> WrittenFile:
    with cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        if one.removed is None:
            return _together(cursor, snapshot, fields, one)
        return _without(cursor, snapshot, fields, one, one.removed, gone)


def _without(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    fields: Sequence[TableField],
    one: Rewrite,
    removed: np.ndarray,
    gone: str,
) -> WrittenFile:
    [index] = one.files
    file = snapshot.files[index]
    with snapshot.store.keeping(snapshot.store.relative(file.path), one.path):
        if snapshot.stored_records(file) > _ROWS_OF_A_PAGE:
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
