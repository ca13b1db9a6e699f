"""Rows that Headgate and a cluster hand each other for one question: few by Spark Connect, many as Parquet that lies
beside the table as long as the question takes.

What goes by Spark Connect passes the cluster's driver, which holds all of it, and refuses answers larger than
``spark.driver.maxResultSize`` (1 GiB where nobody says otherwise). Files beside the table are read and written by its
executors, each its part. Where one of the two may write none there, all goes by Spark Connect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from merging.delta import Snapshot, TableField
from merging.delta.writing import data_file_name, temporary_folder
from merging.engines.duckdb import fresh_name
from merging.engines.protocol import NotSaid
from merging.engines.spark_failures import is_gone
from merging.engines.spark_files import BROADCAST_UP_TO, GLOB, WRITING, configured, structure
from merging.errors import MergeFailed, TableUnreachable
from merging.sql.quoting import literal
from merging.sql.session import Session
from merging.sql.types import has_width, is_text

_SENT_UP_TO = 32 << 20  # bytes of rows that go by Spark Connect
_ANSWERED_UP_TO = 256 << 20  # bytes, as guessed, that come by it
_ROWS_PER_FILE = 1_000_000
_BYTES_PER_GROUP = 32 << 20
_READ_AT_ONCE = 16 << 20
_MOST_READ_AT_ONCE = 65_536  # rows

#: What makes a type of Spark's of its JSON.
Typed = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Handed:
    """Rows that the cluster is given: ``number`` of them, about ``size`` bytes."""

    number: int
    size: int
    _frame: Callable[[Any, Typed], Any]

    def frame(self, session: Any, functions: Any, typed: Typed) -> Any:
        """The rows there; what is small is held by every executor when it is joined."""
        rows = self._frame(session, typed)
        return functions.broadcast(rows) if self.size <= BROADCAST_UP_TO else rows


class Exchange:
    """What is handed over for one question about a table, and handed back. ``root`` is its address as Spark has it.
    Left, nothing of it lies beside the table.
    """

    def __init__(self, opened: Session, snapshot: Snapshot, root: str) -> None:
        self._opened = opened
        self._store = snapshot.store
        self._root = root
        self._may_lie = not GLOB.search(root)
        self._folder = temporary_folder(data_file_name("plan"))
        self._lies_there = False

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lies_there:
            with contextlib.suppress(TableUnreachable):  # it goes with what else attempts left behind
                self._store.remove_folder(self._folder)

    def hand(self, query: str, fields: Sequence[TableField]) -> Handed:
        """Rows of the session, whose columns are the fields by their names, of types without parts."""
        held = fresh_name()
        self._opened.execute(f"CREATE TEMP TABLE {held} AS {query}")
        try:
            sizes = " + ".join(_size_sql(one) for one in fields)
            number, size = self._opened.row(f"SELECT count(*), CAST({sizes} AS BIGINT) FROM {held}")
            if size > _SENT_UP_TO:
                with contextlib.suppress(NotSaid):
                    return self._laid(held, fields, number, size)
            table = self._opened.table(f"FROM {held}")
        finally:
            self._opened.execute(f"DROP TABLE {held}")
        return Handed(number, size, lambda session, _: session.createDataFrame(table))

    def lay(self, relation: str, fields: Sequence[TableField], number: int) -> Handed:
        """So many rows of the session as files, whatever their size and types. Raises NotSaid where they cannot lie
        beside the table: whoever may only read it sees plans of it, too.
        """
        return self._laid(relation, fields, number, BROADCAST_UP_TO + 1)

    def _laid(self, relation: str, fields: Sequence[TableField], number: int, size: int) -> Handed:
        if not self._may_lie:
            raise NotSaid("rows in a folder whose name Spark takes for a pattern")
        path = f"{self._folder}/{fresh_name()}.parquet"
        listed = ", ".join(one.name for one in fields)
        self._lies_there = True
        try:
            with self._store.writing(path) as local:
                self._opened.execute(
                    f"COPY (SELECT {listed} FROM {relation}) TO {literal(str(local))} (FORMAT parquet, "
                    "COMPRESSION zstd, COMPRESSION_LEVEL 1)"
                )
        except TableUnreachable as error:
            raise NotSaid("rows that the store does not take") from error
        there = f"{self._root}/{path}"
        return Handed(
            number, size, lambda session, typed: session.read.schema(typed(structure(fields))).parquet(there)
        )

    def answered(self, session: Any, rows: Any, size: int) -> Iterator[pa.Table]:
        """The rows of a question, as they come; ``size`` is how many bytes they may be. For the thread that asks."""
        if size <= _ANSWERED_UP_TO or not self._may_lie:
            yield from _told(session, rows)
            return
        folder = f"{self._folder}/{fresh_name()}"
        there = f"{self._root}/{folder}"
        self._lies_there = True
        try:
            with configured(session, WRITING):
                writer = rows.write.option("compression", "zstd").option("maxRecordsPerFile", _ROWS_PER_FILE)
                writer.option("parquet.block.size", _BYTES_PER_GROUP).parquet(there)
                # Which files are whole is known to the protocol by which the cluster commits them.
                written = session.read.parquet(there).inputFiles()
        except Exception as error:
            if is_gone(error):
                raise
            # The cluster may not write there, or cannot answer at all, which it says again.
            yield from _told(session, rows)
            return
        yield from self._read(folder, sorted(path.rpartition("/")[2] for path in written))

    def _read(self, folder: str, names: Sequence[str]) -> Iterator[pa.Table]:
        for name in names:
            try:
                source = self._store.opened(f"{folder}/{name}")
            except FileNotFoundError as error:
                raise MergeFailed(
                    "The cluster wrote its answer to another place than the table's."
                ) from error
            with pq.ParquetFile(source) as file:
                told_of = file.metadata
                size = sum(told_of.row_group(at).total_byte_size for at in range(told_of.num_row_groups))
                rows = _READ_AT_ONCE * told_of.num_rows // max(1, size)
                for batch in file.iter_batches(max(1, min(rows, _MOST_READ_AT_ONCE))):
                    yield pa.Table.from_batches([batch])


def _size_sql(field: TableField) -> str:
    """SQL of about how many bytes the cells of a column are."""
    if has_width(field.type):
        return f"count(*) * {-(-field.type.bit_width // 8)}"
    measure = "strlen" if is_text(field.type) else "octet_length"
    return f"coalesce(sum({measure}({field.name})), 0)"


def _told(session: Any, rows: Any) -> Iterator[pa.Table]:
    """The rows of a question by Spark Connect, as they come."""
    plan = rows._plan.to_proto(session.client)
    for answer in session.client.to_table_as_iterator(plan, {}):
        if isinstance(answer, pa.Table):
            yield answer
