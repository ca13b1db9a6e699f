"""Merges in figures, from the durable rows, so that web and worker processes agree."""

from collections.abc import Iterator
from itertools import accumulate

from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from changerequests.models import MergeRun
from changerequests.selectors import oldest_queued_run
from changerequests.services.figures import BUCKETS, all_figures
from changerequests.states import ACTIVE_RUN_STATUSES, RunStatus
from datasets import anchoring
from datasets.models import DatasetMeta


class MergeCollector(Collector):
    """Merges by outcome, seconds by phase, rows and bytes, how long the queue waits, and what waits for an operator."""

    def collect(self) -> Iterator[Metric]:
        figures = all_figures()
        runs = CounterMetricFamily("headgate_merge_runs", "Ended merge runs by outcome.", labels=["outcome"])
        for status in RunStatus:
            if status not in ACTIVE_RUN_STATUSES:
                runs.add_metric([status.value], figures.outcomes.get(status.value, 0))
        yield runs
        yield CounterMetricFamily(
            "headgate_merged_rows", "Rows added, updated and deleted.", figures.rows_affected
        )
        yield CounterMetricFamily("headgate_written_bytes", "Bytes that merges wrote.", figures.bytes_written)

        seconds = HistogramMetricFamily(
            "headgate_merge_phase_seconds", "Seconds of succeeded merges by phase.", labels=["phase"]
        )
        edges = [*map(str, BUCKETS), "+Inf"]
        for phase, told in figures.phases.items():
            seconds.add_metric(
                [phase], list(zip(edges, accumulate(told["runs"]), strict=True)), told["seconds"]
            )
        yield seconds

        yield GaugeMetricFamily(
            "headgate_queued_runs",
            "Runs that wait.",
            MergeRun.objects.filter(status=RunStatus.QUEUED).count(),
        )
        waiting = GaugeMetricFamily(
            "headgate_audit_anchors_waiting",
            "Anchors of the audit trail that a place elsewhere was not told yet.",
            labels=["target"],
        )
        for place in anchoring.places():
            waiting.add_metric([place.place], place.waiting)
        yield waiting
        oldest = oldest_queued_run()
        age = (timezone.now() - oldest.queued_at).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily(
            "headgate_queue_age_seconds", "How long the oldest queued run has waited.", age
        )
        yield GaugeMetricFamily(
            "headgate_differing_datasets",
            "Datasets that take no merge until an operator has looked: a commit there is not what was merged.",
            DatasetMeta.objects.exclude(difference="").count(),
        )
