"""The one machine for durable work: claim, give signs of life, tell progress, end, and find what nobody works on.

Every change of a row is a compare-and-set. Work that needs a table for itself (merges, maintenance) is claimed under
the lease of its dataset, and the lease tells whether its worker lives; other work is claimed by itself, and its own
heartbeat tells. Tasks ring with a primary key, claim, work inside ``kept_alive`` and ``end``; the sweep rings again for
what is ``unattended``.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Case, Q, QuerySet, Value, When
from django.utils import timezone

import merging
from datasets import leases, tracing
from datasets.durable_work import DurableWork, WorkStatus

Work = TypeVar("Work", bound=DurableWork)

#: How often work is begun before it is given up: what kills its worker must not do so for ever.
MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Hold(Generic[Work]):
    """Work in the hands of one worker: it may write of it until somebody else has taken it up with a higher fence.

    ``lease`` is that of the dataset, for work that has one. Of work on a table (``datasets.table_work``): whether it
    ``is_probe``, which asks a store that failed for all others, why it is not tried any more, but ``given_up``, and as
    what the table was opened (``datasets.connecting.opened_as``).
    """

    work: Work
    fence: int
    lease: leases.Lease | None = None
    is_probe: bool = False
    given_up: merging.TableUnreachable | None = None
    opened_as: str = ""

    @property
    def table_lease(self) -> leases.Lease:
        """The lease under which the table is this worker's."""
        if self.lease is None:
            raise TypeError(f"{self.work} was not claimed under the lease of a dataset.")
        return self.lease

    @property
    def is_worn_out(self) -> bool:
        """Whether it was begun too often by now, and is ended instead of being tried again."""
        return self.work.attempts > MOST_ATTEMPTS

    def rows(self) -> QuerySet[Work]:
        """Its row while it is this worker's, else nothing."""
        rows: QuerySet[Work] = type(self.work)._default_manager.all()
        return rows.filter(pk=self.work.pk, status=WorkStatus.RUNNING, fence=self.fence)


def next_in_line(rows: QuerySet[Work]) -> Work | None:
    """What to work on now: what was begun and never ended, else what has waited longest."""
    interrupted_first = Case(When(status=WorkStatus.RUNNING, then=Value(0)), default=Value(1))
    return rows.filter(status__in=DurableWork.ACTIVE).order_by(interrupted_first, "pk").first()


def claim(work: Work, *, worker: str, lease: leases.Lease | None = None, **fields: Any) -> Hold[Work] | None:
    """Begin work that waits, or take up what was cut short; None where it ended, is somebody's, or went to another.

    Whoever holds the dataset's ``lease`` knows that nobody else is at work; without one a fresh heartbeat says that
    somebody is. ``fields`` are written with it.
    """
    now = timezone.now()
    if not work.is_active or (lease is None and _is_alive(work, now)):
        return None
    begun = {
        "status": WorkStatus.RUNNING,
        "worker": worker,
        "attempt_id": uuid.uuid4().hex,
        "attempts": work.attempts + 1,
        "fence": work.fence + 1 if lease is None else lease.fence,
        "started_at": work.started_at or now,
        "heartbeat_at": now,
        **fields,
    }
    as_it_was = type(work)._default_manager.filter(
        pk=work.pk, status=work.status, fence=work.fence, heartbeat_at=work.heartbeat_at
    )
    if not as_it_was.update(**begun):
        return None
    _take_over(work, begun)
    return Hold(work, work.fence, lease)


@contextmanager
def kept_alive(hold: Hold[Work]) -> Iterator[threading.Event]:
    """Give signs of life from a thread of its own while the caller works, until the work is lost or ended.

    The event is set when it is: what goes on then is for nobody. What is done is one span, below the trace in which
    the work was asked for.
    """
    lost, work = threading.Event(), hold.work

    def beat() -> bool:
        held = _beat(hold)
        if not held:
            lost.set()
        return held

    kind = str(work._meta.verbose_name)
    with (
        tracing.span(kind, parent=work.traceparent, number=work.pk, attempt=work.attempts),
        leases.beating(beat, work=str(work)),
    ):
        yield lost


def _beat(hold: Hold[Work]) -> bool:
    if hold.lease is not None and not leases.renew(hold.lease):
        return False
    # Under a lease the worker may go on after the end of the row: the table is still its own.
    return bool(hold.rows().update(heartbeat_at=timezone.now())) or hold.lease is not None


def progress(hold: Hold[Work], *conditions: Q, **fields: Any) -> bool:
    """Write how far it is, which is a sign of life, too; False where it is somebody else's or a condition fails."""
    told = {"heartbeat_at": timezone.now(), **fields}
    if not hold.rows().filter(*conditions).update(**told):
        return False
    _take_over(hold.work, told)
    return True


def end(hold: Hold[Work], status: str, **fields: Any) -> bool:
    """End it; False, and nothing is written, where somebody else has taken it up and speaks for it.

    ``hold.work`` is then as that worker left it.
    """
    ended = {"status": status, "finished_at": timezone.now(), **fields}
    if not hold.rows().update(**ended):
        hold.work.refresh_from_db()
        return False
    _take_over(hold.work, ended)
    return True


def put_back(hold: Hold[Work], **fields: Any) -> bool:
    """Let it wait again for whoever comes; False, and nothing is written, where somebody else has taken it up."""
    told = {"status": WorkStatus.QUEUED, "heartbeat_at": None, **fields}
    if not hold.rows().update(**told):
        return False
    _take_over(hold.work, told)
    return True


def unattended(rows: QuerySet[Work]) -> QuerySet[Work]:
    """What waits, or was begun by a worker that gave no sign of life in time. For work without a lease."""
    lost = Q(status=WorkStatus.RUNNING, heartbeat_at__lte=timezone.now() - _lifetime())
    return rows.filter(Q(status=WorkStatus.QUEUED) | lost)


def unattended_under_lease(rows: QuerySet[Work]) -> QuerySet[Work]:
    """What waits or was begun on a dataset whose lease nobody alive holds. For work that needs the table for itself."""
    return rows.filter(leases.expired_or_free("dataset__"), status__in=DurableWork.ACTIVE)


def _is_alive(work: DurableWork, now: datetime) -> bool:
    return (
        work.status == WorkStatus.RUNNING
        and work.heartbeat_at is not None
        and work.heartbeat_at > now - _lifetime()
    )


def _lifetime() -> timedelta:
    return timedelta(seconds=leases.LEASE_SECONDS)


def _take_over(work: DurableWork, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(work, name, value)
