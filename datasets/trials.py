"""Trying expectations on a table before they are saved: a worker judges every row, and nothing holds by it.

What was found is told to whoever asked, and forgotten after a day with what they were editing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

import merging
from audit import bells
from audit.row_locks import locked
from datasets import table_work, work
from datasets.durable_work import WorkStatus
from datasets.errors import NotFound
from datasets.models import Dataset, SuiteTrial
from datasets.roles import require_owner
from datasets.rows import storable
from datasets.suites import CHANGE_EXPECTATIONS, LONGEST_DOCUMENT, columns_of, too_long

logger = structlog.get_logger(__name__)

#: Failing rows that are told of each rule.
ROWS_TOLD = 10
#: How long what was found is kept.
KEPT_FOR = timedelta(days=1)
#: For how many trials one sweep rings.
RUNG_AT_ONCE = 100


def ask_for_trial(
    *,
    dataset_id: int,
    actor: User,
    document: str,
    rule: Mapping[str, Any] | None = None,
    rule_number: int | None = None,
    edited_number: int = 0,
    note: str = "",
) -> SuiteTrial:
    """Ask a worker whether the table satisfies a suite as it is now, or one rule of it. For owners; nothing is saved.

    What the same person still tries on the table gives way: its worker stops at its next sign of life. Raises
    ``SuiteRejected`` for what cannot be checked.
    """
    if len(document) > LONGEST_DOCUMENT:
        raise too_long()
    dataset = Dataset.objects.select_related("project", "meta").get(pk=dataset_id)
    require_owner(actor, dataset, CHANGE_EXPECTATIONS)
    merging.parse_suite(_tried(document, rule), columns_of(dataset))
    with transaction.atomic():
        dataset = locked(Dataset.objects.all()).get(pk=dataset_id)
        require_owner(actor, dataset, CHANGE_EXPECTATIONS)
        SuiteTrial.objects.filter(dataset=dataset, asked_by=actor, status__in=SuiteTrial.ACTIVE).update(
            status=WorkStatus.FAILED,
            finished_at=timezone.now(),
            error_code="superseded",
            error_message="You tried something else meanwhile.",
        )
        trial = SuiteTrial.objects.create(
            dataset=dataset,
            asked_by=actor,
            document=storable(document),
            rule=storable(rule),
            rule_number=rule_number,
            edited_number=edited_number,
            note=storable(note),
        )
        transaction.on_commit(lambda: ring_for_trial(trial.pk), robust=True)
    return trial


def _tried(document: str, rule: Mapping[str, Any] | None) -> str | dict[str, Any]:
    return document if rule is None else {"name": "", "expectations": [rule]}


def ring_for_trial(trial_id: int) -> None:
    """Ask a worker to try. A broker that is down is logged; the sweep rings again."""
    bells.ring("datasets.try_suite", trial_id)


def trial_of(dataset: Dataset, trial_id: int, actor: User) -> SuiteTrial:
    """What the person tried on the dataset. Raises ``NotFound``, also for what others tried."""
    found = SuiteTrial.objects.filter(dataset=dataset, pk=trial_id, asked_by=actor).first()
    if found is None:
        raise NotFound("There is no such trial; what was tried is forgotten after a day.")
    return found


def make_trial(*, trial_id: int, worker: str) -> SuiteTrial | None:
    """Judge the table and keep what was found. Called by workers, safe to call again.

    None if it is gone, has ended, waits for the table's store or is in other hands.
    """
    trial = SuiteTrial.objects.select_related("dataset__meta").filter(pk=trial_id).first()
    hold = table_work.claim(trial, worker=worker) if trial is not None else None
    if hold is None:
        return None
    with table_work.kept_alive(hold) as lost:
        _judge(hold, lost.is_set)
    return hold.work


def _judge(hold: work.Hold[SuiteTrial], is_over: Callable[[], bool]) -> None:
    trial, dataset = hold.work, hold.work.dataset
    if hold.is_worn_out:
        message = f"Given up after {work.MOST_ATTEMPTS} interrupted attempts. The worker's log says more."
        work.end(hold, WorkStatus.FAILED, error_code="given_up", error_message=message)
        return
    try:
        table_work.require_store(hold)
        report = merging.check_table(
            dataset.table_uri,
            _tried(trial.document, trial.rule),
            tuple(dataset.primary_keys),
            examples=ROWS_TOLD,
            is_over=is_over,
        )
    except merging.MergeError as error:
        if not table_work.waits_on(hold, error):
            message = table_work.message_of(error)
            work.end(hold, WorkStatus.FAILED, error_code=error.code, error_message=message)
    except Exception as error:  # the boundary: whoever waits must hear of it
        logger.error("trial_failed", trial_id=trial.pk, exc_info=error)
        message = "Judging the table failed unexpectedly. The worker's log says more."
        work.end(hold, WorkStatus.FAILED, error_code="trial_failed", error_message=message)
    else:
        work.end(hold, WorkStatus.SUCCEEDED, report=storable(report.as_json()))


def sweep_trials() -> int:
    """Ring again for trials that wait or whose worker died, and forget those of yesterday; returns how many rang."""
    SuiteTrial.objects.filter(finished_at__lt=timezone.now() - KEPT_FOR).delete()
    waiting = table_work.unattended(SuiteTrial.objects.order_by("pk")).values_list("pk", flat=True)[
        :RUNG_AT_ONCE
    ]
    for trial_id in waiting:
        ring_for_trial(trial_id)
    return len(waiting)
