"""The queue of merge runs: which one is next, and the bell that wakes a worker.

The rows are the queue; a message only says "look". A lost message costs time, never a merge: the sweep rings again.
"""

from django.db import transaction
from django.db.models import Q, QuerySet

from audit import bells
from changerequests.models import MergeRun
from changerequests.states import RunStatus
from datasets import table_work
from datasets.work import next_in_line


def ring(dataset_id: int) -> None:
    """Ask a worker to look at the dataset's queue. A broker that is down is logged; the sweep rings again."""
    bells.ring("changerequests.merge_next", dataset_id)


def ring_on_commit(dataset_id: int) -> None:
    """Ring once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring(dataset_id), robust=True)


def ring_for_maintenance(dataset_id: int) -> None:
    """Ask a worker to look after the dataset's table."""
    bells.ring("changerequests.maintain", dataset_id)


def ring_for_maintenance_on_commit(dataset_id: int) -> None:
    """The same, once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring_for_maintenance(dataset_id), robust=True)


def ring_for_upload(upload_id: int) -> None:
    """Ask a worker to stage an upload."""
    bells.ring("changerequests.stage_upload", upload_id)


def ring_for_upload_on_commit(upload_id: int) -> None:
    """The same, once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring_for_upload(upload_id), robust=True)


def ring_for_preview(preview_id: int) -> None:
    """Ask a worker to look what content would change."""
    bells.ring("changerequests.look", preview_id)


def ring_for_preview_on_commit(preview_id: int) -> None:
    """The same, once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring_for_preview(preview_id), robust=True)


def ask_for_check(change_request_id: int) -> None:
    """Ask a worker to plan a change request again, once the surrounding transaction is committed."""
    bells.ring_on_commit("changerequests.check", change_request_id)


def ask_for_check_of_pending(dataset_id: int) -> None:
    """Ask a worker to plan those pending requests again that the moves of the dataset's table concern."""
    bells.ring_on_commit("changerequests.check_pending", dataset_id)


def sweep_on_commit() -> None:
    """Ask for a sweep once the surrounding transaction is committed."""
    bells.ring_on_commit("changerequests.sweep")


def next_run(dataset_id: int) -> MergeRun | None:
    """The run to work on now: one that was begun and never finished, else the one that has waited longest."""
    return next_in_line(workable_runs().filter(dataset_id=dataset_id))


def workable_runs() -> QuerySet[MergeRun]:
    """Runs that workers may take up: none is begun while an operator has to look at what an earlier commit left, and
    one whose store did not answer waits until it is tried again.
    """
    undisturbed = Q(status=RunStatus.RUNNING) | Q(dataset__meta__difference="")
    return MergeRun.objects.filter(undisturbed, table_work.due())
