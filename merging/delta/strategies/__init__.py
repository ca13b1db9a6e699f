"""How rows leave the files of a table: one object per commit strategy, behind one protocol.

A snapshot hands its strategy out (`Snapshot.strategy`) and `writing` asks it; nobody else asks which one it is. The
`name` is for people: plans, results, the log and the API tell it.
"""

from __future__ import annotations

from merging.delta.strategies.copy_on_write import CopyOnWrite
from merging.delta.strategies.merge_on_read import MergeOnRead
from merging.delta.strategies.protocol import CommitStrategy

__all__ = ["CommitStrategy", "strategy_of"]


def strategy_of(*, deletion_vectors: bool) -> CommitStrategy:
    """The strategy of a table, by whether it wants deletion vectors."""
    return MergeOnRead() if deletion_vectors else CopyOnWrite()
