"""Stores that do not answer, as a state: since when and why, which work waits, and who asks again for all others.

Whoever meets ``merging.TableUnreachable`` notes it. The dataset then says so on its pages, and its place (the bucket)
is shut off: merges there wait instead of keeping a worker with a dead store. After a pause the first that comes asks
again for all (a probe); an answer opens the place and clears the state.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

import merging
from datasets.models import DatasetMeta, StorePlace

#: The first and the longest pause before a store is asked again; each is twice the one before.
FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=10)
#: How long one who asks for all others may take to hear.
PROBE_SECONDS = 60
#: What callers of the API are told to wait.
RETRY_AFTER_SECONDS = 30


@dataclass(frozen=True)
class ShutOff:
    """A place that nobody asks now: until when, and what it said last."""

    until: datetime
    reason: str


def place_of(table_uri: str) -> str:
    """The store of a table, as the scheme and the bucket; empty for a folder, which needs no store."""
    found = urllib.parse.urlsplit(table_uri)
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}" if found.netloc else ""


def pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row."""
    return min(FIRST_PAUSE * 2 ** min(max(failures, 1) - 1, 20), LONGEST_PAUSE)


def note_outage(error: merging.TableUnreachable) -> None:
    """Remember that a store did not answer: on its datasets' facts, and, where it may pass by itself, on its place."""
    now, place = timezone.now(), place_of(error.table_uri)
    DatasetMeta.objects.filter(dataset__table_uri=error.table_uri).update(
        unreachable_since=Coalesce(F("unreachable_since"), now), unreachable_reason=error.reason
    )
    if not place or not error.retriable:
        return
    with transaction.atomic():
        StorePlace.objects.get_or_create(place=place, defaults={"failing_since": now})
        row = StorePlace.objects.select_for_update().get(place=place)
        if row.shut_until is not None and row.shut_until > now and not row.probing:
            return  # others have noted it a moment ago
        row.failures += 1
        row.reason, row.probing = error.reason, False
        row.shut_until = now + pause_after(row.failures)
        row.save(update_fields=["failures", "reason", "shut_until", "probing"])


def note_answer(table_uri: str) -> None:
    """Remember that the store of a table answered: nothing to remember where it always did."""
    DatasetMeta.objects.filter(dataset__table_uri=table_uri, unreachable_since__isnull=False).update(
        unreachable_since=None, unreachable_reason=""
    )
    if place := place_of(table_uri):
        StorePlace.objects.filter(place=place).delete()


def shut_off(table_uri: str) -> ShutOff | None:
    """Why nobody asks the store of a table now; None where it may be asked, by the caller for all others where it
    failed before.
    """
    place, now = place_of(table_uri), timezone.now()
    row = StorePlace.objects.filter(place=place).first() if place else None
    if row is None or row.shut_until is None:
        return None
    probing = now + timedelta(seconds=PROBE_SECONDS)
    as_it_was = StorePlace.objects.filter(pk=row.pk, shut_until=row.shut_until)
    if row.shut_until <= now and as_it_was.update(shut_until=probing, probing=True):
        return None
    return ShutOff(max(row.shut_until, now + timedelta(seconds=1)), row.reason)


def told_of(error: merging.TableUnreachable) -> dict[str, Any]:
    """What callers read of it beside the reason: which dataset, since when, and when to ask again. It is noted."""
    told: dict[str, Any] = {"retry_after": RETRY_AFTER_SECONDS} if error.retriable else {}
    try:
        note_outage(error)
        found = (
            DatasetMeta.objects.filter(dataset__table_uri=error.table_uri).select_related("dataset").first()
        )
    except DatabaseError:  # what the caller asked for had failed already, and its transaction with it
        return told
    if found is not None and found.unreachable_since is not None:
        told |= {"dataset": str(found.dataset), "unreachable_since": found.unreachable_since.isoformat()}
    return told
