"""The figures of ``/metrics``, from durable rows: whichever process answers tells those of all of them.

``docs/operations.md`` says what each means, and ``deploy/prometheus`` and ``deploy/grafana`` what to make of it; a test
compares them.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate

from django.db.models import Count, Min, Model, Q
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from audit.selectors import untold
from audit.services import unanchored_since
from changerequests.models import MergeRun, Preview, Upload
from changerequests.services import figures
from changerequests.services.operations import stuck_runs
from changerequests.states import ACTIVE_RUN_STATUSES, RunStatus
from datasets import anchoring, counting, processes
from datasets.durable_work import WorkStatus
from datasets.models import (
    DatasetLease,
    DatasetMeta,
    MaintenanceRun,
    Measurement,
    ServerProcess,
    StorePlace,
    SuiteProposal,
    SuiteTrial,
)
from notifications.models import Delivery

#: Durable work that waits for workers, by the name that figures have for it.
WORK: tuple[tuple[str, type[Model]], ...] = (
    ("merge", MergeRun),
    ("upload", Upload),
    ("preview", Preview),
    ("maintenance", MaintenanceRun),
    ("suite_proposal", SuiteProposal),
    ("suite_trial", SuiteTrial),
    ("delivery", Delivery),
)
#: What queues workers take work from; one that no living worker takes from is told with 0.
QUEUES = ("merging", "staging", "maintenance", "notifications")


class MergeCollector(Collector):
    """Merges by outcome, seconds by phase, rows and bytes."""

    def collect(self) -> Iterator[Metric]:
        total = figures.all_figures()
        runs = CounterMetricFamily("headgate_merge_runs", "Ended merge runs by outcome.", labels=["outcome"])
        for status in RunStatus:
            if status not in ACTIVE_RUN_STATUSES:
                runs.add_metric([status.value], total.outcomes.get(status.value, 0))
        yield runs
        yield CounterMetricFamily(
            "headgate_merged_rows", "Rows added, updated and deleted.", total.rows_affected
        )
        yield CounterMetricFamily("headgate_written_bytes", "Bytes that merges wrote.", total.bytes_written)
        seconds = HistogramMetricFamily(
            "headgate_merge_phase_seconds", "Seconds of succeeded merges by phase.", labels=["phase"]
        )
        for phase, told in total.phases.items():
            seconds.add_metric([phase], _buckets(figures.BUCKETS, told["runs"]), told["seconds"])
        yield seconds


class WaitingCollector(Collector):
    """What waits and since when, who holds which table, and what an operator must look at."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        depth = GaugeMetricFamily("headgate_queued_work", "Work that waits for a worker.", labels=["kind"])
        running = GaugeMetricFamily("headgate_running_work", "Work that is being done.", labels=["kind"])
        ages = GaugeMetricFamily(
            "headgate_queued_work_age_seconds", "How long the oldest of it has waited.", labels=["kind"]
        )
        for kind, model in WORK:
            waits = Q(status=WorkStatus.QUEUED)
            found = model._default_manager.filter(
                status__in=(WorkStatus.QUEUED, WorkStatus.RUNNING)
            ).aggregate(
                queued=Count("pk", filter=waits),
                running=Count("pk", filter=~waits),
                since=Min("queued_at", filter=waits),
            )
            age = _seconds_since(found["since"], now)
            depth.add_metric([kind], found["queued"])
            running.add_metric([kind], found["running"])
            ages.add_metric([kind], age)
            if kind == "merge":
                yield GaugeMetricFamily("headgate_queued_runs", "Runs that wait.", found["queued"])
                yield GaugeMetricFamily(
                    "headgate_queue_age_seconds", "How long the oldest queued run has waited.", age
                )
        yield from (depth, running, ages)
        yield from self._leases(now)
        stuck = GaugeMetricFamily(
            "headgate_stuck_runs", "Runs that do not go on by themselves, by the reason.", labels=["reason"]
        )
        for reason, number in stuck_runs(now).items():
            stuck.add_metric([reason], number)
        yield stuck
        yield GaugeMetricFamily(
            "headgate_differing_datasets",
            "Datasets that take no merge until an operator has looked: a commit there is not what was merged.",
            DatasetMeta.objects.exclude(difference="").count(),
        )
        yield GaugeMetricFamily(
            "headgate_unreachable_datasets",
            "Datasets whose store does not answer.",
            DatasetMeta.objects.filter(unreachable_since__isnull=False).count(),
        )
        yield GaugeMetricFamily(
            "headgate_shut_off_places",
            "Stores that failed and are asked by one caller at a time alone.",
            StorePlace.objects.filter(shut_until__isnull=False).count(),
        )

    def _leases(self, now: datetime) -> Iterator[Metric]:
        held = GaugeMetricFamily(
            "headgate_leases",
            "Leases of datasets, by what for and whether the holder lives.",
            labels=["kind", "state"],
        )
        alive = Q(expires_at__gt=now)
        rows = (
            DatasetLease.objects.exclude(holder="")
            .values("kind")
            .annotate(alive=Count("pk", filter=alive), expired=Count("pk", filter=~alive))
        )
        found = {(row["kind"], state): row[state] for row in rows for state in ("alive", "expired")}
        for kind in DatasetLease.Kind.values:
            for state in ("alive", "expired"):
                held.add_metric([kind, state], found.get((kind, state), 0))
        yield held


class TrailCollector(Collector):
    """Whether the audit trail is anchored, and whether people and programs are told of it."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        yield GaugeMetricFamily(
            "headgate_audit_unanchored_seconds",
            "How long the oldest entry of the audit trail has waited that no anchor holds yet.",
            _seconds_since(unanchored_since(), now),
        )
        waiting = GaugeMetricFamily(
            "headgate_audit_anchors_waiting",
            "Anchors of the audit trail that a place elsewhere was not told yet.",
            labels=["target"],
        )
        for place in anchoring.places():
            waiting.add_metric([place.place], place.waiting)
        yield waiting
        waiting_news = untold()
        yield GaugeMetricFamily(
            "headgate_outbox_entries", "Events that nobody was told of yet.", waiting_news.waiting
        )
        yield GaugeMetricFamily(
            "headgate_outbox_age_seconds",
            "How long the oldest of them has waited.",
            _seconds_since(waiting_news.waiting_since, now),
        )


class ProcessCollector(Collector):
    """What the processes of the installation counted, which of them live, and the room on their disks."""

    def collect(self) -> Iterator[Metric]:
        rows = processes.all_processes()
        counts: counting.Counts = {}
        for row in rows:
            counts = counting.together(counts, row.counts)
        yield from _counted(counts)
        now = timezone.now()
        living = [
            row for row in rows if row.kind != ServerProcess.Kind.ENDED and processes.is_alive(row, now)
        ]
        yield from self._alive(living)
        measured = {one.name: one.value for one in Measurement.objects.all()}
        kept = GaugeMetricFamily(
            "headgate_kept_bytes", "Bytes below the data root, as they were measured last.", labels=["what"]
        )
        for what, name in (
            ("staging", Measurement.Name.STAGED_BYTES),
            ("archive", Measurement.Name.ARCHIVED_BYTES),
            ("audit", Measurement.Name.AUDIT_BYTES),
        ):
            kept.add_metric([what], measured.get(name, 0))
        yield kept
        swept = measured.get(Measurement.Name.SWEPT_AT)
        yield GaugeMetricFamily(
            "headgate_swept_age_seconds",
            "Seconds since the schedule, the broker and a worker together swept the queues; -1 where they never did.",
            -1 if swept is None else max(0.0, now.timestamp() - swept),
        )

    def _alive(self, living: Sequence[ServerProcess]) -> Iterator[Metric]:
        alive = GaugeMetricFamily("headgate_processes", "Processes that live, by kind.", labels=["kind"])
        for kind in ServerProcess.Kind:
            if kind != ServerProcess.Kind.ENDED:
                alive.add_metric([kind.value], sum(row.kind == kind for row in living))
        yield alive
        takers = GaugeMetricFamily(
            "headgate_workers", "Workers that live, by the queue that they take work from.", labels=["queue"]
        )
        workers = [row for row in living if row.kind == ServerProcess.Kind.WORKER]
        for queue in sorted({*QUEUES, *(queue for row in workers for queue in row.queues)}):
            takers.add_metric([queue], sum(queue in row.queues for row in workers))
        yield takers
        free = GaugeMetricFamily(
            "headgate_free_disk_bytes", "What is free on a machine's disks.", labels=["host", "place"]
        )
        newest: dict[tuple[str, str], tuple[datetime, int]] = {}
        for row in living:
            for place, size in row.free_bytes.items():
                newest[row.host, place] = max(
                    newest.get((row.host, place), (row.seen_at, size)), (row.seen_at, size)
                )
        for (host, place), (_, size) in sorted(newest.items()):
            free.add_metric([host, place], size)
        yield free


#: Everything that ``/metrics`` tells.
COLLECTORS: tuple[type[Collector], ...] = (
    MergeCollector,
    WaitingCollector,
    TrailCollector,
    ProcessCollector,
)


def _counted(counts: counting.Counts) -> Iterator[Metric]:
    for counter in counting.COUNTERS:
        told = CounterMetricFamily(counter.name, counter.says, labels=counter.labels)
        for labels, number in sorted(counts.get(counter.name, {}).items()):
            told.add_metric(json.loads(labels), number)
        yield told
    for timer in counting.TIMERS:
        took = HistogramMetricFamily(timer.name, timer.says, labels=timer.labels)
        for labels, seen in sorted(counts.get(timer.name, {}).items()):
            took.add_metric(json.loads(labels), _buckets(counting.BUCKETS, seen["runs"]), seen["seconds"])
        yield took


def _buckets(edges: Sequence[float], runs: Sequence[int]) -> list[tuple[str, float]]:
    return list(zip([*map(str, edges), "+Inf"], accumulate(runs), strict=True))


def _seconds_since(moment: datetime | None, now: datetime) -> float:
    return max(timedelta(0), now - moment).total_seconds() if moment is not None else 0.0
