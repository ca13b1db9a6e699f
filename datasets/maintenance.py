"""Looking after the tables: checkpoints, compaction, what dead attempts left, files that no version needs.

People ask for it, or the dataset's settings make it due; either way it is one durable row, worked on by whoever takes
the dataset's lease for maintenance. A merge waits for it and it for a merge; they never meet. No row of a table
changes: the rows are counted before and after, and a visit that finds them different fails loudly.

What must be kept for change requests is told by the caller (``Needs``): this package does not know of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

import merging
from audit.row_locks import locked
from audit.services import dataset_stream, record
from datasets import leases, outages, table_work, work
from datasets.durable_work import WorkStatus
from datasets.errors import DatasetBusy, DomainError, Forbidden, InvalidInput, MaintenanceStopped
from datasets.models import Dataset, MaintenanceRun
from datasets.operators import is_operator
from datasets.roles import is_owner
from datasets.services import installation_identity, note_difference, remember_table
from datasets.work import Hold

logger = structlog.get_logger(__name__)

Job = MaintenanceRun.Job
Status = WorkStatus

#: So many small files make a compaction due.
MANY_SMALL_FILES = 20
#: So large a share of dead rows makes one due, and files with more than that are written again by it.
MANY_DEAD_ROWS = 0.1
#: How often jobs that look at every file of a table are due.
BETWEEN_CLEARINGS = timedelta(days=1)
_INTERRUPTED = "interrupted"
#: How visits end that may yet commit, where the table has not moved.
MAY_STILL_COMMIT = (_INTERRUPTED, "merge_failed", table_work.STORE_SILENT)
#: How many removed files a report names; it counts all of them.
NAMED_IN_REPORT = 100


@dataclass(frozen=True)
class Needs:
    """What change requests need of a table: versions that open ones may still read, attempts that may still commit,
    and attempts that are dead for certain and never committed.
    """

    versions: tuple[int, ...] = ()
    living_attempts: tuple[str, ...] = ()
    dead_attempts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """The dry run: how worn the table is, what is due by the settings, and what each job would do now."""

    condition: merging.TableCondition
    due: tuple[Job, ...]
    unneeded: merging.RemovableFiles
    orphaned: merging.RemovableFiles


def may_maintain(actor: User, dataset: Dataset) -> bool:
    """Whether the person may have a table looked after: its owners, and operators."""
    return is_owner(actor, dataset) or is_operator(actor)


def survey(dataset: Dataset, needs: Needs) -> Survey:
    """Look and write nothing; needs no lease. Raises the engine's errors where the table cannot be read."""
    condition = merging.table_condition(dataset.table_uri)
    needs = _with_interrupted(dataset, needs, condition.version)
    return Survey(
        condition=condition,
        due=due_jobs(dataset, condition),
        unneeded=_unneeded(dataset, needs),
        orphaned=_orphaned(dataset, needs),
    )


def due_jobs(dataset: Dataset, condition: merging.TableCondition) -> tuple[Job, ...]:
    """What the dataset's settings ask for now."""
    due = []
    if dataset.write_checkpoints and condition.checkpoint_due:
        due.append(Job.CHECKPOINT)
    if dataset.compact_files and is_worn(condition):
        due.append(Job.COMPACTION)
    if _is_long_ago(dataset, Job.ORPHANS):
        due.append(Job.ORPHANS)
    if dataset.remove_old_files and _is_long_ago(dataset, Job.VACUUM):
        due.append(Job.VACUUM)
    return tuple(due)


def is_worn(condition: merging.TableCondition) -> bool:
    """Whether compacting the table would help, and the engine can."""
    many = condition.small_files >= MANY_SMALL_FILES or condition.dead_share > MANY_DEAD_ROWS
    return (many or condition.misspelt_files > 0) and not condition.obstacles


def _is_long_ago(dataset: Dataset, job: Job) -> bool:
    recent = MaintenanceRun.objects.filter(
        dataset=dataset, status=Status.SUCCEEDED, finished_at__gt=timezone.now() - BETWEEN_CLEARINGS
    )
    return not any(job in jobs for jobs in recent.values_list("jobs", flat=True))


def request_maintenance(
    *, dataset_id: int, actor: User, jobs: Collection[str], reason: str = ""
) -> MaintenanceRun:
    """Ask for jobs on a table, whatever its settings say; a worker does them once no merge is at work.

    For owners and operators. Raises ``Forbidden``, ``InvalidInput``, and ``DatasetBusy`` where a visit is asked for
    or under way already. The caller rings a worker.
    """
    dataset = Dataset.objects.select_related("project").get(pk=dataset_id)
    if not may_maintain(actor, dataset):
        raise Forbidden("Only owners of a dataset and operators have its table looked after.")
    unknown = sorted(set(jobs) - set(Job.values))
    if unknown or not jobs:
        named = f"There is no job {', '.join(unknown)}." if unknown else "Choose at least one job."
        raise InvalidInput(named, errors={"jobs": [named]})
    with transaction.atomic():
        run = _queue(dataset, [job for job in Job if job in jobs], actor, reason.strip())
        if run is None:
            raise DatasetBusy(
                "The table is being looked after already, or waits for it. Wait until that has ended."
            )
        record(
            stream=dataset_stream(dataset.pk),
            action="maintenance.requested",
            subject_type="dataset",
            subject_id=str(dataset.pk),
            actor=actor.get_username(),
            data={"run": run.pk, "jobs": run.jobs, "reason": run.reason},
        )
    return run


def queue_due(dataset_id: int) -> MaintenanceRun | None:
    """Queue what the dataset's settings make due now; None where that is nothing or a visit waits already, and where
    visits were only cut short of late: what kills its workers waits for somebody to ask for it.
    """
    dataset = Dataset.objects.select_related("meta").get(pk=dataset_id)
    if active_run(dataset) is not None or _interrupted_in_a_row(dataset) >= work.MOST_ATTEMPTS:
        return None
    try:
        with outages.asking(dataset):
            due = due_jobs(dataset, merging.table_condition(dataset.table_uri))
    except merging.MergeError as error:
        logger.info("table_not_surveyed", dataset_id=dataset_id, reason=error)  # reconcile tells people
        return None
    return _queue(dataset, due, None, "") if due else None


def _queue(dataset: Dataset, jobs: Sequence[Job], actor: User | None, reason: str) -> MaintenanceRun | None:
    try:
        with transaction.atomic():
            return MaintenanceRun.objects.create(
                dataset=dataset, jobs=[str(job) for job in jobs], requested_by=actor, reason=reason
            )
    except IntegrityError:  # one active run per dataset
        return None


def active_run(dataset: Dataset) -> MaintenanceRun | None:
    """The visit that waits or is under way, if there is one."""
    return MaintenanceRun.objects.filter(dataset=dataset, status__in=MaintenanceRun.ACTIVE).first()


def latest_runs(dataset: Dataset, *, limit: int) -> list[MaintenanceRun]:
    """The last visits, newest first."""
    return list(MaintenanceRun.objects.filter(dataset=dataset).select_related("requested_by")[:limit])


def datasets_with_waiting_runs() -> list[int]:
    """Datasets with a visit that nobody alive works on."""
    waiting = work.unattended_under_lease(MaintenanceRun.objects.filter(table_work.due()))
    return list(waiting.order_by("dataset_id").values_list("dataset_id", flat=True))


def maintain_next(
    *, dataset_id: int, worker: str, needs_of: Callable[[Dataset], Needs | None]
) -> MaintenanceRun | None:
    """Do what waits for a dataset, under its lease; None if nothing does, or others are at work.

    ``needs_of`` is asked inside the lease; where it answers None (a merge was cut short and must be recovered first)
    the visit goes on waiting.
    """
    claimed = _claim(dataset_id, worker, needs_of)
    if claimed is None:
        return None
    hold, needs = claimed
    run = hold.work
    with structlog.contextvars.bound_contextvars(maintenance_run_id=run.pk, dataset_id=dataset_id):
        logger.info("maintenance_started", jobs=run.jobs)
        try:
            with table_work.kept_alive(hold):
                _execute(hold, needs)
        finally:
            leases.release(hold.table_lease)
        logger.info("maintenance_ended", status=run.status, error_code=run.error_code, report=run.report)
    return run


def _claim(
    dataset_id: int, worker: str, needs_of: Callable[[Dataset], Needs | None]
) -> tuple[Hold[MaintenanceRun], Needs] | None:
    with transaction.atomic():
        lease = leases.acquire(dataset_id, f"maintenance {worker}"[:100], leases.Kind.MAINTENANCE)
        if lease is None:
            return None
        run = _next_run(dataset_id)
        needs = needs_of(run.dataset) if run is not None else None
        hold = (
            table_work.claim(run, worker=worker, lease=lease)
            if run is not None and needs is not None
            else None
        )
        if hold is None or needs is None:
            leases.release(lease)
            return None
        return hold, needs


def _next_run(dataset_id: int) -> MaintenanceRun | None:
    """The run that waits; one that was begun and never ended is ended here, for nobody holds the lease any more."""
    run = work.next_in_line(
        locked(
            MaintenanceRun.objects.select_related("dataset__meta", "dataset__project").filter(
                dataset=dataset_id
            )
        )
    )
    if run is not None and run.status == Status.RUNNING:
        times = _interrupted_in_a_row(run.dataset) + 1
        told = (
            f"Visits were cut short {times} times in a row, so none is begun by itself any more: ask for one here once "
            "the worker's log has told why."
            if times >= work.MOST_ATTEMPTS
            else "What is still due is done again."
        )
        _end(
            Hold(run, run.fence),
            Status.FAILED,
            error_code=_INTERRUPTED,
            error_message=f"Its worker {run.worker} ended before it had finished. {told}",
        )
        return None
    return run


def _interrupted_in_a_row(dataset: Dataset) -> int:
    """How many of the last visits ended with their workers, since one that came to its own end; at most five."""
    ended = MaintenanceRun.objects.filter(dataset=dataset).exclude(status__in=MaintenanceRun.ACTIVE)
    codes = ended.order_by("-pk").values_list("error_code", flat=True)[: work.MOST_ATTEMPTS]
    return sum(1 for _ in itertools.takewhile(lambda code: code == _INTERRUPTED, codes))


def _execute(hold: Hold[MaintenanceRun], needs: Needs) -> None:
    run, lease = hold.work, hold.table_lease
    dataset = run.dataset
    try:
        table_work.require_store(hold)
        before = merging.table_condition(dataset.table_uri)
        info = merging.inspect_table(dataset.table_uri)
        if info.table_id != dataset.meta.table_id:
            raise MaintenanceStopped(
                "The table is not the one that was registered; it is left alone. Reconcile the dataset."
            )
        work.progress(hold, version_before=before.version)
        needs = _with_interrupted(dataset, needs, before.version)
        for job in run.jobs:
            _require_lease(lease)
            run.report = {**run.report, job: _JOBS[Job(job)](dataset, run, lease, needs)}
        after = merging.inspect_table(dataset.table_uri)
    except merging.CommitDiffers as error:
        with transaction.atomic():
            note_difference(dataset, error.message)
            _end(hold, Status.FAILED, error_code=error.code, error_message=error.message)
    except merging.TableUnreachable as error:
        _wait_or_end(hold, error)
    except merging.MergeError as error:
        logger.warning("maintenance_failed", error=error, code=error.code)
        _end(hold, Status.FAILED, error_code=error.code, error_message=error.message)
    except DomainError as error:
        _end(hold, Status.FAILED, error_code=error.code, error_message=error.message)
    except Exception as error:
        logger.error("maintenance_failed", exc_info=error)
        _end(
            hold,
            Status.FAILED,
            error_code="maintenance_failed",
            error_message="It failed unexpectedly and no row changed. The worker's log says more, under this run's id.",
        )
    else:
        with transaction.atomic():
            remember_table(dataset, after)
            _end(hold, Status.SUCCEEDED, version_after=after.version, row_count=after.row_count)


def _wait_or_end(hold: Hold[MaintenanceRun], error: merging.TableUnreachable) -> None:
    """Let a visit wait that has begun nothing. One that has, ends, so that what it wrote is known as its own, and
    another one for the same waits in its place.
    """
    run = hold.work
    if run.version_before is None and table_work.waits_on(hold, error):
        return
    follows = run.version_before is not None and table_work.may_wait(hold, error)
    outages.note_outage(error)
    with transaction.atomic():
        _end(
            hold,
            Status.FAILED,
            error_code=error.code,
            error_message=f"{error.message} What was asked for is tried again by itself."
            if follows
            else table_work.message_of(error),
        )
        if follows and run.status == Status.FAILED:
            again = _queue(run.dataset, [Job(job) for job in run.jobs], run.requested_by, run.reason)
            if again is not None:
                table_work.wait_from_the_start(again, error, waits=run.waits + 1)


def _end(hold: Hold[MaintenanceRun], status: Status, **fields: Any) -> None:
    """End the run and tell the trail, but not of a due visit that found nothing."""
    run = hold.work
    with transaction.atomic():
        if not work.end(hold, status, report=run.report, **fields):
            return  # it was called dead meanwhile, and that was told
        if run.requested_by_id is not None or run.error_code or any(map(_did_something, run.report.values())):
            record(
                stream=dataset_stream(run.dataset_id),
                action=f"maintenance.{status}",
                subject_type="dataset",
                subject_id=str(run.dataset_id),
                data={
                    "run": run.pk,
                    "jobs": run.jobs,
                    "report": run.report,
                    "version_before": run.version_before,
                    "version_after": run.version_after,
                    **({"code": run.error_code, "reason": run.error_message} if run.error_code else {}),
                },
            )


def _did_something(report: Mapping[str, Any]) -> bool:
    return report.get("version") is not None or bool(report.get("files"))


def _require_lease(lease: leases.Lease) -> None:
    if not leases.renew(lease):
        raise MaintenanceStopped("Somebody else has taken the dataset over; this visit stopped where it was.")


def _checkpoint(dataset: Dataset, run: MaintenanceRun, lease: leases.Lease, needs: Needs) -> dict[str, Any]:
    return {"version": merging.write_checkpoint(dataset.table_uri)}


def _compaction(dataset: Dataset, run: MaintenanceRun, lease: leases.Lease, needs: Needs) -> dict[str, Any]:
    done = merging.compact(
        dataset.table_uri,
        attempt_id=run.attempt_id,
        application_id=f"{installation_identity()}/maintenance",
        generation=lease.fence,
        user=run.requested_by.get_username() if run.requested_by else "",
        dead_share=0 if run.requested_by else MANY_DEAD_ROWS,
        before_commit=lambda: _require_lease(lease),
        while_waiting=lambda: _require_lease(lease),
    )
    return {
        "version": done.version,
        "files_removed": done.files_removed,
        "files_added": done.files_added,
        "vectors_folded": done.vectors_folded,
        "bytes_written": done.bytes_written,
        "row_count": done.row_count,
        "writes": [dict(vars(one)) for one in done.writes],
    }


def _vacuum(dataset: Dataset, run: MaintenanceRun, lease: leases.Lease, needs: Needs) -> dict[str, Any]:
    return _remove(dataset, lease, _unneeded(dataset, needs))


def _orphans(dataset: Dataset, run: MaintenanceRun, lease: leases.Lease, needs: Needs) -> dict[str, Any]:
    return _remove(dataset, lease, _orphaned(dataset, needs))


_JOBS: Mapping[Job, Callable[[Dataset, MaintenanceRun, leases.Lease, Needs], dict[str, Any]]] = {
    Job.CHECKPOINT: _checkpoint,
    Job.COMPACTION: _compaction,
    Job.ORPHANS: _orphans,
    Job.VACUUM: _vacuum,
}


def _remove(dataset: Dataset, lease: leases.Lease, files: merging.RemovableFiles) -> dict[str, Any]:
    _require_lease(lease)
    merging.remove_files(dataset.table_uri, files)
    return {
        "files": len(files.paths),
        "bytes": files.size_bytes,
        "removed": list(files.paths[:NAMED_IN_REPORT]),
    }


def _unneeded(dataset: Dataset, needs: Needs) -> merging.RemovableFiles:
    return merging.find_unneeded_files(
        dataset.table_uri,
        retention_hours=dataset.keep_files_days * 24,
        protect_versions=needs.versions,
        protect_attempts=needs.living_attempts,
    )


def _orphaned(dataset: Dataset, needs: Needs) -> merging.RemovableFiles:
    ended = MaintenanceRun.objects.filter(dataset=dataset, status=Status.FAILED).exclude(attempt_id="")
    living = set(needs.living_attempts)
    dead = {*needs.dead_attempts, *ended.values_list("attempt_id", flat=True)} - living
    return merging.find_orphaned_files(
        dataset.table_uri,
        sorted(dead),
        written_before_ms=_milliseconds(timezone.now() - timedelta(days=settings.RETENTION_DAYS["orphans"])),
        protect_versions=needs.versions,
    )


def _with_interrupted(dataset: Dataset, needs: Needs, version: int) -> Needs:
    """A visit that was cut short may only sleep just before its commit, and a store that gave one no answer may commit
    it late. Once the table has moved past the version that it read its commit must fail; until then what it wrote is
    kept.
    """
    asleep = MaintenanceRun.objects.filter(
        dataset=dataset, error_code__in=MAY_STILL_COMMIT, version_before__gte=version
    ).values_list("attempt_id", flat=True)
    return Needs(needs.versions, (*needs.living_attempts, *asleep), needs.dead_attempts)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
