"""Running a judged statement over one version of the dataset, where nothing else can be reached.

The session holds the dataset's rows as views over files that DuckDB can only read, through a file system of ours; then
it is locked: no other file, no network, no extension, no setting. A statement that got past both judges could do no
more than read the dataset and use up what its process may take.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta import Snapshot, engine_paths, scan_sql
from merging.errors import StagingRejected
from merging.sql.failures import raise_unreachable
from merging.sql.locking import lock
from merging.sql.parsing import shown
from merging.sql.quoting import column_sql, quote
from merging.sql.session import Session, limits, session
from merging.staging.queries.judging import judge
from merging.staging.queries.places import did_you_mean, refused
from merging.staging.queries.statement import Statement, TableNames, read_statement, too_deep
from merging.staging.sources.base import BATCH_ROWS, OPERATION_COLUMN

NAMES = ("dataset", "table")
"""What a statement may call its dataset, whatever its own name."""

_MOST_SPILLED = "8GB"
"""What a statement may spill to disk: else one that sorts without end fills it within its time."""

_FAILURES = (duckdb.Error, pa.ArrowException, OSError, RuntimeError)


@dataclass(frozen=True)
class StatementRows:
    """The rows that a statement gives, in the columns of the table, once."""

    rows: pa.RecordBatchReader


@contextmanager
def answer(
    snapshot: Snapshot, primary_keys: Sequence[str], written: str, names: Sequence[str] = ()
) -> Iterator[StatementRows]:
    """Run what somebody wrote over the rows of a snapshot that was opened sealed; ``names`` are those of the dataset.

    Raises StagingRejected with the place and the way out, in whatever step; while the rows are read, too.
    """
    known = TableNames(
        tables=_distinct((*NAMES, *names)),
        columns=tuple(snapshot.schema.names),
        keys=tuple(primary_keys),
        generated=tuple(snapshot.columns_without_values),
    )
    with session(memory_limit=limits().staging_memory) as opened:
        prepare(opened, snapshot, known.tables)
        running = _Run(opened, judged(written, known, opened), known)
        try:
            yield StatementRows(running.rows())
        finally:
            running.end()


def judged(written: str, names: TableNames, opened: Session) -> Statement:
    """What somebody wrote as a SELECT that both judges approve. Raises StagingRejected."""
    try:
        statement = read_statement(written, names)
        judge(
            opened,
            statement.select,
            names.tables,
            statement.place,
            names_columns=statement.columns is None,
        )
    except RecursionError as error:
        raise too_deep() from error
    return statement


def prepare(opened: Session, snapshot: Snapshot, tables: Sequence[str]) -> None:
    """Give a session the snapshot's rows under these names, and lock it to them."""
    opened.expect_columns(len(snapshot.schema))
    snapshot.store.attach(opened.connection)
    rows = scan_sql(opened.connection, snapshot)
    columns = ", ".join(f"{column_sql(name)} AS {quote(name)}" for name in snapshot.schema.names)
    for name in tables:
        opened.execute(f"CREATE TEMP VIEW {quote(name)} AS SELECT {columns} FROM ({rows})")
    opened.execute("SET errors_as_json = true")
    opened.execute(f"SET max_temp_directory_size = '{_MOST_SPILLED}'")
    lock(opened, files=engine_paths(snapshot))


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    return tuple({name.casefold(): name for name in reversed(names)}.values())


class _Run:
    """One statement while its rows are read."""

    def __init__(self, opened: Session, statement: Statement, names: TableNames) -> None:
        self._opened = opened
        self._statement = statement
        self._names = names
        self._found: pa.RecordBatchReader | None = None

    def end(self) -> None:
        """Let go of what was not read."""
        if self._found is not None:
            self._found.close()

    def rows(self) -> pa.RecordBatchReader:
        """Begin to run it: what binds wrongly is refused here, what fails at a row when that is read."""
        try:
            found = self._opened.connection.sql(self._statement.select).to_arrow_reader(BATCH_ROWS)
        except _FAILURES as error:
            raise self._refusal(self._with_place(error)) from error
        self._found = found
        names = self._columns(found.schema.names)
        fields = [pa.field(name, one.type) for name, one in zip(names, found.schema, strict=True)]
        operation = self._statement.operation
        if operation is not None:
            fields.append(pa.field(OPERATION_COLUMN, pa.string()))
        schema = pa.schema(fields)
        return pa.RecordBatchReader.from_batches(schema, self._batches(found, schema))

    def _batches(self, found: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        operation = self._statement.operation
        while True:
            try:
                batch = found.read_next_batch()
            except StopIteration:
                return
            except _FAILURES as error:
                raise self._refusal(error) from error
            columns = list(batch.columns)
            if operation is not None:
                columns.append(pa.array([operation] * batch.num_rows, pa.string()))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _with_place(self, error: BaseException) -> BaseException:
        """The same error as DuckDB tells it of statements that it runs at once: with the place."""
        try:
            self._opened.connection.execute(self._statement.select)
        except _FAILURES as again:
            return again
        return error

    def _columns(self, found: Sequence[str]) -> list[str]:
        """The names of the columns that came, as the table spells them."""
        given = self._statement.columns
        if given is None:
            return [self._names.column(name) or name for name in found]
        if len(given) != len(found):
            listed = ", ".join(shown(name) for name in given)
            raise refused(
                "sql_wrong_number_of_columns",
                f"{len(found):,} values are given for the {len(given):,} columns {listed}: give one for each, or list "
                "the columns behind the name of the table.",
            )
        return list(given)

    def _refusal(self, error: BaseException) -> StagingRejected:
        """What DuckDB says, with its place and what may be meant. Raises TableUnreachable."""
        raise_unreachable(error)
        told = _told(error)
        kind, message = told.get("exception_type", ""), _first_sentence(told["exception_message"])
        if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in kind:
            return refused(
                "sql_too_large",
                "the statement needs more memory than it may take: take fewer rows or columns at once, and avoid joins "
                f"in which every row meets every other. ({message.partition(' Possible solutions')[0]})",
            )
        name = str(told.get("name", ""))
        place = self._statement.place(int(told.get("position", -1)), name)
        if told.get("error_subtype") == "COLUMN_NOT_FOUND" and name:
            near = did_you_mean(name, self._names.columns)
            return refused("sql_unknown_column", f"there is no column {shown(name)} here.{near}", place)
        return refused("sql_failed", f"{message}.", place)


def _told(error: BaseException) -> dict[str, Any]:
    """What an error holds: DuckDB writes it as JSON behind its kind."""
    text = str(error)
    begins = text.find("{")
    try:
        told = json.loads(text[begins:]) if begins >= 0 else None
    except ValueError:
        told = None
    if isinstance(told, dict) and isinstance(told.get("exception_message"), str):
        return told
    return {"exception_message": text}


def _first_sentence(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (" ".join(lines[:3]) or "the statement failed")[:500].rstrip(".")
