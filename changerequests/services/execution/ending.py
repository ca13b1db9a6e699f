"""End a run without a merge: its error becomes a code and a sentence on the run, and the request is pending again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import transaction

import merging
from changerequests.errors import GivenUp, RunStopped, failures_in
from changerequests.models import MergeRun
from changerequests.services import plans, settling, storage
from changerequests.services.evidence import OUTCOME
from changerequests.services.execution.documents import check_document
from changerequests.services.execution.recording import keep_judgement
from changerequests.services.figures import count_ended_run
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus
from datasets import table_work, work
from datasets.errors import DomainError
from datasets.rows import storable
from datasets.work import Hold

logger = structlog.get_logger(__name__)

#: What people do about a request whose marker in the log belongs to a merge of other content.
WHERE_MERGED_OTHERWISE = (
    "If the database was restored, an operator runs manage.py after_restore. What is still wanted is proposed in a new "
    "change request, and this one closed."
)
#: How many conflicts a run keeps for its error answer; all of them are in the plan.
KEPT_CONFLICTS = 50


@dataclass(frozen=True)
class Ending:
    """How a run ends that merged nothing, and what people read of it.

    ``report`` is what the suite said of the merged result. Where the outcome is not ``settled`` a commit may still
    land: the note of it stays, and with it everything that it forbids.
    """

    status: RunStatus
    code: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None
    settled: bool = True


def ending_of(error: Exception) -> Ending:
    """The ending of a run that this error ended."""
    if isinstance(error, RunStopped):
        return Ending(RunStatus.CANCELLED, "cancelled", error.message)
    if isinstance(error, merging.MergeConflict):
        conflicts = [plans.conflict_document(conflict) for conflict in error.conflicts[:KEPT_CONFLICTS]]
        data = {"total": error.total, "conflicts": conflicts}
        return Ending(RunStatus.CONFLICTED, error.code, error.message, data)
    if isinstance(error, merging.ValidationFailed):
        suite = error.report.expectations
        report = suite.as_json() if suite is not None else None
        checks = {
            "checks": [check_document(check) for check in error.report.checks],
            "suite_version": report["version"] if report is not None else None,
            "expectations": failures_in(report) if report is not None else [],
        }
        return Ending(RunStatus.INVALID, error.code, error.message, checks, report)
    if isinstance(error, merging.MergedOtherwise):
        return Ending(RunStatus.FAILED, error.code, f"{error.message} {WHERE_MERGED_OTHERWISE}", error.data)
    if isinstance(error, GivenUp):
        return Ending(RunStatus.FAILED, "merge_failed", error.message)
    if isinstance(error, merging.MergeError | DomainError):
        return Ending(RunStatus.FAILED, error.code, table_work.message_of(error), error.data)
    logger.error("merge_failed", exc_info=error)
    return Ending(
        RunStatus.FAILED,
        "merge_failed",
        "The merge failed unexpectedly and the table is as it was. The worker's log says more, under this run's id.",
    )


def put_off(hold: Hold[MergeRun], error: merging.TableUnreachable) -> None:
    """Let a run wait that has committed nothing: its store did not answer. The request is pending again, with a queued
    run.
    """
    run = hold.work
    with transaction.atomic():
        change_request = lock_change_request(run.change_request_id)
        if not table_work.put_off(hold, error, phase=RunPhase.QUEUED):
            return  # somebody else has taken over and speaks for it
        settled = settling.settled_fields(change_request)
        take_transition(change_request, Action.STEP_BACK, **settled)
        facts = {"run": run.pk, "reason": storable(error.reason), "waits": run.waits}
        if run.not_before is not None:
            facts["until"] = run.not_before.isoformat()
        record_event(change_request, "merge.put_off", None, facts)


def step_back(hold: Hold[MergeRun], ending: Ending) -> None:
    """End a run without a merge: the request is pending again, the reason is on the run."""
    run, message = hold.work, storable(ending.message)
    with transaction.atomic():
        change_request = lock_change_request(run.change_request_id)
        error = {
            "error_code": ending.code,
            "error_message": message,
            "error_data": storable(ending.data),
        }
        if not work.end(hold, ending.status, **error):
            return  # somebody else has taken over and speaks for it
        count_ended_run(run)
        settled = settling.settled_fields(change_request) if ending.settled else {}
        take_transition(change_request, Action.STEP_BACK, **settled)
        keep_judgement(run, change_request, ending.report)
        run.refresh_from_db(fields=[*OUTCOME.columns])
        record_event(
            change_request,
            f"merge.{ending.status}" if ending.settled else "merge.unsettled",
            run.cancel_requested_by if ending.status == RunStatus.CANCELLED else None,
            {"run": run.pk, "code": ending.code, "reason": message},
            rows=OUTCOME.seal(run),
        )
        if ending.settled:
            transaction.on_commit(lambda: storage.discard_attempt(run), robust=True)
