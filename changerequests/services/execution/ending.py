"""End a run without a merge: its error becomes a code and a sentence on the run, and the request is pending again."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

import merging
from changerequests import queue
from changerequests.errors import GivenUp, RunStopped, failures_in
from changerequests.models import MergeRun
from changerequests.services import plans, settling
from changerequests.services.execution.documents import check_document
from changerequests.services.execution.recording import keep_judgement
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunStatus
from datasets import leases
from datasets.errors import DomainError
from datasets.rows import storable

logger = structlog.get_logger(__name__)

#: What people do about a request whose marker in the log belongs to a merge of other content.
WHERE_MERGED_OTHERWISE = (
    "If the database was restored, an operator runs manage.py after_restore. What is still wanted is proposed in a new "
    "change request, and this one closed."
)
#: How many conflicts a run keeps for its error answer; all of them are in the plan.
KEPT_CONFLICTS = 50


def end_with(error: Exception, run: MergeRun, lease: leases.Lease) -> MergeRun:
    if isinstance(error, RunStopped):
        return step_back(run, lease, RunStatus.CANCELLED, "cancelled", error.message)
    if isinstance(error, merging.MergeConflict):
        conflicts = [plans.conflict_document(conflict) for conflict in error.conflicts[:KEPT_CONFLICTS]]
        return step_back(
            run,
            lease,
            RunStatus.CONFLICTED,
            error.code,
            error.message,
            {"total": error.total, "conflicts": conflicts},
        )
    if isinstance(error, merging.ValidationFailed):
        suite = error.report.expectations
        report = suite.as_json() if suite is not None else None
        checks = {
            "checks": [check_document(check) for check in error.report.checks],
            "suite_version": report["version"] if report is not None else None,
            "expectations": failures_in(report) if report is not None else [],
        }
        return step_back(run, lease, RunStatus.INVALID, error.code, error.message, checks, report=report)
    if isinstance(error, merging.MergedOtherwise):
        message = f"{error.message} {WHERE_MERGED_OTHERWISE}"
        return step_back(run, lease, RunStatus.FAILED, error.code, message, error.data)
    if isinstance(error, GivenUp):
        return step_back(run, lease, RunStatus.FAILED, "merge_failed", error.message)
    if isinstance(error, merging.MergeError | DomainError):
        return step_back(run, lease, RunStatus.FAILED, error.code, error.message, error.data)
    logger.error("merge_failed", exc_info=error)
    return step_back(
        run,
        lease,
        RunStatus.FAILED,
        "merge_failed",
        "The merge failed unexpectedly and the table is as it was. The worker's log says more, under this run's id.",
    )


def step_back(
    run: MergeRun,
    lease: leases.Lease,
    status: RunStatus,
    code: str,
    message: str,
    data: dict[str, Any] | None = None,
    *,
    report: dict[str, Any] | None = None,
    settled: bool = True,
) -> MergeRun:
    """End a run without a merge: the request is pending again, the reason (and ``report``) is on the run.

    Where the outcome is not ``settled`` the note of what may still land stays, and with it everything that it forbids.
    """
    with transaction.atomic():
        change_request = lock_change_request(run.change_request_id)
        run = lock_run(run.pk)
        if run.status != RunStatus.RUNNING or run.fence != lease.fence:
            return run  # somebody else has taken over and speaks for it
        take_transition(
            change_request, Action.STEP_BACK, **(settling.settled_fields(change_request) if settled else {})
        )
        run.status, run.finished_at = status, timezone.now()
        message = storable(message)
        run.error_code, run.error_message, run.error_data = code, message, storable(data or {})
        keep_judgement(run, change_request, report)
        run.save()
        record_event(
            change_request,
            f"merge.{status}" if settled else "merge.unsettled",
            run.cancel_requested_by if status == RunStatus.CANCELLED else None,
            {"run": run.pk, "code": code, "reason": message},
        )
        queue.ask_for_check(change_request.pk)
    return run
