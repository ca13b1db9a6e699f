"""Files that nobody needs: of versions that are gone, of attempts that died, of commits that were never linked.

What deletes is split in two: finding (which is also the dry run and the report) and deleting what was found.
"""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Collection, Iterable, Iterator

from merging.delta.log import list_commits, load_tombstones, read_commits
from merging.delta.snapshot import Snapshot
from merging.delta.writing import TEMPORARY, attempt_mark, attempt_marks, holds_mark
from merging.store.client import StoredObject
from merging.store.stores import TableStore, is_unlinked

HOUR_MS = 3_600_000

DEFAULT_RETENTION_HOURS = 168


def vacuum(
    snapshot: Snapshot,
    *,
    retention_hours: float = DEFAULT_RETENTION_HOURS,
    protect: Iterable[Snapshot] = (),
    protect_attempts: Collection[str] = (),
    dry_run: bool = False,
    now_ms: int | None = None,
) -> tuple[str, ...]:
    """Delete what `find_unneeded` finds; the paths deleted (or that would be)."""
    found = find_unneeded(
        snapshot,
        retention_hours=retention_hours,
        protect=protect,
        protect_attempts=protect_attempts,
        now_ms=now_ms,
    )
    paths = tuple(item.path for item in found)
    if not dry_run:
        snapshot.store.delete(paths)
    return paths


def find_unneeded(
    snapshot: Snapshot,
    *,
    retention_hours: float = DEFAULT_RETENTION_HOURS,
    protect: Iterable[Snapshot] = (),
    protect_attempts: Collection[str] = (),
    now_ms: int | None = None,
) -> tuple[StoredObject, ...]:
    """Files that no version needs any more, by path. Deletes nothing.

    Left out are: files of this snapshot and of those in `protect` (versions that open requests may still read),
    files that were removed from the table within the retention, files younger than it (a commit may be about
    to name them), files of the running attempts `protect_attempts`, and every folder that begins with "_"
    except the change data feed, what a killed writer of ours left beside the log, and what was written for attempts.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    horizon = now - int(retention_hours * HOUR_MS)
    keep = _needed(snapshot, protect, horizon)
    running = {mark for attempt in protect_attempts for mark in attempt_marks(attempt)}
    found = [
        item
        for item in snapshot.store.walk()
        if item.path not in keep
        and item.modified_ms < horizon
        and not _spared(item.path)
        and not holds_mark(item.path, running)
    ]
    return tuple(sorted(found, key=lambda item: item.path))


def find_orphans(
    snapshot: Snapshot,
    attempt_ids: Iterable[str],
    *,
    protect: Iterable[Snapshot] = (),
    written_before_ms: int | None = None,
) -> tuple[StoredObject, ...]:
    """What the attempts wrote and never committed, by path. Deletes nothing; looks at every file of the table once.

    Left out are files that the log or a version in `protect` names, and those written at `written_before_ms` or
    later. An attempt that the log knows as committed has no orphans.
    """
    by_mark = {mark: attempt for attempt in attempt_ids for mark in attempt_marks(attempt)}
    keep = _needed(snapshot, protect, 0)
    found: dict[str, list[StoredObject]] = {}
    for item in snapshot.store.walk():
        if item.path in keep or (written_before_ms is not None and item.modified_ms >= written_before_ms):
            continue
        mark = attempt_mark(item.path)
        if mark in by_mark:
            found.setdefault(by_mark[mark], []).append(item)
    if found:
        for commit in read_commits(snapshot.store, list_commits(snapshot.store)):
            found.pop(str(commit.info.get("attemptId")), None)
    return tuple(sorted((item for items in found.values() for item in items), key=lambda item: item.path))


def named_files(snapshot: Snapshot) -> set[str]:
    """The data files and vectors of a snapshot, relative to the table's root."""
    return {snapshot.store.relative(place) for file in snapshot.files for place in file.places}


def _needed(snapshot: Snapshot, protect: Iterable[Snapshot], horizon: int) -> set[str]:
    keep: set[str] = set()
    for kept in (snapshot, *protect):
        keep |= {name for file in kept.files for place in file.places for name in _names(kept.store, place)}
    return keep | _recently_removed(snapshot.store, snapshot, horizon)


def _recently_removed(store: TableStore, snapshot: Snapshot, horizon: int) -> set[str]:
    return {
        name
        for removed in load_tombstones(store, snapshot.version)
        if removed.deleted_ms >= horizon
        for place in removed.places
        for name in _names(store, place)
    }


def _names(store: TableStore, place: str) -> Iterator[str]:
    """The names by which a walk may come by a file that the log spells so: paths lead through links, ``.`` and ``..``,
    and no walk does.
    """
    path = store.relative(place)
    yield path
    yield posixpath.normpath(path)
    if store.is_local:
        yield os.path.relpath(
            os.path.realpath(os.path.join(store.uri, path)), start=os.path.realpath(store.uri)
        )


def _spared(path: str) -> bool:
    folders = path.split("/")
    if folders[0] in ("_change_data", TEMPORARY) or is_unlinked(path):
        return False
    return any(part.startswith(("_", ".")) and "=" not in part for part in folders)
