"""Merging exactly once: check on a fresh snapshot, write, commit by compare-and-swap, look for one's own marker.

The loop of every attempt (bounded, with back-off): a fresh snapshot; the marker, if it is there the merge stands; the
conflict check, every time; validation; files; the caller's last word (``committing``); one put-if-absent of the next
version. After any failure the log is asked for the marker before anything of ours is deleted.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from merging.delta import (
    Commit,
    FoundTransaction,
    PreparedCommit,
    RowChanges,
    Snapshot,
    commit,
    discard,
    open_snapshot,
    prepare,
    verify,
    verify_logged,
)
from merging.engines import TableWriter
from merging.errors import (
    CommitDiffers,
    CommitRefused,
    CommitUnknown,
    MergeConflict,
    MergedOtherwise,
    MergeError,
    TableChanged,
    VersionMoved,
)
from merging.executing.artefacts import (
    artefact_folder,
    remove_artefacts,
    write_artefacts,
    writing_images,
)
from merging.executing.markers import (
    FACTS,
    SUPERSEDE,
    attempt_of,
    committed_merge,
    rebuilt_result,
    resolutions_digest_of,
    result_of,
    standing_marker,
)
from merging.executing.results import CommittedMerge, MergeDiffers, MergeResult
from merging.expectations.report import ValidationFailed, ValidationReport
from merging.model import Phase, Progress
from merging.sql.failures import naming_engine_failures
from merging.sql.session import session
from merging.staging.staged import Staged
from merging.store.space import naming_full_disks, says_disk_is_full
from merging.threeway.plan import MergePlan, plan_on, resolve_staged
from merging.threeway.request import MergeRequest

ENGINE_VERSION = "0.1.0"
MAX_ATTEMPTS = 20
MAX_FAILURES = 3


def _no_progress(phase: Phase, **facts: Any) -> None:
    """Where nobody wants to be told."""


class MergeExecutor:
    """Merges one request. ``run`` may be called again after any failure, by any process: it merges once."""

    def __init__(
        self,
        request: MergeRequest,
        progress: Progress | None = None,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.request = request
        self.progress: Progress = progress or _no_progress
        self.max_attempts = max_attempts
        self.sleep = sleep
        self.phases: dict[str, float] = {}
        self._outcome_unknown = False
        self._phase: tuple[Phase, float] | None = None

    def run(self) -> MergeResult:
        """Merge, or tell what the merge that already stands did."""
        staged: Staged | None = None
        last: MergeError | None = None
        failures = 0
        for attempt in range(1, self.max_attempts + 1):
            snapshot = self._snapshot()
            found = standing_marker(self.request, snapshot)
            if found is not None:
                return self._standing(found, snapshot)
            if staged is None:
                staged = resolve_staged(self.request)
            self._enter("checking", attempt=attempt, version=snapshot.version)
            with plan_on(self.request, staged, snapshot, self._still_checking(attempt, snapshot)) as made:
                try:
                    result = self._attempt(made, attempt)
                except VersionMoved as error:
                    last = error
                except (CommitRefused, CommitUnknown) as error:
                    failures += 1
                    if not error.retriable or failures >= MAX_FAILURES:
                        raise
                    last = error
                else:
                    return result
            self._back_off(attempt)
        raise CommitRefused(
            f"The table was changed by others {self.max_attempts} times while the merge tried to commit; "
            "it is unchanged by this request. Try again when fewer writers are active.",
            retriable=True,
            data={"attempts": self.max_attempts},
        ) from last

    def _still_checking(self, attempt: int, snapshot: Snapshot) -> Callable[[], None]:
        """Says that the check goes on, so that whoever hears it can end it."""
        return lambda: self.progress("checking", attempt=attempt, version=snapshot.version)

    def _attempt(self, made: MergePlan, attempt: int) -> MergeResult:
        request = self.request
        if made.unresolved and (made.alignment.conflicts or not request.force_merge):
            raise MergeConflict(made.unresolved_conflicts(), total=made.unresolved)
        self._enter("validating", rows=made.staged.rows)
        report = made.validate(lambda: self.progress("validating", rows=made.staged.rows))
        if not report.ok and not (request.force_merge and report.can_be_forced):
            raise ValidationFailed(report)
        facts = self._facts(made, report, attempt)
        effect = {
            "added": made.rows_added,
            "updated": made.rows_updated,
            "deleted": made.rows_deleted,
            "deleted_share": made.deleted_share,
        }
        self._enter("writing", **effect)
        writer = TableWriter(
            made.session, lambda: self.progress("writing", **effect), none_moved=not made.reads
        )
        prepared = self._prepared(made, writer)
        facts["writes"] = [dict(vars(one)) for one in writer.writes]
        facts["bytes_written"] = prepared.bytes_written
        facts["row_count_after"] = prepared.row_count_after
        try:
            folder = artefact_folder(request)
            facts["artefacts"] = None if folder is None else str(folder)
            write_artefacts(made, prepared.schema_json, report, facts)
            self._enter("committing", version=made.version + 1)
        except BaseException:
            self._discard(prepared)
            raise
        return self._commit(made, prepared, facts, report, attempt)

    def _prepared(self, made: MergePlan, writer: TableWriter) -> PreparedCommit:
        """The files of the commit and, beside them, the images of the rows that it changes: all of them or none."""
        prepared = None
        changed = made.rows_added + made.rows_updated + made.rows_deleted
        try:
            with writing_images(made, changed), naming_engine_failures(made.snapshot.uri):
                prepared = prepare(
                    made.session.connection,
                    made.snapshot,
                    made.row_changes(),
                    attempt_id=self.request.attempt_id,
                    new_schema=made.alignment.schema if made.schema_changes else None,
                    writer=writer,
                )
        except BaseException:
            if prepared is None:
                remove_artefacts(self.request)
            else:
                self._discard(prepared)
            raise
        return prepared

    def _commit(
        self,
        made: MergePlan,
        prepared: PreparedCommit,
        facts: dict[str, Any],
        report: ValidationReport,
        attempt: int,
    ) -> MergeResult:
        request = self.request
        try:
            committed = commit(
                prepared,
                application_id=request.application_id,
                generation=request.generation,
                commit_info=self._commit_info(made, facts),
            )
        except Exception as error:
            found = self._own_commit(error)
            if found is not None and not _is_of(found, prepared):
                # Another worker merged the same request: its commit stands, our files are in nobody's way.
                self._discard(prepared, keep_artefacts=attempt_of(found) == request.attempt_id)
                return self._standing(found, self._snapshot())
            if found is None:
                if isinstance(error, CommitUnknown):
                    self._outcome_unknown = True
                else:
                    self._discard(prepared)
                    if not self._outcome_unknown and not isinstance(error, VersionMoved):
                        self.progress("uncommitted", version=made.version + 1)
                if isinstance(error, CommitRefused):
                    raise
                raise self._not_in_log(error, attempt) from error
            if found.commit_version is None:
                return rebuilt_result(request, found)
            committed = Commit(found.commit_version, found.timestamp or made.snapshot.timestamp)
        differs = _difference(prepared, committed)
        self._enter("recording", version=committed.version)
        self._leave()
        result = result_of(facts, committed.version, already_merged=False)
        result = replace(result, phases=self.phases, validation=report)
        if differs is not None:
            raise MergeDiffers(differs, result)
        return result

    def _standing(self, found: FoundTransaction, snapshot: Snapshot) -> MergeResult:
        """The result of a merge that stands in the log; whoever committed it may have died before it was verified."""
        result = rebuilt_result(self.request, found)
        expected = ((found.commit_info or {}).get(FACTS) or {}).get("row_count_after")
        if found.commit_version is not None and expected is not None:
            try:
                verify_logged(snapshot, found.commit_version, int(expected))
            except CommitDiffers as differs:
                raise MergeDiffers(differs, result) from differs
        return result

    def _not_in_log(self, error: Exception, attempt: int) -> CommitRefused | CommitUnknown:
        """What to say of a commit that failed and is not in the log now."""
        # Trying again helps against failures of stores and networks, not against mistakes of programs.
        retriable = isinstance(error, CommitUnknown | OSError) and not says_disk_is_full(error)
        kind = CommitUnknown if self._outcome_unknown else CommitRefused
        return kind(
            f"The commit failed and is not in the table's log: {error}",
            retriable=retriable,
            data={"attempt": attempt},
        )

    def _own_commit(self, error: BaseException) -> FoundTransaction | None:
        """This request's marker in the newest version. Where the log cannot be asked nothing is deleted."""
        try:
            return standing_marker(self.request, self._snapshot())
        except (TableChanged, MergedOtherwise):
            raise
        except Exception as second:  # noqa: BLE001 - whatever hides the log, nothing may be deleted
            raise CommitUnknown(
                "The commit failed and the log could not be read to tell whether it stands; "
                f"nothing was removed, run the merge again: {second}",
                retriable=False,
            ) from error

    def _snapshot(self) -> Snapshot:
        return open_snapshot(self.request.table_uri, storage_options=self.request.storage_options)

    def _discard(self, prepared: PreparedCommit, *, keep_artefacts: bool = False) -> None:
        discard(prepared)
        if not keep_artefacts:
            remove_artefacts(self.request)

    def _back_off(self, attempt: int) -> None:
        # Jitter keeps two losers from meeting again.
        self.sleep(min(0.02 * 2**attempt, 2.0) * random.uniform(0.3, 1.0))  # noqa: S311 - no secret

    def _enter(self, phase: Phase, **facts: Any) -> None:
        self._leave()
        self._phase = (phase, time.perf_counter())
        self.progress(phase, **facts)

    def _leave(self) -> None:
        if self._phase is not None:
            phase, started = self._phase
            self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - started
            self._phase = None

    def _facts(self, made: MergePlan, report: ValidationReport, attempt: int) -> dict[str, Any]:
        """What the commit tells of the merge, enough to rebuild the result from the log."""
        request = self.request
        overridden = made.unresolved if request.force_merge else 0
        return {
            "cr_id": request.cr_id,
            "attempt_id": request.attempt_id,
            "engine_version": ENGINE_VERSION,
            "version_before": made.version,
            "rows_added": made.rows_added,
            "rows_updated": made.rows_updated,
            "rows_deleted": made.rows_deleted,
            "rows_agreed": made.rows_agreed,
            "cells_updated": dict(made.cells_updated),
            "strategy": made.strategy,
            "attempts": attempt,
            "reads": [dict(vars(one)) for one in (*made.reads, *report.reads)],
            "conflicts_overridden": overridden,
            "schema_changes": [[one.kind, one.column, one.type] for one in made.schema_changes],
            "validation": [
                [check.name, check.ok, check.message, check.failures]
                for check in report.checks
                if not check.overridable or check.failures
            ],
            "marker_only": made.changes_nothing,
            "plan_digest": made.digest,
            "staged_digest": made.staged.digest,
            "resolutions_digest": resolutions_digest_of(request),
        }

    def _commit_info(self, made: MergePlan, facts: Mapping[str, Any]) -> dict[str, Any]:
        request = self.request
        keys = list(request.primary_keys)
        return {
            "operation": "MERGE",
            "operationParameters": {
                "predicate": " AND ".join(f"target.{key} = source.{key}" for key in keys),
                "matchedPredicates": "[]",
                "crId": request.cr_id,
            },
            "operationMetrics": {
                "numTargetRowsInserted": made.rows_added,
                "numTargetRowsUpdated": made.rows_updated,
                "numTargetRowsDeleted": made.rows_deleted,
                "numOutputRows": made.rows_added + made.rows_updated,
                "numSourceRows": made.staged.rows,
            },
            "userName": request.requested_by,
            "userMetadata": request.message,
            "crId": request.cr_id,
            FACTS: dict(facts),
        }


def _is_of(found: FoundTransaction, prepared: PreparedCommit) -> bool:
    """Whether a marker was committed with these very files; True too where the log no longer tells."""
    if found.commit_info is None:
        return True
    return bool(found.commit_info.get("txnId") == prepared.commit_token)


def _difference(prepared: PreparedCommit, committed: Commit) -> CommitDiffers | None:
    """How the commit differs from what was prepared, if it does."""
    try:
        verify(prepared, committed)
    except CommitDiffers as differs:
        return differs
    return None


def merge(request: MergeRequest, progress: Progress | None = None) -> MergeResult:
    """Merge a request into its table, atomically and exactly once.

    Merging a request that is already merged answers the first result again (``already_merged``). Content that is in the
    table already gives a commit with the marker alone (``marker_only``).
    Raises MergeConflict, MergedOtherwise, ValidationFailed, StagedCorrupt, TableChanged, TableNotFound,
    UnsupportedTable, DuplicateKeys, InvalidResolution, StorageFull, MergeFailed, and what ``progress`` raises; the
    table is unchanged then, but where CommitUnknown or MergeDiffers say otherwise.
    """
    with naming_full_disks("merge", request.table_uri):
        return MergeExecutor(request, progress).run()


def supersede(request: MergeRequest, *, put_version: int | None = None) -> CommittedMerge | None:
    """Make every outstanding attempt on the request's generation fail, even one that only sleeps.

    Commits the marker of the next generation and nothing else: whoever still holds prepared files loses the
    compare-and-swap, looks at the log and finds itself out of date. Merge the request later under a generation above
    that. Where no attempt asked for more than ``put_version`` and the log has that version, whoever's it is, nothing
    can land any more and nothing is written. Where the merge stands already it is answered; safe to call again.
    Raises TableNotFound, MergedOtherwise, and MergeFailed where the store does not say that it is done.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        snapshot = open_snapshot(request.table_uri, storage_options=request.storage_options)
        newest = snapshot.find_transaction(request.application_id)
        if newest is not None and newest.version > request.generation:
            return None
        found = standing_marker(request, snapshot)
        if found is not None:
            return committed_merge(found)
        if put_version is not None and snapshot.version >= put_version:
            return None
        with session() as opened:
            prepared = prepare(
                opened.connection, snapshot, RowChanges(None, None), attempt_id=uuid.uuid4().hex
            )
        try:
            commit(
                prepared,
                application_id=request.application_id,
                generation=request.generation + 1,
                commit_info={"operation": SUPERSEDE, "userName": request.requested_by, "crId": request.cr_id},
            )
        except VersionMoved:
            time.sleep(min(0.02 * 2**attempt, 2.0))
        else:
            return None
    raise CommitRefused(f"The table was changed by others {MAX_ATTEMPTS} times in a row.", retriable=True)
