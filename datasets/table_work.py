"""Durable work on tables, whose stores may not answer: all kinds of it wait, go on and are given up in one way.

It is claimed where it is due and its store is not shut off. What meets ``merging.TableUnreachable`` goes back to the
queue with a pause that grows, and ends with the reason once it was tried for hours. Work that succeeds tells that the
store answers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db.models import Q, QuerySet
from django.utils import timezone

import merging
from datasets import leases, outages, work
from datasets.connecting import opened_as
from datasets.counting import STORE_RETRIES
from datasets.durable_work import TableWork, WorkStatus
from datasets.errors import DomainError
from datasets.models import Connection
from datasets.rows import storable
from datasets.work import Hold

Work = TypeVar("Work", bound=TableWork)

#: What work says of itself while it waits for its store.
STORE_SILENT: Final = merging.TableUnreachable.code
#: How often work waits for its store before it ends: about four hours.
MOST_WAITS = 30
#: After so long work is given up that waited behind others of a place that never answered.
LONGEST_WAIT = timedelta(hours=4)


def claim(
    waiting: Work, *, worker: str, lease: leases.Lease | None = None, **fields: Any
) -> Hold[Work] | None:
    """As ``work.claim``; None as well where it is not due, and where its store is shut off: then it waits on, with all
    of its kind and dataset.

    What has waited too long for a store that is shut off is claimed nevertheless, to be ended: ``require_store``.
    """
    if waiting.status == WorkStatus.RUNNING:  # it was cut short
        hold = work.claim(waiting, worker=worker, lease=lease, **fields)
        return None if hold is None else replace(hold, opened_as=_opened_as(waiting))
    now = timezone.now()
    if waiting.not_before is not None and waiting.not_before > now:
        return None
    turn = outages.turn_of(waiting.dataset)
    given_up = None
    if turn.off is not None:
        given_up = merging.TableUnreachable(waiting.dataset.table_uri, turn.off.reason, retriable=True)
        if max(turn.off.since, waiting.queued_at) > now - LONGEST_WAIT:
            _wait(waiting, turn.off)
            return None
    known = {"not_before": None, "error_code": "", "error_message": "", **fields}
    hold = work.claim(waiting, worker=worker, lease=lease, **known)
    if hold is None:
        return None
    return replace(hold, is_probe=turn.is_probe, given_up=given_up, opened_as=_opened_as(waiting))


def _opened_as(waiting: TableWork) -> str:
    """What the table is opened as now, to be compared; empty without a connection, which is no statement."""
    of_it = Connection.objects.filter(pk=waiting.dataset.connection_id).only("name", "version", "references")
    connection = of_it.first() if waiting.dataset.connection_id is not None else None
    return "" if connection is None else opened_as(connection)


def is_opened_otherwise(hold: Hold[Work]) -> bool:
    """Whether the connection of the table, or a file that it refers to, was changed since the work began: it works with
    what does not hold now.
    """
    return _opened_as(hold.work) != hold.opened_as


def require_opened_as_now(hold: Hold[Work]) -> None:
    """Raise what lets work begin again where the table is opened otherwise by now: before something is committed that
    would stand where the table was.
    """
    if is_opened_otherwise(hold):
        sentence = "Its connection was changed while it was worked on."
        raise merging.TableUnreachable(hold.work.dataset.table_uri, sentence, retriable=True)


def _wait(waiting: Work, off: outages.ShutOff) -> None:
    """Put off all of its kind that waits for the same table: whoever asked the store now would only wait with it."""
    rows = type(waiting)._default_manager.filter(dataset=waiting.dataset, status=WorkStatus.QUEUED)
    rows.filter(queued_at__gt=timezone.now() - LONGEST_WAIT).update(
        not_before=off.until, error_code=STORE_SILENT, error_message=storable(off.reason)
    )


def require_store(hold: Hold[Work]) -> None:
    """Raise what ends work that has waited long enough, before its store is asked once more."""
    if hold.given_up is not None:
        raise hold.given_up


def may_wait(hold: Hold[Work], error: Exception) -> bool:
    """Whether the work waits for its store and is tried again, instead of ending with the error."""
    if not isinstance(error, merging.TableUnreachable) or hold.given_up is not None:
        return False
    return hold.work.waits < MOST_WAITS and (error.retriable or is_opened_otherwise(hold))


def put_off(hold: Hold[Work], error: merging.TableUnreachable, **fields: Any) -> bool:
    """Let work wait that has committed nothing: its store did not answer, which is noted. This was no attempt that was
    cut short. False, and nothing is written of it, where somebody else has taken it up.
    """
    told = {**_waiting(error, hold.work.waits + 1), "attempts": hold.work.attempts - 1}
    if is_opened_otherwise(hold):
        told |= {
            "not_before": None,
            "error_code": "",
            "error_message": "",
        }  # as it is opened now it may well answer
    else:
        outages.note_outage(error)
    if not work.put_back(hold, **told, **fields):
        return False
    kind = str(hold.work._meta.verbose_name)
    STORE_RETRIES.add(outages.bucket_of(hold.work.dataset.table_uri) or "local", kind)
    return True


def wait_from_the_start(made: TableWork, error: merging.TableUnreachable, *, waits: int) -> None:
    """Let work wait that was just queued in place of other work, whose store did not answer so many times."""
    for name, value in _waiting(error, waits).items():
        setattr(made, name, value)
    made.save()


def _waiting(error: merging.TableUnreachable, waits: int) -> dict[str, Any]:
    return {
        "not_before": timezone.now() + outages.pause_after(waits),
        "waits": waits,
        "error_code": error.code,
        "error_message": storable(error.reason),
    }


def waits_on(hold: Hold[Work], error: Exception, **fields: Any) -> bool:
    """Put the work off where an error lets it wait; else False, and the caller ends it. An outage is noted."""
    if not isinstance(error, merging.TableUnreachable):
        return False
    if may_wait(hold, error):
        put_off(hold, error, **fields)
        return True
    outages.note_outage(error)
    return False


def message_of(error: merging.MergeError | DomainError) -> str:
    """What is told of an error that ended work: of a store, that it was tried again for as long as anybody would."""
    if isinstance(error, merging.TableUnreachable) and error.retriable:
        return f"{error.message} It was tried for hours, and nothing was changed. Try again once the store answers."
    return error.message


@contextmanager
def kept_alive(hold: Hold[Work]) -> Iterator[threading.Event]:
    """As ``work.kept_alive``; what has succeeded by then has heard from its store, for all others, too."""
    with work.kept_alive(hold) as lost:
        yield lost
    done = hold.work
    if done.is_active or done.error_code:
        return
    if hold.is_probe or done.dataset.meta.unreachable_since is not None:
        outages.note_answer(done.dataset)


def unattended(rows: QuerySet[Work]) -> QuerySet[Work]:
    """As ``work.unattended``, without what waits for its store."""
    return work.unattended(rows.filter(due()))


def due() -> Q:
    """The condition that work does not wait for its store."""
    return Q(not_before__isnull=True) | Q(not_before__lte=timezone.now()) | ~Q(status=WorkStatus.QUEUED)
