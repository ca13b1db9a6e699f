"""The suite of a dataset as the rules of a merge, and what a new suite means for open requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import queue
from changerequests.models import (
    ChangeRequest,
)
from changerequests.states import Status
from datasets import suites
from datasets.models import Dataset, SuiteVersion


def rules_for(dataset: Dataset, *, answered: Collection[int] = ()) -> merging.ExpectationRules | None:
    """The suite that holds, as the engine wants it; None where the dataset expects nothing.

    ``answered`` are the numbers of what an owner answers for: in a merge that does not block.
    """
    suite = suites.active_suite(dataset)
    if suite is None:
        return None
    return merging.ExpectationRules(
        suite.content,
        block_pre_existing=dataset.block_pre_existing,
        overridden=frozenset(answered),
        version=suite.number,
    )


def save_suite(
    *, dataset_id: int, actor: User, document: str | Mapping[str, Any], edited_number: int, note: str = ""
) -> SuiteVersion:
    """Save a dataset's suite, and check the open requests by it. Raises as ``suites.save_suite`` does."""
    with transaction.atomic():
        version = suites.save_suite(
            dataset_id=dataset_id, actor=actor, document=document, edited_number=edited_number, note=note
        )
        _check_open_requests(dataset_id)
    return version


def restore_suite(
    *, dataset_id: int, actor: User, number: int, edited_number: int, note: str = ""
) -> SuiteVersion:
    """Make an earlier suite hold again, and check the open requests by it. Raises as ``suites.restore_suite`` does."""
    with transaction.atomic():
        version = suites.restore_suite(
            dataset_id=dataset_id, actor=actor, number=number, edited_number=edited_number, note=note
        )
        _check_open_requests(dataset_id)
    return version


def _check_open_requests(dataset_id: int) -> None:
    still_open = ChangeRequest.objects.filter(
        dataset=dataset_id, status__in=[Status.DRAFT, Status.PENDING], revisions__is_current=True
    )
    for pk in still_open.values_list("pk", flat=True):
        queue.ask_for_check(pk)
