"""Periodic work on the catalogue."""

from celery import shared_task

from datasets.models import Dataset
from datasets.services import reconcile


@shared_task(name="datasets.reconcile_all")
def reconcile_all() -> None:
    """Bring what is known of every table up to its log: others write to these tables too."""
    for dataset_id in Dataset.objects.values_list("pk", flat=True):
        reconcile(dataset_id=dataset_id)
