"""What streams tell, read for many listeners at once: events of a request, messages to a person."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Max

from audit import selectors as trail
from audit.services import dataset_stream
from datasets.models import Dataset
from datasets.roles import role_on
from notifications.kinds import REASONS, Kind, Reason
from notifications.last_read import MILLISECOND, LastRead
from notifications.models import Notification
from notifications.recipients import next_step
from notifications.selectors import inbox_of, unread_of

#: How many events one look tells of one chain, or of one kind of news.
AT_ONCE: Final = 500


@dataclass(frozen=True)
class StreamEntry:
    """One event of a stream: its number and when it came, by which a listener goes on later, and its data."""

    number: int
    name: str
    document: Mapping[str, Any]
    came_at: datetime | None = None

    def frame(self) -> bytes:
        """As it is sent (HTML, "Server-sent events"): JSON has no line breaks of its own."""
        data = json.dumps(self.document, cls=DjangoJSONEncoder, separators=(",", ":"))
        name = LastRead(self.number, self.came_at).name()
        return f"event: {self.name}\nid: {name}\ndata: {data}\n\n".encode()


@dataclass(frozen=True)
class RequestNews:
    """The events of one change request, numbered as in the chain of its dataset."""

    dataset: int
    cr_id: str

    def may_be_heard_by(self, person: User) -> bool:
        """Whether the person may see the request."""
        return _sees(person, self.dataset)

    def newest(self) -> int:
        """The number of what happened last."""
        return _head_of(self.dataset)

    def heard_until(self, last: LastRead) -> int:
        """Up to which number whoever read that was told."""
        if last.moment is None:
            return last.number
        return trail.seen_until(dataset_stream(self.dataset), last.number, last.moment)


@dataclass(frozen=True)
class InboxNews:
    """What comes into the inbox of one person, numbered as all notifications are.

    Dispatchers wait for each other, so notifications come in the order of their numbers.
    """

    person: int

    def may_be_heard_by(self, person: User) -> bool:
        """Whether it is the person's own inbox. Which of its messages they may see is asked with each."""
        return person.pk == self.person

    def newest(self) -> int:
        """The number of what anybody was told last."""
        return Notification.objects.aggregate(newest=Max("pk"))["newest"] or 0

    def heard_until(self, last: LastRead) -> int:
        """Up to which number whoever read that was told."""
        if last.moment is None:
            return last.number
        end = last.moment + MILLISECOND
        if Notification.objects.filter(
            pk=last.number, created_at__gte=last.moment, created_at__lt=end
        ).exists():
            return last.number
        told = Notification.objects.filter(created_at__lt=end)
        return told.aggregate(last=Max("pk"))["last"] or 0


@dataclass(frozen=True)
class DatasetNews:
    """That something happened in a dataset, for pages, which look for themselves what; numbered as its chain."""

    dataset: int

    def may_be_heard_by(self, person: User) -> bool:
        """Whether the person may see the dataset."""
        return _sees(person, self.dataset)

    def newest(self) -> int:
        """The number of what happened last."""
        return _head_of(self.dataset)


def _sees(person: User, dataset_id: int) -> bool:
    dataset = Dataset.objects.select_related("project").filter(pk=dataset_id).first()
    return dataset is not None and role_on(person, dataset) is not None


def _head_of(dataset_id: int) -> int:
    stream = dataset_stream(dataset_id)
    return trail.heads_of([stream]).get(stream, 0)


StreamNews = RequestNews | InboxNews | DatasetNews
#: What is new of each, and how far that is.
Found = dict[StreamNews, tuple[list[StreamEntry], int]]


def heads_of(news: Collection[StreamNews]) -> dict[StreamNews, int]:
    """The number of the newest of each. Two queries at most."""
    inboxes = [one for one in news if isinstance(one, InboxNews)]
    chains = {one: dataset_stream(one.dataset) for one in news if not isinstance(one, InboxNews)}
    heads = trail.heads_of(set(chains.values())) if chains else {}
    newest = inboxes[0].newest() if inboxes else 0
    return {
        **{one: heads.get(stream, 0) for one, stream in chains.items()},
        **dict.fromkeys(inboxes, newest),
    }


def entries_of(seen: Mapping[StreamNews, int], heads: Mapping[StreamNews, int]) -> Found:
    """What is new since the numbers up to which each was told, and how far that is; those alone that are behind their
    ``heads``.
    """
    seen = {news: number for news, number in seen.items() if number < heads[news]}
    requests = {news: number for news, number in seen.items() if isinstance(news, RequestNews)}
    inboxes = {news: number for news, number in seen.items() if isinstance(news, InboxNews)}
    datasets = {news: number for news, number in seen.items() if isinstance(news, DatasetNews)}
    return {
        **entries_of_requests(requests, heads),
        **entries_of_inboxes(inboxes, heads),
        **entries_of_datasets(datasets, heads),
    }


def entries_of_inboxes(seen: Mapping[InboxNews, int], heads: Mapping[StreamNews, int]) -> Found:
    """What came into inboxes that are behind since the numbers up to which each was told, and how far that is.

    Mostly one query for whom it concerns, and some for each of those.
    """
    behind: dict[tuple[int, int], set[int]] = {}  # people by how far they were told: nearly all alike
    for news, number in seen.items():
        behind.setdefault((number, heads[news]), set()).add(news.person)
    told: set[int] = set()
    for (number, newest), people in behind.items():
        new = Notification.objects.filter(person__in=people, pk__gt=number, pk__lte=newest)
        told |= set(new.order_by().values_list("person", flat=True).distinct())
    accounts = User.objects.in_bulk(told)
    return {
        news: _entries_for(accounts[news.person], number, heads[news])
        if news.person in accounts
        else ([], heads[news])
        for news, number in seen.items()
    }


def _entries_for(person: User, after: int, newest: int) -> tuple[list[StreamEntry], int]:
    """What the person was told in between and may still see."""
    new = inbox_of(person).filter(pk__gt=after, pk__lte=newest).order_by("pk")
    rows = list(new[:AT_ONCE])
    unread = unread_of(person).count() if rows else 0
    until = rows[-1].pk if len(rows) == AT_ONCE else newest
    told = [StreamEntry(row.pk, "notification", _message(row, unread), row.created_at) for row in rows]
    return told, until


def _message(notification: Notification, unread: int) -> Mapping[str, Any]:
    event, request = notification.event, notification.change_request
    return {
        "id": notification.pk,
        "kind": notification.kind,
        "reason": notification.reason,
        "headline": notification.headline,
        "why": REASONS[Reason(notification.reason)],
        "what_to_do": next_step(event.action, Kind(notification.kind)),
        "action": event.action,
        "actor": event.actor,
        "change_request": request.cr_id if request is not None else None,
        "dataset": notification.dataset_id,
        "occurred_at": event.occurred_at,
        "read_at": notification.read_at,
        "unread": unread,
    }


def entries_of_datasets(seen: Mapping[DatasetNews, int], heads: Mapping[StreamNews, int]) -> Found:
    """Which datasets something happened in: those that are behind. No query."""
    return {
        news: ([StreamEntry(heads[news], "dataset", {"sequence": heads[news]})], heads[news]) for news in seen
    }


def entries_of_requests(seen: Mapping[RequestNews, int], heads: Mapping[StreamNews, int]) -> Found:
    """What happened to requests that are behind since the numbers up to which each was told, and how far that is.

    One query for each chain.
    """
    by_chain: dict[str, dict[RequestNews, int]] = {}
    for news, number in seen.items():
        by_chain.setdefault(dataset_stream(news.dataset), {})[news] = number
    found: Found = {}
    for stream, behind in by_chain.items():
        found |= _entries_in(stream, heads[next(iter(behind))], behind)
    return found


def _entries_in(stream: str, head: int, seen: Mapping[RequestNews, int]) -> Found:
    requests = [news.cr_id for news in seen]
    rows = list(trail.events_after(stream, min(seen.values()), "change_request", requests)[:AT_ONCE])
    until = rows[-1].sequence if len(rows) == AT_ONCE else max([head, *(row.sequence for row in rows[-1:])])
    told: dict[str, list[StreamEntry]] = {}
    for row in rows:
        told.setdefault(row.subject_id, []).append(
            StreamEntry(row.sequence, "change_request", _document(row), row.occurred_at)
        )
    return {
        news: ([entry for entry in told.get(news.cr_id, []) if entry.number > number], max(until, number))
        for news, number in seen.items()
    }


def _document(event: Any) -> Mapping[str, Any]:
    return {
        "change_request": event.subject_id,
        "sequence": event.sequence,
        "occurred_at": event.occurred_at,
        "actor": event.actor,
        "action": event.action,
        "data": event.data,
    }


def frames(entries: Sequence[StreamEntry]) -> bytes:
    """Entries as they are sent."""
    return b"".join(entry.frame() for entry in entries)
