"""The queue of merge runs: which one is next, and the bell that wakes a worker.

The rows are the queue; a message only says "look". A lost message costs time, never a merge: the sweep rings again.
"""

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from changerequests.models import MergeRun
from changerequests.states import RunStatus

logger = structlog.get_logger(__name__)


def ring(dataset_id: int) -> None:
    """Ask a worker to look at the dataset's queue. A broker that is down is logged; the sweep rings again."""
    _send("changerequests.merge_next", dataset_id)


def ring_on_commit(dataset_id: int) -> None:
    """Ring once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring(dataset_id), robust=True)


def ring_for_maintenance(dataset_id: int) -> None:
    """Ask a worker to look after the dataset's table."""
    _send("changerequests.maintain", dataset_id)


def ring_for_maintenance_on_commit(dataset_id: int) -> None:
    """The same, once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring_for_maintenance(dataset_id), robust=True)


def ask_for_check(change_request_id: int) -> None:
    """Ask a worker to plan a change request again, once the surrounding transaction is committed."""
    transaction.on_commit(lambda: _send("changerequests.check", change_request_id), robust=True)


def sweep_on_commit() -> None:
    """Ask for a sweep once the surrounding transaction is committed."""
    transaction.on_commit(lambda: _send("changerequests.sweep"), robust=True)


def _send(task: str, *arguments: int) -> None:
    try:
        current_app.send_task(task, args=arguments)
    except (OperationalError, OSError) as error:
        logger.warning("bell_not_heard", task=task, arguments=arguments, error=str(error))


def next_run(dataset_id: int) -> MergeRun | None:
    """The run to work on now: one that was begun and never finished, else the one that has waited longest.

    None is begun while an operator has to look at what an earlier commit left.
    """
    runs = MergeRun.objects.filter(dataset_id=dataset_id).order_by("pk")
    return (
        runs.filter(status=RunStatus.RUNNING).first()
        or runs.filter(status=RunStatus.QUEUED, dataset__meta__difference="").first()
    )
