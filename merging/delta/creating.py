"""New tables, written by delta-rs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import deltalake
from deltalake.exceptions import DeltaError

from merging.delta.snapshot import Snapshot, open_snapshot
from merging.errors import MergeFailed


def create_table(
    table_uri: str,
    data: Any,
    *,
    partition_by: Sequence[str] = (),
    deletion_vectors: bool = True,
    change_data_feed: bool = False,
    name: str = "",
    storage_options: Mapping[str, str] | None = None,
) -> Snapshot:
    """Create a table from a pyarrow Table or RecordBatchReader and return its first snapshot.

    With `deletion_vectors` merges are written merge-on-read. Raises MergeFailed when there is a table already.
    """
    configuration: dict[str, str | None] = {}
    if deletion_vectors:
        configuration["delta.enableDeletionVectors"] = "true"
    if change_data_feed:
        configuration["delta.enableChangeDataFeed"] = "true"
    try:
        deltalake.write_deltalake(
            table_uri,
            data,
            mode="error",
            partition_by=list(partition_by) or None,
            name=name or None,
            configuration=configuration or None,
            storage_options=dict(storage_options) if storage_options else None,
        )
    except DeltaError as error:
        raise MergeFailed(f"The table {table_uri} could not be created: {error}") from error
    return open_snapshot(table_uri, storage_options=storage_options)
