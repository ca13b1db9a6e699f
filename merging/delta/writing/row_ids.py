"""Row ids that a commit gives to new rows, and those that its rows keep (PROTOCOL.md, "Writer Requirements for Row
Tracking")."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta.footers import read_footers
from merging.delta.reading import fetch
from merging.delta.row_tracking import DOMAIN, HIGHEST_ID, ROW_COMMIT_VERSION, ROW_ID
from merging.delta.snapshot import Snapshot
from merging.delta.writing.changes import RowChanges
from merging.sql.quoting import quote


class FreshIds:
    """The ids that one commit on top of a snapshot gives to the rows of its files, where the table tracks rows."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._tracking = snapshot.row_tracking
        self._version = snapshot.version + 1
        self._highest = -1 if self._tracking is None else self._tracking.highest_id

    def take(self, rows: int) -> dict[str, int]:
        """What the log says of a file of so many rows that have no ids yet."""
        if self._tracking is None:
            return {}
        first = self._highest + 1
        self._highest += rows
        return {"baseRowId": first, "defaultRowCommitVersion": self._version}

    def actions(self) -> list[dict[str, Any]]:
        """What tells others which ids are taken."""
        if self._tracking is None or self._highest == self._tracking.highest_id:
            return []
        stated = json.dumps({HIGHEST_ID: self._highest}, separators=(",", ":"))
        return [{"domainMetadata": {"domain": DOMAIN, "configuration": stated, "removed": False}}]


def keeps_row_ids(snapshot: Snapshot) -> bool:
    """Whether rows that are written again keep the ids that they had."""
    return snapshot.row_tracking is not None and bool(snapshot.row_tracking.kept)


def kept_columns(snapshot: Snapshot, *labels: str) -> list[str]:
    """SQL of the columns of a file in which rows keep ids (and, where they are copied only, commit versions), from the
    labels under which `reading` gives them."""
    tracking = snapshot.row_tracking
    stored = dict(zip((ROW_ID, ROW_COMMIT_VERSION), tracking.kept if tracking else (), strict=False))
    return [f"{label} AS {quote(stored[label].stored_name)}" for label in labels if label in stored]


def with_kept_ids(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, changes: RowChanges, added: str
) -> str:
    """A relation of the rows that come, in which those that take the place of another have its `row_id`.

    A row that is updated has a new commit version, which its file tells.
    """
    kept = f"SELECT *, NULL::BIGINT AS {ROW_ID} FROM {added}"
    if changes.removed:
        kept = (
            f"SELECT a.*, b.{ROW_ID} FROM {added} a LEFT JOIN ({_ids_of(connection, snapshot, changes.removed)}) b "
            "ON a.file_index = b.file_index AND a.row_number = b.row_number"
        )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW headgate_kept_rows AS {kept}")
    return "headgate_kept_rows"


def _ids_of(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, rows: str) -> str:
    """SQL of the `row_id` of rows (file_index, row_number): counted from what the log says of their files, or read from
    those files that hold ids of rows that were written again.
    """
    found = connection.execute(f"SELECT DISTINCT file_index FROM {rows} ORDER BY ALL").fetchall()
    indexes = [int(index) for (index,) in found]
    files = [snapshot.files[index] for index in indexes]
    column = snapshot.row_tracking.kept[0].stored_name.casefold() if snapshot.row_tracking else ""
    holding, firsts = [], {}
    for index, file, footer in zip(indexes, files, read_footers(snapshot.store, files), strict=True):
        if column in map(str.casefold, footer.layout.arrow.names):
            holding.append(index)
        else:
            firsts[index] = file.extra.get("baseRowId")
    counted = pa.table(
        {"file_index": pa.array([*firsts], pa.int64()), "first": pa.array([*firsts.values()], pa.int64())}
    )
    connection.register("headgate_counted", counted)
    connection.execute("CREATE OR REPLACE TEMP TABLE headgate_first_ids AS SELECT * FROM headgate_counted")
    connection.unregister("headgate_counted")
    ids = f"SELECT r.file_index, r.row_number, f.first + r.row_number AS {ROW_ID} FROM {rows} r "
    ids += "JOIN headgate_first_ids f ON f.file_index = r.file_index"
    if holding:
        listed = ", ".join(map(str, holding))
        held = f"(SELECT file_index, row_number FROM {rows} WHERE file_index IN ({listed}))"
        fetch(connection, snapshot, held, (), "headgate_kept_ids", row_ids=True)
        ids += f" UNION ALL SELECT file_index, row_number, {ROW_ID} FROM headgate_kept_ids"
    return ids
