"""The trail as JSON lines, for archives, SIEM systems and auditors who trust no database."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from audit.errors import InvalidMoment
from audit.models import Event

#: The fields of a line, in its order. With ``audit.chain.event_hash`` whoever has the key verifies each line alone.
FIELDS = (
    "stream", "sequence", "occurred_at", "actor", "action", "subject_type", "subject_id", "data", "request_id",
    "previous_hash", "hash", "key_id", "salt", "rows", "redactions",
)  # fmt: skip

#: How many entries are read at once.
_PART = 100


@dataclass(frozen=True)
class ExportFilter:
    """Which entries are exported; what is empty does not filter. ``since`` is included, ``until`` is not."""

    since: datetime | None = None
    until: datetime | None = None
    stream: str = ""
    actor: str = ""
    action: str = ""
    subject_type: str = ""
    subject_id: str = ""


def moment_of(text: str) -> datetime | None:
    """A time as people write it, ``2026-01-31`` or ``2026-01-31T12:00:00Z``; UTC unless it says other. None for none.

    Raises ``InvalidMoment``.
    """
    if not text:
        return None
    try:
        day = parse_date(text) if len(text) == 10 else None
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(text)
        if moment is not None:
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise InvalidMoment(f"{text!r} is no time: write 2026-01-31 or 2026-01-31T12:00:00Z.")
    return moment


def export_lines(wanted: ExportFilter) -> Iterator[str]:
    """One line of JSON per entry, chain by chain, oldest first; nothing is held in memory."""
    conditions: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in ("stream", "actor", "action", "subject_type", "subject_id")
        if getattr(wanted, name)
    }
    if wanted.since is not None:
        conditions["occurred_at__gte"] = wanted.since
    if wanted.until is not None:
        conditions["occurred_at__lt"] = wanted.until
    for event in _in_order(Event.objects.filter(**conditions).order_by("stream", "sequence")):
        line = {name: getattr(event, name) for name in FIELDS}
        line["occurred_at"] = event.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
        yield json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def _in_order(events: QuerySet[Event]) -> Iterator[Event]:
    """All of them, read in parts, so that nothing of the database is held while somebody takes one."""
    part = list(events[:_PART])
    while part:
        yield from part
        stream, sequence = part[-1].stream, part[-1].sequence
        part = list(events.filter(stream=stream, sequence__gt=sequence)[:_PART])
        if len(part) < _PART:
            part += events.filter(stream__gt=stream)[: _PART - len(part)]
