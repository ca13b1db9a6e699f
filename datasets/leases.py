"""The lease of a dataset: taken, kept alive, checked and given back by compare-and-set."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection, transaction
from django.db.models import Q
from django.utils import timezone

from audit.row_locks import locked
from datasets.models import DatasetLease

logger = structlog.get_logger(__name__)

Kind = DatasetLease.Kind

#: How long a lease lives without a heartbeat. A worker that died is replaced after this.
LEASE_SECONDS: float = settings.LEASE_SECONDS
#: How often the holder renews it.
HEARTBEAT_SECONDS: float = settings.HEARTBEAT_SECONDS


@dataclass(frozen=True)
class Lease:
    """A held lease: proof of who may write, until ``fence`` has moved on."""

    dataset_id: int
    holder: str
    fence: int


def acquire(dataset_id: int, holder: str, kind: Kind = Kind.MERGE) -> Lease | None:
    """Take the dataset's lease if it is free or expired; None if somebody else holds it."""
    now = timezone.now()
    with transaction.atomic():
        row, _ = locked(DatasetLease.objects.all()).get_or_create(dataset_id=dataset_id)
        if row.holder and row.expires_at is not None and row.expires_at > now:
            return None
        row.kind, row.holder, row.fence = kind, holder, row.fence + 1
        row.acquired_at = row.heartbeat_at = now
        row.expires_at = now + timedelta(seconds=LEASE_SECONDS)
        row.save()
        return Lease(dataset_id, holder, row.fence)


def renew(lease: Lease) -> bool:
    """Prolong the lease, even one that ran out and that nobody took; False if it was lost to somebody else."""
    now = timezone.now()
    return bool(_held(lease).update(heartbeat_at=now, expires_at=now + timedelta(seconds=LEASE_SECONDS)))


def release(lease: Lease) -> bool:
    """Give the lease back; False if it was lost already."""
    return bool(_held(lease).update(holder="", expires_at=None))


@contextmanager
def kept_alive(lease: Lease) -> Iterator[None]:
    """Renew the lease from a thread of its own while the caller works, until it is lost."""
    with beating(lambda: renew(lease), dataset_id=lease.dataset_id, holder=lease.holder):
        yield


@contextmanager
def beating(beat: Callable[[], bool], **whose: Any) -> Iterator[None]:
    """Call ``beat`` from a thread of its own while the caller works, until it answers that what it holds is lost.

    ``whose`` is what the log says of it.
    """
    stop = threading.Event()

    def beat_on() -> None:
        try:
            while not stop.wait(HEARTBEAT_SECONDS):
                close_old_connections()
                try:
                    if not beat():
                        logger.warning("lease_lost", **whose)
                        return
                except (DatabaseError, InterfaceError) as error:
                    # It may be back at the next beat, before the lease runs out.
                    logger.warning("heartbeat_missed", error=error, **whose)
        finally:
            connection.close()  # this thread's own, whatever its age

    thread = threading.Thread(target=beat_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def has_run_out(dataset_id: int) -> bool:
    """Whether the lease of a dataset is in the name of somebody who gave no sign of life in time."""
    held = DatasetLease.objects.exclude(holder="")
    return held.filter(dataset_id=dataset_id, expires_at__lte=timezone.now()).exists()


def expired_or_free(to_dataset: str = "") -> Q:
    """That nobody alive holds the lease, as a condition on ``Dataset``, or on what leads ``to_dataset``."""
    lease = f"{to_dataset}lease"
    free = Q(**{f"{lease}__isnull": True}) | Q(**{f"{lease}__holder": ""})
    return free | Q(**{f"{lease}__expires_at__lte": timezone.now()})


def _held(lease: Lease):
    return DatasetLease.objects.filter(dataset_id=lease.dataset_id, holder=lease.holder, fence=lease.fence)
