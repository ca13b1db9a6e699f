"""Record a commit that stands: the audit files first, then the database, in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

import merging
from changerequests.facts import judged_facts
from changerequests.models import ChangeRequest, MergeRun, RunPhaseTime
from changerequests.services import expectations
from changerequests.services.evidence import MERGE, OUTCOME
from changerequests.services.execution import clearing
from changerequests.services.execution.audit_files import validation_of, write_audit
from changerequests.services.execution.documents import result_document
from changerequests.services.figures import count_ended_run
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event, take_transition
from changerequests.states import Action, RunPhase, RunStatus
from datasets import work
from datasets.models import Dataset
from datasets.rows import storable
from datasets.services import note_difference, remember_table
from datasets.work import Hold


def keep_judgement(run: MergeRun, change_request: ChangeRequest, report: dict[str, Any] | None) -> None:
    """Keep what the suite said of the merged result with the run that has ended."""
    if report is None:
        return
    check = expectations.remember_check(change_request, run.revision, run.resolutions_digest, report, run=run)
    run.suite_version = check.suite_version
    run.save(update_fields=["suite_version"])


def record_merge(hold: Hold[MergeRun], change_request: ChangeRequest, result: merging.MergeResult) -> None:
    """The commit stands: write the audit files, then say so in the database, in one transaction.

    For the run of a request that is merging. Where somebody else has taken the run over, it is theirs to record.
    """
    run = hold.work
    info = merging.inspect_table(change_request.dataset.table_uri)
    committed_at = _committed_at(change_request.dataset, result.merged_version, info)
    validation = validation_of(change_request, result)
    run.refresh_from_db(fields=["approved_by", "cancel_requested_by"])  # as it was when the commit began
    folder, hashes = write_audit(run, change_request, result, validation)
    with transaction.atomic():
        change_request = lock_change_request(change_request.pk)
        ended = work.end(
            hold,
            RunStatus.SUCCEEDED,
            phase=RunPhase.DONE,
            merged_version=result.merged_version,
            rows_affected=result.rows_affected,
            bytes_written=result.bytes_written,
            result=storable(result_document(result)),
            error_code=merging.CommitDiffers.code if result.difference else "",
            error_message=result.difference,
        )
        if not ended:
            return  # it is recorded already, or by whoever has taken it over
        take_transition(
            change_request,
            Action.COMPLETE,
            merged_version=result.merged_version,
            merged_at=committed_at or timezone.now(),
            merged_by=run.requested_by,
            merge_record=_merge_record(run, change_request, result, folder, hashes),
            unsettled_version=None,
        )
        keep_judgement(run, change_request, validation.get("expectations"))
        RunPhaseTime.objects.bulk_create(
            RunPhaseTime(run=run, phase=phase, seconds=seconds) for phase, seconds in result.phases.items()
        )
        count_ended_run(run, result.phases)
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
            rows={**MERGE.seal(change_request), **OUTCOME.seal(run)},
        )
        if result.difference:
            note_difference(change_request.dataset, result.difference)
            facts = {"run": run.pk, "version": result.merged_version, "reason": result.difference}
            record_event(change_request, "merge.differs", None, facts)
        if change_request.reverts is not None:
            record_event(
                change_request.reverts,
                "change_request.reverted",
                run.requested_by,
                {"by": change_request.cr_id, "version": result.merged_version},
            )
        transaction.on_commit(lambda: clearing.after_merge(change_request.pk), robust=True)


def _committed_at(dataset: Dataset, version: int, newest: merging.TableInfo) -> datetime | None:
    """When the version was committed; None where the log was cleaned up past it."""
    if newest.version == version:
        return newest.timestamp
    try:
        return merging.inspect_table(dataset.table_uri, version=version).timestamp
    except merging.MergeError:
        return None


def _expectation_facts(report: dict[str, Any] | None) -> dict[str, Any]:
    if report is None:
        return {}
    counts = {name: report[name] for name in ("blocking", "warnings", "pre_existing", "overridden")}
    return {"suite_version": report["version"], "expectations": {"judged": len(report["results"]), **counts}}


def _merge_record(
    run: MergeRun,
    change_request: ChangeRequest,
    result: merging.MergeResult,
    folder: str,
    hashes: dict[str, str],
) -> dict[str, Any]:
    facts = judged_facts(change_request)
    check = facts.plan_check
    return {
        "result": storable(result_document(result)),
        "plan_digest": check.plan_digest if check else "",
        "revision_digest": run.revision_digest,
        "resolutions_digest": run.resolutions_digest,
        "reviews": [
            {"reviewer": str(review.reviewer), "verdict": review.verdict, "digest": review.revision_digest}
            for review in facts.verdicts
        ],
        "audit_folder": folder,
        "audit_files": hashes,
    }
