"""What requests, tasks and processes leave behind for whoever watches the installation: counts, seconds, spans, signs
of life.

Addresses stand there as their routes, so that neither keys nor filters nor names of requests do.
"""

import time
from collections.abc import Callable
from typing import Any

from celery import Task
from celery.signals import (
    beat_embedded_init,
    beat_init,
    before_task_publish,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
)
from django.http import HttpRequest, HttpResponse

import merging
from datasets import processes, tracing
from datasets.counting import HTTP_REQUESTS, HTTP_SECONDS, STORE_REQUESTS, STORE_SECONDS, TASK_SECONDS, TASKS

#: Other methods are anybody's text.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What the route of an address is called that nothing is found at.
UNKNOWN = "unknown"


class WatchMiddleware:
    """Counts and times every answer of Django. Stands before all others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        method = request.method if request.method in METHODS else "OTHER"
        started = time.perf_counter()
        with tracing.open_span(method, request.headers.get("traceparent", ""), "server") as span:
            response = self.get_response(request)
            route = route_of(request)
            span.answered(method, route, response.status_code)
        HTTP_REQUESTS.add(method, route, str(response.status_code))
        HTTP_SECONDS.observe(method, route, seconds=time.perf_counter() - started)
        return response


def route_of(request: HttpRequest) -> str:
    """The pattern of the address that was asked for."""
    match = request.resolver_match
    return f"/{match.route}" if match is not None else UNKNOWN


#: Where a message carries the position in its trace.
HEADER = "traceparent"


class _BegunTasks:
    """Tasks of this process that have begun: when, and their spans."""

    tasks: dict[str, tuple[float, tracing.OpenSpan]] = {}


@before_task_publish.connect
def send_position(headers: dict[str, Any], **_: object) -> None:
    """Let a message say in which trace it was sent."""
    position = tracing.traceparent()
    if position:
        headers[HEADER] = position


@task_prerun.connect
def begin(task_id: str, task: "Task[..., Any]", **_: object) -> None:
    """A task begins, below whatever rang for it."""
    sent = getattr(task.request, HEADER, None)
    _BegunTasks.tasks[task_id] = time.perf_counter(), tracing.open_span(task.name, sent or "", "consumer")


@task_postrun.connect
def end(task_id: str, task: "Task[..., Any]", state: str, **_: object) -> None:
    """It has ended, well or not."""
    begun = _BegunTasks.tasks.pop(task_id, None)
    if begun is None:
        return
    started, span = begun
    span.close(failed=state == "FAILURE")
    TASKS.add(task.name, (state or "unknown").lower())
    TASK_SECONDS.observe(task.name, seconds=time.perf_counter() - started)


def count_store_request(request: merging.StoreRequest) -> None:
    """A request to a store has ended."""
    STORE_REQUESTS.add(request.place, request.operation, request.outcome)
    STORE_SECONDS.observe(request.place, request.operation, seconds=request.seconds)
    tracing.passed(
        f"store {request.operation}", request.seconds, place=request.place, outcome=request.outcome
    )


@worker_ready.connect
def report_worker(sender: Any, **_: object) -> None:
    """The parent of a worker's processes lives; it says what queues they take work from."""
    processes.report_from_now_on(processes.Kind.WORKER, list(sender.app.amqp.queues.consume_from))


@worker_process_init.connect
def report_worker_child(**_: object) -> None:
    """What the process of a worker counts is told while it works, too."""
    processes.report_from_now_on(processes.Kind.WORKER_CHILD)


@worker_process_shutdown.connect
def report_a_last_time(**_: object) -> None:
    """And when it ends, which it does at once."""
    tracing.flush()
    processes.report_for_the_last_time()
    merging.clear_scratch()


@beat_init.connect
@beat_embedded_init.connect
def report_schedule(**_: object) -> None:
    """The process that keeps the schedule lives."""
    processes.report_from_now_on(processes.Kind.SCHEDULE)
