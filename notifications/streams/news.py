"""What streams tell, read for many listeners at once: events of a request, messages to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder

from audit import selectors as trail
from audit.services import dataset_stream
from datasets.models import Dataset
from datasets.roles import role_on

#: How many events one look tells of one chain, or of one kind of news.
AT_ONCE: Final = 500


@dataclass(frozen=True)
class StreamEntry:
    """One event of a stream: its number, by which a listener goes on later, and its data."""

    number: int
    name: str
    document: Mapping[str, Any]

    def frame(self) -> bytes:
        """As it is sent (HTML, "Server-sent events"): JSON has no line breaks of its own."""
        data = json.dumps(self.document, cls=DjangoJSONEncoder, separators=(",", ":"))
        return f"event: {self.name}\nid: {self.number}\ndata: {data}\n\n".encode()


@dataclass(frozen=True)
class RequestNews:
    """The events of one change request, numbered as in the chain of its dataset."""

    dataset: int
    cr_id: str

    def may_be_heard_by(self, person: User) -> bool:
        """Whether the person may see the request."""
        dataset = Dataset.objects.select_related("project").filter(pk=self.dataset).first()
        return dataset is not None and role_on(person, dataset) is not None

    def newest(self) -> int:
        """The number of what happened last."""
        stream = dataset_stream(self.dataset)
        return trail.heads_of([stream]).get(stream, 0)


def entries_of_requests(seen: Mapping[RequestNews, int]) -> dict[RequestNews, tuple[list[StreamEntry], int]]:
    """What happened to requests since the numbers up to which each was told, and how far that is.

    One query for the heads of all their chains, and one for each chain that grew.
    """
    by_chain: dict[str, list[RequestNews]] = {}
    for news in seen:
        by_chain.setdefault(dataset_stream(news.dataset), []).append(news)
    found: dict[RequestNews, tuple[list[StreamEntry], int]] = {}
    for stream, head in trail.heads_of(by_chain).items():
        behind = [news for news in by_chain[stream] if seen[news] < head]
        if behind:
            found |= _entries_in(stream, head, {news: seen[news] for news in behind})
    return found


def _entries_in(
    stream: str, head: int, seen: Mapping[RequestNews, int]
) -> dict[RequestNews, tuple[list[StreamEntry], int]]:
    requests = [news.cr_id for news in seen]
    rows = list(trail.events_after(stream, min(seen.values()), "change_request", requests)[:AT_ONCE])
    until = rows[-1].sequence if len(rows) == AT_ONCE else max([head, *(row.sequence for row in rows[-1:])])
    told: dict[str, list[StreamEntry]] = {}
    for row in rows:
        told.setdefault(row.subject_id, []).append(
            StreamEntry(row.sequence, "change_request", _document(row))
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
