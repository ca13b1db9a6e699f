"""What a merge did, as callers and the log tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from merging.engines import EngineRead, EngineWrite
from merging.errors import CommitDiffers
from merging.expectations.report import ValidationReport
from merging.model import SchemaChange


@dataclass(frozen=True)
class VersionDiff:
    """What a merge did to the table, in rows."""

    version_before: int
    version_after: int
    rows_added: int
    rows_updated: int
    rows_deleted: int


@dataclass(frozen=True)
class MergeResult:
    """A merge that stands in the table. ``already_merged`` tells that an earlier attempt had committed it,
    ``difference`` (in what MergeDiffers carries) how the table is other than planned, ``reads`` which engine looked
    for rows in the table and in how much of it, ``writes`` which wrote files for it, and how many.
    """

    merged_version: int
    commit_id: str
    rows_affected: int
    diff: VersionDiff
    cells_updated: Mapping[str, int]
    strategy: str
    already_merged: bool
    bytes_written: int
    attempts: int
    attempt_id: str
    rows_agreed: int = 0
    artefacts: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    conflicts_overridden: int = 0
    validation: ValidationReport = field(default_factory=ValidationReport)
    schema_changes: tuple[SchemaChange, ...] = ()
    marker_only: bool = False
    engine_version: str = ""
    difference: str = ""
    reads: tuple[EngineRead, ...] = ()
    writes: tuple[EngineWrite, ...] = ()


class MergeDiffers(CommitDiffers):
    """A merge stands, and the table is not what was planned. ``result`` tells what the merge was to do: record it as
    merged, and let somebody look at the table before anything else is merged into it.
    """

    def __init__(self, found: CommitDiffers, result: MergeResult) -> None:
        super().__init__(found.message, version=found.version, data=found.data)
        self.result = replace(result, difference=found.message)


@dataclass(frozen=True)
class CommittedMerge:
    """A merge found in the table's log by its transaction marker.

    ``version`` and ``timestamp`` are None when the log entry itself was cleaned up and only the marker
    survives.
    """

    version: int | None
    timestamp: datetime | None
    attempt_id: str | None
