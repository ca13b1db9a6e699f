"""A table's condition and the visits to it, in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from changerequests.services import maintenance
from datasets.maintenance import is_worn, latest_runs
from datasets.models import Dataset, MaintenanceRun
from web.template_tags import size
from web.wording import counted, listed, name_of, store_wait

Job = MaintenanceRun.Job

#: Job, what it is called, what it does.
JOBS = (
    (Job.CHECKPOINT.value, "Write a checkpoint", "Keeps the table's log quick to read."),
    (
        Job.COMPACTION.value,
        "Compact files",
        "Writes small files together and folds deletion vectors away, as one new version with the same rows.",
    ),
    (
        Job.ORPHANS.value,
        "Remove leftovers",
        "Deletes files that merges which died wrote and never committed.",
    ),
    (
        Job.VACUUM.value,
        "Remove old files",
        "Deletes files that only older versions need (VACUUM). Those versions can no longer be read then.",
    ),
)


@dataclass(frozen=True)
class ShownCondition:
    """How worn a table is; ``obstacles`` says why it cannot be compacted here."""

    files: int
    small_files: int
    advice: str
    vectors: int
    dead_rows: int
    dead_share: float
    misspelt_files: int
    checkpoint_due: bool
    unneeded: int
    unneeded_bytes: int
    orphaned: int
    orphaned_bytes: int
    obstacles: str


def condition_of(dataset: Dataset) -> ShownCondition:
    """The dry run, as the page shows it. Raises the engine's errors where the table cannot be read."""
    survey = maintenance.survey(dataset)
    found = survey.condition
    advice = ""
    if is_worn(found) and not dataset.compact_files:
        advice = "Compaction would make merges and reads of this table quicker, and its setting is off."
    return ShownCondition(
        files=found.files,
        small_files=found.small_files,
        advice=advice,
        vectors=found.vectors,
        dead_rows=found.dead_rows,
        dead_share=found.dead_share,
        misspelt_files=found.misspelt_files,
        checkpoint_due=found.checkpoint_due,
        unneeded=len(survey.unneeded.paths),
        unneeded_bytes=survey.unneeded.size_bytes,
        orphaned=len(survey.orphaned.paths),
        orphaned_bytes=survey.orphaned.size_bytes,
        obstacles=listed(found.obstacles),
    )


@dataclass(frozen=True)
class Visit:
    """One visit in a sentence."""

    when: datetime
    who: str
    status: str
    sentences: tuple[str, ...]
    reason: str
    problem: str
    waits: str


def visits_of(dataset: Dataset, *, limit: int) -> list[Visit]:
    """The last visits, newest first."""
    return [
        Visit(
            when=run.finished_at or run.started_at or run.queued_at,
            who=name_of(run.requested_by) if run.requested_by else "by the settings",
            status=run.status,
            sentences=tuple(_SENTENCES[Job(job)](run.report.get(job)) for job in run.jobs),
            reason=run.reason,
            problem="" if run.is_active else run.error_message,
            waits=store_wait(run),
        )
        for run in latest_runs(dataset, limit=limit)
    ]


def _checkpoint(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "Write a checkpoint"
    return (
        "No checkpoint was due" if report["version"] is None else f"Checkpoint of version {report['version']}"
    )


def _compaction(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "Compact files"
    if report["version"] is None:
        return "Nothing to compact"
    return (
        f"{counted(report['files_removed'], 'file')} became {report['files_added']:,}, "
        f"{counted(report['vectors_folded'], 'deletion vector')} folded away, version {report['version']}, "
        f"{counted(report['row_count'], 'row')} before and after"
    )


def _removal(what: str) -> Callable[[Mapping[str, Any] | None], str]:
    def told(report: Mapping[str, Any] | None) -> str:
        if report is None:
            return f"Remove {what}s"
        return f"{counted(report['files'], what)} removed, {size(report['bytes'])}"

    return told


_SENTENCES: Mapping[Job, Callable[[Mapping[str, Any] | None], str]] = {
    Job.CHECKPOINT: _checkpoint,
    Job.COMPACTION: _compaction,
    Job.ORPHANS: _removal("leftover file"),
    Job.VACUUM: _removal("old file"),
}
