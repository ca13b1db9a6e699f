"""Reading rows with DuckDB: find rows by key, fetch them, scan them all.

Rows are named by `file_index` (position in `Snapshot.files`) and `row_number` (position in that file), which
is how deletion vectors name them too. Relations that are taken or made here hold the table's columns under their
labels (`schema.column_label`). `locate` reads the key columns alone, of the files whose statistics
allow a key; `fetch` reads the files with hits.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from merging.delta.schema import column_sql, duckdb_type, literal, quote
from merging.delta.snapshot import Snapshot
from merging.delta.statistics import candidate_files
from merging.delta.vectors import among_dead, read_vector
from merging.errors import MergeFailed

_names = itertools.count()
_FILES_PER_STATEMENT = 64


@dataclass(frozen=True)
class Located:
    """What `locate` did: rows found, the files whose key columns it read, the files with hits."""

    rows: int
    files_read: tuple[int, ...]
    files_hit: tuple[int, ...]


def locate(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    keys: str,
    key_columns: Sequence[str],
    into: str,
    *,
    files: Collection[int] | None = None,
) -> Located:
    """Create the temporary table `into`(file_index, row_number, key columns) of live rows with a key of `keys`.

    `keys` names a relation with the key columns in the table's exact types; neither it nor `into` is quoted.
    `files` are the indexes of the files to look into, None for all.
    Raises MergeFailed when a data file or vector is missing or damaged.
    """
    candidates = candidate_files(connection, snapshot, keys, key_columns, files)
    columns = ", ".join(f"p.{column_sql(name)}" for name in key_columns)
    if not candidates:
        empty = ", ".join(_null_column(snapshot, name) for name in key_columns)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {into} AS "
            f"SELECT 0::BIGINT AS file_index, 0::BIGINT AS row_number, {empty} WHERE false"
        )
        return Located(0, (), ())
    using = " AND ".join(f"p.{column_sql(name)} = k.{column_sql(name)}" for name in key_columns)
    source = files_sql(connection, snapshot, candidates, key_columns)
    _run(
        connection,
        snapshot,
        f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT p.file_index, p.row_number, {columns} "
        f"FROM ({source}) p SEMI JOIN {keys} k ON {using}",
    )
    _drop_dead(connection, snapshot, into)
    rows = connection.execute(f"SELECT file_index, count(*) FROM {into} GROUP BY 1 ORDER BY 1").fetchall()
    return Located(
        sum(int(count) for _, count in rows), tuple(candidates), tuple(int(index) for index, _ in rows)
    )


def fetch(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    located: str,
    columns: Sequence[str],
    into: str,
) -> None:
    """Create the temporary table `into`(file_index, row_number, `columns`) of the rows named in `located`.

    Reads only the files with hits. Raises MergeFailed when one of them is missing or damaged.
    """
    snapshot.store.attach(connection)
    found = connection.execute(f"SELECT DISTINCT file_index FROM {located} ORDER BY ALL").fetchall()
    hits = [int(index) for (index,) in found]
    empty = "".join(f", {_null_column(snapshot, name)}" for name in columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {into} AS "
        f"SELECT 0::BIGINT AS file_index, 0::BIGINT AS row_number{empty} WHERE false"
    )
    selected = "".join(f", p.{column_sql(name)}" for name in columns)
    for start in range(0, len(hits), _FILES_PER_STATEMENT):
        # File by file, so that each one's own range of row numbers prunes its row groups; in one statement,
        # so that files are read in parallel.
        parts = " UNION ALL ".join(
            f"SELECT {index}::BIGINT AS file_index, p.row_number{selected} "
            f"FROM ({_file_sql(connection, snapshot, index, columns)}) p "
            f"SEMI JOIN (SELECT row_number FROM {located} WHERE file_index = {index}) l "
            "ON p.row_number = l.row_number"
            for index in hits[start : start + _FILES_PER_STATEMENT]
        )
        with _in_any_order(connection):
            _run(connection, snapshot, f"INSERT INTO {into} {parts}")


@contextlib.contextmanager
def _in_any_order(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Rows of a union come as they are read: only so does DuckDB read its parts in parallel."""
    connection.execute("SET preserve_insertion_order = false")
    try:
        yield
    finally:
        connection.execute("RESET preserve_insertion_order")


def scan_sql(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    columns: Sequence[str] | None = None,
    *,
    files: Sequence[int] | None = None,
    with_positions: bool = False,
) -> str:
    """A SELECT over all live rows (or those of `files`): vectors applied, partition values included.

    It refers to temporary tables made on the connection, so it runs there only. `with_positions` adds
    file_index and row_number in front.
    """
    names = list(snapshot.schema.names if columns is None else columns)
    chosen = range(len(snapshot.files)) if files is None else files
    selected = ", ".join(
        (["p.file_index", "p.row_number"] if with_positions else [])
        + [f"p.{column_sql(name)}" for name in names]
    )
    parts = []
    whole = [index for index in chosen if snapshot.files[index].vector is None]
    holed = [index for index in chosen if snapshot.files[index].vector is not None]
    if whole:
        parts.append(f"SELECT {selected} FROM ({files_sql(connection, snapshot, whole, names)}) p")
    if holed:
        dead = _dead_table(connection, snapshot, holed)
        parts.append(
            f"SELECT {selected} FROM ({files_sql(connection, snapshot, holed, names)}) p ANTI JOIN {dead} d "
            "ON p.row_number = d.row_number AND p.file_index = d.file_index"
        )
    if not parts:
        empty = [_null_column(snapshot, name) for name in names]
        if with_positions:
            empty = ["0::BIGINT AS file_index", "0::BIGINT AS row_number", *empty]
        return f"SELECT {', '.join(empty)} WHERE false"
    return " UNION ALL ".join(parts)


def files_sql(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, files: Sequence[int], columns: Sequence[str]
) -> str:
    """A SELECT of file_index, row_number and `columns` over the stored rows of `files`, dead rows included.

    A column that a file lacks is NULL (it was added later); order and presence of columns may differ by file.
    """
    store = snapshot.store
    store.attach(connection)
    paths = ", ".join(literal(_engine_path(snapshot, index)) for index in files)
    stored = [name for name in columns if name not in snapshot.partition_columns]
    if any(pa.types.is_nested(snapshot.schema.field(name).type) for name in stored):
        # Files may hold older forms of a nested type; only a stated schema fills in what they lack. It also
        # keeps joins from pruning the scan, so plain columns are read without it.
        source = (
            f"read_parquet([{paths}], hive_partitioning = false, schema = {_stated_schema(snapshot, stored)})"
        )
        present = set(stored)
    else:
        source = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"
        present = _present_somewhere(connection, snapshot, files, stored, source)
    if list(files) == list(range(len(files))):
        index_sql = "file_index::BIGINT"
    else:
        index_sql = f"([{', '.join(str(index) for index in files)}]::BIGINT[])[file_index::BIGINT + 1]"
    selected = [f"{index_sql} AS file_index", "file_row_number AS row_number"]
    for name in columns:
        if name in snapshot.partition_columns:
            selected.append(f"{_partition_sql(snapshot, files, name)} AS {column_sql(name)}")
        else:
            selected.append(_column_sql(snapshot, name, name in present))
    return f"SELECT {', '.join(selected)} FROM {source}"


def _engine_path(snapshot: Snapshot, index: int) -> str:
    return snapshot.store.engine_path(snapshot.store.relative(snapshot.files[index].path))


def _stated_schema(snapshot: Snapshot, columns: Sequence[str]) -> str:
    fields = ", ".join(
        f"{literal(snapshot.physical_names[name])}: {{name: {literal(snapshot.physical_names[name])}, "
        f"type: {literal(duckdb_type(snapshot.schema.field(name).type))}, default_value: NULL}}"
        for name in columns
    )
    return f"MAP {{{fields}}}"


def _column_sql(snapshot: Snapshot, name: str, present: bool) -> str:
    type_name = duckdb_type(snapshot.schema.field(name).type)
    source = quote(snapshot.physical_names[name]) if present else "NULL"
    return f"CAST({source} AS {type_name}) AS {column_sql(name)}"


def _stated_columns(snapshot: Snapshot, index: int) -> Collection[str]:
    """Stored names that a file has for certain: its statistics count their NULLs."""
    counts = snapshot.files[index].stats().get("nullCount")
    return counts if isinstance(counts, dict) else ()


def _present_somewhere(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    files: Sequence[int],
    columns: Sequence[str],
    source: str,
) -> set[str]:
    """Those of `columns` that at least one of the files has; footers are asked where statistics do not say."""
    missing = set(columns)
    for index in files:
        stated = _stated_columns(snapshot, index)
        missing -= {name for name in missing if snapshot.physical_names[name] in stated}
        if not missing:
            return set(columns)
    found = _describe(connection, snapshot, source)
    return {name for name in columns if snapshot.physical_names[name] in found}


def _describe(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, source: str) -> dict[str, str]:
    with _named_failures(snapshot):
        return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def _file_sql(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, index: int, columns: Sequence[str]
) -> str:
    """A SELECT of row_number and `columns` over the stored rows of one file, in a form that joins can prune."""
    stored = [name for name in columns if name not in snapshot.partition_columns]
    nested = [name for name in stored if pa.types.is_nested(snapshot.schema.field(name).type)]
    source = f"read_parquet([{literal(_engine_path(snapshot, index))}], hive_partitioning = false"
    stated = _stated_columns(snapshot, index)
    present = {name for name in stored if snapshot.physical_names[name] in stated}
    if nested or len(present) < len(stored):
        found = _describe(connection, snapshot, f"{source})")
        present = {name for name in stored if snapshot.physical_names[name] in found}
        if any(
            found.get(snapshot.physical_names[name]) != duckdb_type(snapshot.schema.field(name).type)
            for name in nested
        ):
            source += f", schema = {_stated_schema(snapshot, stored)}"
            present = set(stored)
    selected = ["file_row_number AS row_number"]
    for name in columns:
        if name in snapshot.partition_columns:
            selected.append(f"{_partition_sql(snapshot, [index], name)} AS {column_sql(name)}")
        else:
            selected.append(_column_sql(snapshot, name, name in present))
    return f"SELECT {', '.join(selected)} FROM {source})"


def _partition_sql(snapshot: Snapshot, files: Sequence[int], name: str) -> str:
    type_name = duckdb_type(snapshot.schema.field(name).type)
    physical = snapshot.physical_names[name]
    values = [snapshot.files[index].partition_values.get(physical) for index in files]
    spelled = ["NULL" if value in (None, "") else literal(value or "") for value in values]
    if len(set(spelled)) == 1:
        return f"CAST({spelled[0]} AS {type_name})"
    return f"(CAST([{', '.join(spelled)}] AS {type_name}[]))[file_index::BIGINT + 1]"


def _null_column(snapshot: Snapshot, name: str) -> str:
    return f"NULL::{duckdb_type(snapshot.schema.field(name).type)} AS {column_sql(name)}"


def _drop_dead(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, table: str) -> None:
    """Delete from `table` the rows that vectors mark as gone: only found rows are looked up, not whole vectors."""
    holed = [index for index, file in enumerate(snapshot.files) if file.vector is not None]
    if not holed:
        return
    marks = ", ".join(str(index) for index in holed)
    found = connection.execute(
        f"SELECT file_index, row_number FROM {table} WHERE file_index IN ({marks})"
    ).fetchnumpy()
    indexes, numbers = found["file_index"], found["row_number"]
    dead_indexes: list[np.ndarray] = []
    dead_numbers: list[np.ndarray] = []
    for index in np.unique(indexes):
        vector = snapshot.files[int(index)].vector
        if vector is None:
            continue
        mine = numbers[indexes == index]
        dead = mine[among_dead(snapshot.store, vector, mine)]
        if len(dead):
            dead_indexes.append(np.full(len(dead), int(index), dtype=np.int64))
            dead_numbers.append(dead)
    if not dead_indexes:
        return
    _register(connection, "headgate_dead", np.concatenate(dead_indexes), np.concatenate(dead_numbers))
    try:
        connection.execute(
            f"DELETE FROM {table} USING headgate_dead d "
            f"WHERE {table}.file_index = d.file_index AND {table}.row_number = d.row_number"
        )
    finally:
        connection.unregister("headgate_dead")


def _dead_table(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, files: Sequence[int]) -> str:
    indexes: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    for index in files:
        vector = snapshot.files[index].vector
        if vector is None:
            continue
        dead = np.asarray(read_vector(snapshot.store, vector).to_array(), dtype=np.int64)
        indexes.append(np.full(len(dead), index, dtype=np.int64))
        numbers.append(dead)
    return register_positions(connection, np.concatenate(indexes), np.concatenate(numbers))


def register_positions(
    connection: duckdb.DuckDBPyConnection, indexes: np.ndarray, numbers: np.ndarray
) -> str:
    """A fresh temporary table (file_index, row_number) of these positions; its name."""
    name = f"headgate_positions_{next(_names)}"
    source = f"{name}_source"
    _register(connection, source, indexes, numbers)
    try:
        connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {source}")
    finally:
        connection.unregister(source)
    return name


def _register(
    connection: duckdb.DuckDBPyConnection, name: str, indexes: np.ndarray, numbers: np.ndarray
) -> None:
    connection.register(name, pa.table({"file_index": indexes, "row_number": numbers}))


def run_arrow(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """The rows of a query as one Arrow table, in plain (not view) layouts."""
    connection.complete()  # an earlier fetchone leaves its result open, which a relation does not bear
    table: pa.Table = connection.sql(query).to_arrow_table()
    return table


def _run(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, statement: str) -> None:
    with _named_failures(snapshot):
        connection.execute(statement)


@contextlib.contextmanager
def _named_failures(snapshot: Snapshot) -> Iterator[None]:
    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise MergeFailed(
            f"A data file of {snapshot.uri} cannot be read: {str(error).splitlines()[0]}",
            data={"table_uri": snapshot.uri, "version": snapshot.version},
        ) from error
