"""Retention: what is no longer needed goes, after a time that the operator sets, with a report and a dry run.

Never removed: anything of an open request but uploads that nobody adopted and revisions long replaced, the audit files
(a revert and blame read them), audit events, succeeded runs, and runs of requests that are not finished.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

import merging
from audit.files import AUDIT_FOLDER
from audit.services import INSTALLATION_STREAM, record
from changerequests.models import ChangeRequest, Edits, MergeRun, Revision, Upload
from changerequests.services import storage
from changerequests.services.evidence import OUTCOME, RUN
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event
from changerequests.states import (
    ACTIVE_RUN_STATUSES,
    ACTIVE_UPLOAD_STATUSES,
    OPEN_STATUSES,
    RunStatus,
    Status,
)
from datasets.data_root import data_root
from datasets.errors import Forbidden, InvalidInput
from datasets.evidence import REMOVED
from datasets.models import Dataset, MaintenanceRun
from datasets.operators import is_operator

logger = structlog.get_logger(__name__)

#: How many removed things the audit event names; it counts all of them.
NAMED_IN_EVENT = 200


@dataclass(frozen=True)
class Policy:
    """After how many days something goes. The defaults are ``settings.RETENTION_DAYS``.

    ``archives``: archived content, since the merge. ``orphans``: files that a process which died left behind, since
    they were written. ``closed``: staged content of closed requests, since they were closed. ``superseded``: revisions
    that a newer one replaced, since they were staged. ``runs``: merges of finished requests that did not succeed,
    visits of maintenance, and uploads that ended. ``edits``: what people edited in rows and never proposed, since they
    last touched it.
    """

    archives: int
    orphans: int
    closed: int
    superseded: int
    runs: int
    edits: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InvalidInput(f"{field.name} are kept for at least one day.")


def configured_policy() -> Policy:
    """The installation's policy."""
    return Policy(**settings.RETENTION_DAYS)


@dataclass(frozen=True)
class Removal:
    """One thing that goes: what it is, whose, why, and how many bytes it holds; ``rows`` are those that the trail
    vouches for.
    """

    kind: str
    subject: str
    reason: str
    size: int
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was removed, or (``dry_run``) what would be; ``failed`` could not be removed and is tried next time.

    ``has_more`` where the time was over before all of it was.
    """

    dry_run: bool
    removals: tuple[Removal, ...]
    failed: tuple[Removal, ...]
    has_more: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        counts: dict[str, int] = {}
        for removal in self.removals:
            counts[removal.kind] = counts.get(removal.kind, 0) + 1
        return counts

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(removal.size for removal in self.removals)


def apply_retention(
    *,
    actor: User | None,
    policy: Policy | None = None,
    dry_run: bool = False,
    seconds: float | None = None,
) -> Report:
    """Remove what the policy no longer keeps; one audit event tells of it. For operators and (None) the system.

    Safe to call at any time and again after an interruption. After ``seconds`` nothing more is begun. Raises
    ``Forbidden``.
    """
    if actor is not None and not is_operator(actor):
        raise Forbidden("Only operators apply the retention policy.")
    removals, failed, has_more = [], [], False
    end = None if seconds is None else time.monotonic() + seconds
    for removal, remove in _find(policy or configured_policy(), timezone.now()):
        if end is not None and time.monotonic() > end:
            has_more = True
            break
        if not dry_run:
            try:
                done = remove()
            except (OSError, merging.MergeError) as error:
                logger.warning("retention_failed", subject=removal.subject, error=error)
                failed.append(removal)
                continue
            if not done:
                continue  # somebody needs it again since it was found
        removals.append(removal)
    report = Report(dry_run, tuple(removals), tuple(failed), has_more)
    if removals and not dry_run:
        with transaction.atomic():
            record(
                stream=INSTALLATION_STREAM,
                action="retention.applied",
                subject_type="installation",
                subject_id="retention",
                actor=actor.get_username() if actor else "",
                data={
                    "counts": report.counts,
                    "bytes": report.size,
                    "removed": [f"{one.kind} {one.subject}" for one in removals[:NAMED_IN_EVENT]],
                },
                rows={name: REMOVED for one in removals for name in one.rows},
            )
    return report


def what_would_go(most: int) -> tuple[Removal, ...]:
    """The first of what the installation's policy would remove now; nothing is removed."""
    found = _find(configured_policy(), timezone.now())
    return tuple(removal for removal, _ in itertools.islice(found, most))


Found = tuple[Removal, Callable[[], bool]]


def _find(policy: Policy, now: datetime) -> Iterator[Found]:
    yield from _archives(now - timedelta(days=policy.archives))
    yield from _closed(now - timedelta(days=policy.closed))
    yield from _superseded(now - timedelta(days=policy.superseded))
    yield from _orphans(now - timedelta(days=policy.orphans))
    yield from _runs(now - timedelta(days=policy.runs))
    yield from _edits(now - timedelta(days=policy.edits))


def _archives(before: datetime) -> Iterator[Found]:
    merged = ChangeRequest.objects.filter(status=Status.MERGED, merged_at__lt=before)
    for change_request in merged.order_by("pk").iterator():
        yield from _folder(
            "archive",
            storage.archive_folder(change_request),
            f"merged on {change_request.merged_at:%Y-%m-%d}",
        )
    closed = ChangeRequest.objects.filter(status=Status.CLOSED, staging_removed_at__lt=before)
    for change_request in closed.order_by("pk").iterator():
        yield from _folder("archive", storage.archive_folder(change_request), "closed and archived")


def _closed(before: datetime) -> Iterator[Found]:
    closed = ChangeRequest.objects.filter(
        status=Status.CLOSED, staging_removed_at__isnull=True, updated_at__lt=before
    )
    for change_request in closed.select_related("dataset").order_by("pk").iterator():
        contents = data_root().contents(storage.staging_name(change_request))
        if contents is not None:
            reason = f"closed since {change_request.updated_at:%Y-%m-%d}"
            yield (
                Removal("closed", change_request.cr_id, reason, contents.size),
                partial(_clear_closed, change_request.pk, before),
            )


def _clear_closed(pk: int, before: datetime) -> bool:
    """A closed request gives its content up: reopened, it is a draft without any."""
    with transaction.atomic():
        change_request = lock_change_request(pk)
        if change_request.status != Status.CLOSED or change_request.updated_at >= before:
            return False
        archive = change_request.dataset.staging_cleanup == Dataset.StagingCleanup.ARCHIVE
        change_request.revisions.update(is_current=False)
        ChangeRequest.objects.filter(pk=pk).update(staging_removed_at=timezone.now())
        record_event(change_request, "staging.archived" if archive else "staging.removed", None)
        storage.clear_staging(change_request, archive=archive)
    return True


def _superseded(before: datetime) -> Iterator[Found]:
    replaced = Revision.objects.filter(
        is_current=False, created_at__lt=before, change_request__status__in=OPEN_STATUSES
    ).exclude(location__in=Revision.objects.filter(is_current=True).values("location"))
    for revision in replaced.select_related("change_request").order_by("pk").iterator():
        name = storage.content_name(revision)
        if name.startswith(f"{storage.staging_name(revision.change_request)}/"):
            yield from _folder("superseded", name, f"revision {revision.number} was replaced")


def _orphans(before: datetime) -> Iterator[Found]:
    for made, what in ((storage.REVERTS, "a revert"), (storage.PARTS, "leaving something out")):
        for name in _children(made):
            if _is_older(name, before):
                yield from _folder("orphan", name, f"{what} was not finished")
    for name in _children(storage.UPLOADS):
        token = name.rpartition("/")[2]
        waits = Upload.objects.filter(token=token, status__in=ACTIVE_UPLOAD_STATUSES)
        if _is_older(name, before) and not waits.exists():
            yield from _folder("orphan", name, "an upload was not finished")
    yield from _never_received(before)
    for root in _children(storage.STAGED):
        pk = ChangeRequest.pk_of(root.rpartition("/")[2])
        known = [storage.content_name(one) for one in Revision.objects.filter(change_request=pk or 0)]
        for name in _children(root):
            needed = any(f"{content}/".startswith(f"{name}/") for content in known)
            if not needed and _is_older(name, before):
                yield from _folder("orphan", name, _why_there(name))
    for root in _children(f"{AUDIT_FOLDER}/{storage.AUDIT_FOLDERS}"):
        pk = ChangeRequest.pk_of(root.rpartition("/")[2])
        for name in _children(f"{root}/attempts"):
            if pk and _is_older(name, before) and not _is_merging(pk):
                yield from _folder("orphan", name, "a merge was not finished")


def _why_there(name: str) -> str:
    kept = name.rpartition("/")[2] in (storage.KEPT_CONFLICTS, storage.CHOICE_FILES)
    return "it was kept for its pages" if kept else "an upload was not finished"


def _never_received(before: datetime) -> Iterator[Found]:
    """Files of requests whose web process was ended while they came in."""
    for one in sorted(data_root().walk(storage.INCOMING), key=lambda found: found.path):
        if one.modified_ms / 1000 < before.timestamp():
            removal = Removal("orphan", one.path, "it never came in whole", one.size)
            yield removal, partial(_remove_file, one.path)


def _remove_file(name: str) -> bool:
    data_root().delete([name])
    return True


def _is_merging(pk: int) -> bool:
    """Whether a merge may still need what an attempt left: it is active, its outcome is not known, or its staging waits
    to be cleared.
    """
    waiting = Q(status=Status.MERGED, staging_removed_at__isnull=True) | Q(unsettled_version__isnull=False)
    return (
        ChangeRequest.objects.filter(waiting, pk=pk).exists()
        or MergeRun.objects.filter(change_request=pk, status__in=ACTIVE_RUN_STATUSES).exists()
    )


def _runs(before: datetime) -> Iterator[Found]:
    ended = MergeRun.objects.filter(
        finished_at__lt=before, change_request__status__in=[Status.MERGED, Status.CLOSED]
    ).exclude(status__in=[*ACTIVE_RUN_STATUSES, RunStatus.SUCCEEDED])
    for run in ended.select_related("change_request").order_by("pk").iterator():
        rows = (RUN.called(run.pk), OUTCOME.called(run.pk))
        removal = Removal("run", f"{run.pk} of {run.change_request.cr_id}", f"it ended {run.status}", 0, rows)
        yield removal, partial(_delete_run, run.pk)
    visits = MaintenanceRun.objects.filter(finished_at__lt=before).select_related("dataset")
    for visit in visits.order_by("pk").iterator():
        removal = Removal("maintenance", str(visit), f"it ended {visit.status}", 0)
        yield removal, partial(_delete_visit, visit.pk)
    uploads = Upload.objects.filter(finished_at__lt=before).exclude(status__in=ACTIVE_UPLOAD_STATUSES)
    for upload in uploads.order_by("pk").iterator():
        removal = Removal("upload", str(upload.pk), f"it ended {upload.status}", 0)
        yield removal, partial(_delete_upload, upload.pk)


def _edits(before: datetime) -> Iterator[Found]:
    """Trays that nobody touches any more; their page tells from when on."""
    for edits in Edits.objects.filter(updated_at__lt=before).select_related("dataset").order_by("pk"):
        removal = Removal("edits", f"{edits.pk} of {edits.dataset}", "nobody touched them", 0)
        yield removal, partial(_delete_edits, edits.pk, before)


def _delete_edits(pk: int, before: datetime) -> bool:
    deleted, _ = Edits.objects.filter(pk=pk, updated_at__lt=before).delete()
    return deleted > 0


def _delete_run(pk: int) -> bool:
    deleted, _ = MergeRun.objects.filter(pk=pk).delete()
    return deleted > 0


def _delete_visit(pk: int) -> bool:
    deleted, _ = MaintenanceRun.objects.filter(pk=pk).delete()
    return deleted > 0


def _delete_upload(pk: int) -> bool:
    deleted, _ = Upload.objects.filter(pk=pk).delete()
    return deleted > 0


def _folder(kind: str, name: str, reason: str) -> Iterator[Found]:
    contents = data_root().contents(name)
    if contents is not None:
        yield Removal(kind, name, reason, contents.size), partial(_remove_folder, name)


def _remove_folder(name: str) -> bool:
    return data_root().remove(name)


def _children(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in data_root().folders(folder)]


def _is_older(name: str, before: datetime) -> bool:
    """Whether nothing in the folder was written since."""
    contents = data_root().contents(name)
    return contents is None or contents.newest < before.timestamp()
