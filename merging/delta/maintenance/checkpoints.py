"""Checkpoints, outside of the way of merges."""

from __future__ import annotations

from collections.abc import Mapping

import deltalake
from deltalake.exceptions import DeltaError

from merging.delta.log import newest_checkpoint
from merging.delta.snapshot import Snapshot, open_snapshot
from merging.errors import MergeFailed
from merging.store.space import is_full
from merging.store.unreachable import is_panic, of_delta_rs

DEFAULT_CHECKPOINT_INTERVAL = 10


def checkpoint_is_due(snapshot: Snapshot) -> bool:
    """Whether the snapshot is as many versions past the newest checkpoint as the table's interval says."""
    stated = snapshot.properties.get("delta.checkpointInterval", "")
    interval = int(stated) if stated.isdigit() and int(stated) > 0 else DEFAULT_CHECKPOINT_INTERVAL
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
    try:
        deltalake.DeltaTable(
            table_uri,
            version=snapshot.version,
            storage_options=dict(snapshot.storage_options) if snapshot.storage_options else None,
        ).create_checkpoint()
    except BaseException as error:
        if not isinstance(error, DeltaError | OSError) and not is_panic(error):
            raise
        raise _not_written(error, table_uri, snapshot) from None
    return snapshot.version


def _not_written(error: BaseException, table_uri: str, snapshot: Snapshot) -> MergeFailed:
    if isinstance(error, FileNotFoundError) or is_full(error):
        return MergeFailed(f"No checkpoint of version {snapshot.version} could be written: {error}")
    if not snapshot.store.is_local:
        return of_delta_rs(error, table_uri)
    said = "" if is_panic(error) else f": {error}"
    return MergeFailed(f"No checkpoint of version {snapshot.version} could be written{said}")
