"""Looking after a table: compaction, vectors switched on and off, checkpoints, files that nobody needs."""

from __future__ import annotations

from merging.delta.maintenance.checkpoints import checkpoint_if_due, checkpoint_is_due
from merging.delta.maintenance.clearing import (
    find_orphans,
    find_unneeded,
    named_files,
    vacuum,
)
from merging.delta.maintenance.compacting import (
    Compaction,
    compact,
    files_to_compact,
    misspelt_files,
    set_deletion_vectors,
)

__all__ = [
    "Compaction",
    "checkpoint_if_due",
    "checkpoint_is_due",
    "compact",
    "files_to_compact",
    "find_orphans",
    "find_unneeded",
    "misspelt_files",
    "named_files",
    "set_deletion_vectors",
    "vacuum",
]
