"""The engine's one family of errors.

Every error has a stable ``code`` for machines, a ``message`` for people and ``data`` (JSON-ready
values) with what an interface needs to show or mend it. The engine knows nothing of HTTP: callers map
codes to answers.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from merging.model import Conflict, StagingProblem, UnknownColumn

#: Longer paths, which only somebody hostile writes, are cut: what is cut cannot be found.
LONGEST_PATH = 1_000

#: Before an error that is told in a text: nobody else's text begins so.
_OUT_OF_REACH = f"OutOfReach-{secrets.token_hex(8)}-"


class MergeError(Exception):
    """Base of all errors that the engine raises on purpose."""

    code: ClassVar[str] = "merge_error"

    def __init__(self, message: str, *, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data: dict[str, Any] = dict(data or {})

    def __str__(self) -> str:
        return self.message


class MergeConflict(MergeError):
    """Current and Proposed both changed the same cells or rows, and nobody has chosen yet. Nothing was
    written.
    """

    code: ClassVar[str] = "merge_conflict"

    def __init__(self, conflicts: Sequence[Conflict], *, total: int | None = None) -> None:
        self.conflicts: tuple[Conflict, ...] = tuple(conflicts)
        self.total = len(self.conflicts) if total is None else total
        noun = "conflict is" if self.total == 1 else "conflicts are"
        super().__init__(
            f"{self.total:,} {noun} unresolved: choose a value for each, then merge again.",
            data={"total": self.total},
        )


class StagingRejected(MergeError):
    """The uploaded content was refused as a whole; nothing was staged.

    ``problems`` is capped, ``total`` is exact. ``unknown_columns`` are those that somebody has yet to decide about,
    where staging was to ask.
    """

    code: ClassVar[str] = "staging_rejected"

    def __init__(self, problems: Sequence[StagingProblem], *, total: int | None = None) -> None:
        self.unknown_columns: tuple[UnknownColumn, ...] = ()
        self.problems: tuple[StagingProblem, ...] = tuple(problems)
        self.total = len(self.problems) if total is None else total
        first = self.problems[0].describe() if self.problems else "the content could not be read"
        noun = "problem" if self.total == 1 else "problems"
        super().__init__(
            f"The content was refused, nothing was staged: {self.total:,} {noun}. First: {first}",
            data={"total": self.total},
        )


class UnsupportedTable(MergeError):
    """The table uses features that the engine cannot write; ``features`` names them."""

    code: ClassVar[str] = "unsupported_table"

    def __init__(self, features: Sequence[str], message: str | None = None) -> None:
        self.features: tuple[str, ...] = tuple(features)
        super().__init__(
            message or "Headgate cannot write this table; it uses: " + ", ".join(self.features) + ".",
            data={"features": list(self.features)},
        )


class TableNotFound(MergeError):
    """There is no Delta table (or not that version of it) at the address."""

    code: ClassVar[str] = "table_not_found"


class VersionGone(TableNotFound):
    """The table had this version once; its log was cleaned up, or its files were vacuumed."""

    code: ClassVar[str] = "version_gone"


class TableChanged(MergeError):
    """The table is no longer the one that was staged against: created anew, a key column gone, a gap in
    its log.
    """

    code: ClassVar[str] = "table_changed"


class CutShort(MergeError):
    """Work was ended from outside before it was done: it took too long, or nobody wanted it any more."""

    code: ClassVar[str] = "cut_short"


class TooLargeForWorkbook(MergeError):
    """More rows, or a longer text, than a workbook holds. Other formats take them."""

    code: ClassVar[str] = "too_large_for_workbook"


class FilesElsewhere(MergeError):
    """The table's log names files outside of its folder, and it may not. Nothing of them was read."""

    code: ClassVar[str] = "files_elsewhere"

    def __init__(self, table_uri: str, paths: Sequence[str]) -> None:
        self.paths: tuple[str, ...] = tuple(paths)
        shown = ", ".join(repr(path[:LONGEST_PATH]) for path in self.paths[:3])
        more = f" and {len(self.paths) - 3:,} more" if len(self.paths) > 3 else ""
        super().__init__(
            f"The log of {table_uri} names files outside of the table's folder: {shown}{more}. Only tables that an "
            "operator registered so (shallow clones) may; copy the files into the table, or ask an operator.",
            data={"table_uri": table_uri, "paths": [path[:LONGEST_PATH] for path in self.paths[:20]]},
        )


class TableElsewhere(MergeError):
    """The table lies where it may not, or does not any more: by a link, or by a setting. Nothing of it was read."""

    code: ClassVar[str] = "table_elsewhere"

    def __init__(self, table_uri: str, reason: str) -> None:
        super().__init__(
            f"The table {table_uri} is not opened, and nothing of it was read. {reason}",
            data={"table_uri": table_uri},
        )


class MergedOtherwise(MergeError):
    """The request's marker in the table's log belongs to a merge of other content. This content was not merged."""

    code: ClassVar[str] = "merged_otherwise"


class MergeFailed(MergeError):
    """The merge could not be finished for a technical reason. Where a commit was begun, the class tells what became of
    it (``CommitRefused``, ``CommitUnknown``, ``CommitDiffers``, ``MergeFactsLost``); else the table is untouched.
    """

    code: ClassVar[str] = "merge_failed"


class CommitRefused(MergeFailed):
    """The commit is not in the table's log and never will be; nothing changed. ``retriable`` tells whether the same may
    succeed when it is tried again.
    """

    def __init__(self, message: str, *, retriable: bool, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, data=data)
        self.retriable = retriable


class VersionMoved(CommitRefused):
    """Somebody else committed the version this attempt wanted; check again on the new one and retry."""

    code: ClassVar[str] = "version_moved"

    def __init__(self, message: str, *, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, retriable=True, data=data)


class CommitUnknown(MergeFailed):
    """Whether the commit is in the table's log, now or later, cannot be told: its store gave no answer. Nothing that
    it needs may be deleted. ``retriable`` tells whether the log showed that it is not there yet: the same may be tried
    again then, for only one of both can land.
    """

    def __init__(self, message: str, *, retriable: bool, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, data=data)
        self.retriable = retriable


class CommitDiffers(MergeFailed):
    """The commit stands as ``version``, and the table is not what was planned: somebody has to look at it."""

    code: ClassVar[str] = "commit_differs"

    def __init__(self, message: str, *, version: int, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, data={"version": version, **(data or {})})
        self.version = version


class MergeFactsLost(MergeFailed):
    """The request is merged (as ``version``, where that is still known), and nothing tells any more what it did."""

    def __init__(self, message: str, *, version: int | None) -> None:
        super().__init__(message, data={"version": version})
        self.version = version


class EngineFailed(MergeFailed):
    """The engine's database could not do what was asked of it: a damaged file, a value that does not fit, too
    little memory. The message says which, and what to do.
    """

    code: ClassVar[str] = "engine_failed"


class TableDamaged(MergeFailed):
    """A file that a version of the table needs is missing, cut, or not what the table's log says of it. Whoever keeps
    the table can mend it; nothing of it was changed.
    """

    code: ClassVar[str] = "table_damaged"


class FileMissing(TableDamaged):
    """A file that a version of the table needs is not there."""


class ClusterFailed(MergeFailed):
    """The cluster that was to read a table, or to write files of it, did not: it cannot be reached, went away, or could
    not. The table is untouched.

    ``host`` is where it is (empty: there is none), ``retriable`` tells whether the same may succeed later without
    anybody's doing.
    """

    code: ClassVar[str] = "cluster_failed"

    def __init__(self, host: str, reason: str, *, retriable: bool) -> None:
        self.retriable = retriable
        where = f"The Spark cluster {host}" if host else "Spark"
        super().__init__(
            f"{where} failed. {reason} Nothing was changed: try again once it works. An owner can "
            "choose DuckDB in the dataset's settings, and an operator can take the cluster from the connection.",
            data={"cluster": host, "reason": reason, "retriable": retriable},
        )


class StagedCorrupt(MergeFailed):
    """Staged content is missing, truncated or changed since it was staged."""

    code: ClassVar[str] = "staged_corrupt"


class TableUnreachable(MergeFailed):
    """The store of a table gives nothing: it does not answer, fails, or refuses. Nothing of the table was changed.

    ``retriable`` tells whether the same may succeed later without anybody's doing (no answer, overload, a network that
    is down), ``reason`` says why in a sentence without secrets.
    """

    code: ClassVar[str] = "table_unreachable"

    def __init__(self, table_uri: str, reason: str, *, retriable: bool) -> None:
        self.table_uri = without_secrets(table_uri)
        self.reason = reason
        self.retriable = retriable
        super().__init__(
            f"The table {self.table_uri} cannot be reached. {reason}",
            data={"table_uri": self.table_uri, "reason": reason, "retriable": retriable},
        )

    def as_text(self) -> str:
        """The error as a word, for libraries that hand on nothing but the text of what was raised inside of them."""
        told = json.dumps([self.table_uri, self.reason, self.retriable]).encode()
        return f"{_OUT_OF_REACH}{base64.urlsafe_b64encode(told).decode()};"

    @classmethod
    def in_text(cls, text: str) -> TableUnreachable | None:
        """The error that a text tells of; None where it tells of none."""
        found = re.search(f"{_OUT_OF_REACH}([A-Za-z0-9_=-]+);", text)
        if found is None:
            return None
        table_uri, reason, retriable = json.loads(base64.urlsafe_b64decode(found[1]))
        return cls(table_uri, reason, retriable=retriable)


def without_secrets(address: str) -> str:
    """An address without what may be secret in it: whom it signs in as, and its parameters."""
    place = re.sub(r"(?<=://)[^/?#]*:[^/?#]*@", "", address)
    return place if "://" not in place else re.split(r"[?#]", place, maxsplit=1)[0]


class StorageFull(MergeFailed):
    """A disk or quota is full. Nothing was changed, and what was begun is removed; free space, then try again."""

    code: ClassVar[str] = "storage_full"


class ConfinedFailure(MergeFailed):
    """Work in a confined process (``merging.confinement``) did not end. Nothing that it did is kept."""

    code: ClassVar[str] = "confined_failed"


class ConfinedDied(ConfinedFailure):
    """The process crashed by a signal, ended with an exit code, or failed by an error that is none of the engine's
    (``raised``: its kind and place).
    """

    code: ClassVar[str] = "confined_died"

    def __init__(
        self,
        message: str,
        *,
        signal_number: int | None = None,
        code: int | None = None,
        raised: str | None = None,
    ) -> None:
        super().__init__(message, data={"signal": signal_number, "exit_code": code})
        self.signal_number = signal_number
        self.exit_code = code
        self.raised = raised


class ConfinedTooLong(ConfinedFailure):
    """It took longer than it was given."""

    code: ClassVar[str] = "confined_too_long"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"It takes longer than the {seconds:g} s that it may take.", data={"seconds": seconds}
        )
        self.seconds = seconds


class ConfinedOutOfMemory(ConfinedFailure):
    """It needs more memory than it was given, or than the machine has."""

    code: ClassVar[str] = "confined_out_of_memory"

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(
            f"It needs more memory than the {memory_bytes / 1024**2:,.0f} MiB that it may take.",
            data={"memory_bytes": memory_bytes},
        )
        self.memory_bytes = memory_bytes


class ConfinedCancelled(ConfinedFailure):
    """Whoever asked for it no longer wants it."""

    code: ClassVar[str] = "confined_cancelled"


class DuplicateKeys(MergeError):
    """The table itself holds several rows with a key that the request touches; which one is meant is
    unknowable.
    """

    code: ClassVar[str] = "duplicate_keys"

    def __init__(self, examples: Sequence[Mapping[str, Any]], total: int) -> None:
        self.examples: tuple[dict[str, Any], ...] = tuple(dict(example) for example in examples)
        self.total = total
        noun = "key has" if total == 1 else "keys have"
        super().__init__(
            f"{total:,} of the staged {noun} more than one row in the table; "
            "remove the duplicate rows first, or choose other key columns.",
            data={"total": total},
        )


class InvalidResolution(MergeError):
    """A resolution makes a choice that its conflict does not offer, or its value does not fit the column."""

    code: ClassVar[str] = "invalid_resolution"


class InvalidKeys(MergeError):
    """The primary key columns do not exist, or are of a type that cannot be a key (floats, nested)."""

    code: ClassVar[str] = "invalid_keys"


class InvalidCursor(MergeError):
    """A page cursor was not made by this engine for this listing."""

    code: ClassVar[str] = "invalid_cursor"


class InvalidFilter(MergeError):
    """A preview was asked for an unknown column or operator, or for a value that does not fit its column."""

    code: ClassVar[str] = "invalid_filter"
