"""The daily mail: what was not told at once, and was not read in the inbox meanwhile."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from audit.row_locks import locked
from notifications.models import Delivery, Notification
from notifications.services import delivering

#: How much news one mail tells; the rest is in the inbox.
MOST_ITEMS: Final = 200


def send_digests() -> int:
    """A mail for everybody for whom something waits; returns how many. Safe to call again: nothing is told twice."""
    waiting = Notification.objects.filter(for_digest=True)
    people = waiting.order_by().values_list("person", flat=True).distinct()
    return sum(_send_digest(person) for person in list(people))


def _send_digest(person: int) -> bool:
    with transaction.atomic():
        rows = locked(Notification.objects.filter(person=person, for_digest=True))
        waiting = list(rows.order_by("pk").values_list("pk", "read_at"))
        Notification.objects.filter(pk__in=[pk for pk, _ in waiting]).update(for_digest=False)
        unread = [pk for pk, read_at in waiting if read_at is None][-MOST_ITEMS:]
        if not unread:
            return False
        payload = {"digest": True, "notifications": unread}
        delivering.ring_on_commit(Delivery.objects.create(receiver=f"mail:{person}", payload=payload))
    return True
