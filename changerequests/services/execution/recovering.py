"""What stands already, of runs that were cut short or that nobody remembers; and ringing for what was lost."""

from __future__ import annotations

import structlog

import merging
from changerequests import queue
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import settling, storage
from changerequests.services.execution.clearing import clear_staged_content
from changerequests.states import Status
from datasets import work
from datasets.work import Hold

logger = structlog.get_logger(__name__)


def merge(request: merging.MergeRequest, progress: merging.Progress | None = None) -> merging.MergeResult:
    """As ``merging.merge``, but a merge that stands and is not as planned is a merge, too: its result says how."""
    try:
        return merging.merge(request, progress)
    except merging.MergeDiffers as differs:
        return differs.result


def standing_before(
    change_request: ChangeRequest, request: merging.MergeRequest, hold: Hold[MergeRun]
) -> merging.MergeResult | None:
    """The merge of the request that stands already, before this run has done anything; None if there is none.

    It may have landed after an earlier run gave up on it: such a request is settled first. And it may be recorded in
    audit files alone, where the database was restored and the table's log has forgotten its marker since.
    """
    if hold.work.attempts == 1 and change_request.unsettled_version is not None:
        committed = settling.settle(change_request, request, hold.table_lease)
        if committed is not None:
            return result_of_committed(request, committed)
        settled = settling.settled_fields(change_request)
        ChangeRequest.objects.filter(pk=change_request.pk, status=Status.MERGING).update(**settled)
        change_request.refresh_from_db(fields=list(settled))
    audited = storage.audited_merge(change_request)
    return None if audited is None else _result_audited(change_request, request, hold.work, audited)


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


def result_of_committed(
    request: merging.MergeRequest, committed: merging.CommittedMerge
) -> merging.MergeResult:
    """What the merge in the log did. Where neither the log nor the artefacts tell any more, that it stands: a merge
    that happened is recorded, never tried again.
    """
    try:
        return merge(request)
    except merging.MergeFactsLost as error:
        version = error.version or committed.version
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


def sweep() -> int:
    """Bring back what was lost: ring for waiting and interrupted runs, clear staging that was left. Returns rings."""
    waiting = work.unattended_under_lease(queue.workable_runs())
    datasets = waiting.order_by("dataset_id").values_list("dataset_id", flat=True).distinct()
    for dataset_id in datasets:
        queue.ring(dataset_id)
    left = ChangeRequest.objects.filter(merged_at__isnull=False, staging_removed_at__isnull=True)
    for pk in left.order_by("merged_at").values_list("pk", flat=True)[:100]:
        clear_staged_content(change_request_id=pk)
    return len(datasets)
