"""Take the next run of a dataset under its lease: by compare-and-set, so that two workers never hold one."""

from __future__ import annotations

from typing import Final

from django.db import transaction

import merging
from changerequests import queue
from changerequests.models import MergeRun
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus
from datasets import leases, outages, work
from datasets.work import Hold

#: What a queued run says of itself while it waits for its store.
STORE_SILENT: Final = merging.TableUnreachable.code


def claim(dataset_id: int, worker: str) -> Hold[MergeRun] | None:
    """The next run of the dataset, claimed; None where none waits or somebody else holds the dataset."""
    with transaction.atomic():
        lease = leases.acquire(dataset_id, f"worker {worker}"[:100])
        if lease is None:
            return None
        while (waiting := queue.next_run(dataset_id)) is not None:
            change_request = lock_change_request(waiting.change_request_id)
            run = lock_run(waiting.pk)
            run.change_request = change_request  # as it is locked, with its dataset and its author
            again = run.status == RunStatus.RUNNING
            off = None if again else outages.shut_off(change_request.dataset.table_uri)
            if off is not None:  # whoever asks the store now would only wait with it
                MergeRun.objects.filter(dataset=dataset_id, status=RunStatus.QUEUED).update(
                    not_before=off.until, error_code=STORE_SILENT, error_message=off.reason
                )
                leases.release(lease)
                return None
            hold = work.claim(
                run,
                worker=worker,
                lease=lease,
                phase=RunPhase.CHECKING,
                not_before=None,
                error_code="",
                error_message="",
            )
            if hold is not None:
                break  # else it was cancelled between the look and the lock
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
