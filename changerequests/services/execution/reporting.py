"""What the engine reports while it works: written to the run, and the place where it is stopped before the commit."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from changerequests import policies, selectors
from changerequests.errors import RunStopped
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import settling
from changerequests.states import RunPhase, RunStatus, Status
from datasets import leases


class Reporter:
    """Writes the engine's phases to the run, and stops it before the commit where it must not go on."""

    def __init__(self, run: MergeRun, lease: leases.Lease, change_request: ChangeRequest) -> None:
        self.run, self.lease, dataset = run, lease, change_request.dataset
        self.expected = dataset.suite_number, dataset.block_pre_existing
        self.deletes: tuple[int, float] = 0, 0.0
        self.noted_before = change_request.unsettled_version

    def __call__(self, phase: str, **facts: Any) -> None:
        if phase == "uncommitted":
            settling.withdraw(self.run.change_request_id, facts["version"], self.noted_before)
            return
        allowed = MergeRun.objects.filter(pk=self.run.pk, status=RunStatus.RUNNING, fence=self.lease.fence)
        if phase != RunPhase.RECORDING:
            allowed = allowed.filter(cancel_requested_by__isnull=True)
        fields: dict[str, Any] = {"phase": phase, "heartbeat_at": timezone.now()}
        if phase == RunPhase.CHECKING:
            self._nothing_fell()
        if phase == RunPhase.WRITING:
            self.deletes = facts["deleted"], facts["deleted_share"]
        if phase in (RunPhase.WRITING, RunPhase.COMMITTING):
            self._still_approved()
            change_request = self._nothing_fell(*self.deletes)
            fields["approved_by"] = [str(r.reviewer) for r in selectors.counting_approvals(change_request)]
        with transaction.atomic():
            moved = allowed.update(**fields)
            if moved and phase == RunPhase.COMMITTING:
                settling.begin(self.run.change_request_id, facts["version"])
        if phase == RunPhase.RECORDING:
            return  # the commit stands; whoever holds the lease records it
        if not moved or not leases.renew(self.lease):  # late is no harm while nobody else took it
            raise RunStopped(self._why())

    def _still_approved(self) -> None:
        change_request = ChangeRequest.objects.select_related("dataset").get(pk=self.run.change_request_id)
        dataset = change_request.dataset
        if (dataset.suite_number, dataset.block_pre_existing) != self.expected:
            raise RunStopped(
                "The expectations were edited while the merge was checked by the earlier ones. Ask for the merge again."
            )
        revision = selectors.current_revision(change_request)
        same = (
            change_request.status == Status.MERGING
            and revision is not None
            and revision.digest == self.run.revision_digest
            and change_request.resolutions_digest == self.run.resolutions_digest
        )
        if not same:
            raise RunStopped("The content or the choices moved after the merge was asked for.")

    def _nothing_fell(self, rows_deleted: int = 0, deleted_share: float = 0) -> ChangeRequest:
        """The request as it is now, where what let the merge be asked for still holds."""
        run = MergeRun.objects.select_related(
            "change_request__dataset__project", "change_request__dataset__meta", "requested_by"
        ).get(pk=self.run.pk)
        fallen = policies.gates_fallen(run, rows_deleted=rows_deleted, deleted_share=deleted_share)
        if fallen:
            sentences = " ".join(blocker.sentence for blocker in fallen)
            raise RunStopped(f"Since the merge was asked for something came in its way. {sentences}")
        return run.change_request

    def _why(self) -> str:
        run = MergeRun.objects.select_related("cancel_requested_by").get(pk=self.run.pk)
        if run.cancel_requested_by is not None:
            return f"Cancelled by {run.cancel_requested_by}."
        return "Another worker has taken over this run."
