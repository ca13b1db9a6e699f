"""Reading the inbox."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import User
from django.utils import timezone

from notifications.models import Notification


def mark_read(*, person: User, notifications: Collection[int] | None = None) -> int:
    """Note that the person read some notifications of theirs, or all (None); returns how many were unread."""
    theirs = Notification.objects.filter(person=person, read_at__isnull=True)
    if notifications is not None:
        theirs = theirs.filter(pk__in=notifications)
    return theirs.update(read_at=timezone.now())
