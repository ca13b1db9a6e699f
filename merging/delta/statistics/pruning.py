"""Which files can hold one of some keys, by what the log states of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta.actions import DataFile
from merging.delta.partitions import in_zone, is_instant
from merging.delta.snapshot import Snapshot
from merging.delta.statistics.bounds import Bounds, partition_reader_of, reader_of
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
    lows: list[list[Any]] = [[] for _ in columns]
    highs: list[list[Any]] = [[] for _ in columns]
    indexes: list[int] = []
    readers = [_bounds_reader(snapshot, name) for name in columns]
    for index in files:
        file = snapshot.files[index]
        bounds = _file_bounds(file, readers)
        if bounds is None:
            continue  # a partition of NULLs, where no key can be
        indexes.append(index)
        for position, (low, high) in enumerate(bounds):
            lows[position].append(low)
            highs[position].append(high)
    arrays = {"file_index": pa.array(indexes, pa.int64())}
    for position, name in enumerate(columns):
        data_type = snapshot.schema.field(name).type
        arrays[f"low_{position}"] = _bound_array(data_type, lows[position])
        arrays[f"high_{position}"] = _bound_array(data_type, highs[position])
    return pa.table(arrays)


def _bound_array(data_type: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_timestamp(data_type):
        return pa.array(values, pa.int64()).cast(data_type)
    if pa.types.is_date(data_type):
        return pa.array(values, pa.int32()).cast(data_type)
    return pa.array(values, data_type)


# Stored name of a column, whether it is a partition column, and what makes bounds of what the log states.
_Reader = tuple[str, bool, Callable[[Any, Any], "Bounds"]]


def _bounds_reader(snapshot: Snapshot, name: str) -> _Reader:
    data_type = snapshot.schema.field(name).type
    stored = snapshot.physical_names[name]
    if name not in snapshot.partition_columns:
        return stored, False, reader_of(data_type)
    read = partition_reader_of(data_type)
    if not is_instant(data_type):
        return stored, True, read

    def read_instant(value: Any, _: Any) -> Bounds:
        zoned = in_zone(snapshot.properties, name, value)
        return read(zoned, zoned)

    return stored, True, read_instant


def _file_bounds(file: DataFile, readers: Sequence[_Reader]) -> list[Bounds] | None:
    found: list[Bounds] = []
    lows: Mapping[str, Any] | None = None
    highs: Mapping[str, Any] = {}
    for name, is_partition, read in readers:
        if is_partition:
            value = file.partition_values.get(name)
            if value in (None, ""):
                return None
            found.append(read(value, value))
            continue
        if lows is None:
            stats = file.stats()
            lows, highs = _object(stats.get("minValues")), _object(stats.get("maxValues"))
        found.append(read(lows.get(name), highs.get(name)))
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
