"""Work on one claimed run from its claim to its end: let the engine merge, and end in the truth whatever happens."""

from __future__ import annotations

from dataclasses import replace

import structlog

import merging
from changerequests import queue
from changerequests.errors import GivenUp, OutcomeUnknown, RunStopped
from changerequests.facts import facts_of
from changerequests.models import MergeRun
from changerequests.services import plans, settling
from changerequests.services.execution import claiming
from changerequests.services.execution.ending import Ending, ending_of, put_off, step_back
from changerequests.services.execution.recording import record_merge
from changerequests.services.execution.recovering import merge, result_of_committed, standing_before
from changerequests.services.execution.reporting import Reporter
from changerequests.services.merged_keys import remember_keys
from changerequests.states import RunStatus
from datasets import leases, outages, table_work
from datasets.work import MOST_ATTEMPTS, Hold

logger = structlog.get_logger(__name__)


def merge_next(*, dataset_id: int, worker: str) -> MergeRun | None:
    """Work on the next run of a dataset; None if there is none or somebody else is at work.

    Rings again while runs wait, so that a queue drains one task at a time.
    """
    hold = claiming.claim(dataset_id, worker)
    if hold is None:
        return None
    run = hold.work
    with structlog.contextvars.bound_contextvars(run_id=run.pk, cr_id=run.change_request.cr_id):
        logger.info("merge_started", attempt=run.attempts)
        try:
            with table_work.kept_alive(hold):
                _execute(hold)
                _keep_log_short(run)
                _note_keys(run)
        finally:
            leases.release(hold.table_lease)
        # Not after an error: what failed to end is taken up by the sweep, without haste.
        if queue.next_run(dataset_id) is not None:
            queue.ring(dataset_id)
        elif run.status != RunStatus.SUCCEEDED and not run.is_active:
            # A merge has asked for it when it was recorded; one that waits for its store would only ask that.
            queue.ask_for_check_of_pending(dataset_id)
        logger.info("merge_ended", status=run.status, error_code=run.error_code, version=run.merged_version)
    return run


def _keep_log_short(run: MergeRun) -> None:
    """Write a checkpoint after a merge where one is due: the merge is recorded and seen, and nothing hangs on this."""
    dataset = run.change_request.dataset
    if run.status != RunStatus.SUCCEEDED or not dataset.write_checkpoints:
        return
    try:
        written = merging.write_checkpoint(dataset.table_uri, version=run.merged_version)
    except merging.MergeError as error:  # the next maintenance tries again
        logger.warning("checkpoint_failed", version=run.merged_version, error=error)
    else:
        if written is not None:
            logger.info("checkpoint_written", version=written)


def _note_keys(run: MergeRun) -> None:
    """Keep what later tells that the merge cannot have changed a row: it is recorded, and nothing hangs on this."""
    if run.status != RunStatus.SUCCEEDED:
        return
    try:
        remember_keys(run.change_request)
    except merging.MergeError as error:  # the first who asks for a row's history tries again
        logger.warning("keys_not_noted", error=error)


def _execute(hold: Hold[MergeRun]) -> None:
    run, change_request = hold.work, hold.work.change_request
    request = plans.bare_request_for(change_request, run.revision, run=run)
    try:
        table_work.require_store(hold)
        if run.cancel_requested_by is not None:  # before it takes this worker along, too
            raise RunStopped(f"Cancelled by {run.cancel_requested_by}.")
        result = standing_before(change_request, request, hold)
        # Settling may have brought the request to a new generation.
        request = replace(request, generation=change_request.merge_generation)
        if result is None and hold.is_worn_out:
            raise GivenUp(f"Given up after {MOST_ATTEMPTS} interrupted attempts.")
        if result is None:
            facts = facts_of(change_request, run.requested_by)
            result = merge(
                plans.merge_request_for(change_request, run.revision, run=run, answered=facts.answered),
                progress=Reporter(hold, facts),
            )
    except Exception as error:  # noqa: BLE001  (the boundary: whatever happened, the run must end in the truth)
        try:
            committed = settling.settle(change_request, request, hold.table_lease)
        except OutcomeUnknown as unknown:
            step_back(hold, Ending(RunStatus.FAILED, unknown.code, unknown.message, settled=False))
            return
        if isinstance(error, merging.TableUnreachable):
            if committed is None and table_work.may_wait(hold, error):
                put_off(hold, error)
                return
            outages.note_outage(error)
        if committed is None:
            step_back(hold, ending_of(error))
            return
        logger.warning("merge_interrupted_after_commit", error=error, version=committed.version)
        result = result_of_committed(request, committed)
    record_merge(hold, change_request, result)
