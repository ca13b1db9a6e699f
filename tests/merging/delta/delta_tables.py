"""Tables of several kinds, and everybody who must read them alike."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import deltalake
import duckdb
import polars
import pyarrow as pa

from merging import delta
from merging.sql.quoting import column_label, column_named, column_sql

UTC = datetime.UTC
ODD = 'ä "b" c.d\'e'


def differing(
    connection: duckdb.DuckDBPyConnection,
    before: delta.Snapshot,
    after: delta.Snapshot,
    keys: list[str],
    into: str,
) -> tuple[dict[str, int], int]:
    """Create the table of the rows that two versions have otherwise: how many of each operation, and files read."""
    schema = delta.schema_of_both(before, after)
    apart = delta.standing_apart(before, after)
    gone, come = (delta.standing_sql(connection, one, schema) for one in apart)
    delta.pair(connection, gone, come, schema, keys, into)
    counted = connection.execute(f"SELECT op, count(*) FROM {into} GROUP BY op").fetchall()
    return dict(counted), sum(len(one.files) for one in apart)


def sample(rows: int = 40, start: int = 0) -> pa.Table:
    """Rows with every Delta primitive type, NULLs, an odd column name, and a partition-like text column."""
    numbers = range(start, start + rows)
    moment = datetime.datetime(2013, 1, 1, 5, tzinfo=UTC)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            ODD: pa.array([f"text {n}" if n % 7 else None for n in numbers], pa.string()),
            "part": pa.array([("a b/ü%=" + str(n % 3)) if n % 5 else None for n in numbers], pa.string()),
            "small": pa.array([n % 100 for n in numbers], pa.int8()),
            "medium": pa.array(list(numbers), pa.int16()),
            "whole": pa.array([None if n % 4 == 0 else n for n in numbers], pa.int32()),
            "price": pa.array([Decimal(n) / 4 for n in numbers], pa.decimal128(15, 2)),
            "wide": pa.array([Decimal(10**25 + n) / 1000 for n in numbers], pa.decimal128(38, 3)),
            "single": pa.array([n / 2 for n in numbers], pa.float32()),
            "double": pa.array([float("nan") if n % 9 == 0 else n / 3 for n in numbers], pa.float64()),
            "flag": pa.array([n % 2 == 0 for n in numbers], pa.bool_()),
            "raw": pa.array([bytes([n % 256, 0]) for n in numbers], pa.binary()),
            "day": pa.array([datetime.date(2013, 1, 1 + n % 28) for n in numbers], pa.date32()),
            "moment": pa.array(
                [moment + datetime.timedelta(hours=n, microseconds=n) for n in numbers],
                pa.timestamp("us", "UTC"),
            ),
            "tags": pa.array([[f"t{n}", None] for n in numbers], pa.list_(pa.string())),
            "place": pa.array(
                [{"x": n, "y z": None} for n in numbers], pa.struct({"x": pa.int64(), "y z": pa.string()})
            ),
        }
    )


def plain(value: Any) -> Any:
    """A value that compares and sorts: NaN equals itself, moments in UTC, lists and structs as text."""
    if isinstance(value, float) and value != value:
        return "nan"
    if isinstance(value, datetime.datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, list | dict):
        return str(value)
    return value


def labelled(table: pa.Table) -> pa.Table:
    """A table as the border takes it: columns under their labels."""
    return table.rename_columns([column_label(name) for name in table.column_names])


def named(table: pa.Table) -> pa.Table:
    """A table from the border, columns under their names again."""
    return table.rename_columns([column_named(label) for label in table.column_names])


def sorted_rows(table: pa.Table, names: list[str]) -> list[tuple[Any, ...]]:
    rows = [tuple(plain(row[name]) for name in names) for row in table.to_pylist()]
    return sorted(rows, key=lambda row: tuple((value is not None, str(type(value)), value) for value in row))


def own_rows(uri: str, version: int | None = None, names: list[str] | None = None) -> list[tuple[Any, ...]]:
    snapshot = delta.open_snapshot(uri, version=version)
    with duckdb.connect(":memory:", config={"threads": 2}) as made:
        made.execute("SET TimeZone = 'UTC'")
        table = named(made.sql(delta.scan_sql(made, snapshot)).to_arrow_table())
    assert table.num_rows == snapshot.row_count
    return sorted_rows(table, names or snapshot.schema.names)


def delta_rs_rows(uri: str, names: list[str]) -> list[tuple[Any, ...]]:
    found = (
        deltalake.QueryBuilder()
        .register("t", deltalake.DeltaTable(uri))
        .execute("SELECT * FROM t")
        .read_all()
    )
    return sorted_rows(pa.table(found), names)


def delta_rs_scan_rows(uri: str, names: list[str]) -> list[tuple[Any, ...]]:
    return sorted_rows(pa.table(deltalake.DeltaTable(uri).scan().read_all()), names)


def polars_rows(uri: str, names: list[str]) -> list[tuple[Any, ...]]:
    return sorted_rows(polars.scan_delta(uri).collect().to_arrow(), names)


def assert_all_readers_agree(uri: str, expected: list[tuple[Any, ...]] | None = None) -> None:
    names = delta.open_snapshot(uri).schema.names
    mine = own_rows(uri)
    if expected is not None:
        assert mine == expected
    assert delta_rs_rows(uri, names) == mine
    assert delta_rs_scan_rows(uri, names) == mine
    assert polars_rows(uri, names) == mine


class Merger:
    """A naive merge over the border: updates, deletes and inserts by key `id`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def prepare(
        self,
        uri: str | delta.Snapshot,
        *,
        upsert: pa.Table | None = None,
        delete: list[int] | None = None,
        key: str = "id",
        new_schema: pa.Schema | None = None,
    ) -> delta.PreparedCommit:
        snapshot = delta.open_snapshot(uri) if isinstance(uri, str) else uri
        connection = self.connection
        schema = new_schema or snapshot.schema
        rows = upsert if upsert is not None else schema.empty_table()
        connection.register("upserts", labelled(rows))
        connection.execute("CREATE OR REPLACE TEMP TABLE added AS SELECT * FROM upserts")
        connection.unregister("upserts")
        gone = pa.table({key: pa.array(delete or [], snapshot.schema.field(key).type)})
        connection.register("gone", labelled(gone))
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE keys AS SELECT {column_sql(key)} FROM added "
            f"UNION SELECT {column_sql(key)} FROM gone"
        )
        connection.unregister("gone")
        delta.locate(connection, snapshot, "keys", [key], "located")
        return delta.prepare(
            connection,
            snapshot,
            delta.RowChanges(removed="located", added="added", key_columns=(key,)),
            attempt_id=uuid.uuid4().hex,
            new_schema=new_schema,
        )

    def merge(self, uri: str, **changes: Any) -> delta.Snapshot:
        prepared = self.prepare(uri, **changes)
        done = delta.commit(
            prepared, application_id=f"test/{prepared.attempt_id}", generation=1, commit_info={"crId": "CR-1"}
        )
        return delta.verify(prepared, done)


def changed(table: pa.Table, ids: list[int], **values: Any) -> pa.Table:
    """The rows with these ids, with some columns replaced by one value."""
    rows = [row for row in table.to_pylist() if row["id"] in ids]
    for row in rows:
        row.update(values)
    return pa.Table.from_pylist(rows, schema=table.schema)


def after_merge(table: pa.Table, upsert: pa.Table | None, delete: list[int]) -> list[tuple[Any, ...]]:
    """What a table must hold after a merge, in plain Python."""
    by_id = {row["id"]: row for row in table.to_pylist()}
    for row in upsert.to_pylist() if upsert is not None else []:
        by_id[row["id"]] = row
    for number in delete:
        by_id.pop(number, None)
    return sorted_rows(pa.Table.from_pylist(list(by_id.values()), schema=table.schema), table.column_names)
