"""Data files written by DuckDB, with the connection in which the rows are."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass

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
from merging.delta.writing.splicing_apart import can_splice_apart, splice_apart

_ROWS_PER_GROUP = 24_576  # two files are in hand at a time
#: Bytes that DuckDB would write whole in the time of the splices: a process beside this one takes about .02 s to begin.
_WORTH_A_PROCESS = 2 << 20


class DuckDBFiles:
    """Writes with a connection; see `FileWriter`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rewrite(
        self, snapshot: Snapshot, fields: Sequence[TableField], rewrites: Sequence[Rewrite]
    ) -> list[WrittenFile]:
        """See `FileWriter`."""
        return _Rewriting(self._connection, snapshot, fields, rewrites).run()

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


class _Rewriting:
    """Files that are written again two at a time, each by whoever comes to it first.

    Python splices one while DuckDB encodes the other, for two that are spliced would only take turns; or a process
    beside this one splices, too. Another thread waits for the disk meanwhile.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        rewrites: Sequence[Rewrite],
    ) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._fields = fields
        self._rewrites = rewrites
        self._gone = _all_removed(connection, rewrites)
        self._written: dict[str, WrittenFile] = {}
        self._flushing = ThreadPoolExecutor(max_workers=1)
        self._flushed: list[Future[None]] = []
        takes = _splicing_takes(snapshot, rewrites)
        self._largest = max((one.size for one in takes.values()), default=0)
        self._apart = _is_worth_a_process(takes) and can_splice_apart()
        self._spliced = {*_shorter(takes)} if self._apart else _beside_duckdb(takes)
        self._turns = deque(sorted(rewrites, key=lambda one: one.path not in self._spliced))

    def run(self) -> list[WrittenFile]:
        """What each became, in their order."""
        lanes = [self._from_left, self._from_right]
        if all(one.removed is None for one in self._rewrites):
            lanes.pop()  # files put together may be large, and nobody waits for them
        with self._flushing, ThreadPoolExecutor(max_workers=len(lanes)) as pool:
            tasks = [pool.submit(lane) for lane in lanes]
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                self._turns.clear()  # where one has failed, nobody begins another
        for task in (*tasks, *self._flushed):
            task.result()
        return [self._written[one.path] for one in self._rewrites]

    def _from_left(self) -> None:
        """Those that are spliced come first."""
        if self._apart:
            left = splice_apart(
                self._snapshot, self._fields, self._next_spliced, self._spliced_apart, largest=self._largest
            )
            if left is not None:
                self._turns.appendleft(left)
        self._here(self._turns.popleft)

    def _from_right(self) -> None:
        self._here(self._turns.pop)

    def _here(self, take: Callable[[], Rewrite]) -> None:
        for one in _taken(take):
            splicing = one.path in self._spliced
            with _cursor(self._connection) as cursor:
                written = _rewritten(cursor, self._snapshot, self._fields, one, self._gone, splicing=splicing)
            self._wrote(one, written)

    def _next_spliced(self) -> Rewrite | None:
        for one in _taken(self._turns.popleft):
            if one.path in self._spliced:
                return one
            self._turns.appendleft(one)
            break
        return None

    def _spliced_apart(self, one: Rewrite, written: WrittenFile | None) -> None:
        if written is None:
            self._spliced.discard(one.path)
            self._turns.append(one)
            return
        [index] = one.files
        with _cursor(self._connection) as cursor:
            require_same_pages(cursor, self._snapshot, index, np.asarray(one.removed), one.path)
        self._wrote(one, written)

    def _wrote(self, one: Rewrite, written: WrittenFile) -> None:
        self._written[one.path] = written
        self._flushed.append(self._flushing.submit(self._snapshot.store.sync, [one.path]))


def _all_removed(connection: duckdb.DuckDBPyConnection, rewrites: Sequence[Rewrite]) -> str:
    """A table (file_index, row_number) of the rows that all the files lose: one of its own for each took longer than
    to leave them out."""
    removed = {one.files[0]: one.removed for one in rewrites if one.removed is not None}
    indexes = np.repeat([*removed], [len(numbers) for numbers in removed.values()]).astype(np.int64)
    numbers = np.concatenate([np.empty(0, np.int64), *removed.values()])
    return register_positions(connection, indexes, numbers, for_cursors=True)


@dataclass(frozen=True)
class _Takes:
    """What a splice takes, in parts of what it takes DuckDB to write the file whole, and how many bytes that is."""

    share: float
    size: int

    @property
    def time(self) -> float:
        return self.share * self.size


def _splicing_takes(snapshot: Snapshot, rewrites: Sequence[Rewrite]) -> dict[str, _Takes]:
    """By the new paths. What is known before anything is written decides how it is: never who was first."""
    files = snapshot.files.at([one.files[0] for one in rewrites])
    return {
        one.path: _Takes(
            math.inf if one.removed is None else splicing_takes(snapshot, file, one.removed), file.size
        )
        for one, file in zip(rewrites, files, strict=True)
    }


def _shorter(takes: Mapping[str, _Takes]) -> list[str]:
    """Those that are spliced in less time than DuckDB takes to write them, the shortest first."""
    return sorted((path for path, one in takes.items() if one.share < 1), key=lambda path: takes[path].share)


def _is_worth_a_process(takes: Mapping[str, _Takes]) -> bool:
    spliced = _shorter(takes)
    return len(spliced) > 1 and sum(takes[path].time for path in spliced) > _WORTH_A_PROCESS


def _beside_duckdb(takes: Mapping[str, _Takes]) -> set[str]:
    """Which keep pages where one is spliced at a time: but for so many of the dearest as DuckDB writes in the time of
    the others."""
    spliced = _shorter(takes)
    left = sum(takes[path].time for path in spliced)
    whole = sum(one.size for one in takes.values()) - sum(takes[path].size for path in spliced)
    while spliced:
        dearest = takes[spliced[-1]]
        if whole + dearest.size >= left:
            break
        spliced.pop()
        whole, left = whole + dearest.size, left - dearest.time
    return set(spliced)


def _taken(take: Callable[[], Rewrite]) -> Iterator[Rewrite]:
    """One after the other, until none is left."""
    with suppress(IndexError):
        while True:
            yield take()


@contextmanager
def _cursor(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    with connection.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        yield cursor


def _rewritten(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    fields: Sequence[TableField],
    one: Rewrite,
    gone: str,
    *,
    splicing: bool,
) -> WrittenFile:
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
