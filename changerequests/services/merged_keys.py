"""Which merges can have changed a row, from a small filter of the keys of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import merging
from changerequests.models import ChangeRequest, MergedKeys
from changerequests.services import storage
from changerequests.states import Status
from datasets.models import Dataset


def remember_keys(change_request: ChangeRequest) -> None:
    """Keep the filter of a recorded merge with its request. Where that fails, the first who asks for the history of a
    row has it made.
    """
    _keep({change_request.pk: storage.artefacts_of(change_request)})


def merges_that_can_have_changed(dataset: Dataset, key: Mapping[str, Any]) -> list[int]:
    """The primary keys of the dataset's merged requests that changed the row, with about one in a hundred that did not.

    ``key`` holds typed values. Merges from before there were filters get theirs now; one whose images are gone can have
    changed any row. Raises as ``merging.merges_that_may_hold`` does.
    """
    merged = ChangeRequest.objects.filter(dataset=dataset, status=Status.MERGED)
    without = merged.filter(merged_keys__isnull=True)
    unknown = _keep({one.pk: storage.artefacts_of(one) for one in without.iterator()})
    kept = MergedKeys.objects.filter(change_request__in=merged).values_list("change_request_id", "filter")
    filters = ((pk, bytes(content)) for pk, content in kept.iterator())
    return [*merging.merges_that_may_hold(filters, key), *unknown]


def _keep(folders: Mapping[int, str]) -> list[int]:
    """Keep the filters of these requests, made from these folders; returns those for which none can be made."""
    found = merging.key_filters(folders.values())
    filters = {pk: content for pk, (_, content) in zip(folders, found, strict=True)}
    MergedKeys.objects.bulk_create(
        (MergedKeys(change_request_id=pk, filter=content) for pk, content in filters.items() if content),
        ignore_conflicts=True,
    )
    return [pk for pk, content in filters.items() if content is None]
