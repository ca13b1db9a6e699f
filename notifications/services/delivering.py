"""Sending what waits: in order for each receiver, at least once, later again where it failed, given up after days."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db.models import Min, Q
from django.utils import timezone

from audit import bells
from datasets import work
from datasets.counting import DELIVERIES
from datasets.durable_work import WorkStatus
from notifications.channels.protocol import DeliveryFailed, Sent
from notifications.channels.registry import channel_called
from notifications.models import Delivery

logger = structlog.get_logger(__name__)

#: The task that sends what waits for the receiver of one delivery.
DELIVER: Final = "notifications.deliver"
#: The first and the longest time between two attempts; each is twice the one before.
FIRST_PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(hours=1)
#: For how long a delivery is tried.
PATIENCE: Final = timedelta(days=3)
#: How many deliveries to one receiver a task sends before it lets others have the worker.
AT_ONCE: Final = 20
#: How many receivers one sweep rings for.
MOST_BELLS: Final = 500


def ring_on_commit(delivery: Delivery) -> None:
    """Ask a worker to send it, once the surrounding transaction is committed."""
    bells.ring_on_commit(DELIVER, delivery.pk)


def deliver(*, delivery_id: int, worker: str) -> None:
    """Send what waits for the receiver of a delivery, first things first, until one has to wait."""
    receiver = Delivery.objects.filter(pk=delivery_id).values_list("receiver", flat=True).first()
    if receiver is None:
        return
    for _ in range(AT_ONCE):
        first = _first_of(receiver)
        if first is None or first.next_attempt_at > timezone.now():
            return
        # Noted before it is tried: one that takes its worker along waits like one that is refused.
        hold = work.claim(first, worker=worker, next_attempt_at=_next_attempt(first.attempts + 1))
        if hold is None:
            return
        _send(hold)
    bells.ring(DELIVER, delivery_id)


def sweep() -> None:
    """Ring for every receiver whose first delivery is due and in nobody's hands."""
    firsts = Delivery.objects.filter(status__in=Delivery.ACTIVE).order_by().values("receiver")
    due = Delivery.objects.filter(
        pk__in=firsts.annotate(first=Min("pk")).values("first"), next_attempt_at__lte=timezone.now()
    )
    waiting = work.unattended(due).order_by("next_attempt_at").values_list("pk", flat=True)
    for pk in waiting[:MOST_BELLS]:
        bells.ring(DELIVER, pk)


def _first_of(receiver: str) -> Delivery | None:
    waiting = Delivery.objects.filter(Q(receiver=receiver, status__in=Delivery.ACTIVE))
    return waiting.order_by("pk").first()


def _send(hold: work.Hold[Delivery]) -> None:
    delivery = hold.work
    try:
        with work.kept_alive(hold):
            sent = channel_called(delivery.channel).send(delivery)
    except DeliveryFailed as failure:
        _note_failure(hold, failure)
    except Exception as error:  # a fault of ours must not end in silence, nor at once
        logger.exception("delivery_failed", delivery=delivery.pk, receiver=delivery.receiver)
        _note_failure(hold, DeliveryFailed(f"{type(error).__name__}: {error}", retry=True))
    else:
        _note_success(hold, sent)


def _note_success(hold: work.Hold[Delivery], sent: Sent) -> None:
    DELIVERIES.add(hold.work.channel, "sent")
    work.end(
        hold,
        WorkStatus.SUCCEEDED,
        response=dict(sent.response),
        error_code="",
        error_message=sent.note,
    )


def _note_failure(hold: work.Hold[Delivery], failure: DeliveryFailed) -> None:
    told = {"response": failure.response, "error_message": failure.message}
    if not failure.retry:
        DELIVERIES.add(hold.work.channel, "refused")
        work.end(hold, WorkStatus.FAILED, error_code="refused", **told)
    elif hold.work.queued_at <= timezone.now() - PATIENCE:
        DELIVERIES.add(hold.work.channel, "given_up")
        work.end(hold, WorkStatus.FAILED, error_code="given_up", **told)
    else:
        DELIVERIES.add(hold.work.channel, "not_taken")
        pause = min(failure.pause, LONGEST_PAUSE)
        next_attempt = max(hold.work.next_attempt_at, timezone.now() + pause)
        work.put_back(hold, error_code="not_taken", next_attempt_at=next_attempt, **told)


def _next_attempt(attempts: int) -> datetime:
    pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)
    return timezone.now() + pause * random.uniform(0.8, 1.2)  # noqa: S311  (so that receivers do not move in step)
