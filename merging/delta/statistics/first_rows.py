"""Which files can hold the first rows of an order, by what the log states of them: the others need not be read."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from merging.delta.actions import DataFile
from merging.delta.footers import footer_bytes, read_footers
from merging.delta.snapshot import Snapshot
from merging.delta.statistics.bounds import Bounds, reader_of


@dataclass(frozen=True)
class FirstFiles:
    """Files to look into; no other has a value of the column below ``least_elsewhere``."""

    files: list[int]
    least_elsewhere: Any


@dataclass(frozen=True)
class _Stated:
    index: int
    low: Any
    high: Any
    rows: int


def files_of_first_rows(
    snapshot: Snapshot, name: str, wanted: int, *, beyond: Any = None
) -> Iterator[FirstFiles]:
    """Files that may hold the first `wanted` rows in the rising order of a column, NULLs last, of those with values
    from `beyond` on; fewer files first. Nothing where no file could be left out.

    Who finds `wanted` rows with values below `least_elsewhere` has the first; else they look further, at last into all.
    """
    data_type = snapshot.schema.field(name).type
    known = pa.types.is_integer(data_type) or pa.types.is_string(data_type)
    if not known or len(snapshot.files) < 2 or name in snapshot.partition_columns:
        return
    stored, read = snapshot.physical_names[name], reader_of(data_type)
    always: list[int] = []
    stated: list[_Stated] = []
    for index, file in enumerate(snapshot.files):
        found = _stated(index, file, stored, read)
        if found is None:
            always.append(index)
        elif beyond is None or found.high >= beyond:
            stated.append(found)
    stated.sort(key=lambda one: one.low)
    # Of a file in which the place lies nobody knows how many rows are behind it: perhaps all, perhaps none.
    for hopeful in (True, False):
        counted = 0
        for number, one in enumerate(stated[:-1]):
            counted += one.rows if hopeful or beyond is None or one.low > beyond else 0
            if counted >= wanted:
                files = [*always, *(other.index for other in stated[: number + 1])]
                first = FirstFiles(sorted(files), stated[number + 1].low)
                if hopeful and pa.types.is_integer(data_type) and not snapshot.store.is_local:
                    yield _first_row_groups(snapshot, first, name, wanted, beyond=beyond)
                yield first
                break


def _first_row_groups(
    snapshot: Snapshot, found: FirstFiles, name: str, wanted: int, *, beyond: Any = None
) -> FirstFiles:
    """The same files with a lower `least_elsewhere`, below which those row groups lie that most likely have the rows:
    what their footers state of whole numbers. Of a distant file each row group costs a request.
    """
    stored = snapshot.physical_names[name]
    read_footers(snapshot.store, [snapshot.files[index] for index in found.files])  # at once, and checked
    groups: list[_Stated] = []
    for index in found.files:
        file = snapshot.files[index]
        metadata = pq.read_metadata(
            io.BytesIO(footer_bytes(snapshot.store, snapshot.store.relative(file.path)))
        )
        for number in range(metadata.num_row_groups):
            stated = _of_group(index, metadata.row_group(number), stored)
            if stated is None or file.dead_rows:
                return found
            if beyond is None or stated.high >= beyond:
                groups.append(stated)
    groups.sort(key=lambda one: one.low)
    counted = 0
    for one, following in itertools.pairwise(groups):
        counted += one.rows
        if counted >= wanted:
            return FirstFiles(found.files, min(found.least_elsewhere, following.low))
    return found


def _of_group(index: int, group: pq.RowGroupMetaData, stored: str) -> _Stated | None:
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == stored:
            stated = column.statistics
            if stated is None or not stated.has_min_max or type(stated.min) is not int:
                return None
            return _Stated(index, stated.min, stated.max, stated.num_values)
    return None


def _stated(index: int, file: DataFile, stored: str, read: Any) -> _Stated | None:
    """Bounds of a file's values, and how many of them it has at least; None where it does not say."""
    stats = file.stats()
    lows, highs, nulls = (_member(stats, kind, stored) for kind in ("minValues", "maxValues", "nullCount"))
    bounds: Bounds = read(lows, highs)
    if bounds[0] is None or bounds[1] is None:
        return None
    counted = file.num_records is not None and isinstance(nulls, int)
    rows = (file.num_records or 0) - file.dead_rows - nulls if counted else 0
    return _Stated(index, bounds[0], bounds[1], rows)


def _member(stats: dict[str, Any], kind: str, stored: str) -> Any:
    values = stats.get(kind)
    return values.get(stored) if isinstance(values, dict) else None
