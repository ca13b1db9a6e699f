"""What goes with time: old news in inboxes, ended deliveries, what the outbox has told. The trail keeps all of it."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from audit import outbox
from datasets.durable_work import DurableWork
from notifications.models import Delivery, Notification

logger = structlog.get_logger(__name__)


def forget_old() -> None:
    """Remove what is older than ``NOTIFICATION_DAYS``; what still waits to be sent stays."""
    before = timezone.now() - timedelta(days=settings.NOTIFICATION_DAYS)
    notifications, _ = Notification.objects.filter(created_at__lt=before).delete()
    ended = Delivery.objects.filter(finished_at__lt=before).exclude(status__in=DurableWork.ACTIVE)
    deliveries, _ = ended.delete()
    entries = outbox.forget(before)
    logger.info("old_news_forgotten", notifications=notifications, deliveries=deliveries, entries=entries)
