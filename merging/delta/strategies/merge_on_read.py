"""Merge-on-read: a file stays where it is, and a deletion vector hides the rows that go."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from merging.delta.actions import DataFile
from merging.model import StrategyName

_PLAIN_IN_PATHS = "/=-_.~:@!$&'()*+,;"


@dataclass(frozen=True)
class MergeOnRead:
    """For tables with `delta.enableDeletionVectors`: only changed rows are written."""

    name: StrategyName = "merge-on-read"

    def marks(self, file: DataFile) -> bool:
        """Whether everybody reads a vector of this file right.

        Polars (2.1 at least) looks vectors up by a path that is encoded once too often, and silently shows the
        dead rows of files whose path needs encoding: such files, in partitions of odd values, are rewritten.
        """
        return urllib.parse.quote(file.path, safe=_PLAIN_IN_PATHS) == file.path
