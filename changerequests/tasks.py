"""Doorbells: each gets a primary key, looks at durable rows and calls a service. Safe to run twice."""

from celery import Task, shared_task

from changerequests.services import execution, plans


@shared_task(name="changerequests.merge_next", bind=True)
def merge_next(task: "Task[[int], None]", dataset_id: int) -> None:
    """Work on the next merge run of a dataset."""
    execution.merge_next(dataset_id=dataset_id, worker=task.request.hostname or "direct call")


@shared_task(name="changerequests.check")
def check(change_request_id: int) -> None:
    """Plan a change request on the table as it is now."""
    plans.check(change_request_id=change_request_id)


@shared_task(name="changerequests.sweep")
def sweep() -> None:
    """Ring for what was lost between commit and publish, and recover what died."""
    execution.sweep()
