"""Periodic work on the trail."""

from celery import shared_task

from audit.services import anchor_chains


@shared_task(name="audit.anchor")
def anchor() -> None:
    """Write the heads of the chains to a file outside the database."""
    anchor_chains()
