"""What others want to know of a table: its facts from the log, its keys, a page of rows, its history."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from merging import delta
from merging.delta import MARKER_RETENTION, FirstFiles, Snapshot, open_snapshot
from merging.delta.keys import check_key_columns
from merging.engines import Aggregates, EngineRead, FirstRows, TableReader
from merging.errors import CutShort, InvalidFilter
from merging.model import Column, KeyReport, TableInfo, TableVersion
from merging.sql.equality import comparable
from merging.sql.failures import naming_engine_failures
from merging.sql.paging import ROW_BYTES, number_that_fits, share_of_page
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import column_sql
from merging.sql.session import session
from merging.sql.stopping import after, stopped_when
from merging.sql.types import type_name
from merging.sql.values import read_text, sql_form, text_form
from merging.tables.places import RowOrder, RowPlace, beside

_EXAMPLES = 20


def _info(snapshot: Snapshot) -> TableInfo:
    return TableInfo(
        version=snapshot.version,
        table_id=snapshot.table_id,
        name=snapshot.name,
        row_count=snapshot.row_count,
        size_bytes=snapshot.size_bytes,
        file_count=len(snapshot.files),
        columns=_columns(snapshot, snapshot.schema.names),
        partition_columns=snapshot.partition_columns,
        schema_json=snapshot.schema_json,
        properties=dict(snapshot.properties),
        strategy=snapshot.strategy().name,
        features=snapshot.features,
        constraints=dict(snapshot.constraints),
        timestamp=snapshot.timestamp,
        warnings=_warnings(snapshot),
        files_elsewhere=snapshot.files_elsewhere,
    )


def _warnings(snapshot: Snapshot) -> tuple[str, ...]:
    """What is legal and yet takes something away that a merge relies on."""
    found = []
    if snapshot.files_elsewhere:
        found.append(
            f"{len(snapshot.files_elsewhere):,} of the table's {len(snapshot.files):,} files lie outside of its folder "
            "(it is a shallow clone, say). Whoever may see this dataset sees what they hold, and they go when their "
            "own table removes them."
        )
    if snapshot.markers_expire:
        kept = snapshot.properties[MARKER_RETENTION]
        found.append(
            f"The table forgets transaction markers ({MARKER_RETENTION} is {kept}). They are how a merge that was cut "
            "short knows that it had committed. Take the property out of the table, or set it to more time than a "
            "restore of the database takes. Merges that are recorded are never repeated."
        )
    return tuple(found)


def _columns(snapshot: Snapshot, names: Sequence[str]) -> tuple[Column, ...]:
    return tuple(
        Column(field.name, type_name(field.type), field.nullable, snapshot.comments.get(field.name, ""))
        for field in snapshot.schema
        if field.name in names
    )


def inspect_table(
    table_uri: str, *, version: int | None = None, storage_options: Mapping[str, str] | None = None
) -> TableInfo:
    """The facts of a table at a version (default: newest), from its log: no data file is read.

    Raises TableNotFound, and UnsupportedTable when the engine could not merge into it.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    snapshot.require_partitions()
    return _info(snapshot)


@naming_engine_failures()
def create_table(
    table_uri: str,
    data: Any,
    *,
    partition_by: Sequence[str] = (),
    deletion_vectors: bool = True,
    change_data_feed: bool = False,
    name: str = "",
    storage_options: Mapping[str, str] | None = None,
) -> TableInfo:
    """Create a table from Arrow data; with deletion vectors merges into it write only what changed."""
    snapshot = delta.create_table(
        table_uri,
        data,
        partition_by=partition_by,
        deletion_vectors=deletion_vectors,
        change_data_feed=change_data_feed,
        name=name,
        storage_options=storage_options,
    )
    return _info(snapshot)


def check_keys(
    table_uri: str,
    primary_keys: Sequence[str],
    *,
    seconds: float | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> KeyReport:
    """Whether the columns identify every row of the newest version: the table's engine reads their values in all rows.

    Raises InvalidKeys when a column does not exist or cannot be a key (floats, nested types, char(n)), and CutShort
    where it would take more than ``seconds``.
    """
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    keys = list(primary_keys)
    check_key_columns(snapshot.schema, keys, snapshot.rules.compared_otherwise)
    listed = ", ".join(column_sql(name) for name in keys)
    nulls = " OR ".join(f"{column_sql(name)} IS NULL" for name in keys)
    is_over = None if seconds is None else after(seconds)
    too_long = (
        f"Looking at {', '.join(keys)} in every row takes longer than {seconds:.0f} s." if seconds else ""
    )

    def wait() -> None:
        if is_over is not None and is_over():
            raise CutShort(too_long)

    with session(table_uri) as opened, stopped_when(opened, is_over, too_long):
        reader = TableReader(opened, snapshot, wait)
        counted = reader.aggregate(Aggregates([f"count(*) FILTER ({nulls})"], keys))
        null_rows = opened.number(f"SELECT a0 FROM {counted.sql}")
        repeated = reader.aggregate(
            Aggregates(["count(*)"], keys, f"NOT ({nulls})", by=keys, having="a0 > 1", first=_EXAMPLES)
        )
        examples: list[dict[str, Any]] = []
        if null_rows:
            some = reader.aggregate(Aggregates(["count(*)"], keys, nulls, by=keys, first=_EXAMPLES))
            examples += opened.user_rows(f"SELECT {listed} FROM {some.sql} ORDER BY ALL")
        examples += opened.user_rows(f"SELECT {listed} FROM {repeated.sql} ORDER BY ALL")
    return KeyReport(null_rows, repeated.number, tuple(examples))


@dataclass(frozen=True)
class TablePage:
    """Rows of a table in a stable order; ``next`` and ``previous`` are the cursors of the pages beside it. ``reads``
    tells which engine looked into how much of the table for them.
    """

    rows: tuple[dict[str, Any], ...]
    next: str | None
    previous: str | None
    version: int
    columns: tuple[Column, ...]
    reads: tuple[EngineRead, ...]


_COMPARISONS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OPERATORS = (*_COMPARISONS, "contains", "is null", "is not null")


def preview(
    table_uri: str,
    *,
    primary_keys: Sequence[str],
    version: int | None = None,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, Any]] = (),
    order_by: str | None = None,
    descending: bool = False,
    after: str | None = None,
    limit: int = 50,
    storage_options: Mapping[str, str] | None = None,
) -> TablePage:
    """A page of rows in key order, or in the order of one column and then the keys; NULLs come last. ``after`` is a
    cursor of a page: its ``next`` or its ``previous``.

    ``filters`` are (column, operator, value) with ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``contains`` (text,
    any case), ``is null`` and ``is not null``; all must hold. Only the columns needed to choose the rows are scanned.
    Raises InvalidCursor, and InvalidFilter for unknown columns, operators, or values that do not fit.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    keys = list(primary_keys)
    check_key_columns(snapshot.schema, keys)
    wanted = [name for name in snapshot.schema.names if columns is None or name in columns]
    for name in [*(columns or ()), *([order_by] if order_by else ())]:
        known_type(snapshot, name)
    sorted_by = order_by or keys[0]
    order = RowOrder(
        snapshot, tuple(dict.fromkeys([sorted_by, *keys])), frozenset([sorted_by] if descending else ())
    )
    conditions = [filter_sql(snapshot, *one) for one in filters]
    place = None if after is None else order.place_in(after)
    if place is not None:
        conditions.append(place.condition())
    back = place is not None and place.way.leads_back
    judged = list(
        dict.fromkeys([*(order.columns if place is not None else ()), *(name for name, _, _ in filters)])
    )
    fetched = list(dict.fromkeys([*wanted, *order.columns]))
    with session(table_uri) as opened:
        reader = TableReader(opened, snapshot)
        for looked in itertools.chain([] if filters else _likely_files(order, place, limit + 1), [None]):
            files = None if looked is None else looked.files
            within = [] if looked is None else [_below(order, looked.least_elsewhere)]
            asked = FirstRows(
                " AND ".join([*conditions, *within]) or "true",
                judged,
                [(name, (name in order.falling) != back) for name in order.columns],
                nulls_first=back,
                number=limit + 1,
                columns=fetched,
                widest=share_of_page(limit + 1),
            )
            page = reader.first_rows(asked, files)
            if looked is None or page.number > limit:
                break
        found, nearest = page.number, f"ORDER BY {order.sql(back=back)}"
        sizes = opened.table(f"SELECT {ROW_BYTES} FROM {page.sql} {nearest} LIMIT {limit}")[0].to_pylist()
        fitting = number_that_fits(sizes)
        if max(sizes[:fitting], default=0) > share_of_page(limit + 1):
            page = reader.first_rows(replace(asked, number=fitting, widest=None), files)
        rows = opened.user_rows(
            f"SELECT {', '.join(column_sql(name) for name in fetched)} FROM {page.sql} {nearest} LIMIT {fitting}"
        )
    more = found > fitting
    shown = rows[::-1] if back else rows
    following, previous = beside(place, order, shown, more=more)
    shown_rows = tuple({name: row[name] for name in wanted} for row in shown)
    return TablePage(
        shown_rows, following, previous, snapshot.version, _columns(snapshot, wanted), tuple(reader.reads)
    )


def _likely_files(order: RowOrder, place: RowPlace | None, wanted: int) -> Iterator[FirstFiles]:
    """The files that a page most likely comes from, by statistics."""
    if order.columns[0] in order.falling:
        return iter(())
    if place is None:
        return delta.files_of_first_rows(order.snapshot, order.columns[0], wanted)
    if place.way.leads_back or place.values[0] is None:
        return iter(())
    return delta.files_of_first_rows(order.snapshot, order.columns[0], wanted, beyond=place.values[0])


def _below(order: RowOrder, value: Any) -> str:
    """SQL: a row comes before a value of the order's first column."""
    name = order.columns[0]
    return f"{column_sql(name)} < {sql_form(value, order.snapshot.schema.field(name).type)}"


def known_type(snapshot: Snapshot, name: str) -> pa.DataType:
    """The type of a column that a caller names. Raises InvalidFilter where there is none."""
    if name not in snapshot.schema.names:
        raise InvalidFilter(f"The table has no column {name}.", data={"column": name})
    return snapshot.schema.field(name).type


def filter_sql(snapshot: Snapshot, name: str, operator: str, value: Any) -> str:
    """SQL of one condition on rows. Raises InvalidFilter where it does not fit."""
    data_type = known_type(snapshot, name)
    if operator == "is null":
        return f"{column_sql(name)} IS NULL"
    if operator == "is not null":
        return f"{column_sql(name)} IS NOT NULL"
    if operator == "contains":
        return (
            f"contains(lower({column_sql(name)}::VARCHAR), lower({sql_form(text_form(value), pa.string())}))"
        )
    if operator not in _COMPARISONS:
        known = ", ".join(_OPERATORS)
        raise InvalidFilter(
            f'There is no operator "{operator}"; choose one of {known}.', data={"operator": operator}
        )
    try:
        typed = read_text(value, data_type) if isinstance(value, str) else cell_value(value, data_type)
    except Refused as refusal:
        raise InvalidFilter(f"Column {name}: {refusal}", data={"column": name}) from refusal
    cell, wanted = comparable(column_sql(name), data_type), comparable(sql_form(typed, data_type), data_type)
    return f"{cell} {_COMPARISONS[operator]} {wanted}"


def sizes(
    table_uri: str, *, first: int, last: int, storage_options: Mapping[str, str] | None = None
) -> tuple[delta.VersionSize, ...]:
    """How many rows and bytes the table had in each version from one to another, from its log; nothing where that
    cannot be told of all of them.
    """
    return delta.read_sizes(table_uri, first=first, last=last, storage_options=storage_options)


def history(
    table_uri: str,
    *,
    limit: int = 50,
    before: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> tuple[TableVersion, ...]:
    """The table's commits that its log still has, newest first; only those below ``before`` when given."""
    return tuple(
        TableVersion(
            version=one.version,
            timestamp=one.timestamp,
            operation=one.operation,
            user=one.user,
            cr_id=one.cr_id,
            rows_added=one.rows_added,
            rows_updated=one.rows_updated,
            rows_deleted=one.rows_deleted,
            engine=one.engine,
        )
        for one in delta.read_history(table_uri, limit=limit, before=before, storage_options=storage_options)
    )
