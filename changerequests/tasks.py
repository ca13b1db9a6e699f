"""Doorbells: each gets a primary key, looks at durable rows and calls a service. Safe to run twice."""

from celery import Task, shared_task

from changerequests.services import (
    adopting,
    execution,
    maintenance,
    measuring,
    outdated,
    plans,
    previews,
    retention,
    staging,
    waiting,
)
from datasets import outages, processes, suites, trials


@shared_task(name="changerequests.merge_next", bind=True)
def merge_next(task: "Task[[int], None]", dataset_id: int) -> None:
    """Work on the next merge run of a dataset."""
    execution.merge_next(dataset_id=dataset_id, worker=task.request.hostname or "direct call")


@shared_task(name="changerequests.stage_upload", bind=True)
def stage_upload(task: "Task[[int], None]", upload_id: int) -> None:
    """Read what somebody uploaded, in a process that may die alone."""
    staging.stage_upload(upload_id=upload_id, worker=task.request.hostname or "direct call")


@shared_task(name="changerequests.look", bind=True)
def look(task: "Task[[int], None]", preview_id: int) -> None:
    """Look what content would change, in a process that may die alone."""
    previews.look_at(preview_id=preview_id, worker=task.request.hostname or "direct call")


@shared_task(name="changerequests.check")
def check(change_request_id: int) -> None:
    """Plan a change request unless its numbers are current, and queue its merge if it only waited for that."""
    plans.check_if_outdated(change_request_id=change_request_id)
    waiting.merge_if_ready(change_request_id=change_request_id)


@shared_task(name="changerequests.check_pending")
def check_pending(dataset_id: int) -> None:
    """Plan the pending requests that the moves of a table concern, and queue what only waited for that."""
    outdated.check_pending(dataset_id=dataset_id)
    waiting.merge_what_is_ready(dataset_id=dataset_id)


@shared_task(name="changerequests.sweep")
def sweep() -> None:
    """Ring for what was lost, recover what died, settle what is open, queue what has become ready."""
    outages.ask_data_root()
    execution.sweep()
    adopting.settle_what_is_open()
    maintenance.sweep()
    suites.sweep_proposals()
    trials.sweep_trials()
    staging.sweep_uploads()
    previews.sweep_previews()
    plans.check_what_was_out_of_reach()
    waiting.merge_what_is_ready()
    processes.note_sweep()
    processes.add_up_ended()


@shared_task(name="changerequests.measure")
def measure() -> None:
    """Measure what is kept below the data root, for the figures."""
    measuring.measure_kept()


@shared_task(name="changerequests.retention")
def apply_retention() -> None:
    """Remove what the installation's retention policy no longer keeps."""
    retention.apply_retention(actor=None)


@shared_task(name="changerequests.maintain", bind=True)
def maintain(task: "Task[[int], None]", dataset_id: int) -> None:
    """Look after the table of one dataset: what was asked for, and what its settings make due."""
    maintenance.maintain(dataset_id=dataset_id, worker=task.request.hostname or "direct call")


@shared_task(name="changerequests.maintain_all")
def maintain_all() -> None:
    """Ring for every dataset."""
    maintenance.maintain_all()
