"""Spans of OpenTelemetry: requests, tasks, durable work and its steps, statements of SQL, requests to stores.

Nothing here knows values: statements stand without their parameters, requests as their routes, errors as classes.
Where spans go, how many are kept and what the service is called is read from ``OTEL_…`` by OpenTelemetry itself
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Imported where traces are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from datasets.tracing import OpenSpan
from datasets.tracing import SpanKind as Kind

_PROPAGATOR = TraceContextTextMapPropagator()
_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}
#: How much of a statement is kept.
LONGEST_STATEMENT = 2000


class _StepSpan:
    """The step that the work of this context is at, if it has said so."""

    def __init__(self) -> None:
        self.span: Span | None = None
        self.token: Token[Context] | None = None

    def end(self) -> None:
        if self.span is not None and self.token is not None:
            self.span.end()
            contexts.detach(self.token)
        self.span = self.token = None


_step: ContextVar[_StepSpan | None] = ContextVar("step", default=None)


class _OpenSpan(OpenSpan):
    def __init__(self, span: Span) -> None:
        self.span = span
        self.token = contexts.attach(trace.set_span_in_context(span))

    def answered(self, method: str, route: str, status: int) -> None:
        self.span.update_name(f"{method} {route}")
        self.span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            self.span.set_status(Status(StatusCode.ERROR))

    def close(self, *, failed: bool = False) -> None:
        if failed:
            self.span.set_status(Status(StatusCode.ERROR))
        contexts.detach(self.token)
        self.span.end()


class KeptSpans:
    """Keeps spans with a provider of OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self.tracer = provider.get_tracer("headgate")

    def open(self, name: str, parent: str, kind: Kind) -> OpenSpan:
        """See ``tracing.Tracing``."""
        return _OpenSpan(self.tracer.start_span(name, context=_position(parent), kind=_KINDS[kind]))

    def flush(self) -> None:
        """See ``tracing.Tracing``."""
        self.provider.force_flush(timeout_millis=2000)

    def position(self) -> str:
        """See ``tracing.Tracing``."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier.get("traceparent", "")

    @contextmanager
    def span(self, name: str, *, parent: str, attributes: dict[str, str | int]) -> Iterator[None]:
        """See ``tracing.Tracing``. Below what is done now where that is of the same trace."""
        now = trace.get_current_span().get_span_context()
        asked = trace.get_current_span(_position(parent)).get_span_context()
        elsewhere = asked.is_valid and asked.trace_id != now.trace_id
        span = self.tracer.start_span(
            name,
            context=_position(parent) if elsewhere else None,
            attributes=_named(attributes),
            links=[Link(now)] if elsewhere and now.is_valid else None,
        )
        step = _StepSpan()
        kept = _step.set(step)
        try:
            with _current(span):
                yield
                step.end()
        finally:
            step.end()
            _step.reset(kept)

    def step(self, name: str) -> None:
        """See ``tracing.Tracing``."""
        step = _step.get()
        if step is None:
            return
        step.end()
        step.span = self.tracer.start_span(name)
        step.token = contexts.attach(trace.set_span_in_context(step.span))

    def passed(self, name: str, seconds: float, attributes: dict[str, str | int]) -> None:
        """See ``tracing.Tracing``."""
        if trace.get_current_span().is_recording():
            now = time.time_ns()
            span = self.tracer.start_span(
                name,
                kind=SpanKind.CLIENT,
                start_time=now - int(seconds * 1e9),
                attributes=_named(attributes),
            )
            span.end(end_time=now)

    def statement(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """A statement of SQL, as one of Django's ``execute_wrappers``."""
        if not trace.get_current_span().is_recording():
            return execute(sql, params, many, context)
        span = self.tracer.start_span(
            sql.partition(" ")[0].upper() or "SQL",
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": context["connection"].vendor,
                "db.query.text": sql[:LONGEST_STATEMENT],
            },
        )
        with _current(span):
            return execute(sql, params, many, context)

    def watch_statements(self, connection: BaseDatabaseWrapper, **_: object) -> None:
        """Keep the statements of a connection that was just made."""
        if self.statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self.statement)


@contextmanager
def _current(span: Span) -> Iterator[None]:
    """Make a span what is done now, and end it. Of errors it knows the class: their texts may quote rows."""
    token = contexts.attach(trace.set_span_in_context(span))
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        contexts.detach(token)
        span.end()


def _named(attributes: dict[str, str | int]) -> dict[str, str | int]:
    return {f"headgate.{fact}": value for fact, value in attributes.items()}


def _position(traceparent: str) -> Context | None:
    """A position in a trace as a context; None for what is none."""
    if not traceparent:
        return None
    found = _PROPAGATOR.extract({"traceparent": traceparent}, context=Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def kept_spans() -> KeptSpans:
    """What keeps spans of this process and sends them where the environment says, statements of SQL among them."""
    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "headgate"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    spans = KeptSpans(provider)
    connection_created.connect(spans.watch_statements, weak=False, dispatch_uid="headgate.spans")
    return spans
