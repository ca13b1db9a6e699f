"""One DuckDB connection per operation: in memory, bounded, spilling to a folder of its own, in UTC."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from merging.confinement.bounds import bytes_of
from merging.scratch import scratch_place
from merging.sql.content_limits import ContentLimits
from merging.sql.engines import ENGINES
from merging.sql.failures import naming_engine_failures
from merging.sql.quoting import column_named, literal, quote
from merging.sql.values import python_values

_MANY_COLUMNS = 200
_BYTES_A_COLUMN = 800_000  # a few dozen vectors of 2,048 cells for each column of a row's three images


_ROWS_OF_A_VECTOR = 2_048
#: So many bytes of a vector's rows are wide: a merge holds some six images of each at a time.
_WIDE = 32 << 20
_BYTES_OF_A_GROUP = 8 << 20
#: DuckDB's, of its own tables.
_ROWS_OF_A_GROUP = 122_880


@dataclass(frozen=True)
class Limits(ContentLimits):
    """What every operation of this process may take.

    ``memory`` is what DuckDB may hold before it spills; the process as a whole needs a few hundred megabytes more.
    ``staging_memory`` is the same for staging, so that any upload is read within 1 GB, readers and Python included.
    ``check_memory`` and ``check_seconds`` are what one expectation may take in its confined process, where a pattern, a
    schema or Great Expectations judges.
    The others are what uploads may hold.
    """

    memory: str = "1GB"
    staging_memory: str = "450MB"
    threads: int = 2
    check_memory: str = "2GB"
    check_seconds: int = 30


_limits = Limits()


def limits() -> Limits:
    """The limits of this process."""
    return _limits


def set_limits(given: Limits) -> None:
    """Set the limits of this process, for sessions that are opened from now on. For whoever starts the process."""
    global _limits
    _limits = given


#: What DuckDB 2.0 would look up a second time: the first rows in an order of several files whose scan tells
#: `file_index`, and that breaks ("Attempted to access index … within vector").
_LEFT_OUT = "late_materialization"
#: On local disk DuckDB does not read ahead: whole column chunks, before it is known whether it looks at all their
#: pages, take room, and a tenth of the time of finding few rows. Who reads from a distance has it do so
#: (`store.files.register`).
_NOT_AHEAD = "SET disable_parquet_prefetching = true"
#: Optimizers that compare every column of a statement with each other one.
_SQUARE = ("projection_placement", "common_subexpressions", "statistics_propagation")


class Session:
    """An open connection and the folder it spills to. Closing (or forgetting) it removes both.

    ``rows`` is how many it works on, where that is known: tables are read by a thread for each group of their rows.
    More than those only hand rows to each other, which takes longer, and so does it to start and to end them.
    """

    def __init__(self, *, memory_limit: str | None = None, rows: int | None = None) -> None:
        spill = str(scratch_place("engine"))
        self._most_threads = limits().threads
        self._threads = self._most_threads if rows is None else min(self._most_threads, _groups_of(rows))
        with naming_engine_failures():
            lent = ENGINES.lend(
                spill,
                {
                    "memory_limit": memory_limit or limits().memory,
                    "threads": self._threads,
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    "disabled_optimizers": _LEFT_OUT,
                },
            )
            self.connection = lent.connection
            self._folder = spill
            self.rows_are_wide = False
            #: What ends with it.
            self.ends = ExitStack()
            self._end = weakref.finalize(self, ENGINES.take_back, lent)
            self.connection.execute("SET TimeZone = 'UTC'")
            self.connection.execute(_NOT_AHEAD)

    def expect_columns(self, number: int) -> None:
        """Prepare for statements over a number of columns, so that their cost is linear in it.

        Each step of a statement holds a vector of every column, once a thread, whatever the number of rows: rows of
        thousands of columns need more memory than the limit grants to tables of any length. And some optimizers compare
        every column with each other one.
        """
        if number <= _MANY_COLUMNS:
            return
        self._keep_to_one_thread()
        self.execute(f"SET disabled_optimizers = '{','.join((_LEFT_OUT, *_SQUARE))}'")
        grant_memory(self.connection, number * _BYTES_A_COLUMN)

    def expect_rows(self, number: int, width: int) -> None:
        """Prepare for a number of rows of so many bytes each: of wide ones no two threads work, and few are held.

        Tables hold rows by the thousand, and hand them on so: whoever reads one has as many in memory.
        """
        self.rows_are_wide = min(number, _ROWS_OF_A_VECTOR) * width > _WIDE
        if self.rows_are_wide:
            self._keep_to_one_thread()

    def hold(self, name: str, query: str, *, as_read: bool = False) -> None:
        """Hold what a query finds under a name, for good: wide rows in a file of which few are read at a time.

        ``as_read``: the order of its rows is that of the one file that it reads. One thread does that sooner than two:
        they would hold apart what each row group gives, and copy it once more to put it together.
        """
        if not self.rows_are_wide:
            with self._working_with(1 if as_read else self._threads):
                self.execute(f"CREATE TABLE {name} AS {query}")
            return
        os.makedirs(self._folder, exist_ok=True)
        path = literal(os.path.join(self._folder, f"{name}.parquet"))
        self.execute(
            f"COPY ({query}) TO {path} (FORMAT parquet, ROW_GROUP_SIZE_BYTES {_BYTES_OF_A_GROUP}, "
            "COMPRESSION lz4_raw, WRITE_BLOOM_FILTER false, DICTIONARY_SIZE_LIMIT 1)"
        )
        self.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({path})")

    @contextmanager
    def reading(self, rows: int) -> Iterator[None]:
        """For statements that read so many rows besides those that the session works on."""
        with self._working_with(max(self._threads, min(self._most_threads, _groups_of(rows)))):
            yield

    @contextmanager
    def _working_with(self, threads: int) -> Iterator[None]:
        before = self._threads
        self._work_with(threads)
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # what broke the engine is said
                self._work_with(before)

    def _keep_to_one_thread(self) -> None:
        self._most_threads = 1
        self._work_with(1)

    def _work_with(self, threads: int) -> None:
        if threads != self._threads:
            self.execute(f"SET threads = {threads}")
            self._threads = threads

    def counts(self, query: str, conditions: Sequence[str]) -> list[int]:
        """How many rows of a query fulfil each of the conditions."""
        return self.numbers([f"count_if({condition})" for condition in conditions], query)

    def numbers(self, aggregates: Sequence[str], query: str) -> list[int]:
        """What aggregates of a query's rows count. One list of them is planned in linear time."""
        if not aggregates:
            return []
        [found] = self.row(f"SELECT [{', '.join(aggregates)}] {query}")
        return [int(number or 0) for number in found]  # NULL where there are no rows

    def with_cells(self, rows: str, cells: Mapping[str, str]) -> str:
        """A SELECT of rows (SQL that stands behind FROM) with other values in some of their columns.

        ``* REPLACE`` of many columns is planned in the square of their number.
        """
        if not cells:
            return f"SELECT * FROM {rows}"
        names = self.connection.sql(f"FROM {rows}").columns
        listed = (f"{cells[name]} AS {quote(name)}" if name in cells else quote(name) for name in names)
        return f"SELECT {', '.join(listed)} FROM {rows}"

    def interrupt(self) -> None:
        """End the statement that runs, from another thread; nothing where none runs, or the session has ended."""
        with suppress(duckdb.ConnectionException):
            self.connection.interrupt()

    def close(self) -> None:
        """End the connection and remove what it spilled. Closing twice is fine."""
        self.ends.close()
        self._end()

    def execute(self, statement: str, parameters: list[Any] | None = None) -> None:
        """Run a statement for its effect."""
        self.connection.execute(statement, parameters)

    def table(self, query: str) -> pa.Table:
        """The result as an Arrow table."""
        self.connection.complete()
        return self.connection.sql(query).to_arrow_table()

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The result as plain Python values, one dict a row."""
        table = self.table(query)
        return [dict(zip(table.column_names, values, strict=True)) for values in tuples(table)]

    def user_rows(self, query: str) -> list[dict[str, Any]]:
        """The same for a query of nothing but columns of the user's: by their names."""
        return [{column_named(label): value for label, value in row.items()} for row in self.rows(query)]

    def row(self, query: str) -> tuple[Any, ...]:
        """The single row of a query of numbers and short texts."""
        [found] = self.connection.execute(query).fetchall()
        return tuple(found)

    def each(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query of numbers and short texts, of which few are held; nothing else is asked meanwhile."""
        found = self.connection.execute(query)
        while some := found.fetchmany(_ROWS_OF_A_VECTOR):
            yield from some

    def number(self, query: str) -> int:
        """The single integer that the query returns."""
        return int(self.row(query)[0])


def _groups_of(rows: int) -> int:
    """In how many groups, as tables hold them, so many rows are."""
    return max(1, -(-rows // _ROWS_OF_A_GROUP))


def grant_memory(connection: duckdb.DuckDBPyConnection, needed: int) -> None:
    """Let DuckDB hold so many bytes, where it may not yet: for what does not come in pieces."""
    [[allowed]] = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    if needed > bytes_of(allowed):
        connection.execute(f"SET memory_limit = '{needed}B'")


def tuples(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of an Arrow table as plain Python values."""
    columns = [python_values(column) for column in table.columns]
    return zip(*columns, strict=True) if columns else iter(())


@contextmanager
def session(table_uri: str = "", *, memory_limit: str | None = None) -> Iterator[Session]:
    """A session for the time of a ``with`` block; what DuckDB raises in it leaves as the engine's own error.

    ``table_uri`` is the table whose files are read in it, where they are those of one.
    """
    opened = Session(memory_limit=memory_limit)
    try:
        with naming_engine_failures(table_uri, {"table_uri": table_uri} if table_uri else None):
            yield opened
    finally:
        opened.close()
