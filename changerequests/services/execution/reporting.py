"""What the engine reports while it works: written to the run, and the place where it is stopped before the commit."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q

from changerequests import policies
from changerequests.errors import RunStopped
from changerequests.facts import Facts, facts_of
from changerequests.models import MergeRun
from changerequests.services import settling, storage
from changerequests.states import RunPhase, Status
from datasets import leases, table_work, tracing, work
from datasets.work import Hold


class Reporter:
    """Writes the engine's phases to the run, and stops it before the commit where it must not go on.

    The gates are judged twice: by the ``facts`` with which the run set out, and by fresh ones right before the commit.
    """

    def __init__(self, hold: Hold[MergeRun], facts: Facts) -> None:
        self.hold, self.run, self.facts = hold, hold.work, facts
        self.deletes: tuple[int, float] = 0, 0.0

    def __call__(self, phase: str, **reported: Any) -> None:
        tracing.step(phase)
        if phase == "uncommitted":
            noted_before = self.facts.change_request.unsettled_version
            settling.withdraw_note(self.run.change_request_id, reported["version"], noted_before)
            return
        fields: dict[str, Any] = {"phase": phase}
        if phase == RunPhase.WRITING:
            self.deletes = reported["deleted"], reported["deleted_share"]
        if phase in (RunPhase.CHECKING, RunPhase.WRITING):
            self._must_hold(self.facts)
        if phase == RunPhase.COMMITTING:
            now = self._facts_now()
            self._must_hold(now)
            table_work.require_opened_as_now(self.hold)
            fields["approved_by"] = [str(review.reviewer) for review in now.approvals]
            storage.publish_attempt(self.run)
        if phase == RunPhase.RECORDING:
            work.progress(self.hold, **fields)
            return  # the commit stands; whoever holds the lease records it
        with transaction.atomic():
            moved = work.progress(self.hold, Q(cancel_requested_by__isnull=True), **fields)
            if moved and phase == RunPhase.COMMITTING:
                settling.note_commit(self.run.change_request_id, reported["version"])
        if not moved or not leases.renew(self.hold.table_lease):  # late is no harm while nobody else took it
            raise RunStopped(self._why())

    def _facts_now(self) -> Facts:
        run = MergeRun.objects.select_related(
            "change_request__dataset__project", "change_request__dataset__meta", "requested_by"
        ).get(pk=self.run.pk)
        return facts_of(run.change_request, run.requested_by)

    def _must_hold(self, now: Facts) -> None:
        """Raise ``RunStopped`` where what is merged is not what was asked for any more, or a gate fell since."""
        if _judged_by(now) != _judged_by(self.facts):
            raise RunStopped(
                "The expectations were edited while the merge was checked by the earlier ones. Ask for the merge again."
            )
        same = (
            now.status == Status.MERGING
            and now.revision is not None
            and now.revision.digest == self.run.revision_digest
            and now.resolutions_digest == self.run.resolutions_digest
        )
        if not same:
            raise RunStopped("The content or the choices moved after the merge was asked for.")
        rows, share = self.deletes
        fallen = policies.gates_fallen(now, self.run, rows_deleted=rows, deleted_share=share)
        if fallen:
            sentences = " ".join(blocker.sentence for blocker in fallen)
            raise RunStopped(f"Since the merge was asked for something came in its way. {sentences}")

    def _why(self) -> str:
        run = MergeRun.objects.select_related("cancel_requested_by").get(pk=self.run.pk)
        if run.cancel_requested_by is not None:
            return f"Cancelled by {run.cancel_requested_by}."
        return "Another worker has taken over this run."


def _judged_by(facts: Facts) -> tuple[int, bool]:
    """What says by which expectations, and how strictly, the merged result is judged."""
    return facts.dataset.suite_number, facts.dataset.block_pre_existing
