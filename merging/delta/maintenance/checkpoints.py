"""Checkpoints, outside of the way of merges."""

from __future__ import annotations

import re
from collections.abc import Mapping

from merging.delta.log import newest_checkpoint
from merging.delta.snapshot import Snapshot, open_snapshot
from merging.errors import MergeFailed
from merging.scratch import scratch_folder
from merging.store.stores import LOG_FOLDER, LocalStore, each_at_once
from merging.store.unreachable import is_panic

DEFAULT_CHECKPOINT_INTERVAL = 10
_SIDECARS = f"{LOG_FOLDER}/_sidecars"
_HINT = f"{LOG_FOLDER}/_last_checkpoint"
#: Commits and checkpoints of every kind, by their version; neither checksums nor commits that were compacted.
_NUMBERED = re.compile(r"(\d{20})(?:\.json|\.checkpoint\..+)")


def checkpoint_is_due(snapshot: Snapshot) -> bool:
    """Whether the snapshot is as many versions past the newest checkpoint as the table's interval says."""
    stated = snapshot.properties.get("delta.checkpointInterval", "")
    is_number = stated.isdecimal() and len(stated) < 20  # a property may be any text
    interval = int(stated) if is_number and int(stated) > 0 else DEFAULT_CHECKPOINT_INTERVAL
    newest = newest_checkpoint(snapshot.store, snapshot.version)
    return snapshot.version - (newest or 0) >= interval


def checkpoint_if_due(
    table_uri: str, version: int | None = None, *, storage_options: Mapping[str, str] | None = None
) -> int | None:
    """Write a checkpoint of `version` (None: the newest) if one is due; its version, or None.

    Counted from the newest checkpoint, whoever wrote it, so that versions of others count too. A checkpoint
    holds only what its version holds: writing one beside merges, or twice, does no harm.
    Raises MergeFailed when delta-rs cannot write it, TableUnreachable when it cannot reach the store; the table is none
    the worse for that.
    """
    snapshot = open_snapshot(table_uri, version=version, storage_options=storage_options)
    if not checkpoint_is_due(snapshot):
        return None
    # Imported when needed: it takes 16 MB, and most processes write none.
    from deltalake.exceptions import DeltaError

    try:
        if isinstance(snapshot.store, LocalStore):
            _write(snapshot.store.uri, snapshot.version)
        else:
            _write_from_afar(snapshot)
    except BaseException as error:
        if not isinstance(error, DeltaError | OSError) and not is_panic(error):
            raise
        said = "" if is_panic(error) else f": {error}"
        raise MergeFailed(f"No checkpoint of version {snapshot.version} could be written{said}") from None
    return snapshot.version


def _write(path: str, version: int) -> None:
    import deltalake

    deltalake.DeltaTable(path, version=version).create_checkpoint()


def _write_from_afar(snapshot: Snapshot) -> None:
    """Let delta-rs write it from a local copy of the log, and put it into the store.

    Its own client of stores takes from the environment what the options leave open: the session token of the process
    would go along with a key that somebody gave. And it knows nothing of how many requests may be under way.
    """
    store, version = snapshot.store, snapshot.version
    begins = newest_checkpoint(store, version) or 0
    with scratch_folder("checkpoint") as copy:
        needed = [item.path for item in store.list(LOG_FOLDER) if _is_needed(item.path, begins, version)]
        needed += [item.path for item in store.list(_SIDECARS)]
        for path, content in zip(needed, each_at_once(store, store.read, needed), strict=True):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_bytes(content)
        _write(str(copy), version)
        made = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} - {*needed}
        for path in sorted(made, key=lambda path: path == _HINT):  # which tells where it is, once it is there
            store.write(path, (copy / path).read_bytes())


def _is_needed(path: str, begins: int, version: int) -> bool:
    """Whether a file of the log is a commit or a part of a checkpoint from one version to another."""
    found = _NUMBERED.fullmatch(path.removeprefix(f"{LOG_FOLDER}/"))
    return found is not None and begins <= int(found[1]) <= version
