"""What the log tells about past versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from merging.delta.log import LoggedCommit, TableState, list_commits, load_state, read_commit, read_commits
from merging.delta.reach import open_table
from merging.delta.snapshot import FoundTransaction
from merging.errors import FileMissing, TableChanged, TableNotFound


@dataclass(frozen=True)
class LogVersion:
    """One version as its commit describes it; row counts are None where the writer did not say.

    `transactions` are the application ids and versions of its markers, `info` the whole commitInfo.
    """

    version: int
    timestamp: datetime
    operation: str
    user: str
    cr_id: str | None
    engine: str
    rows_added: int | None
    rows_updated: int | None
    rows_deleted: int | None
    transactions: Mapping[str, int] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VersionSize:
    """How large a table is in one version, by its log: ``rows`` is None where a file does not say how many it
    has, or a vector says that more of them are gone."""

    version: int
    rows: int | None
    size_bytes: int


#: So many files, over all versions, are added up; a table of more is not told of.
_MOST_FILES = 500_000


# Metric names of Spark and delta-rs for the same thing, by operation family.
_ADDED = ("numTargetRowsInserted", "num_target_rows_inserted", "num_added_rows", "numOutputRows")
_UPDATED = ("numTargetRowsUpdated", "num_target_rows_updated", "numUpdatedRows", "num_updated_rows")
_DELETED = ("numTargetRowsDeleted", "num_target_rows_deleted", "numDeletedRows", "num_deleted_rows")
_REWRITING = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "COMPACT", "REORG"})


def read_history(
    table_uri: str,
    *,
    limit: int | None = 50,
    before: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> tuple[LogVersion, ...]:
    """The versions whose commits the log still has, newest first, those below `before` only.

    Raises TableNotFound when there is no log.
    """
    store = open_table(table_uri, storage_options)
    commits = list_commits(store)
    if not commits:
        load_state(store)  # a log that was cleaned up to a checkpoint is a table without commits to tell of
    numbers = [number for number in reversed(commits) if before is None or number < before]
    return tuple(map(_log_version, read_commits(store, numbers[:limit])))


def read_sizes(
    table_uri: str, *, first: int, last: int, storage_options: Mapping[str, str] | None = None
) -> tuple[VersionSize, ...]:
    """The sizes of the versions from one to another; nothing where the log has not all of them any more, or where the
    table has so many files that adding them up takes long.
    """
    store = open_table(table_uri, storage_options)
    try:
        state = load_state(store, first).copy()
        if len(state.files) * (last - first + 1) > _MOST_FILES:
            return ()
        sizes = [_size_of(state)]
        since = range(first + 1, last + 1)
        for commit in read_commits(store, since):
            state.apply([commit])
            sizes.append(_size_of(state))
    except (TableNotFound, TableChanged, FileNotFoundError, FileMissing):
        return ()
    return tuple(sizes)


def _size_of(state: TableState) -> VersionSize:
    counts, dead = state.files.numbers("records", -1), state.files.numbers("dead")
    rows = int(counts.sum() - dead.sum()) if (counts >= dead).all() else None
    return VersionSize(state.version, rows, int(state.files.numbers("size").sum()))


def find_transaction(
    table_uri: str,
    application_id: str,
    *,
    since_version: int,
    storage_options: Mapping[str, str] | None = None,
) -> FoundTransaction | None:
    """The newest marker of `application_id` in commits above `since_version`: cheap while waiting for one's own."""
    store = open_table(table_uri, storage_options)
    commits = list_commits(store, start_after=since_version)
    for number in reversed(commits):
        found = read_commit(store, number)
        marker = found.markers.get(application_id)
        if marker is not None:
            return FoundTransaction(marker, number, found.info, _moment(found))
    return None


def _log_version(commit: LoggedCommit) -> LogVersion:
    info = commit.info
    operation = _text(info, "operation")
    metrics = info.get("operationMetrics")
    counts = [
        None if operation in _REWRITING else _metric(metrics, names) for names in (_ADDED, _UPDATED, _DELETED)
    ]
    return LogVersion(
        version=commit.version,
        timestamp=_moment(commit),
        operation=operation,
        user=_text(info, "userName", "userId"),
        cr_id=_text(info, "crId") or None,
        engine=_text(info, "engineInfo"),
        rows_added=counts[0],
        rows_updated=counts[1],
        rows_deleted=counts[2],
        transactions=commit.markers,
        info=info,
    )


def _metric(metrics: Any, names: tuple[str, ...]) -> int | None:
    for name in names if isinstance(metrics, dict) else ():
        # Spark writes metrics as texts, delta-rs as numbers.
        if re.fullmatch(r"[0-9]{1,18}", str(metrics.get(name))):
            return int(metrics[name])
    return None


def _text(info: Mapping[str, Any], *names: str) -> str:
    """The first of these that is a text or a number."""
    for name in names:
        value = info.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def _moment(commit: LoggedCommit) -> datetime:
    return datetime.fromtimestamp(commit.timestamp_ms / 1000, tz=UTC)
