"""All rows of a table that conditions let through, as a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from merging.delta import open_snapshot, scan_sql
from merging.delta.keys import check_key_columns
from merging.delta.reading import named_failures
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.streams import STREAM_MEMORY, RowStream, stream_query
from merging.tables.looking import filter_sql, known_type


def stream_rows(
    table_uri: str,
    *,
    primary_keys: Sequence[str],
    version: int | None = None,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, Any]] = (),
    order_by: str | None = None,
    descending: bool = False,
    storage_options: Mapping[str, str] | None = None,
) -> RowStream:
    """All rows of a version that the ``filters`` of ``preview`` let through, with the exact types of the table.

    They come in the order of the table's files, which costs nothing and is the same each time; with ``order_by`` in the
    order of that column and then the keys, NULLs last, sorted on disk where they are many. Raises as ``preview`` does.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    keys = list(primary_keys)
    check_key_columns(snapshot.schema, keys)
    for name in [*(columns or ()), *([order_by] if order_by else ())]:
        known_type(snapshot, name)
    wanted = [name for name in snapshot.schema.names if columns is None or name in columns]
    conditions = [filter_sql(snapshot, *one) for one in filters]
    order = list(dict.fromkeys([order_by, *keys])) if order_by else []
    scanned = dict.fromkeys([*wanted, *order, *(name for name, _, _ in filters)])
    schema = pa.schema([snapshot.schema.field(name).remove_metadata() for name in wanted])
    opened = Session(memory_limit=STREAM_MEMORY)
    try:
        opened.expect_columns(len(scanned))
        with named_failures(snapshot):
            source = scan_sql(opened.connection, snapshot, list(scanned))
        query = f"SELECT {', '.join(column_sql(name) for name in wanted)} FROM ({source})"
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        if order:
            direction = "DESC" if descending else "ASC"
            query += " ORDER BY " + ", ".join(
                f"{column_sql(name)} {direction if name == order_by else 'ASC'} NULLS LAST" for name in order
            )
    except BaseException:
        opened.close()
        raise
    return stream_query(opened, query, schema, table_uri=snapshot.uri, version=snapshot.version)
