"""For operators: the queues, the leases, what is stuck and why, and the safe actions. Each action is an audit event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils import timezone

from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, dataset_stream, record
from changerequests import queue, selectors
from changerequests.errors import InvalidTransition
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, runs
from changerequests.services.trail import record_event
from changerequests.states import ACTIVE_RUN_STATUSES, RunStatus, Status
from datasets.errors import Forbidden, NotFound
from datasets.models import DatasetLease, DatasetMeta
from datasets.operators import is_operator, require_operator
from datasets.services import acknowledge_difference

#: How long a run may wait, with nobody at work on its dataset, before it counts as stuck: several sweeps.
UNHEARD = timedelta(seconds=60)
#: How long one phase may take before somebody should look.
LONG_PHASE = timedelta(minutes=30)
#: How often a run may be interrupted before it is suspected of killing its worker.
SUSPICIOUS_ATTEMPTS = 3
#: How long staged content may wait to be cleared after its merge.
UNCLEARED = timedelta(minutes=10)

SafeAction = Literal["retry", "release", "cancel", "acknowledge"]


@dataclass(frozen=True)
class LeaseState:
    """Who holds a dataset's lease; ``alive`` is false where the holder gave no sign of life in time."""

    dataset_id: int
    dataset: str
    kind: str
    holder: str
    fence: int
    heartbeat_at: datetime | None
    expires_at: datetime | None
    alive: bool


@dataclass(frozen=True)
class Stuck:
    """Work that does not go on by itself as it should: why, and what can be done safely."""

    run_id: int | None
    cr_id: str
    dataset_id: int
    dataset: str
    code: str
    reason: str
    action: SafeAction

    @property
    def number(self) -> int | None:
        """What the action is called with: the dataset's number or the run's."""
        return self.dataset_id if self.action in ("release", "acknowledge") else self.run_id


def held_leases() -> list[LeaseState]:
    """Every lease that somebody holds, alive or not."""
    now = timezone.now()
    return [
        LeaseState(
            dataset_id=lease.dataset_id,
            dataset=str(lease.dataset),
            kind=lease.kind,
            holder=lease.holder,
            fence=lease.fence,
            heartbeat_at=lease.heartbeat_at,
            expires_at=lease.expires_at,
            alive=lease.expires_at is not None and lease.expires_at > now,
        )
        for lease in DatasetLease.objects.exclude(holder="").select_related("dataset").order_by("dataset_id")
    ]


def datasets_that_differ() -> list[DatasetMeta]:
    """What a commit of ours left other than planned, and nobody has acknowledged."""
    return list(DatasetMeta.objects.exclude(difference="").select_related("dataset").order_by("dataset_id"))


def queued_and_running() -> list[tuple[MergeRun, int]]:
    """Every active run with its position in its dataset's queue, dataset by dataset."""
    active = MergeRun.objects.filter(status__in=ACTIVE_RUN_STATUSES).select_related(
        "change_request", "dataset", "requested_by"
    )
    return [(run, selectors.queue_position(run)) for run in active.order_by("dataset_id", "pk")]


def stuck_work() -> list[Stuck]:
    """What should go on and does not, each with its reason and a safe action."""
    now = timezone.now()
    leases = {lease.dataset_id: lease for lease in held_leases()}
    found = [
        Stuck(None, "", meta.dataset_id, str(meta.dataset), "commit_differs", meta.difference, "acknowledge")
        for meta in datasets_that_differ()
    ]
    waiting_for_operators = {one.dataset_id for one in found}
    for run, position in queued_and_running():
        if run.status == RunStatus.QUEUED and run.dataset_id in waiting_for_operators:
            continue
        told = _why_stuck(run, position, leases.get(run.dataset_id), now)
        if told is not None:
            code, reason, action = told
            found.append(
                Stuck(
                    run.pk, run.change_request.cr_id, run.dataset_id, str(run.dataset), code, reason, action
                )
            )
    uncleared = ChangeRequest.objects.filter(
        status=Status.MERGED,
        staging_removed_at__isnull=True,
        merged_at__lt=now - UNCLEARED,
        dataset__meta__difference="",
    ).select_related("dataset")
    for change_request in uncleared.order_by("pk"):
        run_id = change_request.runs.filter(status=RunStatus.SUCCEEDED).values_list("pk", flat=True).first()
        reason = "It is merged, and its staged content was not cleared: is a worker for maintenance running?"
        found.append(
            Stuck(
                run_id,
                change_request.cr_id,
                change_request.dataset_id,
                str(change_request.dataset),
                "staging_uncleared",
                reason,
                "retry",
            )
        )
    return found


def stuck_runs(now: datetime) -> dict[str, int]:
    """How many runs ``stuck_work`` tells of, by its codes, in one statement: for figures, which say no names."""
    alive = Q(dataset__lease__expires_at__gt=now) & ~Q(dataset__lease__holder="")
    running, worn = Q(status=RunStatus.RUNNING), Q(attempts__gte=SUSPICIOUS_ATTEMPTS)
    held = Q(dataset__lease__isnull=False) & ~Q(dataset__lease__holder="")
    ahead = MergeRun.objects.filter(
        dataset=OuterRef("dataset"), status__in=ACTIVE_RUN_STATUSES, pk__lt=OuterRef("pk")
    )
    due = Q(not_before__isnull=True) | Q(not_before__lte=now)
    first = Q(status=RunStatus.QUEUED, dataset__meta__difference="") & due & ~Q(Exists(ahead))
    conditions = {
        "interrupted_often": running & worn,
        "worker_lost": running & ~worn & ~alive,
        "takes_long": running & ~worn & alive & Q(started_at__lt=now - LONG_PHASE),
        "lease_expired": first & held & ~alive,
        "not_taken": first & ~held & Q(queued_at__lt=now - UNHEARD),
    }
    counted = {code: Count("pk", filter=condition) for code, condition in conditions.items()}
    return MergeRun.objects.filter(status__in=ACTIVE_RUN_STATUSES).aggregate(**counted)


def _why_stuck(
    run: MergeRun, position: int, lease: LeaseState | None, now: datetime
) -> tuple[str, str, SafeAction] | None:
    if run.status == RunStatus.RUNNING:
        if run.attempts >= SUSPICIOUS_ATTEMPTS:
            reason = f"It was begun {run.attempts} times; it may kill its worker. The worker's log says more."
            return "interrupted_often", reason, "cancel"
        if lease is None or not lease.alive:
            seen = f"{run.heartbeat_at:%Y-%m-%d %H:%M:%S}" if run.heartbeat_at else "its beginning"
            reason = f"Its worker {run.worker or 'unknown'} gave no sign of life since {seen} UTC."
            return "worker_lost", reason, "retry"
        if run.started_at is not None and now - run.started_at > LONG_PHASE:
            minutes = int((now - run.started_at).total_seconds() // 60)
            return "takes_long", f"It has run for {minutes} minutes and is {run.phase}.", "cancel"
        return None
    if position or (run.not_before is not None and run.not_before > now):
        return None  # it waits for the runs before it, or for its store
    if lease is not None and not lease.alive:
        reason = f"The lease is still in the name of {lease.holder}, which gave no sign of life in time."
        return "lease_expired", reason, "release"
    if lease is None and now - run.queued_at > UNHEARD:
        seconds = int((now - run.queued_at).total_seconds())
        reason = f"No worker has taken it for {seconds} seconds: is a worker for the queue merging running?"
        return "not_taken", reason, "retry"
    return None


def retry(*, run_id: int, actor: User, reason: str) -> MergeRun:
    """Ring a worker for a run that waits or was interrupted, or for staging that was not cleared.

    It merges once however often this is called: the run is claimed by compare-and-set, and what is in the table's log
    is only recorded. Raises ``Forbidden``, ``InvalidInput`` without a reason, ``NotFound``, and ``InvalidTransition``
    where nothing is left to do.
    """
    run = _run(run_id, actor, reason)
    uncleared = run.status == RunStatus.SUCCEEDED and run.change_request.staging_removed_at is None
    if not run.is_active and not uncleared:
        raise InvalidTransition(
            f"The run has ended: it is {run.status}. Who may merge the request asks for a new merge."
        )
    with transaction.atomic():
        record_event(run.change_request, "operator.retried", actor, {"run": run.pk, "reason": reason.strip()})
        if uncleared:
            queue.sweep_on_commit()
        else:
            MergeRun.objects.filter(pk=run.pk, status=RunStatus.QUEUED).update(not_before=None)
            queue.ring_on_commit(run.dataset_id)
    return run


def cancel(*, run_id: int, actor: User, reason: str) -> MergeRun:
    """Cancel a queued run at once, a running one before it commits; one without a worker is ended by the next.

    Raises as ``retry`` does, and ``InvalidTransition`` where the commit has begun.
    """
    run = _run(run_id, actor, reason)
    with transaction.atomic():
        cancelled = runs.cancel_run(run_id=run_id, actor=actor)
        record_event(
            run.change_request, "operator.cancelled", actor, {"run": run.pk, "reason": reason.strip()}
        )
    return cancelled


def sweep(*, actor: User) -> int:
    """Do at once what the periodic sweep does; for how many datasets a worker was rung. Raises ``Forbidden``."""
    if not is_operator(actor):
        raise Forbidden("Only operators do this.")
    rung = execution.sweep()
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action="operator.swept",
            subject_type="installation",
            subject_id="queue",
            actor=actor.get_username(),
            data={"datasets": rung},
        )
    return rung


def release_lease(*, dataset_id: int, actor: User, reason: str) -> None:
    """Take the lease from a holder that gave no sign of life, and lock that holder out; then ring a worker.

    A living holder keeps its lease (``InvalidTransition``): cancel its run instead. Raises ``Forbidden``,
    ``InvalidInput`` without a reason and ``NotFound``.
    """
    require_operator(actor, reason)
    with transaction.atomic():
        lease = locked(DatasetLease.objects.filter(dataset_id=dataset_id)).first()
        if lease is None or not lease.holder:
            raise NotFound("Nobody holds the lease of this dataset.")
        if lease.expires_at is not None and lease.expires_at > timezone.now():
            raise InvalidTransition(
                f"{lease.holder} holds the lease and is alive. Cancel its run, or wait until it has ended."
            )
        DatasetLease.objects.filter(pk=lease.pk).update(holder="", expires_at=None, fence=F("fence") + 1)
        record(
            stream=dataset_stream(dataset_id),
            action="operator.lease_released",
            subject_type="dataset",
            subject_id=str(dataset_id),
            actor=actor.get_username(),
            data={"holder": lease.holder, "fence": lease.fence, "reason": reason.strip()},
        )
        queue.ring_on_commit(dataset_id)


def acknowledge(*, dataset_id: int, actor: User, reason: str) -> None:
    """Let merges into a dataset go on after somebody has looked at what a commit left, and rings for what waited.

    Raises as ``datasets.services.acknowledge_difference`` does.
    """
    with transaction.atomic():
        acknowledge_difference(dataset_id=dataset_id, actor=actor, reason=reason)
        queue.sweep_on_commit()


def act(*, action: SafeAction, number: int, actor: User, reason: str) -> str:
    """Do a safe action on the run or dataset of a number, and say what was done. Raises as the action does."""
    match action:
        case "retry":
            retry(run_id=number, actor=actor, reason=reason)
            return "A worker was rung."
        case "cancel":
            cancel(run_id=number, actor=actor, reason=reason)
            return f"Run {number} is cancelled, or stops before it commits."
        case "acknowledge":
            acknowledge(dataset_id=number, actor=actor, reason=reason)
            return "Merges into the dataset go on; a worker was rung."
        case "release":
            release_lease(dataset_id=number, actor=actor, reason=reason)
            return "The lease is free; a worker was rung."


def _run(run_id: int, actor: User, reason: str) -> MergeRun:
    require_operator(actor, reason)
    run = MergeRun.objects.select_related("change_request").filter(pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no merge run {run_id}.")
    return run
