"""What one process counts while it works, in memory: requests that it answered, what stores were asked for.

``datasets.processes`` writes it down every few seconds, so that any web process can tell the counts of all of them, and
so that they outlive the process: a counter never falls.
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_left
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

#: Upper edges, in seconds, of what durations are counted by; the last count is of what took longer.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: A metric, then its labels as JSON, then a number, or seconds with how many took how long.
Counts = dict[str, dict[str, Any]]


class ProcessTally:
    """Counts of this process; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counts = {}

    def add(self, metric: str, labels: tuple[str, ...], amount: float) -> None:
        """Count something."""
        key = json.dumps(labels)
        with self._lock:
            series = self._counts.setdefault(metric, {})
            series[key] = series.get(key, 0) + amount

    def observe(self, metric: str, labels: tuple[str, ...], seconds: float) -> None:
        """Count how long something took."""
        key = json.dumps(labels)
        with self._lock:
            series = self._counts.setdefault(metric, {})
            told = series.setdefault(key, {"seconds": 0.0, "runs": [0] * (len(BUCKETS) + 1)})
            told["seconds"] += seconds
            told["runs"][bisect_left(BUCKETS, seconds)] += 1

    def taken(self) -> Counts:
        """A copy of what was counted so far."""
        with self._lock:
            return deepcopy(self._counts)

    def forget(self, counts: Counts) -> None:
        """Count from there on: what is taken off is kept elsewhere."""
        with self._lock:
            self._counts = together(self._counts, counts, sign=-1)

    def begin_anew(self) -> None:
        """Count from nothing, as a process does that was forked: what was counted before is its parent's."""
        self._lock, self._counts = threading.Lock(), {}


def together(one: Mapping[str, Any], more: Mapping[str, Any], *, sign: int = 1) -> Counts:
    """The sum of two counts (with ``sign`` -1 their difference), neither of which changes."""
    total: Counts = deepcopy(dict(one))
    for metric, series in more.items():
        known = total.setdefault(metric, {})
        for labels, told in series.items():
            if isinstance(told, Mapping):
                before = known.get(labels, {"seconds": 0.0, "runs": [0] * len(told["runs"])})
                runs = [had + sign * has for had, has in zip(before["runs"], told["runs"], strict=True)]
                known[labels] = {"seconds": before["seconds"] + sign * told["seconds"], "runs": runs}
            else:
                known[labels] = known.get(labels, 0) + sign * told
    return total


#: What this process counts.
tally = ProcessTally()
os.register_at_fork(after_in_child=tally.begin_anew)


@dataclass(frozen=True)
class Counter:
    """How often something happened, by labels that have few values: never names of people, keys or whole addresses.

    ``name`` is what Prometheus calls it, without ``_total``.
    """

    name: str
    says: str
    labels: tuple[str, ...]

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count it once, or ``amount`` times, under values of its labels."""
        tally.add(self.name, labels, amount)


@dataclass(frozen=True)
class Timer:
    """How long something took, by labels as a ``Counter`` has them."""

    name: str
    says: str
    labels: tuple[str, ...]

    def observe(self, *labels: str, seconds: float) -> None:
        """Count one that took so long."""
        tally.observe(self.name, labels, seconds)


HTTP_REQUESTS = Counter(
    "headgate_http_requests", "Requests that were answered.", ("method", "route", "status")
)
HTTP_SECONDS = Timer("headgate_http_request_seconds", "Seconds until an answer began.", ("method", "route"))
TASKS = Counter("headgate_tasks", "Tasks that workers ended.", ("task", "outcome"))
TASK_SECONDS = Timer("headgate_task_seconds", "Seconds that tasks took.", ("task",))
DELIVERIES = Counter(
    "headgate_delivery_attempts", "Attempts to deliver news, by what came of them.", ("channel", "outcome")
)
STORE_REQUESTS = Counter(
    "headgate_store_requests", "Requests to stores of tables and data.", ("place", "operation", "outcome")
)
STORE_SECONDS = Timer(
    "headgate_store_request_seconds",
    "Seconds that requests to stores took, with their retries.",
    ("place", "operation"),
)
STORE_RETRIES = Counter(
    "headgate_store_retries", "Work that was put off because its store did not answer.", ("place", "kind")
)
#: All that processes count, as ``/metrics`` tells it.
COUNTERS = (HTTP_REQUESTS, TASKS, DELIVERIES, STORE_REQUESTS, STORE_RETRIES)
TIMERS = (HTTP_SECONDS, TASK_SECONDS, STORE_SECONDS)
