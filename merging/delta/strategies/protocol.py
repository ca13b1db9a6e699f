"""What a commit strategy decides."""

from __future__ import annotations

from typing import Protocol

from merging.delta.actions import DataFile
from merging.model import StrategyName


class CommitStrategy(Protocol):
    """How the rows that a commit updates or deletes leave the files that hold them."""

    @property
    def name(self) -> StrategyName:
        """What plans, results and the API call it."""

    def marks(self, file: DataFile) -> bool:
        """Whether rows leave this file by its deletion vector; otherwise it is written again without them."""
