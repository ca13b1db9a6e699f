"""Which files can hold the first rows of an order, by what the log states of them: the others need not be read."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from merging.delta.footers import footer_bytes, read_footers
from merging.delta.snapshot import Snapshot
from merging.delta.statistics.column_bounds import bounds_of


@dataclass(frozen=True)
class FirstFiles:
    """Files to look into; no other has a value of the column below ``least_elsewhere``."""

    files: list[int]
    least_elsewhere: Any


@dataclass(frozen=True)
class _Stated:
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
    stated = bounds_of(snapshot, name)
    low, high = stated.column("low"), stated.column("high")
    bounded = pc.and_(low.is_valid(), high.is_valid()).to_numpy()
    always = np.flatnonzero(~bounded)
    if beyond is not None:
        bounded &= pc.greater_equal(high, pa.scalar(beyond, data_type)).fill_null(False).to_numpy()
    chosen = np.flatnonzero(bounded)
    lows = low.take(pa.array(chosen)).combine_chunks()
    order = pc.array_sort_indices(lows).to_numpy()
    chosen, lows = chosen[order], lows.take(pa.array(order))
    rows = _rows_at_least(snapshot, stated.column("nulls"))[chosen]
    # Of a file in which the place lies nobody knows how many rows are behind it: perhaps all, perhaps none.
    for hopeful in (True, False):
        counted = rows
        if not hopeful and beyond is not None:
            counted = np.where(
                pc.greater(lows, pa.scalar(beyond, data_type)).to_numpy(zero_copy_only=False), rows, 0
            )
        enough = np.flatnonzero(np.cumsum(counted)[:-1] >= wanted)
        if len(enough):
            number = int(enough[0])
            files = np.sort(np.concatenate([always, chosen[: number + 1]]))
            first = FirstFiles(files.tolist(), lows[number + 1].as_py())
            if hopeful and pa.types.is_integer(data_type) and not snapshot.store.is_local:
                yield _first_row_groups(snapshot, first, name, wanted, beyond=beyond)
            yield first


def _rows_at_least(snapshot: Snapshot, nulls: pa.ChunkedArray) -> np.ndarray:
    """How many values of a column each file has at least, by what is stated of its NULLs."""
    stated, dead = snapshot.files.numbers("records", -1), snapshot.files.numbers("dead")
    missing = nulls.fill_null(-1).to_numpy()
    return np.where((stated < 0) | (missing < 0), 0, stated - dead - missing)


def _first_row_groups(
    snapshot: Snapshot, found: FirstFiles, name: str, wanted: int, *, beyond: Any = None
) -> FirstFiles:
    """The same files with a lower `least_elsewhere`, below which those row groups lie that most likely have the rows:
    what their footers state of whole numbers. Of a distant file each row group costs a request.
    """
    stored = snapshot.physical_names[name]
    files = snapshot.files.at(found.files)
    read_footers(snapshot.store, files)  # at once, and checked
    groups: list[_Stated] = []
    for file in files:
        metadata = pq.read_metadata(
            io.BytesIO(footer_bytes(snapshot.store, snapshot.store.relative(file.path)))
        )
        for number in range(metadata.num_row_groups):
            stated = _of_group(metadata.row_group(number), stored)
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


def _of_group(group: pq.RowGroupMetaData, stored: str) -> _Stated | None:
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == stored:
            stated = column.statistics
            if stated is None or not stated.has_min_max or type(stated.min) is not int:
                return None
            return _Stated(stated.min, stated.max, stated.num_values)
    return None
