"""Running totals of merges, dataset by dataset: what ``/metrics`` tells without reading every run.

They only grow: a run that retention removes stays counted. Each dataset has its own, so that merges into different
tables never wait for each other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from audit.row_locks import locked
from changerequests.models import MergeFigures, MergeRun

#: Upper edges, in seconds, of what phases are counted by; the last count is of what took longer.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


def count_ended_run(run: MergeRun, phases: Mapping[str, float] | None = None) -> None:
    """Add a run that has just ended, with the seconds of its phases. Call it in the transaction that ends the run."""
    figures, _ = locked(MergeFigures.objects.all()).get_or_create(dataset_id=run.dataset_id)
    add_run(figures, run.status, run.rows_affected, run.bytes_written)
    for phase, seconds in (phases or {}).items():
        add_phase(figures, phase, seconds)
    figures.save()


def add_run(figures: MergeFigures, outcome: str, rows: int, written: int) -> None:
    """Add an ended run to figures that the caller saves."""
    figures.outcomes[outcome] = figures.outcomes.get(outcome, 0) + 1
    figures.rows_affected += rows
    figures.bytes_written += written


def add_phase(figures: MergeFigures, phase: str, seconds: float) -> None:
    """Add the time that a phase took to figures that the caller saves."""
    told: dict[str, Any] = figures.phases.setdefault(
        phase, {"seconds": 0.0, "runs": [0] * (len(BUCKETS) + 1)}
    )
    told["seconds"] += seconds
    told["runs"][bisect_left(BUCKETS, seconds)] += 1


def all_figures() -> MergeFigures:
    """The figures of all datasets together, not stored anywhere."""
    total = MergeFigures()
    for figures in MergeFigures.objects.all():
        total.rows_affected += figures.rows_affected
        total.bytes_written += figures.bytes_written
        for outcome, runs in figures.outcomes.items():
            total.outcomes[outcome] = total.outcomes.get(outcome, 0) + runs
        for phase, told in figures.phases.items():
            sums = total.phases.setdefault(phase, {"seconds": 0.0, "runs": [0] * (len(BUCKETS) + 1)})
            sums["seconds"] += told["seconds"]
            sums["runs"] = [one + more for one, more in zip(sums["runs"], told["runs"], strict=True)]
    return total
