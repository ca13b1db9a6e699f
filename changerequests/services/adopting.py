"""Recording merges that stand although no run of this database is known to have made them.

They landed after their run had given up, or they were merged after the backup from which the database was restored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import selectors
from changerequests.errors import OutcomeUnknown
from changerequests.models import ChangeRequest, MergeRun, Revision
from changerequests.services import execution, plans, settling
from changerequests.services.evidence import RUN
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus, Status
from datasets import leases, work
from datasets.errors import DatasetBusy

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StandingMerge:
    """A merge of a request that stands: what it did, and what is known of how it was asked for."""

    result: merging.MergeResult
    revision: Revision
    requested_by: User
    resolutions_digest: str
    proof: str
    message: str = ""
    approved_by: list[str] = field(default_factory=list)


def adopt(*, change_request_id: int, standing: StandingMerge, lease: leases.Lease) -> MergeRun:
    """Record the merge as the request's own, under the dataset's lease: result, audit files and events as after any
    other. The run that waited or was cut short records it, else one made for it.

    Raises ``DatasetBusy`` where a merge of another request of the dataset was cut short and comes first.
    """
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        run = selectors.active_run(change_request) or MergeRun(
            change_request=change_request,
            dataset=change_request.dataset,
            merge_schema=change_request.merge_schema,
            message=standing.message,
            requested_by=standing.requested_by,
        )
        cut_short = MergeRun.objects.filter(dataset=change_request.dataset, status=RunStatus.RUNNING)
        if cut_short.exclude(pk=run.pk).exists():
            raise DatasetBusy(
                f"A merge into {change_request.dataset} was cut short; it is recovered first. Try again after that."
            )
        if run.pk is not None:
            run = lock_run(run.pk)
        run.revision, run.revision_digest = standing.revision, standing.revision.digest
        run.resolutions_digest, run.approved_by = standing.resolutions_digest, standing.approved_by
        run.phase = RunPhase.RECORDING
        run.save()
        hold = work.claim(run, worker=lease.holder, lease=lease, attempt_id=standing.result.attempt_id)
        if hold is None:
            raise DatasetBusy(f"{run} has ended meanwhile.")
        take_transition(change_request, Action.ADOPT)
        record_event(
            change_request,
            "merge.adopted",
            None,
            {"run": run.pk, "version": standing.result.merged_version, "proof": standing.proof},
            rows=RUN.seal(run),
        )
    execution.record_merge(hold, change_request, standing.result)
    return hold.work


def settle_what_is_open() -> int:
    """Ask the logs what became of commits whose outcome was not known; returns how many are known now.

    What landed is recorded, what did not is superseded and its request free again. Called by the sweep.
    """
    unsettled = ChangeRequest.objects.filter(unsettled_version__isnull=False, status=Status.PENDING)
    return sum(
        _settle(pk, dataset)
        for pk, dataset in unsettled.order_by("dataset_id", "pk").values_list("pk", "dataset_id")
    )


def _settle(change_request_id: int, dataset_id: int) -> bool:
    lease = leases.acquire(dataset_id, "settling")
    if lease is None:
        return False
    try:
        if MergeRun.objects.filter(dataset=dataset_id, status=RunStatus.RUNNING).exists():
            return False
        return _settled(change_request_id, lease)
    except OutcomeUnknown as error:
        logger.info("still_unsettled", change_request_id=change_request_id, reason=error)
        return False
    finally:
        leases.release(lease)


def _settled(change_request_id: int, lease: leases.Lease) -> bool:
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    run = change_request.runs.select_related("revision", "requested_by").latest("pk")
    request = plans.bare_request_for(change_request, run.revision, run=run)
    committed = settling.settle(change_request, request, lease)
    if committed is not None:
        standing = StandingMerge(
            result=execution.result_of_committed(request, committed),
            revision=run.revision,
            requested_by=run.requested_by,
            resolutions_digest=run.resolutions_digest,
            proof="It landed after its run had given up.",
            message=run.message,
            approved_by=run.approved_by,
        )
        adopt(change_request_id=change_request_id, standing=standing, lease=lease)
        return True
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        fields: dict[str, Any] = settling.settled_fields(change_request)
        if change_request.status != Status.PENDING or not fields:
            return False
        record_event(change_request, "merge.settled", None, {"version": change_request.unsettled_version})
        ChangeRequest.objects.filter(pk=change_request_id).update(**fields)
    return True
