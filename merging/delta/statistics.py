"""Statistics of data files: which files can hold a key, and what we state of the files that we write.

Wrong bounds hide rows, missing ones only cost time. So bounds written by others are widened to what their
writers may have cut (PROTOCOL.md, "Per-file Statistics"), and a bound we cannot state exactly is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from merging.delta.log import DataFile
from merging.delta.schema import column_sql, duckdb_type, quote
from merging.delta.snapshot import Snapshot

# Pairs of key and file up to which every pair is compared; beyond it each column is judged by itself.
_PAIR_LIMIT = 4_000_000
_TRUNCATED_STRING = 32


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
            found = _files_by_pair(connection, snapshot, keys, prunable)
        else:
            found = _files_by_column(connection, snapshot, keys, prunable, asked)
    finally:
        connection.unregister("headgate_bounds")
    return sorted(found)


def _files_by_pair(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, keys: str, columns: Sequence[str]
) -> set[int]:
    conditions = " AND ".join(
        f"(f.low_{i} IS NULL OR k.{column_sql(name)} >= f.low_{i}) AND "
        f"(f.high_{i} IS NULL OR k.{column_sql(name)} <= f.high_{i})"
        for i, name in enumerate(columns)
    )
    distinct = ", ".join(column_sql(name) for name in columns)
    rows = connection.execute(
        f"WITH f AS MATERIALIZED ({_cast_bounds(snapshot, columns)}), "
        f"k AS MATERIALIZED (SELECT DISTINCT {distinct} FROM {keys}) "
        f"SELECT DISTINCT f.file_index FROM f, k WHERE {conditions}"
    ).fetchall()
    return {int(index) for (index,) in rows}


def _files_by_column(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    keys: str,
    columns: Sequence[str],
    files: Sequence[int],
) -> set[int]:
    found = set(files)
    for i, name in enumerate(columns):
        # The smallest key that is not below the file's lower bound decides: is it within the upper bound?
        rows = connection.execute(
            f"WITH f AS MATERIALIZED ({_cast_bounds(snapshot, columns)}), "
            f"k AS MATERIALIZED (SELECT DISTINCT {column_sql(name)} AS key FROM {keys}) "
            f"SELECT file_index FROM f WHERE low_{i} IS NULL OR high_{i} IS NULL UNION ALL "
            f"SELECT f.file_index FROM f ASOF JOIN k ON f.low_{i} <= k.key "
            f"WHERE f.high_{i} IS NOT NULL AND k.key <= f.high_{i}"
        ).fetchall()
        found &= {int(index) for (index,) in rows}
    return found


def _cast_bounds(snapshot: Snapshot, columns: Sequence[str]) -> str:
    casts = []
    for i, name in enumerate(columns):
        type_name = duckdb_type(snapshot.schema.field(name).type)
        # A bound that is no value of the type (a year beyond ours, foreign spelling) counts as unknown.
        casts.append(
            f"TRY_CAST(low_{i} AS {type_name}) AS low_{i}, TRY_CAST(high_{i} AS {type_name}) AS high_{i}"
        )
    return f"SELECT file_index, {', '.join(casts)} FROM headgate_bounds"


def _prunable(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(data_type)
        or pa.types.is_string(data_type)
        or pa.types.is_date(data_type)
        or pa.types.is_timestamp(data_type)
        or pa.types.is_decimal(data_type)
    )


def _bounds_table(snapshot: Snapshot, columns: Sequence[str], files: Sequence[int]) -> pa.Table:
    lows: list[list[str | None]] = [[] for _ in columns]
    highs: list[list[str | None]] = [[] for _ in columns]
    indexes: list[int] = []
    for index in files:
        file = snapshot.files[index]
        bounds = [_file_bounds(snapshot, file, name) for name in columns]
        if None in bounds:
            continue  # a partition of NULLs, where no key can be
        indexes.append(index)
        for position, bound in enumerate(bounds):
            low, high = bound or (None, None)
            lows[position].append(low)
            highs[position].append(high)
    arrays = {"file_index": pa.array(indexes, pa.int64())}
    for position in range(len(columns)):
        arrays[f"low_{position}"] = pa.array(lows[position], pa.string())
        arrays[f"high_{position}"] = pa.array(highs[position], pa.string())
    return pa.table(arrays)


def _file_bounds(snapshot: Snapshot, file: DataFile, name: str) -> tuple[str | None, str | None] | None:
    physical = snapshot.physical_names[name]
    if name in snapshot.partition_columns:
        value = file.partition_values.get(physical)
        return None if value in (None, "") else (value, value)
    stats = file.stats()
    low = (stats.get("minValues") or {}).get(physical)
    high = (stats.get("maxValues") or {}).get(physical)
    if low is None or high is None:
        return None, None
    return _widen(snapshot.schema.field(name).type, str(low), str(high))


def _widen(data_type: pa.DataType, low: str, high: str) -> tuple[str | None, str | None]:
    if pa.types.is_string(data_type):
        # Writers cut long strings; anything with the cut text as its beginning must still be below.
        return low, high + "\U0010ffff" if len(high) >= _TRUNCATED_STRING else high
    if pa.types.is_timestamp(data_type):
        return _shift_timestamp(low, -1), _shift_timestamp(high, 1)
    if pa.types.is_decimal(data_type):
        return _widen_decimal(data_type, low, high)
    return low, high


_TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2}(?:\.\d+)?)\s*(Z|[+-]\d{2}:?\d{2})?")


def _shift_timestamp(text: str, milliseconds: int) -> str | None:
    """The bound moved by a millisecond, which is what writers may have cut off."""
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        moved = datetime.fromisoformat(text) + timedelta(milliseconds=milliseconds)
    except (ValueError, OverflowError):
        return None
    return moved.isoformat(sep=" ")


def _widen_decimal(data_type: pa.DataType, low: str, high: str) -> tuple[str | None, str | None]:
    """Some writers state decimals through doubles, which hold 15 digits for certain."""
    if data_type.precision <= 15:
        return low, high
    try:
        slack = Decimal("1e-15")
        exact_low, exact_high = Decimal(low), Decimal(high)
    except InvalidOperation:
        return None, None
    unit = Decimal(1).scaleb(-data_type.scale)
    return str(exact_low - abs(exact_low) * slack - unit), str(exact_high + abs(exact_high) * slack + unit)


# ---- statistics of files we write ---------------------------------------------------------------------------


def written_stats(
    schema: pa.Schema, columns: Sequence[str], returned: Mapping[str, Mapping[str, str]], rows: int
) -> str:
    """The stats text for a file that DuckDB wrote: `returned` is the column_statistics of COPY's RETURN_STATS."""
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in columns:
        column = returned.get(quote(name))
        data_type = schema.field(name).type
        if column is None or pa.types.is_nested(data_type):
            continue
        if "null_count" in column:
            nulls[name] = int(column["null_count"])
        if column.get("min_is_exact") != "true" or column.get("max_is_exact") != "true":
            continue
        if column.get("has_nan") == "true":
            continue
        low, high = _stat_value(data_type, column["min"]), _stat_value(data_type, column["max"])
        if low is not None and high is not None:
            if pa.types.is_floating(data_type):
                # -0.0 and 0.0 are one value to some readers and two to others: both lie within.
                low, high = (-0.0 if low == 0 else low), (0.0 if high == 0 else high)
            lows[name], highs[name] = low, high
    return _dump({"numRecords": rows, "minValues": lows, "maxValues": highs, "nullCount": nulls})


def _dump(stats: Mapping[str, Any]) -> str:
    return json.dumps(stats, separators=(",", ":"), ensure_ascii=False)


def _stat_value(data_type: pa.DataType, text: str) -> Any:
    """A bound as the log states it, None for types whose bounds we leave out."""
    if pa.types.is_integer(data_type):
        return int(text)
    if pa.types.is_floating(data_type):
        # A single is stated by the double that it is, not by the shorter text that DuckDB prints for it.
        value = float(np.float32(text)) if pa.types.is_float32(data_type) else float(text)
        return None if math.isinf(value) else value
    if pa.types.is_decimal(data_type):
        return _decimal_number(text)
    if pa.types.is_date(data_type):
        return text if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    if pa.types.is_timestamp(data_type):
        return _timestamp_bound(data_type, text)
    if pa.types.is_string(data_type):
        return text if len(text) <= 256 else None
    return None


def _decimal_number(text: str) -> Any:
    """Decimals go through doubles in most readers: stated only where a double holds them exactly enough."""
    digits = text.lstrip("-").replace(".", "").lstrip("0")
    if len(digits) > 15:
        return None
    return float(text) if "." in text else int(text)


def _timestamp_bound(data_type: pa.DataType, text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    plain = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return plain + "Z" if data_type.tz else plain
