"""Stores that do not answer, as a state: since when and why, which work waits, and who asks again for all others.

Whoever meets ``merging.TableUnreachable`` notes it. The dataset then says so on its pages, and its place (its
connection, without one the bucket) is shut off: work there waits instead of keeping a worker with a dead store. After a
pause the first that comes asks again for all (a probe); an answer opens the place and lets go on what waited for it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import DatabaseError, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

import merging
from audit.row_locks import locked
from datasets.connecting import connection_at
from datasets.data_root import data_root, is_below_data_root, local_data_root
from datasets.durable_work import TableWork, WorkStatus
from datasets.models import Dataset, DatasetMeta, StorePlace

#: The first and the longest pause before a store is asked again; each is twice the one before.
FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=10)
#: How long one who asks for all others may take to hear.
PROBE_SECONDS = 60
#: What callers of the API are told to wait.
RETRY_AFTER_SECONDS = 30
#: The place of all that lies below a data root in an object store, which has options of its own.
DATA_ROOT = "data root"
_CONNECTION = "connection "
#: A folder of the data root that is asked for to hear whether it answers.
_NOTHING_THERE = "_staging/asked"
#: The columns of ``DatasetMeta`` while the store answers.
REACHABLE: Mapping[str, Any] = {
    "unreachable_since": None,
    "unreachable_reason": "",
    "unreachable_for_good": False,
}


@dataclass(frozen=True)
class ShutOff:
    """Places that nobody asks now: since when they fail, until when nobody asks, and what was said last."""

    since: datetime
    until: datetime
    reason: str


@dataclass(frozen=True)
class Turn:
    """Whether somebody may ask a dataset's store now: not where it is ``off``; as a ``probe`` for all others."""

    off: ShutOff | None = None
    is_probe: bool = False


def bucket_of(address: str) -> str:
    """The store of an address, as the scheme and the bucket; empty for a folder, which needs no store."""
    found = urllib.parse.urlsplit(address)
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}" if found.netloc else ""


def place_of(dataset: Dataset) -> str:
    """What fails together with a dataset's table: all that is opened as it is. Empty for a folder.

    Two connections may lead to buckets of one name, at other endpoints or with other credentials.
    """
    return _place(dataset.table_uri, dataset.connection_id)


def _place(address: str, connection_id: int | None) -> str:
    bucket = bucket_of(address)
    if bucket and is_below_data_root(address):
        return DATA_ROOT
    return bucket if connection_id is None else place_of_connection(connection_id)


def place_of_connection(connection_id: int) -> str:
    """The place of the tables that are opened with a connection, whatever it is called."""
    return f"{_CONNECTION}{connection_id}"


def pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row."""
    return min(FIRST_PAUSE * 2 ** min(max(failures, 1) - 1, 20), LONGEST_PAUSE)


def note_outage(error: merging.TableUnreachable) -> None:
    """Remember that a store did not answer: on its dataset's facts, and, where it may pass by itself, on its place. Of
    what Headgate keeps itself always: whatever is wrong with it, nothing goes on, and everybody is told.
    """
    now = timezone.now()
    dataset = Dataset.objects.filter(table_uri=error.table_uri).first()
    if dataset is not None:
        DatasetMeta.objects.filter(pk=dataset.pk).update(
            unreachable_since=Coalesce(F("unreachable_since"), now),
            unreachable_reason=error.reason,
            unreachable_for_good=not error.retriable,
        )
        place = place_of(dataset)
    else:  # the data root, or a table that is content
        connection = connection_at(error.table_uri)
        place = _place(error.table_uri, connection.pk if connection is not None else None)
    if not place or not (error.retriable or place == DATA_ROOT):
        return
    with transaction.atomic():
        StorePlace.objects.get_or_create(place=place, defaults={"failing_since": now})
        row = locked(StorePlace.objects.all()).get(place=place)
        if row.shut_until is not None and row.shut_until > now and not row.probing:
            return  # others have noted it a moment ago
        row.failures += 1
        row.reason, row.probing = error.reason, False
        row.shut_until = now + pause_after(row.failures)
        row.save(update_fields=["failures", "reason", "shut_until", "probing"])


def note_answer(dataset: Dataset, *, of_table_alone: bool = False) -> None:
    """Remember that the store of a dataset answers again: nothing waits for it any more. For whoever knows that it did
    not answer before; else there is nothing to remember. Who has asked for the table alone knows nothing of the rest.
    """
    DatasetMeta.objects.filter(pk=dataset.pk, unreachable_since__isnull=False).update(**REACHABLE)
    _let_go_on(Q(dataset=dataset))
    places = [place_of(dataset)] if of_table_alone else _places_of(dataset)
    for place in StorePlace.objects.filter(place__in=places):
        place.delete()
        _open(place.place)


def forget_connection(connection_id: int) -> None:
    """Ask again at once what a connection leads to: it is opened in another way now, or gone."""
    place = place_of_connection(connection_id)
    if StorePlace.objects.filter(place=place).delete()[0]:
        _open(place)


def _open(place: str) -> None:
    """Say of all that is opened as this place that it answers, and let go on what waits for it. What is unreachable for
    reasons of its own stays so until it is asked itself.
    """
    meta = DatasetMeta.objects.filter(
        _opened_as(place), unreachable_since__isnull=False, unreachable_for_good=False
    )
    meta.update(**REACHABLE)
    _let_go_on(_opened_as(place))


def _opened_as(place: str) -> Q:
    """The condition on something of a dataset that it is opened as this place; the data root concerns all."""
    if place == DATA_ROOT:
        return Q()
    if "://" in place:
        return Q(dataset__connection=None, dataset__table_uri__startswith=f"{place}/")
    return Q(dataset__connection=int(place.removeprefix(_CONNECTION)))


def _let_go_on(of: Q) -> None:
    now = timezone.now()
    for kind in apps.get_models():
        if issubclass(kind, TableWork):
            waiting = kind._default_manager.filter(of, status=WorkStatus.QUEUED, not_before__gt=now)
            waiting.update(not_before=None, error_code="", error_message="")


def turn_of(dataset: Dataset) -> Turn:
    """Whether the caller may ask the store of a dataset now, and for whom, to work on its table."""
    return _turn(_places_of(dataset))


def turn_of_table(dataset: Dataset) -> Turn:
    """The same to look at its table alone."""
    return _turn(list(filter(None, [place_of(dataset)])))


def failing_places() -> set[str]:
    """The places that did not answer when they were asked last."""
    return set(StorePlace.objects.values_list("place", flat=True))


def _turn(places: list[str]) -> Turn:
    now = timezone.now()
    rows = list(StorePlace.objects.filter(place__in=places, shut_until__isnull=False)) if places else []
    probing = now + timedelta(seconds=PROBE_SECONDS)
    for row in rows:
        as_it_was = StorePlace.objects.filter(pk=row.pk, shut_until=row.shut_until)
        due = row.shut_until is None or row.shut_until <= now
        if not due or not as_it_was.update(shut_until=probing, probing=True):
            until = max(row.shut_until or now, now + timedelta(seconds=1))
            return Turn(ShutOff(row.failing_since, until, row.reason))
    return Turn(is_probe=bool(rows))


def is_data_root_shut_off() -> bool:
    """Whether nobody asks for what Headgate keeps itself."""
    return StorePlace.objects.filter(place=DATA_ROOT, shut_until__gt=timezone.now()).exists()


def data_root_outage() -> ShutOff | None:
    """Since when what Headgate keeps itself cannot be reached; None where it can. No statement where it is a folder."""
    row = (
        StorePlace.objects.filter(place=DATA_ROOT, failures__gt=0).first()
        if local_data_root() is None
        else None
    )
    if row is None:
        return None
    return ShutOff(row.failing_since, row.shut_until or row.failing_since, row.reason)


def ask_data_root() -> None:
    """Ask a data root that did not answer whether it does again, where somebody is to: while no table is worked on,
    nobody else would. For the sweep.
    """
    if data_root_outage() is None or _turn([DATA_ROOT]).off is not None:
        return
    try:
        data_root().files(_NOTHING_THERE)
    except merging.TableUnreachable as error:
        note_outage(error)
    else:
        StorePlace.objects.filter(place=DATA_ROOT).delete()
        _open(DATA_ROOT)


def _places_of(dataset: Dataset) -> list[str]:
    """What work on a dataset asks for: its table, and what Headgate keeps itself."""
    places = [place_of(dataset)]
    if local_data_root() is None:
        places.append(DATA_ROOT)
    return list(filter(None, dict.fromkeys(places)))


@contextmanager
def asking(dataset: Dataset) -> Iterator[None]:
    """While the table of a dataset is asked for something: without a statement where its store answers, as it did.

    Where it did not, and nobody is to ask now, raises ``merging.TableUnreachable`` at once, as it does where the store
    fails. What was heard is noted, and on ``dataset.meta``, too.
    """
    is_known = dataset.meta.unreachable_since is not None
    if is_known and turn_of_table(dataset).off is not None:
        raise unreachable(dataset)
    try:
        yield
    except merging.TableUnreachable as error:
        note_outage(error)
        dataset.meta.refresh_from_db(fields=REACHABLE)
        raise
    if is_known:
        note_answer(dataset, of_table_alone=True)
        dataset.meta.refresh_from_db(fields=REACHABLE)


def unreachable(dataset: Dataset) -> merging.TableUnreachable:
    """What was heard last of a store that did not answer, as an error."""
    meta = dataset.meta
    meta.refresh_from_db(fields=REACHABLE)
    return merging.TableUnreachable(
        dataset.table_uri, meta.unreachable_reason, retriable=not meta.unreachable_for_good
    )


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
