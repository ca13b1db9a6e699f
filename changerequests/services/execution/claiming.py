"""Take the next run of a dataset under its lease: by compare-and-set, so that two workers never hold one."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.utils import timezone

from changerequests import queue
from changerequests.models import MergeRun
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus
from datasets import leases


def claim(dataset_id: int, worker: str) -> tuple[MergeRun, leases.Lease] | None:
    with transaction.atomic():
        lease = leases.acquire(dataset_id, f"worker {worker}"[:100])
        if lease is None:
            return None
        while (waiting := queue.next_run(dataset_id)) is not None:
            change_request = lock_change_request(waiting.change_request_id)
            run = lock_run(waiting.pk)
            if run.is_active:
                break  # else it was cancelled between the look and the lock
        else:
            leases.release(lease)
            return None
        again = run.status == RunStatus.RUNNING
        if not again:
            take_transition(change_request, Action.CLAIM)
        now = timezone.now()
        run.status, run.phase = RunStatus.RUNNING, RunPhase.CHECKING
        run.attempts, run.fence, run.worker = run.attempts + 1, lease.fence, worker
        run.attempt_id = uuid.uuid4().hex
        run.started_at, run.heartbeat_at = run.started_at or now, now
        run.save()
        record_event(
            change_request,
            "merge.resumed" if again else "merge.started",
            None,
            {"run": run.pk, "attempt": run.attempts, "attempt_id": run.attempt_id, "worker": worker},
        )
        return run, lease
