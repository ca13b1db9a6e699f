"""What a merge changes, as relations of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from merging.delta.reading import fetch
from merging.delta.snapshot import Snapshot
from merging.sql.quoting import column_sql


@dataclass(frozen=True)
class RowChanges:
    """What a merge changes, as relations on the connection: names or queries in parentheses (not quoted again).

    `removed`(file_index, row_number): rows of the snapshot that go, updated ones included.
    `added`: full new rows with the table's (new) columns by label; updated and inserted rows alike. Where the table's
    rows keep their ids, also file_index and row_number of the row whose place each takes, NULL where it takes none.
    `number_removed`, `number_added`: how many those are, None where that is not known.
    The other four hold the same columns and are needed where the table has a change data feed: `inserted`,
    `updated_before`, `updated_after`, `deleted`. `key_columns` likewise. `numbers_given`: the last number that new rows
    have in each column that the table numbers, where they have one of its numbers.
    """

    removed: str | None
    added: str | None
    inserted: str | None = None
    updated_before: str | None = None
    updated_after: str | None = None
    deleted: str | None = None
    key_columns: tuple[str, ...] = ()
    numbers_given: Mapping[str, int] = dataclasses.field(default_factory=dict)
    number_removed: int | None = None
    number_added: int | None = None


def classify(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, schema: pa.Schema, changes: RowChanges
) -> RowChanges:
    """The same changes with all four kinds of rows told apart, by key where the caller did not do it."""
    stated = (changes.inserted, changes.updated_before, changes.updated_after, changes.deleted)
    if any(relation is not None for relation in stated) or not (changes.removed or changes.added):
        return changes
    if not changes.key_columns:
        raise ValueError("RowChanges needs key_columns, or its four kinds of rows, for this table")
    keys = " AND ".join(f"a.{column_sql(name)} = b.{column_sql(name)}" for name in changes.key_columns)
    names: dict[str, str] = {}
    known = set(snapshot.schema.names)
    new = "".join(f", NULL AS {column_sql(name)}" for name in schema.names if name not in known)
    if changes.removed:
        fetch(connection, snapshot, changes.removed, snapshot.schema.names, "headgate_removed_images")
    for kind, source, other, join in (
        ("inserted", changes.added, "headgate_removed_images" if changes.removed else None, "ANTI"),
        ("updated_after", changes.added, "headgate_removed_images" if changes.removed else None, "SEMI"),
        ("updated_before", "headgate_removed_images" if changes.removed else None, changes.added, "SEMI"),
        ("deleted", "headgate_removed_images" if changes.removed else None, changes.added, "ANTI"),
    ):
        if source is None or (other is None and join == "SEMI"):
            continue
        names[kind] = f"headgate_{kind}"
        joined = f"{join} JOIN {other} b ON {keys}" if other else ""
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE headgate_{kind} AS "
            f"SELECT a.*{'' if source == changes.added else new} FROM {source} a {joined}"
        )
    return dataclasses.replace(
        changes,
        inserted=names.get("inserted"),
        updated_before=names.get("updated_before"),
        updated_after=names.get("updated_after"),
        deleted=names.get("deleted"),
    )
