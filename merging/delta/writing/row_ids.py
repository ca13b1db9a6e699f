"""Row ids that a commit gives to new rows, and those that its rows keep (PROTOCOL.md, "Writer Requirements for Row
Tracking")."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta.footers import read_footers
from merging.delta.reading import fetch
from merging.delta.row_tracking import DOMAIN, HIGHEST_ID, LARGEST_ID, ROW_COMMIT_VERSION, ROW_ID
from merging.delta.snapshot import Snapshot
from merging.errors import UnsupportedTable
from merging.sql.quoting import quote


class FreshIds:
    """The ids that one commit on top of a snapshot gives to the rows of its files, where the table tracks rows."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._tracking = snapshot.row_tracking
        self._version = snapshot.version + 1
        self._highest = -1 if self._tracking is None else self._tracking.highest_id

    def take(self, rows: int) -> dict[str, int]:
        """What the log says of a file of so many rows that have no ids yet. Raises UnsupportedTable where the table has
        no more so many."""
        if self._tracking is None:
            return {}
        first = self._highest + 1
        self._highest += rows
        if self._highest > LARGEST_ID:
            # Once it stood in the log, nobody could read that any more.
            raise UnsupportedTable(
                [f"rowTracking: {HIGHEST_ID} is {self._tracking.highest_id}"],
                f"The table tracks its rows and has {LARGEST_ID - self._tracking.highest_id:,} ids left "
                f"({HIGHEST_ID} of its log), fewer than the rows that would be written.",
            )
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
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, added: str, files: Collection[int]
) -> str:
    """A relation of the rows that come, in which those that take the place of another have its `row_id`: of a row in
    one of `files`.

    It is counted from what the log says of that file, or read from it where the file holds ids of rows that were
    written again. A row that is updated has a new commit version, which its new file tells.
    """
    firsts, holding = _first_ids(snapshot, files)
    connection.register("headgate_first_ids", firsts)
    joined, row_id = f"{added} a LEFT JOIN headgate_first_ids f USING (file_index)", "f.first + a.row_number"
    if holding:
        listed = ", ".join(map(str, holding))
        held = f"(SELECT file_index, row_number FROM {added} WHERE file_index IN ({listed}))"
        fetch(connection, snapshot, held, (), "headgate_kept_ids", row_ids=True)
        joined += " LEFT JOIN headgate_kept_ids k USING (file_index, row_number)"
        row_id = f"coalesce(k.{ROW_ID}, {row_id})"
    return f"(SELECT a.*, {row_id} AS {ROW_ID} FROM {joined})"


def _first_ids(snapshot: Snapshot, files: Collection[int]) -> tuple[pa.Table, list[int]]:
    """The id that the first row has of each of the files whose rows are counted from it, and the other files."""
    column = snapshot.row_tracking.kept[0].stored_name.casefold() if snapshot.row_tracking else ""
    named = snapshot.files.at(files)
    holding, firsts = [], {}
    for index, file, footer in zip(files, named, read_footers(snapshot.store, named), strict=True):
        if column in map(str.casefold, footer.layout.arrow.names):
            holding.append(index)
        else:
            firsts[index] = file.extra.get("baseRowId")
    columns = {
        "file_index": pa.array([*firsts], pa.int64()),
        "first": pa.array([*firsts.values()], pa.int64()),
    }
    return pa.table(columns), holding
