"""What a load balancer and an operator ask: alive, ready, and the figures.

Readiness is that of the process which is asked: what it needs to answer people at all. A table's store that is down, a
queue without workers, mail that is off are states of the installation; figures and alerts tell of them, and no balancer
takes all web processes out for them.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from config.access import may_watch
from config.metrics import COLLECTORS
from datasets.data_root import data_root, local_data_root

logger = structlog.get_logger(__name__)


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether this process can work; 503 if not. Whoever may watch reads a word on database, broker and disk."""
    checks: dict[str, Callable[[], None]] = {"database": _database, "broker": _broker, "storage": _storage}
    report = {}
    for name, check in checks.items():
        try:
            check()
            report[name] = "ok"
        except Exception as error:  # noqa: BLE001  (whatever is wrong with a part, the answer is its name)
            logger.warning("not_ready", part=name, error=error)
            report[name] = f"unavailable: {type(error).__name__}"
    ready = all(word == "ok" for word in report.values())
    report["mail"] = "ok" if settings.SENDS_MAIL else "off"  # which hinders nobody, but may be forgotten
    told = report if may_watch(request) else {}
    return JsonResponse({"ready": ready, **told}, status=200 if ready else 503)


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _broker() -> None:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)


def _storage() -> None:
    """The disk of this machine: written to, read and cleared, at the data root where that is a folder, else where
    copies of what a store keeps lie.
    """
    name = f".ready-{uuid.uuid4().hex}"
    if local_data_root() is None:
        probe = Path(settings.HEADGATE_CACHE) / name
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"ready")
        probe.unlink()
        return
    root = data_root()
    try:
        root.put(name, b"ready")
        root.read(name)
    finally:
        root.delete([name])


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, read from the durable rows: right whichever process answers. For whoever may watch."""
    if not may_watch(request):
        told = HttpResponse(
            "Figures are for callers who send METRICS_TOKEN (Authorization: Bearer …) or ask from METRICS_NETWORKS.\n",
            content_type="text/plain; charset=utf-8",
            status=401 if settings.METRICS_TOKEN else 403,
        )
        if settings.METRICS_TOKEN:
            told["WWW-Authenticate"] = "Bearer"
        return told
    registry = CollectorRegistry()
    for collector in COLLECTORS:
        registry.register(collector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
