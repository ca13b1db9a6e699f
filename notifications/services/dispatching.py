"""From the outbox to receivers: each event becomes deliveries, in the transaction that takes it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from django.db import transaction
from django.db.utils import OperationalError
from django.utils import timezone

from audit import outbox
from notifications.models import Delivery
from notifications.news import news_of
from notifications.services import delivering
from notifications.services.routing import ROUTERS

logger = structlog.get_logger(__name__)

#: How many events are dispatched in one transaction: the chains do not wait for it, other dispatchers do.
AT_ONCE = 50


def dispatch() -> int:
    """Dispatch all events that wait, in the order of their chains; returns how many.

    Safe to call at the same time: the second leaves all to the first, which looks once more before it ends. An event
    that cannot be dispatched is noted and tried again by the sweep, and keeps no other waiting.
    """
    count = 0
    tried: set[int] = set()
    while True:
        try:
            with outbox.taken_out(AT_ONCE, besides=tried) as events:
                told = [event.pk for event in events if _dispatch_one(event)]
                outbox.dispatched(told, timezone.now())
        except outbox.InOtherHands:
            return count
        if not events:
            return count
        count += len(told)
        tried.update({event.pk for event in events}.difference(told))


def _dispatch_one(event: Any) -> bool:
    try:
        with transaction.atomic():
            _write_deliveries(event)
    except OperationalError:
        raise  # the transaction is lost, and with it nothing: all wait for the next time
    except Exception as error:  # the others must not wait for one that cannot be told
        logger.exception("event_not_dispatched", event_id=event.pk, action=event.action)
        outbox.failed(event.pk, f"{type(error).__name__}: {error}")
        return False
    return True


def _write_deliveries(event: Any) -> None:
    news = news_of(event)
    parcels = [parcel for router in ROUTERS for parcel in router(news)]
    made: Sequence[Delivery] = Delivery.objects.bulk_create(
        Delivery(receiver=parcel.receiver, event_id=event.pk, payload=dict(parcel.payload))
        for parcel in parcels
    )
    for delivery in made:
        delivering.ring_on_commit(delivery)
