"""The one writer of the audit trail: events in the database and files beside the tables."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils import timezone

from audit.chain import event_hash
from audit.models import Chain, Event

#: The chain of everything that belongs to no single dataset.
INSTALLATION_STREAM = "installation"


def dataset_stream(dataset_id: int) -> str:
    """The chain in which the events of one dataset stand."""
    return f"dataset:{dataset_id}"


def record(
    *,
    stream: str,
    action: str,
    subject_type: str,
    subject_id: str,
    actor: str = "",
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Append one event. Call it inside the transaction of the change that it tells of.

    ``actor`` is a user name, empty for the system. ``data`` holds JSON values (dates and decimals are
    converted), never row values. Raises ``TransactionManagementError`` outside a transaction.
    """
    chain, _ = Chain.objects.get_or_create(stream=stream)
    chain = Chain.objects.select_for_update().get(stream=stream)
    plain = json.loads(json.dumps(dict(data or {}), cls=DjangoJSONEncoder))
    content = {
        "stream": stream,
        "sequence": chain.last_sequence + 1,
        "occurred_at": timezone.now(),
        "actor": actor,
        "action": action,
        "subject_type": subject_type,
        "subject_id": subject_id,
        "data": plain,
        "request_id": str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
        "previous_hash": chain.last_hash,
    }
    event = Event(**content, hash=event_hash(**content))
    event.save(force_insert=True)
    Chain.objects.filter(pk=stream).update(last_sequence=event.sequence, last_hash=event.hash)
    return event


@dataclass(frozen=True)
class Break:
    """A place where a chain is not what was written."""

    stream: str
    sequence: int
    reason: str


def verify_chains() -> Iterator[Break]:
    """Walk every chain and yield each entry that was changed, is missing or stands out of order."""
    with transaction.atomic():
        for chain in Chain.objects.order_by("stream"):
            yield from _verify_chain(chain)
        orphans = Event.objects.exclude(stream__in=Chain.objects.values("stream"))
        for stream, sequence in orphans.values_list("stream", "sequence"):
            yield Break(stream, sequence, "its chain has no head")


def _verify_chain(chain: Chain) -> Iterator[Break]:
    previous_hash, expected = "", 1
    for event in Event.objects.filter(stream=chain.stream).order_by("sequence").iterator():
        for missing in range(expected, event.sequence):
            yield Break(chain.stream, missing, "the entry is missing")
        if expected == event.sequence and event.previous_hash != previous_hash:
            yield Break(chain.stream, event.sequence, "it does not follow the entry before it")
        content = {
            field: getattr(event, field)
            for field in (
                "stream", "sequence", "occurred_at", "actor", "action", "subject_type", "subject_id",
                "data", "request_id", "previous_hash",
            )
        }  # fmt: skip
        if event_hash(**content) != event.hash:
            yield Break(chain.stream, event.sequence, "its content was changed")
        previous_hash, expected = event.hash, event.sequence + 1
    for missing in range(expected, chain.last_sequence + 1):
        yield Break(chain.stream, missing, "the entry is missing")
    if expected == chain.last_sequence + 1 and previous_hash != chain.last_hash:
        yield Break(chain.stream, chain.last_sequence, "it is not the entry that was written last")
