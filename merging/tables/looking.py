"""What others want to know of a table: its facts from the log, its keys, a page of rows, its history."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from merging import delta
from merging.delta import MARKER_RETENTION, Snapshot, open_snapshot, scan_sql
from merging.delta.keys import check_key_columns
from merging.errors import InvalidCursor, InvalidFilter
from merging.model import Column, KeyReport, TableInfo, TablePage, TableVersion
from merging.sql.equality import comparable
from merging.sql.failures import naming_engine_failures
from merging.sql.parsing import NumberText, Refused, cell_value
from merging.sql.quoting import column_sql
from merging.sql.session import session
from merging.sql.types import type_name
from merging.sql.values import json_form, read_text, sql_form, text_form

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
    snapshot.require_zones()
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
    table_uri: str, primary_keys: Sequence[str], *, storage_options: Mapping[str, str] | None = None
) -> KeyReport:
    """Whether the columns identify every row of the newest version: reads the key columns of the whole table.

    Raises InvalidKeys when a column does not exist or cannot be a key (floats, nested types, char(n)).
    """
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    keys = list(primary_keys)
    check_key_columns(snapshot.schema, keys, snapshot.rules.compared_otherwise)
    listed = ", ".join(column_sql(name) for name in keys)
    nulls = " OR ".join(f"{column_sql(name)} IS NULL" for name in keys)
    with session() as opened:
        source = scan_sql(opened.connection, snapshot, keys)
        null_rows = opened.number(f"SELECT count(*) FROM ({source}) WHERE {nulls}")
        grouped = f"SELECT {listed} FROM ({source}) WHERE NOT ({nulls}) GROUP BY ALL HAVING count(*) > 1"
        duplicates = opened.number(f"SELECT count(*) FROM ({grouped})")
        examples: list[dict[str, Any]] = []
        if null_rows:
            examples += opened.user_rows(f"SELECT {listed} FROM ({source}) WHERE {nulls} LIMIT {_EXAMPLES}")
        if duplicates:
            examples += opened.user_rows(f"{grouped} ORDER BY ALL LIMIT {_EXAMPLES}")
    return KeyReport(null_rows, duplicates, tuple(examples))


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
    """A page of rows in key order, or in the order of one column and then the keys; NULLs come last.

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
    order = ([order_by] if order_by and order_by not in keys[:1] else []) + keys
    order = list(dict.fromkeys(order))
    conditions = [filter_sql(snapshot, *one) for one in filters]
    if after is not None:
        conditions.append(
            _after_sql(snapshot, order, descending, order_by, _read_place(snapshot, after, order))
        )
    scanned = list(dict.fromkeys([*order, *(name for name, _, _ in filters)]))
    directions = ", ".join(
        f"{column_sql(name)} {'DESC' if descending and name == (order_by or keys[0]) else 'ASC'} NULLS LAST"
        for name in order
    )
    listed = ", ".join(column_sql(name) for name in order)
    with session() as opened:
        source = scan_sql(opened.connection, snapshot, scanned, with_positions=True)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        opened.execute(
            f"CREATE TEMP TABLE chosen AS SELECT file_index, row_number, {listed} FROM ({source}) {where} "
            f"ORDER BY {directions} LIMIT {limit + 1}"
        )
        fetched = list(dict.fromkeys([*wanted, *order]))
        delta.fetch(opened.connection, snapshot, "chosen", fetched, "page_rows")
        rows = opened.user_rows(
            f"SELECT {', '.join(column_sql(name) for name in fetched)} FROM page_rows ORDER BY {directions}"
        )
    more = len(rows) > limit
    place = _make_place([rows[limit - 1][name] for name in order], order) if more else None
    shown_rows = tuple({name: row[name] for name in wanted} for row in rows[:limit])
    return TablePage(shown_rows, place, snapshot.version, _columns(snapshot, wanted))


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


def _after_sql(
    snapshot: Snapshot, order: Sequence[str], descending: bool, order_by: str | None, place: Sequence[Any]
) -> str:
    """SQL: the row comes after a place in the order (NULLs last)."""
    alternatives = []
    equal: list[str] = []
    for name, value in zip(order, place, strict=True):
        data_type = snapshot.schema.field(name).type
        backwards = descending and name == (order_by or order[0])
        text = sql_form(value, data_type)
        if value is not None:
            later = f"({column_sql(name)} {'<' if backwards else '>'} {text} OR {column_sql(name)} IS NULL)"
            alternatives.append(" AND ".join([*equal, later]))
        equal.append(f"{column_sql(name)} IS NOT DISTINCT FROM {text}")
    return "(" + " OR ".join(f"({one})" for one in alternatives) + ")" if alternatives else "false"


def _make_place(values: Sequence[Any], order: Sequence[str]) -> str:
    text = json.dumps([list(order), [json_form(value) for value in values]], allow_nan=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_place(snapshot: Snapshot, cursor: str, order: Sequence[str]) -> list[Any]:
    """The values of the last row of the page before, as the columns have them."""
    try:
        names, forms = json.loads(
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)),
            parse_int=NumberText,
            parse_float=NumberText,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidCursor("The page cursor is damaged; start from the first page.") from error
    if names != list(order) or not isinstance(forms, list) or len(forms) != len(names):
        raise InvalidCursor("The page cursor belongs to another listing; start from the first page.")
    try:
        return [
            cell_value(form, snapshot.schema.field(name).type)
            for name, form in zip(order, forms, strict=True)
        ]
    except Refused as error:
        raise InvalidCursor("The page cursor is damaged; start from the first page.") from error


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
