"""Whether rewritten files hold what they were rewritten from: their content, not only their number of rows.

For every file that copy-on-write wrote, the NULLs and bounds of each column in its footer are held against those of the
file that it came from, which costs next to nothing; where they do not fit, and for a fiftieth of the files at random,
every cell of both is read anew and compared. Reading all of them so would make copy-on-write slower by two fifths
(measured on TPC-H lineitem: 20 % of the rewrite for each side), a fiftieth costs one per cent. That is for files on
local disk, which DuckDB reads by itself. Where the bytes come through readers of ours, as from object stores, every
cell of every file is compared: there a reader went wrong before. Compaction, which nobody waits for, compares every
row everywhere.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from merging.delta.actions import DataFile
from merging.delta.column_chunks import Chunk, row_groups_in
from merging.delta.footers import footer_bytes, read_footer
from merging.delta.reading import named_failures, register_positions, scan_sql
from merging.delta.row_tracking import ROW_COMMIT_VERSION, ROW_ID
from merging.delta.snapshot import Snapshot
from merging.delta.thrift import BadThrift
from merging.errors import MergeFailed
from merging.sql.quoting import column_sql, literal

SHARE = 0.02


@dataclass(frozen=True)
class Rewritten:
    """Files written again as one: their indexes, the rows of the only one left out beside the dead ones, and where they
    are now.
    """

    files: tuple[int, ...]
    removed: np.ndarray | None
    path: str


def require_same_content(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    one: Rewritten,
    columns: Sequence[str],
    *,
    row_ids: bool = False,
    read_by_others: bool = False,
) -> None:
    """Hold the file against the rows that it came from, as told above; `columns` are in the file's order, `row_ids` are
    behind them. `read_by_others`: no reader of ours gave the bytes that were written.

    Raises MergeFailed where they differ; the file must not be committed then.
    """
    share = SHARE if snapshot.store.is_local or read_by_others else 1.0
    if random.random() < share or not _bounds_fit(snapshot, one):  # noqa: S311  (no secret)
        kept = _kept_sql(connection, snapshot, one, columns, row_ids)
        require_same_rows(connection, snapshot, kept, one.path, columns, row_ids=row_ids)


def require_same_pages(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, index: int, removed: np.ndarray, path: str
) -> None:
    """Hold the file at `path`, made of the pages of another one, against the rows that it came from: a fiftieth of such
    files, whose bounds are those that the other one had. Raises MergeFailed where they differ.
    """
    if random.random() >= SHARE:  # noqa: S311  (no secret)
        return
    file = snapshot.files[index]
    columns = [f"p{place}" for place in range(len(read_footer(snapshot.store, file).layout.arrow))]
    labels = ", ".join(map(column_sql, columns))
    old = literal(snapshot.store.engine_path(snapshot.store.relative(file.path)))
    gone = register_positions(connection, np.full(len(removed), index), removed)
    kept = (
        f"SELECT s.* EXCLUDE (place) FROM (SELECT {labels}, file_row_number AS place "
        f"FROM read_parquet([{old}], hive_partitioning = false) AS t({labels})) s "
        f"ANTI JOIN {gone} g ON s.place = g.row_number"
    )
    require_same_rows(connection, snapshot, kept, path, columns)


def require_same_rows(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    source: str,
    path: str,
    columns: Sequence[str],
    *,
    row_ids: bool = False,
) -> None:
    """Compare every row of the query `source` (columns by label) with those of the file written from it, in any order.

    Raises MergeFailed where they differ.
    """
    cells = [*map(column_sql, columns), *((ROW_ID, ROW_COMMIT_VERSION) if row_ids else ())]
    written = _written_sql(connection, snapshot, path, cells)
    if _fingerprint(connection, snapshot, source, cells) != _fingerprint(
        connection, snapshot, written, cells
    ):
        raise _differs(snapshot, path)


def _differs(snapshot: Snapshot, path: str) -> MergeFailed:
    return MergeFailed(
        f"What was written to {path} is not what its rows were before: nothing was committed. Try again; where it "
        "happens again, the storage or the memory of this machine cannot be trusted.",
        data={"table_uri": snapshot.uri, "path": path},
    )


def _kept_sql(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    one: Rewritten,
    columns: Sequence[str],
    row_ids: bool,
) -> str:
    """The live rows of the old file that were to be kept."""
    if one.removed is None:
        return scan_sql(connection, snapshot, columns, files=one.files, row_ids=row_ids)
    source = scan_sql(connection, snapshot, columns, files=one.files, with_positions=True, row_ids=row_ids)
    gone = register_positions(connection, np.full(len(one.removed), one.files[0]), one.removed)
    return f"SELECT s.* FROM ({source}) s ANTI JOIN {gone} g ON s.row_number = g.row_number"


@dataclass
class _Bounds:
    """What a footer says of one column: NULLs, None where it does not say; least and greatest value."""

    nulls: int | None = 0
    low: Any = None
    high: Any = None
    bounded: bool = True


def _bounds_fit(snapshot: Snapshot, one: Rewritten) -> bool:
    """Whether the new footer claims nothing that cannot come from the old one. Suspicion only: others' statistics may
    be wrong, so it never decides by itself."""
    files = snapshot.files.at(one.files)
    if _legacy(snapshot, files):
        return True  # its days have other numbers now
    try:
        old = _together([_column_bounds(snapshot, snapshot.store.relative(file.path)) for file in files])
        new = _column_bounds(snapshot, one.path)
    except BadThrift:
        return False
    gone = (0 if one.removed is None else len(one.removed)) + sum(file.dead_rows for file in files)
    stored = {field.stored_name for field in snapshot.fields}  # row ids are kept for more rows than before
    return all(
        _fits(old[name], bounds, gone) for name, bounds in new.items() if name in old and name in stored
    )


def _together(files: Sequence[dict[str, _Bounds]]) -> dict[str, _Bounds]:
    """The bounds of several files; where one does not have a column, nobody knows how many of its rows are NULL."""
    found: dict[str, _Bounds] = {}
    for name in {name for one in files for name in one}:
        having = [one[name] for one in files if name in one]
        lows = [one.low for one in having if one.low is not None]
        highs = [one.high for one in having if one.high is not None]
        alike = len({type(value) for value in (*lows, *highs)}) == 1
        nulls = [one.nulls for one in having if one.nulls is not None]
        found[name] = _Bounds(
            sum(nulls) if len(nulls) == len(files) else None,
            min(lows) if alike else None,
            max(highs) if alike else None,
            alike and all(one.bounded for one in having),
        )
    return found


def _legacy(snapshot: Snapshot, files: Sequence[DataFile]) -> bool:
    calendars = [read_footer(snapshot.store, file).layout.calendar for file in files]
    return any(one.legacy_days or one.legacy_int96 for one in calendars)


def _fits(old: _Bounds, new: _Bounds, gone: int) -> bool:
    if old.nulls is not None and new.nulls is not None and not old.nulls - gone <= new.nulls <= old.nulls:
        return False
    if not (old.bounded and new.bounded) or type(old.low) is not type(new.low) or new.low is None:
        return True
    return bool(not new.low < old.low and not new.high > old.high)


def _column_bounds(snapshot: Snapshot, path: str) -> dict[str, _Bounds]:
    """The bounds of the columns that are no texts (whose bounds may be cut) and stand alone, by stored name.

    Raises BadThrift where the footer says of them what cannot be.
    """
    footer = footer_bytes(snapshot.store, path)
    schema = pq.read_metadata(io.BytesIO(footer)).schema
    groups = row_groups_in(footer[len(b"PAR1") :])
    if any(len(group.chunks) != len(schema) for group in groups):
        raise BadThrift("a row group has not the columns of the file")
    found: dict[str, _Bounds] = {}
    for leaf in range(len(schema)):
        column = schema.column(leaf)
        if column.max_repetition_level or column.max_definition_level > 1:
            continue
        bounds = found.setdefault(column.path, _Bounds())
        measure = _measure(column)
        for group in groups:
            _widen(bounds, group.chunks[leaf], measure)
    return found


def _measure(column: pq.ColumnSchema) -> Callable[[bytes], Any] | None:
    """What makes numbers of a column's bounds as the footer has them; None where they may be cut.

    Never dates and moments of Python's: those end at the years 1 and 9999, columns do not.
    """
    if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return _unscaled if column.logical_type.type == "DECIMAL" else None
    plain = _PLAIN.get(column.physical_type)
    if plain is None:
        return None
    into: Callable[[Any], Any] | None = _as_it_is
    if column.logical_type.type == "TIMESTAMP":
        into = _IN_MICROSECONDS.get(json.loads(column.logical_type.to_json())["timeUnit"])
    return None if into is None else lambda stated: into(_number(plain, stated))


#: By the physical types of Parquet: how numbers are encoded plainly ("Plain", parquet-format).
_PLAIN = {
    "BOOLEAN": struct.Struct("<?"),
    "INT32": struct.Struct("<i"),
    "INT64": struct.Struct("<q"),
    "FLOAT": struct.Struct("<f"),
    "DOUBLE": struct.Struct("<d"),
}


def _number(plain: struct.Struct, stated: bytes) -> Any:
    if len(stated) != plain.size:
        raise BadThrift(f"a bound of {plain.size} bytes has {len(stated)}")
    return plain.unpack(stated)[0]


def _unscaled(stated: bytes) -> int:
    return int.from_bytes(stated, "big", signed=True)


def _as_it_is(stated: Any) -> Any:
    return stated


#: By the unit of the file. Rewritten files have microseconds, whatever those had that they came from.
_IN_MICROSECONDS: dict[str, Callable[[int], int]] = {
    "milliseconds": lambda stated: stated * 1_000,
    "microseconds": _as_it_is,
    "nanoseconds": lambda stated: stated // 1_000,
}


def _widen(bounds: _Bounds, chunk: Chunk, measure: Callable[[bytes], Any] | None) -> None:
    if chunk.nulls is None or bounds.nulls is None:
        bounds.nulls = None
    else:
        bounds.nulls += chunk.nulls
    stated = None if measure is None else chunk.bounds
    if measure is None or stated is None:
        # A row group of nothing but NULL has no bounds, and needs none.
        empty = measure is not None and chunk.nulls == chunk.values
        bounds.bounded = bounds.bounded and empty
        return
    low, high = map(measure, stated)
    bounds.low = low if bounds.low is None else min(bounds.low, low)
    bounds.high = high if bounds.high is None else max(bounds.high, high)


def _written_sql(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, path: str, cells: Sequence[str]
) -> str:
    snapshot.store.attach(connection)
    labels = ", ".join(cells)
    place = literal(snapshot.store.engine_path(path))
    return f"SELECT * FROM read_parquet([{place}], hive_partitioning = false) AS w({labels})"


def _fingerprint(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, source: str, cells: Sequence[str]
) -> tuple[int, ...]:
    """How many rows, and two sums over a hash of all their cells that do not depend on their order."""
    with named_failures(snapshot):
        [found] = connection.execute(
            f"SELECT count(*), coalesce(bit_xor(h), 0), coalesce(sum(h::HUGEINT), 0) "
            f"FROM (SELECT hash({', '.join(cells)}) AS h FROM ({source}))"
        ).fetchall()
    return tuple(int(value) for value in found)
