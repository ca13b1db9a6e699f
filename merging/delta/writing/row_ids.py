"""Row ids that a commit gives to new rows, and those that its rows keep (PROTOCOL.md, "Writer Requirements for Row
Tracking")."""

from __future__ import annotations

import json
from typing import Any

import duckdb

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
        fetch(connection, snapshot, changes.removed, (), "headgate_kept_ids", row_ids=True)
        kept = (
            f"SELECT a.*, b.{ROW_ID} FROM {added} a LEFT JOIN headgate_kept_ids b "
            "ON a.file_index = b.file_index AND a.row_number = b.row_number"
        )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW headgate_kept_rows AS {kept}")
    return "headgate_kept_rows"
