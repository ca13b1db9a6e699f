"""Results of any length, read batch by batch: bounded in memory, and ended from outside where nobody reads on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

import duckdb
import pyarrow as pa

from merging.errors import MergeError
from merging.sql.failures import engine_failure, error_in_text
from merging.sql.session import Session

#: What DuckDB may hold for one stream: sorts spill beyond it.
STREAM_MEMORY = "256MB"
#: A vector of DuckDB's: the least that it gives, so that a batch of long texts stays small.
_LEAST_ROWS = 2_048
_MOST_ROWS = 65_536
_MOST_BYTES = 4 << 20


class StreamEnded(Exception):
    """The stream was stopped: nobody reads it any more, so nobody is told of this."""


@dataclass(frozen=True)
class RowStream:
    """Rows of an exact schema, in batches of some megabytes at most; ``version`` is the table version that they are of,
    where they are of one. ``batches`` is read once; it raises EngineFailed, TableDamaged and TableUnreachable.

    What it reads from lives until ``close``, which is allowed at any time and more than once. One thread at a time
    reads or closes; ``stop`` may come from any: whoever reads then finds StreamEnded.
    """

    schema: pa.Schema
    version: int | None
    batches: Iterator[pa.RecordBatch]
    stop: Callable[[], None]
    close: Callable[[], None]

    def __enter__(self) -> RowStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stream_query(
    session: Session, query: str, schema: pa.Schema, *, table_uri: str = "", version: int | None = None
) -> RowStream:
    """The rows of a query whose columns are those of the schema, in order; the session ends with them. ``table_uri`` is
    the table whose files it reads, where it reads those of one.

    The first are read at once: what cannot be read at all is said here, and not amid an answer. Raises the engine's
    errors, and then the session is closed.
    """
    try:
        session.connection.complete()
        rows = _Rows(session, session.connection.sql(query).to_arrow_reader(_LEAST_ROWS), table_uri)
        first = rows.next()
    except duckdb.Error as error:
        session.close()
        raise _failure(error, table_uri) from error
    except BaseException:
        session.close()
        raise
    return RowStream(schema, version, _gathered(rows, first, schema), rows.stop, rows.close)


def _failure(error: duckdb.Error, table_uri: str) -> MergeError:
    return engine_failure(error, table_uri, {"table_uri": table_uri} if table_uri else None)


class _Rows:
    """What a query gives, a vector or so at a time."""

    def __init__(self, session: Session, reader: pa.RecordBatchReader, table_uri: str) -> None:
        self._session = session
        self._reader = reader
        self._table_uri = table_uri
        self._is_stopped = False
        self._reading = Lock()

    def stop(self) -> None:
        self._is_stopped = True
        self._session.interrupt()

    def close(self) -> None:
        """End the session, and the reader before it: while that is there, it keeps threads, memory and files of a
        session that was closed, and whoever holds these rows holds the reader.
        """
        self.stop()
        with self._reading:  # a reader that is closed beneath whoever reads takes the process with it
            self._reader.close()
            self._session.close()

    def next(self) -> pa.RecordBatch | None:
        try:
            with self._reading:
                if self._is_stopped:
                    raise StreamEnded
                return self._reader.read_next_batch()
        except StopIteration:
            return None
        except (pa.ArrowException, OSError) as error:  # what DuckDB raises reaches the reader as text
            if self._is_stopped:
                raise StreamEnded from error
            raise _failure(error_in_text(str(error)), self._table_uri) from error


def _gathered(rows: _Rows, first: pa.RecordBatch | None, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    number = size = 0
    batch = first
    while batch is not None:
        held.append(batch)
        number, size = number + batch.num_rows, size + batch.nbytes
        if number >= _MOST_ROWS or size >= _MOST_BYTES:
            yield _typed(held, schema)
            held, number, size = [], 0, 0
        batch = rows.next()
    if held:
        yield _typed(held, schema)


def _typed(held: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for place, wanted in enumerate(schema):
        column = pa.concat_arrays([batch.column(place) for batch in held])
        columns.append(column if column.type == wanted.type else column.cast(wanted.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
