"""Take the next run of a dataset under its lease: by compare-and-set, so that two workers never hold one."""

from __future__ import annotations

from django.db import transaction

from changerequests import queue
from changerequests.models import MergeRun
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus
from datasets import leases, table_work
from datasets.work import Hold


def claim(dataset_id: int, worker: str) -> Hold[MergeRun] | None:
    """The next run of the dataset, claimed; None where none waits, all wait for their store, or somebody else holds the
    dataset.
    """
    with transaction.atomic():
        lease = leases.acquire(dataset_id, f"worker {worker}"[:100])
        if lease is None:
            return None
        while (waiting := queue.next_run(dataset_id)) is not None:
            change_request = lock_change_request(waiting.change_request_id)
            run = lock_run(waiting.pk)
            run.change_request = change_request  # as it is locked, with its dataset and its author
            run.dataset = change_request.dataset
            again = run.status == RunStatus.RUNNING
            hold = table_work.claim(run, worker=worker, lease=lease, phase=RunPhase.CHECKING)
            if hold is not None:
                break  # else it was cancelled between the look and the lock, or waits for its store
        else:
            leases.release(lease)
            return None
        if not again:
            take_transition(change_request, Action.CLAIM)
        record_event(
            change_request,
            "merge.resumed" if again else "merge.started",
            None,
            {"run": run.pk, "attempt": run.attempts, "attempt_id": run.attempt_id, "worker": worker},
        )
        return hold
