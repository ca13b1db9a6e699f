"""The outbox: which events nobody was told of yet. Written with each event, outside of what the trail proves.

``audit.services.record`` puts every event in; whoever tells people and programs (``notifications``) takes them out, in
the order of their chains.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.utils import OperationalError

from audit import bells
from audit.models import Event, OutboxEntry
from audit.row_locks import locked

#: The task that takes events out.
DISPATCH: Final = "notifications.dispatch"
#: How often an event is tried that cannot be told, before the others go on without it.
MOST_ATTEMPTS: Final = 5
#: PostgreSQL's answer to a look that would have to wait for a lock.
_LOCK_NOT_AVAILABLE: Final = "55P03"


class InOtherHands(Exception):
    """Somebody else takes events out at the moment, and looks again before it ends."""


def put(event: Event) -> None:
    """Put an event in, in the transaction that records it, and ring for it once that is committed."""
    OutboxEntry.objects.create(event=event)
    if all(hook is not _ring for _, hook, *_ in connection.run_on_commit):  # one bell a transaction is enough
        transaction.on_commit(_ring, robust=True)


def _ring() -> None:
    bells.ring(DISPATCH)


def waiting() -> Q:
    """The condition of entries that are to be dispatched."""
    return Q(dispatched_at__isnull=True, attempts__lt=MOST_ATTEMPTS)


@contextmanager
def taken_out(most: int, besides: Collection[int] = ()) -> Iterator[list[Event]]:
    """The oldest events that wait, at most so many, in the order of their chains, locked until the block ends;
    ``besides`` names events by their primary keys that the caller has tried.

    What the block writes is committed with them. Events of one chain are never dispatched out of order: while one
    caller holds them, others are told ``InOtherHands``. They need not come back where every caller goes on until it is
    given none: what was recorded before that last look is in it.
    """
    with transaction.atomic():
        rows = locked(OutboxEntry.objects.filter(waiting()), nowait=True)
        rows = rows.exclude(event__in=besides).order_by("event_id").select_related("event")
        try:
            entries = list(rows[:most])
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
            raise InOtherHands from error
        yield [entry.event for entry in entries]


def dispatched(events: Collection[int], at: datetime) -> None:
    """Note that these events, by their primary keys, were dispatched."""
    OutboxEntry.objects.filter(event__in=events).update(dispatched_at=at)


def failed(event: int, error: str) -> None:
    """Note that an event could not be dispatched; after ``MOST_ATTEMPTS`` it is left to the operators."""
    OutboxEntry.objects.filter(event=event).update(attempts=F("attempts") + 1, error=error[:2000])


def forget(before: datetime) -> int:
    """Remove the entries that were dispatched before; the events stay. Returns how many."""
    removed, _ = OutboxEntry.objects.filter(dispatched_at__lt=before).delete()
    return removed
