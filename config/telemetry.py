"""Traces by OpenTelemetry, where its variables say where to send them; else nothing is imported and nothing is done."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from datasets import tracing


def keep_traces() -> None:
    """Keep traces from now on, where the environment says where to send them. For every process, once.

    Raises ``ImproperlyConfigured`` where it does and OpenTelemetry is not installed.
    """
    if not settings.KEEPS_TRACES:
        return
    try:
        from config.spans import kept_spans
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT says where to send traces, and OpenTelemetry is not installed. Install "
            "requirements/telemetry.txt (the extra `telemetry`), or take the variable away."
        ) from error
    tracing.keep_with(kept_spans())
