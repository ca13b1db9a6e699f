"""Copy-on-write: every file that holds a row that goes is written again without it."""

from __future__ import annotations

from dataclasses import dataclass

from merging.delta.actions import DataFile
from merging.model import StrategyName


@dataclass(frozen=True)
class CopyOnWrite:
    """For tables without deletion vectors, which every reader understands."""

    name: StrategyName = "copy-on-write"

    def marks(self, file: DataFile) -> bool:
        """Never: the table has no vectors."""
        return False
