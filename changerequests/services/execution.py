"""Doing the merge: claim a run, let the engine work, record what became of it. Called by workers.

Exactly once: the commit in the table's log is the truth, the database row a cache of it. Every step can be repeated:
a run that was begun and not finished is taken up by whoever holds the dataset's lease next, and the engine finds the
marker of a commit that already happened.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

import merging
from audit.files import audit_root, file_sha256, taken_names, write_audit_files
from changerequests import policies, queue, selectors
from changerequests.errors import GivenUp, OutcomeUnknown, RunStopped, failures_in
from changerequests.models import ChangeRequest, MergeRun, RunPhaseTime
from changerequests.services import expectations, plans, settling, storage
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus, Status
from datasets import leases
from datasets.errors import DomainError
from datasets.models import Dataset
from datasets.rows import json_value, kept, storable
from datasets.services import remember_table

logger = structlog.get_logger(__name__)

#: How often a run is begun before it is given up: a run that kills its worker must not do so for ever.
MOST_ATTEMPTS = 5
#: What people do about a request whose marker in the log belongs to a merge of other content.
WHERE_MERGED_OTHERWISE = (
    "If the database was restored, an operator runs manage.py after_restore. What is still wanted is proposed in a new "
    "change request, and this one closed."
)
#: How many conflicts a run keeps for its error answer; all of them are in the plan.
KEPT_CONFLICTS = 50


def merge_next(*, dataset_id: int, worker: str) -> MergeRun | None:
    """Work on the next run of a dataset; None if there is none or somebody else is at work.

    Rings again while runs wait, so that a queue drains one task at a time.
    """
    claimed = _claim(dataset_id, worker)
    if claimed is None:
        return None
    run, lease = claimed
    with structlog.contextvars.bound_contextvars(run_id=run.pk, cr_id=run.change_request.cr_id):
        logger.info("merge_started", attempt=run.attempts)
        try:
            alive = MergeRun.objects.filter(pk=run.pk)
            with leases.kept_alive(lease, lambda: alive.update(heartbeat_at=timezone.now())):
                run = _execute(run, lease)
                _keep_log_short(run)
        finally:
            leases.release(lease)
        # Not after an error: what failed to end is taken up by the sweep, without haste.
        if queue.next_run(dataset_id) is not None:
            queue.ring(dataset_id)
        logger.info("merge_ended", status=run.status, error_code=run.error_code, version=run.merged_version)
    return run


def _keep_log_short(run: MergeRun) -> None:
    """Write a checkpoint after a merge where one is due: the merge is recorded and seen, and nothing hangs on this."""
    dataset = run.change_request.dataset
    if run.status != RunStatus.SUCCEEDED or not dataset.write_checkpoints:
        return
    try:
        written = merging.write_checkpoint(dataset.table_uri, version=run.merged_version)
    except merging.MergeError as error:  # the next maintenance tries again
        logger.warning("checkpoint_failed", version=run.merged_version, error=error.message)
    else:
        if written is not None:
            logger.info("checkpoint_written", version=written)


def _claim(dataset_id: int, worker: str) -> tuple[MergeRun, leases.Lease] | None:
    with transaction.atomic():
        lease = leases.acquire(dataset_id, f"worker {worker}"[:100])
        if lease is None:
            return None
        while (waiting := queue.next_run(dataset_id)) is not None:
            change_request = lock_change_request(waiting.change_request_id)
            run = lock_run(waiting.pk)
            if run.is_active:
                break  # else it was cancelled between the look and the lock
        else:
            leases.release(lease)
            return None
        again = run.status == RunStatus.RUNNING
        if not again:
            take_transition(change_request, Action.CLAIM)
        now = timezone.now()
        run.status, run.phase = RunStatus.RUNNING, RunPhase.CHECKING
        run.attempts, run.fence, run.worker = run.attempts + 1, lease.fence, worker
        run.attempt_id = uuid.uuid4().hex
        run.started_at, run.heartbeat_at = run.started_at or now, now
        run.save()
        record_event(
            change_request,
            "merge.resumed" if again else "merge.started",
            None,
            {"run": run.pk, "attempt": run.attempts, "attempt_id": run.attempt_id, "worker": worker},
        )
        return run, lease


class _Reporter:
    """Writes the engine's phases to the run, and stops it before the commit where it must not go on."""

    def __init__(self, run: MergeRun, lease: leases.Lease, change_request: ChangeRequest) -> None:
        self.run, self.lease, dataset = run, lease, change_request.dataset
        self.expected = dataset.suite_number, dataset.block_pre_existing
        self.deletes: tuple[int, float] = 0, 0.0
        self.noted_before = change_request.unsettled_version

    def __call__(self, phase: str, **facts: Any) -> None:
        if phase == "uncommitted":
            settling.withdraw(self.run.change_request_id, facts["version"], self.noted_before)
            return
        allowed = MergeRun.objects.filter(pk=self.run.pk, status=RunStatus.RUNNING, fence=self.lease.fence)
        if phase != RunPhase.RECORDING:
            allowed = allowed.filter(cancel_requested_by__isnull=True)
        fields: dict[str, Any] = {"phase": phase, "heartbeat_at": timezone.now()}
        if phase == RunPhase.CHECKING:
            self._nothing_fell()
        if phase == RunPhase.WRITING:
            self.deletes = facts["deleted"], facts["deleted_share"]
        if phase in (RunPhase.WRITING, RunPhase.COMMITTING):
            self._still_approved()
            change_request = self._nothing_fell(*self.deletes)
            fields["approved_by"] = [str(r.reviewer) for r in selectors.counting_approvals(change_request)]
        with transaction.atomic():
            moved = allowed.update(**fields)
            if moved and phase == RunPhase.COMMITTING:
                settling.begin(self.run.change_request_id, facts["version"])
        if phase == RunPhase.RECORDING:
            return  # the commit stands; whoever holds the lease records it
        if not moved or not leases.renew(self.lease):  # late is no harm while nobody else took it
            raise RunStopped(self._why())

    def _still_approved(self) -> None:
        change_request = ChangeRequest.objects.select_related("dataset").get(pk=self.run.change_request_id)
        dataset = change_request.dataset
        if (dataset.suite_number, dataset.block_pre_existing) != self.expected:
            raise RunStopped(
                "The expectations were edited while the merge was checked by the earlier ones. Ask for the merge again."
            )
        revision = selectors.current_revision(change_request)
        same = (
            change_request.status == Status.MERGING
            and revision is not None
            and revision.digest == self.run.revision_digest
            and change_request.resolutions_digest == self.run.resolutions_digest
        )
        if not same:
            raise RunStopped("The content or the choices moved after the merge was asked for.")

    def _nothing_fell(self, rows_deleted: int = 0, deleted_share: float = 0) -> ChangeRequest:
        """The request as it is now, where what let the merge be asked for still holds."""
        run = MergeRun.objects.select_related(
            "change_request__dataset__project", "change_request__dataset__meta", "requested_by"
        ).get(pk=self.run.pk)
        fallen = policies.gates_fallen(run, rows_deleted=rows_deleted, deleted_share=deleted_share)
        if fallen:
            sentences = " ".join(blocker.sentence for blocker in fallen)
            raise RunStopped(f"Since the merge was asked for something came in its way. {sentences}")
        return run.change_request

    def _why(self) -> str:
        run = MergeRun.objects.select_related("cancel_requested_by").get(pk=self.run.pk)
        if run.cancel_requested_by is not None:
            return f"Cancelled by {run.cancel_requested_by}."
        return "Another worker has taken over this run."


def _execute(run: MergeRun, lease: leases.Lease) -> MergeRun:
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=run.change_request_id
    )
    request = plans.bare_request_for(change_request, run.revision, run=run)
    try:
        result = _standing_before(change_request, request, run, lease)
        # Settling may have brought the request to a new generation.
        request = plans.bare_request_for(change_request, run.revision, run=run)
        if result is None and run.attempts > MOST_ATTEMPTS:
            raise GivenUp(f"Given up after {MOST_ATTEMPTS} interrupted attempts.")
        if result is None:
            result = merging.merge(
                plans.merge_request_for(change_request, run.revision, run=run),
                progress=_Reporter(run, lease, change_request),
            )
    except Exception as error:  # noqa: BLE001  (the boundary: whatever happened, the run must end in the truth)
        try:
            committed = settling.settle(change_request, request, lease)
        except OutcomeUnknown as unknown:
            return _step_back(run, lease, RunStatus.FAILED, unknown.code, unknown.message, settled=False)
        if committed is None:
            return _end_with(error, run, lease)
        logger.warning("merge_interrupted_after_commit", error=str(error), version=committed.version)
        result = result_standing(request, committed)
    return record_merge(run, change_request, result)


def _standing_before(
    change_request: ChangeRequest, request: merging.MergeRequest, run: MergeRun, lease: leases.Lease
) -> merging.MergeResult | None:
    """The merge of the request that stands already, before this run has done anything; None if there is none.

    It may have landed after an earlier run gave up on it: such a request is settled first. And it may be recorded in
    audit files alone, where the database was restored and the table's log has forgotten its marker since.
    """
    if run.attempts == 1 and change_request.unsettled_version is not None:
        committed = settling.settle(change_request, request, lease)
        if committed is not None:
            return result_standing(request, committed)
        settled = settling.settled_fields(change_request)
        ChangeRequest.objects.filter(pk=change_request.pk, status=Status.MERGING).update(**settled)
        change_request.refresh_from_db(fields=list(settled))
    audited = storage.audited_merge(change_request)
    return None if audited is None else _result_audited(change_request, request, run, audited)


def _result_audited(
    change_request: ChangeRequest,
    request: merging.MergeRequest,
    run: MergeRun,
    audited: storage.AuditedMerge,
) -> merging.MergeResult | None:
    """What audit files say of a merge whose marker is not in the log any more; None where the log tells itself."""
    found = merging.find_merge(
        request.table_uri,
        change_request.identity,
        generation=request.generation,
        installation=request.installation,
    )
    if found is not None:
        return None
    told = (audited.document.get("revision_digest"), audited.document.get("resolutions_digest"))
    if told != (run.revision_digest, run.resolutions_digest):
        raise merging.MergedOtherwise(
            f"The audit files in {audited.folder} say that {change_request.cr_id} was merged with other content; what "
            "it holds now was not merged.",
            data={"audit_folder": audited.folder},
        )
    logger.warning("merge_known_from_audit_files", cr_id=change_request.cr_id, folder=audited.folder)
    return merging.result_from_document(audited.document)


def result_standing(request: merging.MergeRequest, committed: merging.CommittedMerge) -> merging.MergeResult:
    """What the merge in the log did. Where neither the log nor the artefacts tell any more, that it stands: a merge
    that happened is recorded, never tried again.
    """
    try:
        return merging.merge(request)
    except merging.MergeFailed as error:
        if not error.data.get("merged"):
            raise
        version = error.data.get("version") or committed.version
        if version is None:
            version = merging.inspect_table(request.table_uri).version  # it is that one or an earlier one
        logger.error("merge_facts_lost", cr_id=request.cr_id, version=version)
        return merging.MergeResult(
            merged_version=version,
            commit_id=f"v{version}",
            rows_affected=0,
            diff=merging.VersionDiff(version - 1, version, 0, 0, 0),
            cells_updated={},
            strategy="unknown",
            already_merged=True,
            bytes_written=0,
            attempts=0,
            attempt_id=request.attempt_id,
        )


def _end_with(error: Exception, run: MergeRun, lease: leases.Lease) -> MergeRun:
    if isinstance(error, RunStopped):
        return _step_back(run, lease, RunStatus.CANCELLED, "cancelled", error.message)
    if isinstance(error, merging.MergeConflict):
        conflicts = [vars(plans.shown_conflict(conflict)) for conflict in error.conflicts[:KEPT_CONFLICTS]]
        return _step_back(
            run,
            lease,
            RunStatus.CONFLICTED,
            error.code,
            error.message,
            {"total": error.total, "conflicts": conflicts},
        )
    if isinstance(error, merging.ValidationFailed):
        suite = error.report.expectations
        report = suite.as_json() if suite is not None else None
        checks = {
            "checks": [_check(check) for check in error.report.checks],
            "suite_version": report["version"] if report is not None else None,
            "expectations": failures_in(report) if report is not None else [],
        }
        return _step_back(run, lease, RunStatus.INVALID, error.code, error.message, checks, report=report)
    if isinstance(error, merging.MergedOtherwise):
        message = f"{error.message} {WHERE_MERGED_OTHERWISE}"
        return _step_back(run, lease, RunStatus.FAILED, error.code, message, error.data)
    if isinstance(error, GivenUp):
        return _step_back(run, lease, RunStatus.FAILED, "merge_failed", error.message)
    if isinstance(error, merging.MergeError | DomainError):
        return _step_back(run, lease, RunStatus.FAILED, error.code, error.message, error.data)
    logger.error("merge_failed", exc_info=error)
    return _step_back(
        run,
        lease,
        RunStatus.FAILED,
        "merge_failed",
        "The merge failed unexpectedly and the table is as it was. The worker's log says more, under this run's id.",
    )


def _step_back(
    run: MergeRun,
    lease: leases.Lease,
    status: RunStatus,
    code: str,
    message: str,
    data: dict[str, Any] | None = None,
    *,
    report: dict[str, Any] | None = None,
    settled: bool = True,
) -> MergeRun:
    """End a run without a merge: the request is pending again, the reason (and ``report``) is on the run.

    Where the outcome is not ``settled`` the note of what may still land stays, and with it everything that it forbids.
    """
    with transaction.atomic():
        change_request = lock_change_request(run.change_request_id)
        run = lock_run(run.pk)
        if run.status != RunStatus.RUNNING or run.fence != lease.fence:
            return run  # somebody else has taken over and speaks for it
        take_transition(
            change_request, Action.STEP_BACK, **(settling.settled_fields(change_request) if settled else {})
        )
        run.status, run.finished_at = status, timezone.now()
        message = storable(message)
        run.error_code, run.error_message, run.error_data = code, message, storable(data or {})
        _judged_by(run, change_request, report)
        run.save()
        record_event(
            change_request,
            f"merge.{status}" if settled else "merge.unsettled",
            run.cancel_requested_by if status == RunStatus.CANCELLED else None,
            {"run": run.pk, "code": code, "reason": message},
        )
        queue.ask_for_check(change_request.pk)
    return run


def _judged_by(run: MergeRun, change_request: ChangeRequest, report: dict[str, Any] | None) -> None:
    """Keep what the suite said of the merged result with the run, which the caller saves."""
    if report is None:
        return
    check = expectations.remember_check(change_request, run.revision, run.resolutions_digest, report, run=run)
    run.suite_version = check.suite_version


def record_merge(run: MergeRun, change_request: ChangeRequest, result: merging.MergeResult) -> MergeRun:
    """The commit stands: write the audit files, then say so in the database, in one transaction.

    For a running run of a request that is merging.
    """
    info = merging.inspect_table(change_request.dataset.table_uri)
    committed_at = _committed_at(change_request.dataset, result.merged_version)
    validation = _validation(change_request, result)
    run.refresh_from_db(fields=["approved_by"])  # as it was when the commit began
    folder, hashes = _write_audit(run, change_request, result, validation)
    with transaction.atomic():
        change_request = lock_change_request(change_request.pk)
        run = lock_run(run.pk)
        if run.status != RunStatus.RUNNING:
            return run  # recorded already
        take_transition(
            change_request,
            Action.COMPLETE,
            merged_version=result.merged_version,
            merged_at=committed_at or timezone.now(),
            merged_by=run.requested_by,
            merge_record=_merge_record(run, change_request, result, folder, hashes),
            unsettled_version=None,
        )
        run.status, run.phase, run.finished_at = RunStatus.SUCCEEDED, RunPhase.DONE, timezone.now()
        run.merged_version, run.rows_affected = result.merged_version, result.rows_affected
        run.bytes_written = result.bytes_written
        run.result = storable(result_document(result))
        run.error_code = run.error_message = ""
        _judged_by(run, change_request, validation.get("expectations"))
        run.save()
        RunPhaseTime.objects.bulk_create(
            RunPhaseTime(run=run, phase=phase, seconds=seconds) for phase, seconds in result.phases.items()
        )
        remember_table(change_request.dataset, info)
        record_event(
            change_request,
            "change_request.merged",
            run.requested_by,
            {
                "run": run.pk,
                "version": result.merged_version,
                "commit_id": result.commit_id,
                "identity": change_request.identity,
                "rows_added": result.diff.rows_added,
                "rows_updated": result.diff.rows_updated,
                "rows_deleted": result.diff.rows_deleted,
                "digest": run.revision_digest,
                "resolutions_digest": run.resolutions_digest,
                "approved_by": run.approved_by,
                "override_reason": run.override_reason,
                **_expectation_facts(validation.get("expectations")),
                "audit_folder": folder,
                "audit_files": hashes,
            },
        )
        if change_request.reverts is not None:
            record_event(
                change_request.reverts,
                "change_request.reverted",
                run.requested_by,
                {"by": change_request.cr_id, "version": result.merged_version},
            )
        transaction.on_commit(lambda: _after_merge(change_request.pk), robust=True)
    return run


def _committed_at(dataset: Dataset, version: int) -> datetime | None:
    """When the version was committed; None where the log was cleaned up past it."""
    try:
        return merging.inspect_table(dataset.table_uri, version=version).timestamp
    except merging.MergeError:
        return None


def _expectation_facts(report: dict[str, Any] | None) -> dict[str, Any]:
    if report is None:
        return {}
    counts = {name: report[name] for name in ("blocking", "warnings", "pre_existing", "overridden")}
    return {"suite_version": report["version"], "expectations": {"judged": len(report["results"]), **counts}}


def _validation(change_request: ChangeRequest, result: merging.MergeResult) -> dict[str, Any]:
    """Everything that was checked before the commit, from what the attempt wrote then: whoever records it, and after
    whatever interruption, says the same. Where that is gone, the table's own rules alone.
    """
    path = storage.attempts_folder(change_request) / result.attempt_id / "validation.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    audited = storage.audited_merge(change_request)
    if audited is not None and (path := audit_root() / audited.folder / "validation.json").is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        return {name: value for name, value in told.items() if name not in ("cr_id", "overrides")}
    return {"checks": [_check(check) for check in result.validation.checks]}


def _write_audit(
    run: MergeRun, change_request: ChangeRequest, result: merging.MergeResult, validation: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    """Write the audit files; the folder's name and the files' hashes.

    Every file is a function of the commit and the rows in the database, so that a second writer agrees.
    """
    artefacts = storage.attempts_folder(change_request) / result.attempt_id
    document = result_document(result)
    choices = [
        {
            "key": kept(choice.key),
            "column": choice.column or None,
            "choice": choice.choice,
            "value": kept(choice.value),
            "inputs_digest": choice.inputs_digest,
            "chosen_by": str(choice.chosen_by),
            "chosen_at": choice.chosen_at,
        }
        for choice in selectors.current_resolutions(change_request)
    ]
    documents: dict[str, Any] = {
        "merge_result.json": {
            "cr_id": change_request.cr_id,
            "identity": change_request.identity,
            "title": change_request.title,
            "table_uri": change_request.dataset.table_uri,
            "author": str(change_request.author),
            "requested_by": str(run.requested_by),
            "requested_for": run.requested_for,
            "approved_by": run.approved_by,
            "revision_digest": run.revision_digest,
            "resolutions_digest": run.resolutions_digest,
            "override_reason": run.override_reason,
            "overridden": run.overridden_blockers,
            **document,
        },
        "diff.json": {"cr_id": change_request.cr_id, **document["diff"], "cells": document["cells_updated"]},
        "validation.json": {
            "cr_id": change_request.cr_id,
            "overrides": expectations.overrides_as_json(selectors.overrides_in(run, validation)),
            **validation,
        },
    }
    if choices or result.conflicts_overridden:
        documents["conflicts.json"] = {
            "cr_id": change_request.cr_id,
            "resolutions": choices,
            "overridden": result.conflicts_overridden,
        }
    copies = {
        name: artefacts / name
        for name in ("diff.parquet", "images.parquet", "summary.json")
        if (artefacts / name).exists()
    }
    return _audit_files_written(change_request, result, documents, copies)


#: Audit files that also tell what the database knew of the people; a restored one may know less.
TOLD_BY_THE_DATABASE = {storage.MERGE_RESULT, "validation.json", "conflicts.json"}


def _audit_files_written(
    change_request: ChangeRequest,
    result: merging.MergeResult,
    documents: dict[str, Any],
    copies: dict[str, Path],
) -> tuple[str, dict[str, str]]:
    """Write what is not there yet, and never replace anything.

    What was written of this very merge before the database was restored stays as it is. Where the folder holds another
    merge, of a request whose number was handed out again, this one gets a folder of its own.
    """
    own, other = storage.audit_folder_names(change_request)
    taken = taken_names(audit_root() / own, documents=documents, copies=copies)
    audited = storage.audited_merge(change_request)
    if not taken:
        name = own
    elif audited is not None and audited.document.get("merged_version") == result.merged_version:
        name = audited.folder
        taken = taken_names(audit_root() / name, documents=documents, copies=copies) & TOLD_BY_THE_DATABASE
        documents = {file: content for file, content in documents.items() if file not in taken}
    else:
        name = other
    folder = audit_root() / name
    written = write_audit_files(folder, documents=documents, copies=copies)
    kept = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    return name, {**{file: file_sha256(folder / file) for file in sorted(kept - set(written))}, **written}


def result_document(result: merging.MergeResult) -> dict[str, Any]:
    """A merge result as JSON values: what the run, the API and the audit keep of it."""
    return {
        "merged_version": result.merged_version,
        "commit_id": result.commit_id,
        "rows_affected": result.rows_affected,
        "rows_agreed": result.rows_agreed,
        "diff": dict(vars(result.diff)),
        "cells_updated": dict(result.cells_updated),
        "schema_changes": [dict(vars(change)) for change in result.schema_changes],
        "strategy": result.strategy,
        "conflicts_overridden": result.conflicts_overridden,
        # Of the suite, a merge that was interrupted remembers less here; the whole report is in validation.json.
        "validation": [_check(check) for check in result.validation.checks if check.built_in],
        "engine_version": result.engine_version,
    }


def _check(check: merging.Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "ok": check.ok,
        "message": check.message,
        "failures": check.failures,
        "examples": json_value(check.examples),
    }


def _merge_record(
    run: MergeRun,
    change_request: ChangeRequest,
    result: merging.MergeResult,
    folder: str,
    hashes: dict[str, str],
) -> dict[str, Any]:
    check = selectors.current_plan_check(change_request)
    return {
        "result": storable(result_document(result)),
        "plan_digest": check.plan_digest if check else "",
        "revision_digest": run.revision_digest,
        "resolutions_digest": run.resolutions_digest,
        "reviews": [
            {"reviewer": str(review.reviewer), "verdict": review.verdict, "digest": review.revision_digest}
            for review in selectors.latest_verdicts(change_request)
        ],
        "audit_folder": folder,
        "audit_files": hashes,
    }


def _after_merge(change_request_id: int) -> None:
    """What may wait until the merge is recorded: clear the staging, check again what the table's move touches."""
    clean_up(change_request_id=change_request_id)
    change_request = ChangeRequest.objects.get(pk=change_request_id)
    for other in ChangeRequest.objects.filter(
        dataset=change_request.dataset_id, status=Status.PENDING
    ).values_list("pk", flat=True):
        queue.ask_for_check(other)


def clean_up(*, change_request_id: int) -> bool:
    """Remove or archive the staged content of a merged request, by the dataset's setting. Safe to call again."""
    change_request = ChangeRequest.objects.select_related("dataset").get(pk=change_request_id)
    if change_request.status != Status.MERGED or change_request.staging_removed_at is not None:
        return False
    archive = change_request.dataset.staging_cleanup == Dataset.StagingCleanup.ARCHIVE
    storage.clear_staging(change_request, archive=archive)
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if change_request.staging_removed_at is not None:
            return False
        ChangeRequest.objects.filter(pk=change_request_id).update(staging_removed_at=timezone.now())
        record_event(change_request, "staging.archived" if archive else "staging.removed", None)
    return True


def sweep() -> int:
    """Bring back what was lost: ring for waiting and interrupted runs, clear staging that was left. Returns rings."""
    datasets = set(selectors.datasets_with_waiting_runs().values_list("pk", flat=True))
    datasets |= set(selectors.runs_to_recover().values_list("dataset_id", flat=True))
    for dataset_id in sorted(datasets):
        queue.ring(dataset_id)
    left = ChangeRequest.objects.filter(status=Status.MERGED, staging_removed_at__isnull=True)
    for pk in left.values_list("pk", flat=True)[:100]:
        clean_up(change_request_id=pk)
    return len(datasets)
