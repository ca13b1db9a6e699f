"""Merges in figures, added up from the durable rows, so that web and worker processes agree."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from changerequests.models import MergeRun, RunPhaseTime
from changerequests.selectors import oldest_queued_run
from changerequests.states import RunStatus

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class MergeCollector(Collector):
    """Merges by outcome, seconds by phase, rows and bytes, and how long the queue has waited."""

    def collect(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("headgate_merge_runs", "Ended merge runs by outcome.", labels=["outcome"])
        ended = dict(MergeRun.objects.values_list("status").annotate(Count("pk")))
        for status in RunStatus:
            if status not in (RunStatus.QUEUED, RunStatus.RUNNING):
                runs.add_metric([status.value], ended.get(status.value, 0))
        yield runs

        sums = MergeRun.objects.aggregate(rows=Sum("rows_affected"), size=Sum("bytes_written"))
        yield CounterMetricFamily(
            "headgate_merged_rows", "Rows added, updated and deleted.", sums["rows"] or 0
        )
        yield CounterMetricFamily("headgate_written_bytes", "Bytes that merges wrote.", sums["size"] or 0)

        seconds = HistogramMetricFamily(
            "headgate_merge_phase_seconds", "Seconds of succeeded merges by phase.", labels=["phase"]
        )
        under = {f"under_{i}": Count("pk", filter=Q(seconds__lte=edge)) for i, edge in enumerate(BUCKETS)}
        for row in RunPhaseTime.objects.values("phase").annotate(
            count=Count("pk"), sum=Sum("seconds"), **under
        ):
            counts: dict[str, Any] = {**row}
            buckets = [(str(edge), counts[f"under_{i}"]) for i, edge in enumerate(BUCKETS)]
            seconds.add_metric([row["phase"]], [*buckets, ("+Inf", row["count"])], row["sum"])
        yield seconds

        yield GaugeMetricFamily(
            "headgate_queued_runs",
            "Runs that wait.",
            MergeRun.objects.filter(status=RunStatus.QUEUED).count(),
        )
        oldest = oldest_queued_run()
        age = (timezone.now() - oldest.queued_at).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily(
            "headgate_queue_age_seconds", "How long the oldest queued run has waited.", age
        )
