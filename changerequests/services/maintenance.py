"""Looking after tables as far as it concerns change requests: what they need of the files, and who is told after."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from audit.selectors import events_in
from audit.services import dataset_stream
from changerequests import queue
from changerequests.models import ChangeRequest, MergeRun, Revision
from changerequests.states import ACTIVE_RUN_STATUSES, OPEN_STATUSES, RunStatus
from datasets import maintenance, outages
from datasets.maintenance import Needs, Survey
from datasets.models import Dataset, MaintenanceRun


def needs_of(dataset: Dataset) -> Needs | None:
    """What the dataset's change requests need of its table; None while a merge was begun and has not ended, and while
    an operator has to look at what a commit left.

    Diffs, merges, reverts and blame read stored images, never an old version. Only "what changed since the base" of an
    open request reads one: its base version is kept. Once no merge is running, every attempt that did not commit is
    dead for certain (its run was stepped back and superseded in the log, or another attempt of it has committed), but
    for those of a request whose outcome is not known yet.
    """
    runs = MergeRun.objects.filter(dataset=dataset)
    if dataset.meta.difference or runs.filter(status=RunStatus.RUNNING).exists():
        return None
    versions = Revision.objects.filter(
        is_current=True, change_request__dataset=dataset, change_request__status__in=OPEN_STATUSES
    ).values_list("base_version", flat=True)
    begun = events_in(dataset_stream(dataset.pk)).filter(action__in=("merge.started", "merge.resumed"))
    attempts = {data["attempt_id"] for data in begun.values_list("data", flat=True) if "attempt_id" in data}
    attempts |= set(runs.exclude(attempt_id="").values_list("attempt_id", flat=True))
    may_commit = Q(status__in=ACTIVE_RUN_STATUSES) | Q(change_request__unsettled_version__isnull=False)
    living = set(runs.filter(may_commit).values_list("attempt_id", flat=True)) - {""}
    unsettled = ChangeRequest.objects.filter(dataset=dataset, unsettled_version__isnull=False)
    begun_by_unsettled = begun.filter(subject_id__in=[one.cr_id for one in unsettled])
    living |= {data["attempt_id"] for data in begun_by_unsettled.values_list("data", flat=True)}
    merged = set(runs.filter(status=RunStatus.SUCCEEDED).values_list("attempt_id", flat=True))
    return Needs(
        versions=tuple(sorted(set(versions))),
        living_attempts=tuple(sorted(living)),
        dead_attempts=tuple(sorted(attempts - living - merged)),
    )


def survey(dataset: Dataset) -> Survey:
    """The dry run of looking after a table: writes nothing. Raises the engine's errors."""
    with outages.asking(dataset):
        return maintenance.survey(dataset, needs_of(dataset) or Needs())


def request_maintenance(*, dataset_id: int, actor: User, jobs: list[str], reason: str = "") -> MaintenanceRun:
    """Ask for jobs on a table and ring a worker. Raises as ``datasets.maintenance.request_maintenance`` does."""
    with transaction.atomic():
        run = maintenance.request_maintenance(dataset_id=dataset_id, actor=actor, jobs=jobs, reason=reason)
        queue.ring_for_maintenance_on_commit(dataset_id)
    return run


def maintain(*, dataset_id: int, worker: str) -> MaintenanceRun | None:
    """Do what waits for a dataset or is due by its settings; None if that is nothing, or others are at work.

    Merges that waited meanwhile are rung for, and pending requests looked at where the table got a new version.
    """
    maintenance.queue_due(dataset_id)
    run = maintenance.maintain_next(dataset_id=dataset_id, worker=worker, needs_of=needs_of)
    if run is not None and run.version_after != run.version_before:
        queue.ask_for_check_of_pending(dataset_id)
    if run is not None and queue.next_run(dataset_id) is not None:
        queue.ring(dataset_id)
    return run


def maintain_all() -> int:
    """Ring a worker for every dataset, so that each is looked after in a task of its own; returns how many."""
    datasets = list(Dataset.objects.order_by("pk").values_list("pk", flat=True))
    for dataset_id in datasets:
        queue.ring_for_maintenance(dataset_id)
    return len(datasets)


def sweep() -> int:
    """Ring for visits that wait and that nobody works on; returns how many datasets."""
    waiting = maintenance.datasets_with_waiting_runs()
    for dataset_id in waiting:
        queue.ring_for_maintenance(dataset_id)
    return len(waiting)
