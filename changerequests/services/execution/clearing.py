"""What may wait until a merge is recorded: its staged content is cleared, what its table's move touches is checked."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from changerequests import queue
from changerequests.models import ChangeRequest
from changerequests.services import storage
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event
from changerequests.states import Status
from datasets.models import Dataset


def after_merge(change_request_id: int) -> None:
    """What may wait until the merge is recorded: clear the staging, check again what the table's move touches."""
    clear_staged_content(change_request_id=change_request_id)
    dataset_id = ChangeRequest.objects.values_list("dataset_id", flat=True).get(pk=change_request_id)
    if queue.next_run(dataset_id) is None:  # else after the last of them
        queue.ask_for_check_of_pending(dataset_id)


def clear_staged_content(*, change_request_id: int) -> bool:
    """Remove or archive the staged content of a merged request, by the dataset's setting. Safe to call again."""
    change_request = ChangeRequest.objects.select_related("dataset__meta").get(pk=change_request_id)
    if change_request.status != Status.MERGED or change_request.staging_removed_at is not None:
        return False
    if change_request.dataset.meta.difference:
        return False  # whoever looks at what the commit did needs what it was to do
    archive = change_request.dataset.staging_cleanup == Dataset.StagingCleanup.ARCHIVE
    storage.clear_staging(change_request, archive=archive)
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if change_request.staging_removed_at is not None:
            return False
        ChangeRequest.objects.filter(pk=change_request_id).update(staging_removed_at=timezone.now())
        record_event(change_request, "staging.archived" if archive else "staging.removed", None)
    return True
