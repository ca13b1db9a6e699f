"""The lease of a dataset: taken, kept alive, checked and given back by compare-and-set."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from datasets.models import DatasetLease

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


def acquire(dataset_id: int, holder: str) -> Lease | None:
    """Take the dataset's lease if it is free or expired; None if somebody else holds it."""
    now = timezone.now()
    with transaction.atomic():
        DatasetLease.objects.get_or_create(dataset_id=dataset_id)
        row = DatasetLease.objects.select_for_update().get(dataset_id=dataset_id)
        if row.holder and row.expires_at is not None and row.expires_at > now:
            return None
        row.holder, row.fence = holder, row.fence + 1
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


def expired_or_free() -> Q:
    """Datasets whose lease nobody alive holds, as a condition on ``Dataset``."""
    return Q(lease__isnull=True) | Q(lease__holder="") | Q(lease__expires_at__lte=timezone.now())


def _held(lease: Lease):
    return DatasetLease.objects.filter(dataset_id=lease.dataset_id, holder=lease.holder, fence=lease.fence)
