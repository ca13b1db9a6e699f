"""The life cycle as one table. Pure: imports nothing of the project.

``TRANSITIONS`` says for every (status, action) what the next status is; what is not in it does not exist.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """The stored status of a change request. Readiness is derived from it, never stored."""

    DRAFT = "draft"
    PENDING = "pending"
    MERGING = "merging"
    MERGED = "merged"
    CLOSED = "closed"


#: Statuses of requests that can still be merged.
OPEN_STATUSES: Final = (Status.DRAFT, Status.PENDING, Status.MERGING)


class Readiness(StrEnum):
    """Where a request that was submitted stands, in one word: the first of these that holds. Derived, never stored."""

    MERGING = "merging"
    QUEUED = "queued"
    CHECKING = "checking"
    CONFLICTS = "conflicts"
    CHANGES_REQUESTED = "changes_requested"
    BLOCKED = "blocked"
    NEEDS_REVIEW = "needs_review"
    READY = "ready"


class Action(StrEnum):
    """What people and the system do to a change request."""

    EDIT = "edit"
    REMOVE = "remove"
    STAGE = "stage"
    REBASE = "rebase"
    SUBMIT = "submit"
    RETURN_TO_DRAFT = "return_to_draft"
    REVIEW = "review"
    SPLIT = "split"
    RESOLVE = "resolve"
    REQUEST_MERGE = "request_merge"
    CLAIM = "claim"
    ADOPT = "adopt"
    COMPLETE = "complete"
    STEP_BACK = "step_back"
    CLOSE = "close"
    REOPEN = "reopen"
    REVERT = "revert"


@dataclass(frozen=True)
class Transition:
    """One row of the table: from where, by what, to where, and the sentence that explains it."""

    source: Status
    action: Action
    target: Status
    sentence: str


TRANSITIONS: Final = (
    Transition(Status.DRAFT, Action.EDIT, Status.DRAFT, "Its title or description is changed."),
    Transition(Status.PENDING, Action.EDIT, Status.PENDING, "Its title or description is changed."),
    Transition(Status.DRAFT, Action.REMOVE, Status.DRAFT, "It never had content, and is gone."),
    Transition(Status.DRAFT, Action.STAGE, Status.DRAFT, "New content becomes the current revision."),
    Transition(Status.DRAFT, Action.REBASE, Status.DRAFT, "Its base images follow the table."),
    Transition(Status.DRAFT, Action.SUBMIT, Status.PENDING, "The author asks for review."),
    Transition(Status.DRAFT, Action.CLOSE, Status.CLOSED, "The request is withdrawn or rejected."),
    Transition(Status.PENDING, Action.STAGE, Status.PENDING, "New content replaces what was reviewed."),
    Transition(Status.PENDING, Action.REBASE, Status.PENDING, "Its base images follow the table."),
    Transition(Status.PENDING, Action.REVIEW, Status.PENDING, "A reviewer gives a verdict."),
    Transition(
        Status.PENDING, Action.SPLIT, Status.PENDING, "A part of it is left out, for a draft of its own."
    ),
    Transition(Status.PENDING, Action.RESOLVE, Status.PENDING, "Somebody chooses a value for a conflict."),
    Transition(
        Status.PENDING, Action.RETURN_TO_DRAFT, Status.DRAFT, "The author takes it back to work on it."
    ),
    Transition(Status.PENDING, Action.REQUEST_MERGE, Status.PENDING, "A merge run is queued."),
    Transition(Status.PENDING, Action.CLAIM, Status.MERGING, "A worker begins the merge run."),
    Transition(Status.PENDING, Action.CLOSE, Status.CLOSED, "The request is withdrawn or rejected."),
    Transition(Status.DRAFT, Action.ADOPT, Status.MERGING, "A merge of it that stands is recorded."),
    Transition(Status.PENDING, Action.ADOPT, Status.MERGING, "A merge of it that stands is recorded."),
    Transition(Status.MERGING, Action.ADOPT, Status.MERGING, "A merge of it that stands is recorded."),
    Transition(Status.CLOSED, Action.ADOPT, Status.MERGING, "A merge of it that stands is recorded."),
    Transition(Status.MERGING, Action.COMPLETE, Status.MERGED, "The commit is in the table's log."),
    Transition(Status.MERGING, Action.STEP_BACK, Status.PENDING, "The run ended without a commit."),
    Transition(Status.MERGED, Action.REVERT, Status.MERGED, "A new draft proposes what was there before."),
    Transition(Status.CLOSED, Action.REOPEN, Status.DRAFT, "The request is taken up again."),
)

_TARGETS: Final = {(row.source, row.action): row.target for row in TRANSITIONS}


def target_of(status: str, action: Action) -> Status | None:
    """The status after ``action``, or None if the action does not exist in ``status``."""
    return _TARGETS.get((Status(status), action))


def sources_of(action: Action) -> tuple[Status, ...]:
    """The statuses in which ``action`` exists."""
    return tuple(row.source for row in TRANSITIONS if row.action is action)


class RunStatus(StrEnum):
    """Where a merge run stands. The first two are active."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CONFLICTED = "conflicted"
    INVALID = "invalid"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_RUN_STATUSES: Final = (RunStatus.QUEUED, RunStatus.RUNNING)


class RunPhase(StrEnum):
    """What a running merge is doing, in order."""

    QUEUED = "queued"
    CHECKING = "checking"
    VALIDATING = "validating"
    WRITING = "writing"
    COMMITTING = "committing"
    RECORDING = "recording"
    DONE = "done"


class UploadStatus(StrEnum):
    """How far an upload is as a piece of work. The first two are active; ``UploadState`` is what people are told."""

    QUEUED = "queued"
    RUNNING = "running"
    STAGED = "staged"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_UPLOAD_STATUSES: Final = (UploadStatus.QUEUED, UploadStatus.RUNNING)


class UploadKind(StrEnum):
    """What staging reads: a received file, rows that came as JSON (kept as a file of JSON lines), the answer to a SQL
    statement, or another Delta table. The last two have a source instead of a file.
    """

    FILE = "file"
    ROWS = "rows"
    SQL = "sql"
    TABLE = "table"


#: The kinds that have a source.
KINDS_WITH_SOURCE: Final = (UploadKind.SQL, UploadKind.TABLE)


class EmptyCells(StrEnum):
    """What a cell of a CSV file or a workbook means that holds nothing."""

    KEEP = "keep"
    NULL = "null"
    TEXT = "text"


class FollowUp(StrEnum):
    """What shall be done by itself once an upload is staged."""

    NOTHING = ""
    SUBMIT = "submit"
    MERGE_WHEN_READY = "merge_when_ready"


class Outcome(StrEnum):
    """How far a proposal that was made in one call has come."""

    READING = "reading"
    STAGED = "staged"
    SUBMITTED = "submitted"
    MERGE_WHEN_READY = "merge_when_ready"
    NOTHING_TO_CHANGE = "nothing_to_change"


class UploadPhase(StrEnum):
    """What is being done with an upload, in order."""

    READING = "reading"
    CHECKING = "checking"


class UploadState(StrEnum):
    """Where an upload stands, in words for people and programs: the first three pass, the others are its end."""

    RECEIVED = "received"
    READING = "reading"
    CHECKING = "checking"
    STAGED = "staged"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
