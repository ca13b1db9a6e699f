"""Data files by Spark: what it is told to write, and where it writes it.

Spark reads the very files that are written again, as plain Parquet, and leaves out rows by their numbers: what it knows
of the table as a whole has no part in it. It writes into a folder of the attempt's, one file for each that is asked
for, told apart by the folder that a partition would have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from merging.delta import Rewrite, Snapshot, TableField
from merging.delta.actions import DataFile
from merging.delta.reading import partition_constants
from merging.delta.vectors import read_vector
from merging.delta.writing import keeps_row_ids, read_alike
from merging.engines.protocol import NotSaid
from merging.engines.spark_sql import spark_type
from merging.sql.session import Session
from merging.sql.types import can_widen, delta_type, duckdb_type
from merging.store.stores import TableStore

#: Databricks reads and writes nothing else below a table of Delta Lake otherwise.
_BESIDE = {"spark.databricks.delta.formatCheck.enabled": "false"}
#: How a session reads the table's files as plain ones.
READING = {**_BESIDE, "spark.sql.parquet.fieldId.read.enabled": "false"}
#: How it writes files as the table has them, one for each that it is told to.
WRITING = {
    **_BESIDE,
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.writeLegacyFormat": "false",
    "spark.sql.parquet.fieldId.write.enabled": "true",
    "spark.sql.files.maxRecordsPerFile": "0",
}
_BYTES_PER_GROUP = 32 << 20
BROADCAST_UP_TO = 1 << 28  # bytes of positions that every executor may hold
MOST_POSITIONS = 100_000_000
_MOST_PARTITIONS = 2_000
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What Spark takes for patterns in the paths of plain files.
GLOB = re.compile(r"[*?\[\]{}\\]")

#: A session's work: with `pyspark.sql.connect.functions`, and what makes a type of Spark's of its JSON.
Work = Callable[[Any, Any, Callable[[dict[str, Any]], Any]], None]


def structure(fields: Sequence[TableField]) -> dict[str, Any]:
    """The JSON of the columns as files hold them."""
    return {"type": "struct", "fields": [_said(one) for one in fields]}


def _said(field: TableField) -> dict[str, Any]:
    identity = {} if field.field_id is None else {"parquet.field.id": field.field_id}
    return {"name": field.stored_name, "type": _type(field), "nullable": True, "metadata": identity}


def _type(field: TableField) -> Any:
    if not field.parts:
        return delta_type(field.type)
    if pa.types.is_struct(field.type):
        return structure(field.parts)
    if pa.types.is_map(field.type):
        key, value = map(_type, field.parts)
        return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
    return {"type": "array", "elementType": _type(field.parts[0]), "containsNull": True}


class FreshNames:
    """Names for columns of a job's own that no column of the files has."""

    def __init__(self, fields: Sequence[TableField]) -> None:
        self._taken = {one.stored_name.casefold() for one in fields}

    def fresh(self, name: str) -> str:
        """The name, or one like it."""
        name = f"headgate_{name}"
        while name in self._taken:
            name += "_"
        return name


def quoted(name: str) -> str:
    """A column's name as Spark reads it."""
    return "`{}`".format(name.replace("`", "``"))


def unlike_files(
    snapshot: Snapshot, fields: Sequence[TableField], files: Sequence[DataFile], root: str
) -> set[int]:
    """The places of the files that Spark would read otherwise than we do, as plain files with these columns, or not
    tell from another.
    """
    paths = [snapshot.store.relative(file.path) for file in files]
    names = [path.rpartition("/")[2] for path in paths]
    times = Counter(name.casefold() for name in names)
    alike = read_alike(snapshot, fields, files)
    return {
        place
        for place, (path, name, same) in enumerate(zip(paths, names, alike, strict=True))
        if not same
        or times[name.casefold()] > 1
        or not PLAIN_NAME.fullmatch(name)
        or GLOB.search(f"{root}/{path}")
        or re.match(r"/|[A-Za-z][A-Za-z0-9+.-]*:/", path)  # it lies elsewhere: the table is a clone
    }


class Rewriting:
    """Files to be written again, as work for a session. Raises NotSaid, with the places of those that Spark would read
    otherwise than we do, or that it is not known of.
    """

    def __init__(
        self, snapshot: Snapshot, fields: Sequence[TableField], rewrites: Sequence[Rewrite], root: str
    ) -> None:
        kept = snapshot.row_tracking.kept if snapshot.row_tracking and keeps_row_ids(snapshot) else ()
        self.further = tuple(kept)
        self._fields = [*fields, *kept]
        self._rewrites = rewrites
        self._files = snapshot.files.at(index for one in rewrites for index in one.files)
        self._numbers = [number for number, one in enumerate(rewrites) for _ in one.files]
        self._paths = [snapshot.store.relative(file.path) for file in self._files]
        self._names = [path.rpartition("/")[2] for path in self._paths]
        self._root = root
        unlike = unlike_files(snapshot, self._fields, self._files, root)
        _require_said({self._numbers[place] for place in unlike})
        self._gone = self._positions(snapshot)

    def _positions(self, snapshot: Snapshot) -> pa.Table:
        """The rows that are left out: the number of the file within this work, and that of the row."""
        removed = {one.files[0]: one.removed for one in self._rewrites if one.removed is not None}
        indexes = [index for one in self._rewrites for index in one.files]
        dead = sum(file.dead_rows for file in self._files) + sum(map(len, removed.values()))
        if dead > MOST_POSITIONS:
            raise NotSaid("so many rows that go")
        files, rows = [], []
        for place, (index, file) in enumerate(zip(indexes, self._files, strict=True)):
            numbers = [removed[index]] if index in removed else []
            if file.vector is not None:
                numbers.append(np.fromiter(read_vector(snapshot.store, file.vector), np.int64))
            for some in numbers:
                files.append(np.full(len(some), place, np.int32))
                rows.append(some.astype(np.int64))
        none = np.array([], np.int64)
        return pa.table(
            {
                "m": pa.array(np.concatenate([none.astype(np.int32), *files]), pa.int32()),
                "r": pa.array(np.concatenate([none, *rows]), pa.int64()),
            }
        )

    def work_into(self, folder: str) -> Work:
        """Write them into a folder of the table's."""

        def work(session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any]) -> None:
            self._run(session, functions, typed, f"{self._root}/{folder}")

        return work

    def _run(self, session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any], into: str) -> None:
        # Each file is read by one task, and what that writes stays one file.
        largest = str(max(file.size for file in self._files) + 1)
        size = {"spark.sql.files.maxPartitionBytes": largest, "spark.sql.files.openCostInBytes": largest}
        with configured(session, {**READING, **WRITING, **size}):
            self._write(session, functions, typed, into)

    def _write(self, session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any], into: str) -> None:
        names = FreshNames(self._fields)
        named, row, place, number = (names.fresh(one) for one in ("named", "row", "place", "number"))
        first, version = names.fresh("first"), names.fresh("version")
        key, gone_place, gone_row = (names.fresh(one) for one in ("key", "gone_place", "gone_row"))
        stored = session.read.schema(typed(structure(self._fields))).parquet(
            *(f"{self._root}/{path}" for path in self._paths)
        )
        stands = stored.metadataColumn("_metadata")
        rows = stored.select(
            stands["file_name"].alias(named),
            stands["row_index"].alias(row),
            *(functions.col(quoted(one.stored_name)) for one in self._fields),
        )
        known = session.createDataFrame(
            pa.table(
                {
                    key: pa.array(self._names),
                    place: pa.array(range(len(self._files)), pa.int32()),
                    number: pa.array(self._numbers, pa.int32()),
                    first: pa.array([file.extra.get("baseRowId") for file in self._files], pa.int64()),
                    version: pa.array(
                        [file.extra.get("defaultRowCommitVersion") for file in self._files], pa.int64()
                    ),
                }
            )
        )
        rows = rows.join(functions.broadcast(known), rows[named] == known[key])
        shuffled = len(self._files) > len(self._rewrites)
        if len(self._gone):
            gone = session.createDataFrame(self._gone.rename_columns([gone_place, gone_row]))
            held_by_all = self._gone.nbytes <= BROADCAST_UP_TO
            same = [rows[place] == gone[gone_place], rows[row] == gone[gone_row]]
            rows = rows.join(functions.broadcast(gone) if held_by_all else gone, same, "left_anti")
            shuffled = shuffled or not held_by_all
        if shuffled:
            rows = rows.repartition(min(len(self._rewrites), _MOST_PARTITIONS), functions.col(number))
        rows = rows.sortWithinPartitions(number, place, row)
        counted = (functions.col(first) + functions.col(row), functions.col(version))
        cells = [functions.col(quoted(one.stored_name)) for one in self._fields]
        for at, (one, fresh) in enumerate(zip(self.further, counted, strict=False), -len(self.further)):
            cells[at] = functions.coalesce(cells[at], fresh).alias(one.stored_name)
        _write(rows.select(*cells, functions.col(number)), number, into)


def _require_said(left: set[int]) -> None:
    if left:
        raise NotSaid("files that Spark reads otherwise", sorted(left))


@contextmanager
def configured(session: Any, settings: Mapping[str, str]) -> Iterator[None]:
    """Let a session read or write plain files as the table has them, and be as before afterwards: with the work that
    fails its session ends.
    """
    before = {name: session.conf.get(name, None) for name in settings}
    for name, value in settings.items():
        session.conf.set(name, value)
    yield
    for name, value in before.items():
        if value is None:
            session.conf.unset(name)
        else:
            session.conf.set(name, value)


def _write(rows: Any, number: str, into: str) -> None:
    writer = rows.write.partitionBy(number).option("compression", "snappy")
    writer.option("parquet.block.size", str(_BYTES_PER_GROUP))
    writer.option("parquet.statistics.truncate.length", str(2**31 - 1)).parquet(into)  # bounds are values


def files_in(store: TableStore, folder: str) -> Iterator[tuple[int, str]]:
    """What Spark wrote into a folder: the number of each file and where it is."""
    for item in store.within(folder):
        inside = item.path.removeprefix(f"{folder}/").split("/")
        found = re.fullmatch(r"headgate_number_*=(\d+)", inside[0])
        if found and len(inside) == 2 and inside[1].endswith(".parquet") and inside[1][0] not in "._":
            yield int(found[1]), item.path


class Writing:
    """Rows that come, as work for a session: `tables` hold them under the names of the files, one for each file."""

    def __init__(
        self,
        fields: Sequence[TableField],
        further: Sequence[TableField],
        tables: Sequence[pa.Table],
        root: str,
    ) -> None:
        self._fields = [*fields, *further]
        self._tables = tables
        self._root = root

    def work_into(self, folder: str) -> Work:
        """Write them into a folder of the table's."""

        def work(session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any]) -> None:
            with configured(session, WRITING):
                self._run(session, functions, typed, f"{self._root}/{folder}")

        return work

    def _run(self, session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any], into: str) -> None:
        names = FreshNames(self._fields)
        number, nth = names.fresh("number"), names.fresh("nth")
        cells = [f"c{place}" for place in range(len(self._fields))]
        sent = pa.concat_tables(
            table.rename_columns(cells)
            .append_column(number, pa.array([place] * len(table), pa.int32()))
            .append_column(nth, pa.array(range(len(table)), pa.int64()))
            for place, table in enumerate(self._tables)
        )
        rows = session.createDataFrame(sent)
        kinds = typed(structure(self._fields)).fields
        values = [
            functions.col(cell).cast(kind.dataType).alias(kind.name, metadata=kind.metadata)
            for cell, kind in zip(cells, kinds, strict=True)
        ]
        rows = rows.repartition(min(len(self._tables), _MOST_PARTITIONS), functions.col(number))
        rows = rows.sortWithinPartitions(number, nth).select(*values, functions.col(number))
        _write(rows, number, into)


class PlainFiles:
    """Files that are named one by one, as work for a session: their rows, with the columns of a schema, as the Parquet
    that they are. Raises NotSaid where Spark would read one of them otherwise than DuckDB does.
    """

    def __init__(
        self, opened: Session, snapshot: Snapshot, files: Sequence[DataFile], schema: pa.Schema, root: str
    ) -> None:
        apart = set(snapshot.partition_columns)
        wanted = set(schema.names) - apart
        self._fields = [one for one in snapshot.fields if one.name in wanted]
        if snapshot.mapping_mode != "none" and any(one.parts for one in self._fields):
            raise NotSaid("names within values that are stored under others")
        if unlike_files(snapshot, self._fields, files, root):
            raise NotSaid("files that Spark reads otherwise")
        relative = [snapshot.store.relative(file.path) for file in files]
        self._paths = [f"{root}/{path}" for path in relative]
        self._names = FreshNames(self._fields)
        self._known = pa.table(
            {
                self._names.fresh("key"): pa.array([path.rpartition("/")[2] for path in relative]),
                self._names.fresh("place"): pa.array(range(len(files)), pa.int32()),
            }
        )
        self._cells: list[str] = []
        stored = {one.name: one for one in self._fields}
        for field in schema:
            if field.name in stored:
                cell, held = quoted(stored[field.name].stored_name), stored[field.name].type
            elif field.name in apart:
                value = self._names.fresh(f"value_{len(self._cells)}")
                cell, held = quoted(value), snapshot.schema.field(field.name).type
                listed = ", ".join(partition_constants(snapshot, files, field.name))
                values = opened.table(f"SELECT unnest(CAST([{listed}] AS {duckdb_type(held)}[])) AS v")
                self._known = self._known.append_column(value, values.column("v"))
            else:
                cell, held = f"CAST(NULL AS {spark_type(field.type)})", field.type
            if not can_widen(held, field.type):
                raise NotSaid("values that are told as text")
            self._cells.append(cell if held == field.type else f"CAST({cell} AS {spark_type(field.type)})")

    def rows(
        self,
        session: Any,
        functions: Any,
        typed: Callable[[dict[str, Any]], Any],
        places: slice = slice(None),
    ) -> Any:
        """All rows that are stored in some of the files: ``f`` is the place of the file, ``r`` the number of the row,
        then come the cells as ``c0`` ….
        """
        key, place = self._known.column_names[:2]
        named, row = self._names.fresh("named"), self._names.fresh("row")
        stored = session.read.schema(typed(structure(self._fields))).parquet(*self._paths[places])
        stands = stored.metadataColumn("_metadata")
        rows = stored.select(
            stands["file_name"].alias(named),
            stands["row_index"].alias(row),
            *(functions.col(quoted(one.stored_name)) for one in self._fields),
        )
        known = session.createDataFrame(self._known[places])
        rows = rows.join(functions.broadcast(known), rows[named] == known[key])
        return rows.select(
            functions.col(place).alias("f"),
            functions.col(row).alias("r"),
            *(functions.expr(cell).alias(f"c{at}") for at, cell in enumerate(self._cells)),
        )
