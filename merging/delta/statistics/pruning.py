"""Which files can hold one of some keys, by what the log states of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.snapshot import Snapshot
from merging.delta.statistics.column_bounds import bounds_of
from merging.sql.quoting import column_sql

# Pairs of key and file up to which every pair is compared; beyond it each column is judged by itself.
_PAIR_LIMIT = 4_000_000


def candidate_files(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    keys: str,
    key_columns: Sequence[str],
    files: Collection[int] | None = None,
) -> list[int]:
    """Indexes of the files (of `files`, where they are given) that can hold one of the keys in the relation `keys`."""
    asked = range(len(snapshot.files)) if files is None else sorted(files)
    prunable = [name for name in key_columns if _prunable(snapshot.schema.field(name).type)]
    if len(asked) <= 1 or not prunable:
        return list(asked)
    bounds = _bounds_table(snapshot, prunable, asked)
    connection.register("headgate_bounds", bounds)
    try:
        [(count,)] = connection.execute(f"SELECT count(*) FROM {keys}").fetchall()
        if count * len(asked) <= _PAIR_LIMIT:
            found = _files_by_pair(connection, keys, prunable)
        else:
            found = _files_by_column(connection, keys, prunable, asked)
    finally:
        connection.unregister("headgate_bounds")
    return sorted(found)


def files_between(snapshot: Snapshot, ranges: Mapping[str, tuple[Any, Any]]) -> list[int]:
    """Indexes of the files that can hold a row whose values lie between two others, by the names of the columns."""
    possible = np.ones(len(snapshot.files), bool)
    for name, (low, high) in ranges.items():
        bounds = bounds_of(snapshot, name)
        kind = bounds.column("low").type
        within = [
            pc.less_equal(bounds.column("low"), pa.scalar(high, kind)),
            pc.greater_equal(bounds.column("high"), pa.scalar(low, kind)),
        ]
        possible &= ~bounds.column("never").to_numpy()
        for one in within:
            possible &= pc.fill_null(one, True).to_numpy()
    return np.flatnonzero(possible).tolist()


def _files_by_pair(connection: duckdb.DuckDBPyConnection, keys: str, columns: Sequence[str]) -> set[int]:
    conditions = " AND ".join(
        f"(f.low_{i} IS NULL OR k.{column_sql(name)} >= f.low_{i}) AND "
        f"(f.high_{i} IS NULL OR k.{column_sql(name)} <= f.high_{i})"
        for i, name in enumerate(columns)
    )
    distinct = ", ".join(column_sql(name) for name in columns)
    rows = connection.execute(
        f"WITH k AS MATERIALIZED (SELECT DISTINCT {distinct} FROM {keys}) "
        f"SELECT DISTINCT f.file_index FROM headgate_bounds f, k WHERE {conditions}"
    ).fetchall()
    return {int(index) for (index,) in rows}


def _files_by_column(
    connection: duckdb.DuckDBPyConnection, keys: str, columns: Sequence[str], files: Sequence[int]
) -> set[int]:
    found = set(files)
    for i, name in enumerate(columns):
        # The smallest key that is not below the file's lower bound decides: is it within the upper bound?
        rows = connection.execute(
            f"WITH k AS MATERIALIZED (SELECT DISTINCT {column_sql(name)} AS key FROM {keys}) "
            f"SELECT file_index FROM headgate_bounds WHERE low_{i} IS NULL OR high_{i} IS NULL UNION ALL "
            f"SELECT f.file_index FROM headgate_bounds f ASOF JOIN k ON f.low_{i} <= k.key "
            f"WHERE f.high_{i} IS NOT NULL AND k.key <= f.high_{i}"
        ).fetchall()
        found &= {int(index) for (index,) in rows}
    return found


def _prunable(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(data_type)
        or pa.types.is_string(data_type)
        or pa.types.is_date(data_type)
        or pa.types.is_timestamp(data_type)
        or pa.types.is_decimal(data_type)
    )


def _bounds_table(snapshot: Snapshot, columns: Sequence[str], files: Sequence[int]) -> pa.Table:
    """One row a file that can hold a key: file_index, and low_i and high_i (NULL: no bound) of each column's type."""
    indexes = np.fromiter(files, np.int64)
    possible = np.ones(len(indexes), bool)
    arrays: dict[str, Any] = {}
    for position, name in enumerate(columns):
        bounds = bounds_of(snapshot, name)
        if len(indexes) < len(bounds):
            bounds = bounds.take(pa.array(indexes))
        possible &= ~bounds.column("never").to_numpy()  # a partition of NULLs, where no key can be
        arrays[f"low_{position}"] = bounds.column("low")
        arrays[f"high_{position}"] = bounds.column("high")
    table = pa.table({"file_index": indexes, **arrays})
    return table if possible.all() else table.filter(pa.array(possible))
