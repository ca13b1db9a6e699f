"""The commit point: one put-if-absent of one JSON file, which either happened exactly once or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from merging.delta.log import commit_path, read_commit
from merging.delta.snapshot import Snapshot, snapshot_after, snapshot_in
from merging.delta.vectors import VectorDescriptor
from merging.delta.writing import PreparedCommit, Step, keeps_row_ids, no_step
from merging.errors import (
    CommitDiffers,
    CommitRefused,
    CommitUnknown,
    TableChanged,
    TableNotFound,
    VersionMoved,
)
from merging.store.client import ObjectExists
from merging.store.space import says_disk_is_full
from merging.store.stores import TableStore

ENGINE = "headgate/0.1.0"


@dataclass(frozen=True)
class Commit:
    """A version that is in the log and is ours."""

    version: int
    timestamp: datetime


def commit(
    prepared: PreparedCommit,
    *,
    application_id: str,
    generation: int,
    commit_info: Mapping[str, Any] | None = None,
    step: Step = no_step,
) -> Commit:
    """Put the prepared actions in the log as exactly the version after the snapshot's.

    `commit_info` is laid over what commitInfo says by itself (operation MERGE, metrics, engine, attempt):
    `crId`, `userName`, `operationMetrics` and whatever else history should tell. `step` is called before and
    after the put ("before-put", "after-put"); what it raises stops there.
    Raises VersionMoved when somebody else has that version; CommitRefused when the store has no room for it;
    CommitUnknown when the store gave no answer. Files are left to `discard`, but where the commit `may_still_land`.
    """
    snapshot = prepared.snapshot
    version = snapshot.version + 1
    now = snapshot.next_moment(int(time.time() * 1000))
    step("before-put")
    body = _body(prepared, application_id, generation, commit_info or {}, now)
    put_commit(snapshot.store, version, body, prepared.commit_token)
    step("after-put")
    return Commit(version, datetime.fromtimestamp(now / 1000, tz=UTC))


def put_commit(store: TableStore, version: int, body: bytes, token: str) -> None:
    """Put a commit whose commitInfo holds `token` as its `txnId`, and believe the log rather than the store's answer.

    Raises VersionMoved when that version is somebody else's; where the store failed and the commit is not in the log,
    CommitRefused when it cannot come any more (the store is full) and CommitUnknown when it can.
    """
    try:
        store.put_new(commit_path(version), body)
    except ObjectExists as error:
        # A put whose answer was lost and that the client sent again finds its own commit.
        found = _token_found(store, version)
        if found is None:
            raise CommitUnknown(
                f"The store of {store.uri} says that there is a version {version}, and does not show it.",
                retriable=True,
                data={"table_uri": store.uri, "version": version},
            ) from error
        if found != token:
            raise VersionMoved(
                f"Version {version} of {store.uri} was committed by somebody else.",
                data={"table_uri": store.uri, "version": version},
            ) from error
    except Exception as error:
        if _token_found(store, version) == token:
            return
        message = f"Version {version} of {store.uri} could not be committed: {error}"
        facts = {"table_uri": store.uri, "version": version}
        if says_disk_is_full(error):
            raise CommitRefused(message, retriable=False, data=facts) from error
        raise CommitUnknown(message, retriable=True, data=facts) from error


def _body(
    prepared: PreparedCommit, application_id: str, generation: int, commit_info: Mapping[str, Any], now: int
) -> bytes:
    metrics = {**prepared.metrics, **commit_info.get("operationMetrics", {})}
    info = {
        "timestamp": now,
        "operation": "MERGE",
        "operationParameters": {},
        "readVersion": prepared.snapshot.version,
        "isolationLevel": "Serializable",
        "isBlindAppend": False,
        "engineInfo": ENGINE,
        **commit_info,
        "operationMetrics": {name: str(value) for name, value in metrics.items()},
        "attemptId": prepared.attempt_id,
        "txnId": prepared.commit_token,
    }
    if prepared.snapshot.requirements.in_commit_timestamps:
        info["inCommitTimestamp"] = now
    if keeps_row_ids(prepared.snapshot):
        info["tags"] = {"delta.rowTracking.preserved": "true"}
    marker = {"appId": application_id, "version": generation, "lastUpdated": now}
    return log_lines(
        [{"commitInfo": info}, *_first(prepared.actions), {"txn": marker}, *_rest(prepared.actions)]
    )


def log_lines(actions: Iterable[Mapping[str, Any]]) -> bytes:
    """Actions as a commit's file holds them: one a line."""
    return "".join(
        json.dumps(action, separators=(",", ":"), ensure_ascii=False) + "\n" for action in actions
    ).encode()


def _first(actions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [action for action in actions if "protocol" in action or "metaData" in action]


def _rest(actions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [action for action in actions if "protocol" not in action and "metaData" not in action]


def _is_ours(prepared: PreparedCommit) -> bool:
    """Whether the version after the snapshot's is this very attempt's commit; raises as `_token_found`."""
    snapshot = prepared.snapshot
    return _token_found(snapshot.store, snapshot.version + 1) == prepared.commit_token


def _token_found(store: TableStore, version: int) -> str | None:
    """By which token the version was committed ("" where it has none); None: there is no such version.

    Raises CommitUnknown when the log cannot be asked; the commit may be there then, now or later.
    """
    try:
        found = read_commit(store, version)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise CommitUnknown(
            f"Whether version {version} of {store.uri} was committed cannot be known now: {error}",
            retriable=True,
            data={"table_uri": store.uri, "version": version},
        ) from error
    return str(found.info.get("txnId") or "")


def may_still_land(error: BaseException) -> bool:
    """Whether a failed commit can be in the log later on: a store that gave up answering may yet do what it was asked,
    and so may one that was interrupted while it was asked (a process told to end).

    Its files must stay until the version is there, whoever's it is; what is then unneeded goes with the orphans.
    """
    return isinstance(error, CommitUnknown) or not isinstance(error, Exception)


def discard(prepared: PreparedCommit) -> bool:
    """Delete the files of a commit that is not in the log; False, and nothing deleted, when it is there after all.

    Raises CommitUnknown when the log cannot be asked: the files are then left for `find_orphans`.
    """
    if _is_ours(prepared):
        return False
    prepared.snapshot.store.delete(prepared.paths)
    return True


def verify(prepared: PreparedCommit, committed: Commit) -> Snapshot:
    """Read the committed version back and check it against what was prepared; returns its snapshot.

    Active files must be those before, without the removed, with the added; the row count must have moved by
    exactly the rows added and removed. Raises CommitDiffers when they are not.
    """
    before = prepared.snapshot
    after = snapshot_after(before)
    _require_as_planned(before, prepared.actions, after, prepared.row_count_after)
    return after


def verify_logged(newest: Snapshot, version: int, row_count_after: int) -> bool:
    """The same for a commit that another process made: its log entry tells the actions, the caller the rows.

    False where the log does not reach back to it any more: nothing can be said then. Raises CommitDiffers.
    """
    try:
        before, after = (
            snapshot_in(newest.store, newest.uri, one, newest.storage_options)
            for one in (version - 1, version)
        )
        actions = read_commit(newest.store, version).actions
    except (FileNotFoundError, TableNotFound, TableChanged):
        return False
    _require_as_planned(before, actions, after, row_count_after)
    return True


def _require_as_planned(
    before: Snapshot, actions: Sequence[Mapping[str, Any]], after: Snapshot, row_count_after: int
) -> None:
    removed = {_identity(action["remove"]) for action in actions if "remove" in action}
    added = {_identity(action["add"]) for action in actions if "add" in action}
    gone, come = before.files.apart_from(after.files)
    problems = []
    if (gone, come) != (_among(before, removed) - added, added - _among(before, added)):
        problems.append("its active files are not those before, without the removed, with the added")
    if after.row_count != row_count_after:
        problems.append(f"it has {after.row_count:,} rows where {row_count_after:,} were expected")
    if after.table_id != before.table_id:
        problems.append("it belongs to another table")
    if problems:
        raise CommitDiffers(
            f"Version {after.version} of {before.uri} is committed, but {' and '.join(problems)}.",
            version=after.version,
            data={"table_uri": before.uri},
        )


def _among(snapshot: Snapshot, identities: set[tuple[str, str | None]]) -> set[tuple[str, str | None]]:
    """Those that are active."""
    named = snapshot.files.with_paths(path for path, _ in identities)
    return identities & {file.identity for file in snapshot.files.at(named)}


def _identity(action: Mapping[str, Any]) -> tuple[str, str | None]:
    vector = action.get("deletionVector")
    return action["path"], VectorDescriptor.from_log(vector).unique_id if vector else None
