"""Errors of the life cycle. They carry a stable code and data, and know nothing of HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from changerequests.blockers import Blocker
from datasets.errors import DomainError


class InvalidTransition(DomainError):
    """The action does not exist in the change request's present status."""

    code = "invalid_transition"


class Blocked(DomainError):
    """Gates stand in the way; ``blockers`` says which and what to do."""

    code = "blocked"

    def __init__(self, message: str, blockers: Sequence[Blocker]) -> None:
        super().__init__(message, blockers=[asdict(blocker) for blocker in blockers])
        self.blockers = tuple(blockers)


class NothingToChange(DomainError):
    """The uploaded rows equal the table, or there are none: no revision is made.

    ``data`` counts what was read.
    """

    code = "nothing_to_change"


class PlanChanged(DomainError):
    """What was looked at is not what would be merged any more; ``data`` says what moved."""

    code = "plan_changed"


class ChosenMeanwhile(PlanChanged):
    """Somebody else chose a value for a conflict since the caller looked at it; nothing was stored.

    ``data["choices"]`` tells of the first of them who chose what, and when; ``data["total"]`` is how many there are.
    """

    def __init__(self, message: str, choices: Sequence[Mapping[str, Any]], total: int) -> None:
        super().__init__(message, moved="choices", choices=[dict(one) for one in choices], total=total)


class ConflictsDetected(DomainError):
    """The merge would overwrite what others changed; ``data["conflicts"]`` lists the conflicts without a choice."""

    code = "merge_conflict"


class ExpectationsFailed(DomainError):
    """The merged result is known to break expectations that nobody answers for."""

    code = "validation_failed"

    def __init__(self, message: str, suite_version: int, report: Mapping[str, Any]) -> None:
        super().__init__(message, suite_version=suite_version, expectations=failures_in(report), checks=[])


def failures_in(report: Mapping[str, Any], rows: int = 20) -> list[dict[str, Any]]:
    """What stops the merge in a stored report, with some failing rows each: what an author needs to mend it."""
    wanted = (
        "number",
        "type",
        "columns",
        "message",
        "observed",
        "before",
        "failing_rows_total",
    )
    return [
        {**{name: one[name] for name in wanted}, "failing_rows": one["failing_rows"][:rows]}
        for one in report["results"]
        if one["blocking"]
    ]


class RunEnded(DomainError):
    """A merge run ended without a merge; ``code`` and ``data`` are those of what went wrong."""

    code = "merge_failed"

    def __init__(self, message: str, code: str, **data: Any) -> None:
        super().__init__(message, **data)
        self.code = code


class RequestChanged(DomainError):
    """Somebody else changed the title or description of a request, or its content, since the caller looked."""

    code = "request_changed"


class EditsProposed(DomainError):
    """Somebody's edits stand still, because what proposes them is being read."""

    code = "edits_proposed"


class EditsMoved(DomainError):
    """What was counted before is not what would be edited any more."""

    code = "edits_moved"


class UploadEnded(DomainError):
    """An upload ended without a revision; ``code`` and ``data`` are those of what went wrong."""

    code = "upload_failed"

    def __init__(self, message: str, code: str, **data: Any) -> None:
        super().__init__(message, **data)
        self.code = code


class TooManyQueries(DomainError):
    """A person has as many statements tried as one may at once."""

    code = "throttled"


class UploadReplaced(DomainError):
    """Newer content was uploaded to the same request and staged before this could be."""

    code = "upload_replaced"


class UploadLost(DomainError):
    """The received file is not there any more."""

    code = "upload_lost"


class ReaderDied(DomainError):
    """The process that read an upload died of it."""

    code = "reader_died"


class ReaderTookTooLong(ReaderDied):
    """The process that read an upload was ended because it took longer than an upload may."""

    code = "upload_took_too_long"


class ReaderOutOfMemory(ReaderDied):
    """The process that read an upload was ended because it took more memory than an upload may."""

    code = "upload_out_of_memory"


class OutcomeUnknown(DomainError):
    """Whether a commit of the request stands, or may yet land, cannot be told now: its store does not answer."""

    code = "outcome_unknown"


class ContentMissing(DomainError):
    """The files that hold what a request changes are not there any more."""

    code = "content_missing"


class ContentGone(DomainError):
    """The content of a revision that was replaced long ago is not kept any more."""

    code = "content_gone"


class ContentMoved(DomainError):
    """What a request changes was merged or replaced while somebody read it; ``data["moved"]`` says which."""

    code = "content_moved"


class GivenUp(DomainError):
    """The run was interrupted so often that it may be what kills its workers."""

    code = "merge_failed"


class RunStopped(DomainError):
    """The run must not commit: it was cancelled, its lease was lost or its content was replaced."""

    code = "run_stopped"
