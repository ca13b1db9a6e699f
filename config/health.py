"""What a load balancer and an operator ask: alive, ready, and the figures."""

import uuid
from collections.abc import Callable

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from changerequests.selectors import oldest_queued_run
from config.metrics import MergeCollector
from datasets.data_root import data_root

logger = structlog.get_logger(__name__)

#: A run that waits longer means that no worker is at work.
OLDEST_QUEUED_SECONDS = 300


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Database, broker, storage and queue, each with a word; 503 if one of them is not well."""
    checks: dict[str, Callable[[], str]] = {
        "database": _database,
        "broker": _broker,
        "storage": _storage,
        "queue": _queue,
    }
    report = {}
    for name, check in checks.items():
        try:
            report[name] = check() or "ok"
        except Exception as error:  # noqa: BLE001  (whatever is wrong with a part, the answer is its name)
            logger.warning("not_ready", part=name, error=error)
            report[name] = f"unavailable: {type(error).__name__}"
    ready = all(word == "ok" for word in report.values())
    report["mail"] = "ok" if settings.SENDS_MAIL else "off"  # which hinders nobody, but may be forgotten
    return JsonResponse({"ready": ready, **report}, status=200 if ready else 503)


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _broker() -> str:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    return ""


def _storage() -> str:
    """Written to, read and cleared, wherever the data root lies."""
    root, name = data_root(), f".ready-{uuid.uuid4().hex}"
    try:
        root.put(name, b"ready")
        if root.read(name) != b"ready":
            return "the data root does not give back what was written"
    finally:
        root.delete([name])
    return ""


def _queue() -> str:
    run = oldest_queued_run()
    waited = (timezone.now() - run.queued_at).total_seconds() if run else 0
    if waited > OLDEST_QUEUED_SECONDS:
        return f"the oldest queued run has waited {waited:.0f} s: is a worker running?"
    return ""


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, read from the durable rows: right whichever process answers."""
    registry = CollectorRegistry()
    registry.register(MergeCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
