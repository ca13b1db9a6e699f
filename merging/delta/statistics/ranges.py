"""The range of a column over a whole table, from what its files state of themselves: no row is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from merging.delta.actions import DataFile
from merging.delta.snapshot import Snapshot
from merging.delta.statistics.bounds import is_end_of_64_bits, nearest_decimal, reader_of
from merging.sql.moments import date_of, moment_of

#: The statistics of more files take too long to read for what is only a hint.
_MOST_FILES = 5_000

Range = tuple[Any, Any]


def stated_ranges(snapshot: Snapshot, names: Iterable[str]) -> dict[str, Range]:
    """The least and the greatest value of columns of numbers, days and moments, as the statistics of all files bound
    them. Left out are columns of which some file with values states none, and those of tables without rows.
    """
    ordered = {field.name for field in snapshot.schema if _has_order(field.type)}
    ranged = ordered.intersection(names)
    ranged -= set(snapshot.partition_columns)
    if not ranged or len(snapshot.files) > _MOST_FILES:
        return {}
    found: dict[str, Range] = {}
    for file in snapshot.files:
        stats = file.stats()
        for name in list(ranged):
            stated = _stated(snapshot, file, stats, name)
            if stated is None:
                ranged.discard(name)
                found.pop(name, None)
            elif stated:
                low, high = found.get(name, stated)
                found[name] = (min(low, stated[0]), max(high, stated[1]))
    return {name: _values(found[name], snapshot.schema.field(name).type) for name in sorted(found)}


def _has_order(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(data_type)
        or pa.types.is_floating(data_type)
        or pa.types.is_decimal(data_type)
        or pa.types.is_date(data_type)
        or pa.types.is_timestamp(data_type)
    )


def _stated(snapshot: Snapshot, file: DataFile, stats: dict[str, Any], name: str) -> Range | tuple[()] | None:
    """What one file states of a column; an empty pair where it has only NULLs in it, None where it does not say."""
    stored, data_type = snapshot.physical_names[name], snapshot.schema.field(name).type
    nulls = _member(stats, "nullCount", stored)
    if nulls is not None and nulls == file.num_records:
        return ()
    low, high = _member(stats, "minValues", stored), _member(stats, "maxValues", stored)
    if pa.types.is_floating(data_type):
        return _floats(low, high)
    lowest, highest = reader_of(data_type)(low, high)
    if lowest is None or highest is None:
        return None
    if pa.types.is_decimal(data_type):
        if is_end_of_64_bits(low, -1) or is_end_of_64_bits(high, 1):
            return None
        # Those are widened for what writers lose in doubles; nearest to what was stated is what was meant.
        return nearest_decimal(low, data_type), nearest_decimal(high, data_type)
    return lowest, highest


def _member(stats: dict[str, Any], kind: str, name: str) -> Any:
    values = stats.get(kind)
    return values.get(name) if isinstance(values, dict) else None


def _floats(low: Any, high: Any) -> Range | None:
    numbers = [
        float(one) for one in (low, high) if isinstance(one, int | Decimal) and not isinstance(one, bool)
    ]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)) or numbers[0] > numbers[1]:
        return None
    return numbers[0], numbers[1]


def _values(found: Range, data_type: pa.DataType) -> Range:
    if pa.types.is_date(data_type):
        return date_of(found[0]), date_of(found[1])
    if pa.types.is_timestamp(data_type):
        zoned = data_type.tz is not None
        return moment_of(found[0], zoned=zoned), moment_of(found[1], zoned=zoned)
    return found
