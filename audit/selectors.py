"""Questions that others ask of the trail."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, Q

from audit.models import Chain, Event, EventQuerySet, OutboxEntry
from audit.outbox import MOST_ATTEMPTS


@dataclass(frozen=True)
class Seal:
    """What an entry says of a row that was written with it, who wrote it, and when."""

    text: str
    sequence: int
    actor: str
    occurred_at: datetime


def events_of(subject_type: str, subject_id: str) -> EventQuerySet:
    """The events of one thing, oldest first."""
    found = Event.objects.filter(subject_type=subject_type, subject_id=subject_id)
    return found.order_by("sequence").defer("salt", "rows", "redactions")


def events_of_many(subject_type: str, subject_ids: Iterable[str], action: str) -> EventQuerySet:
    """The events of one kind on several things."""
    return Event.objects.filter(subject_type=subject_type, subject_id__in=list(subject_ids), action=action)


def events_called(action: str) -> EventQuerySet:
    """The events of one kind, oldest first in each chain."""
    return Event.objects.filter(action=action).order_by("stream", "sequence")


def events_naming_files() -> EventQuerySet:
    """The events that name audit files, with their folder and hashes."""
    return Event.objects.filter(data__has_key="audit_files").order_by("stream", "sequence")


def seals_in(stream: str) -> dict[str, Seal]:
    """What the newest entry of a chain says of each row that its entries vouch for."""
    found = Event.objects.filter(stream=stream).exclude(rows={}).order_by("sequence")
    facts = found.values_list("sequence", "actor", "occurred_at", "rows").iterator()
    return {
        name: Seal(text, sequence, actor, occurred_at)
        for sequence, actor, occurred_at, rows in facts
        for name, text in rows.items()
    }


def event_count() -> int:
    """How many events the trail holds."""
    return Event.objects.count()


def events_in(stream: str) -> EventQuerySet:
    """The events of one chain, oldest first."""
    return Event.objects.filter(stream=stream).order_by("sequence")


def heads_of(streams: Iterable[str]) -> dict[str, int]:
    """The number of the newest entry of each of these chains; a chain's entries become visible in their order."""
    return dict(Chain.objects.filter(stream__in=list(streams)).values_list("stream", "last_sequence"))


def chain_heads() -> dict[str, tuple[int, str]]:
    """The number and the hash of the newest entry of every chain."""
    rows = Chain.objects.order_by("stream").values_list("stream", "last_sequence", "last_hash")
    return {stream: (sequence, digest) for stream, sequence, digest in rows}


def seen_until(stream: str, sequence: int, moment: datetime) -> int:
    """The number of the entry up to which somebody has seen a chain who saw one of a number, of this millisecond, last.

    A database that was restored from a backup gives numbers again: where that is another entry by now, or none, they
    have seen what happened until then.
    """
    entries, end = Event.objects.filter(stream=stream), moment + timedelta(milliseconds=1)
    if entries.filter(sequence=sequence, occurred_at__gte=moment, occurred_at__lt=end).exists():
        return sequence
    return entries.filter(occurred_at__lt=end).aggregate(last=Max("sequence"))["last"] or 0


def events_after(stream: str, sequence: int, subject_type: str, subject_ids: Iterable[str]) -> EventQuerySet:
    """The entries of a chain behind a number that are of some things of one kind, oldest first."""
    found = Event.objects.filter(
        stream=stream, sequence__gt=sequence, subject_type=subject_type, subject_id__in=list(subject_ids)
    )
    return found.order_by("sequence").defer("salt", "rows", "redactions")


def entries_like(
    *, about: str = "", action: str = "", since: datetime | None = None, until: datetime | None = None
) -> EventQuerySet:
    """Entries of the whole trail, for operators who look for some; what is empty does not filter.

    ``about`` is a subject, an actor, a chain or the id of a request, ``action`` may end in ``*`` for all that begin so.
    """
    found = Event.objects.defer("salt", "rows", "redactions")
    if about:
        found = found.filter(Q(subject_id=about) | Q(actor=about) | Q(stream=about) | Q(request_id=about))
    if action.endswith("*"):
        found = found.filter(action__startswith=action[:-1])
    elif action:
        found = found.filter(action=action)
    if since is not None:
        found = found.filter(occurred_at__gte=since)
    return found if until is None else found.filter(occurred_at__lt=until)


@dataclass(frozen=True)
class Untold:
    """How many events nobody was told of: those that are tried, since when, and those that were given up."""

    waiting: int
    given_up: int
    waiting_since: datetime | None


def untold() -> Untold:
    """What stands in the outbox."""
    waits = Q(attempts__lt=MOST_ATTEMPTS)
    found = OutboxEntry.objects.filter(dispatched_at__isnull=True).aggregate(
        waiting=Count("pk", filter=waits),
        given_up=Count("pk", filter=~waits),
        since=Min("event__occurred_at", filter=waits),
    )
    return Untold(found["waiting"], found["given_up"], found["since"])
