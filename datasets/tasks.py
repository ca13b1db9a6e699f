"""Work on the catalogue: what is due from time to time, and what takes too long for a page."""

from celery import Task, shared_task

from datasets import anchoring, services, suites, trials


@shared_task(name="datasets.reconcile_all")
def reconcile_all() -> None:
    """Bring what is known of every table up to its log: others write to these tables too."""
    services.reconcile_all()


@shared_task(name="datasets.propose_suite", bind=True)
def propose_suite(task: "Task[[int], None]", proposal_id: int) -> None:
    """Profile a table for somebody who asked for a first suite."""
    suites.make_proposal(proposal_id=proposal_id, worker=task.request.hostname or "direct call")


@shared_task(name="datasets.try_suite", bind=True)
def try_suite(task: "Task[[int], None]", trial_id: int) -> None:
    """Judge a table by rules that somebody edits."""
    trials.make_trial(trial_id=trial_id, worker=task.request.hostname or "direct call")


@shared_task(name="datasets.deliver_anchors")
def deliver_anchors() -> None:
    """Tell places elsewhere the anchors of the audit trail that they were not told yet."""
    anchoring.deliver_anchors()
