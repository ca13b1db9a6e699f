"""What a merge would do: the plan on the table as it is now, and the pages that reviewers read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

import merging
from changerequests import selectors
from changerequests.errors import ContentMissing, ContentMoved, RunStopped
from changerequests.facts import Facts, facts_of
from changerequests.models import ChangeRequest, ConflictResolution, MergeRun, PlanCheck, Revision
from changerequests.services import expectations
from changerequests.services.choices import choice_digest, digest_of
from changerequests.services.locks import lock_change_request
from changerequests.services.storage import attempts_folder, audit_folder
from changerequests.states import Status
from datasets import suites
from datasets.errors import Forbidden, NotFound, TableReplaced
from datasets.operators import is_operator
from datasets.rows import column_types, json_value, keepable, kept, key_digest, storable, typed_key
from datasets.services import installation_identity

PAGE_SIZE = 100


def bare_request_for(
    change_request: ChangeRequest, revision: Revision, *, run: MergeRun | None = None
) -> merging.MergeRequest:
    """What tells a merge in the table's log (identity, generation, digests), and the run's options: without choices and
    expectations.
    """
    dataset = change_request.dataset
    options: dict[str, Any] = {}
    if run is not None:
        options = {
            "skip_conflict_check": run.skip_conflict_check,
            "force_merge": run.force_merge,
            "requested_by": run.requested_by.get_username(),
            "message": run.message or f"{change_request.cr_id} {change_request.title}",
            "attempt_id": run.attempt_id,
            "destination": str(attempts_folder(change_request)),
        }
    return merging.MergeRequest(
        table_uri=dataset.table_uri,
        cr_id=change_request.cr_id,
        primary_keys=tuple(dataset.primary_keys),
        staged=revision.location,
        merge_schema=change_request.merge_schema if run is None else run.merge_schema,
        conflict_policy="row" if dataset.conflict_policy == "row" else "cell",
        generation=change_request.merge_generation,
        installation=installation_identity(),
        identity=change_request.identity,
        staged_digest=revision.digest,
        resolutions_digest=change_request.resolutions_digest if run is None else run.resolutions_digest,
        **options,
    )


def merge_request_for(
    change_request: ChangeRequest,
    revision: Revision,
    *,
    run: MergeRun | None = None,
    answered: Collection[int] = (),
    choosing: Sequence[ConflictResolution] = (),
) -> merging.MergeRequest:
    """The engine's request for a revision with the choices that stand, and those that somebody is about to make laid
    over them; for a run, with its options and attempt, and the numbers of the expectations that owners answer for.

    Raises ``InvalidInput`` for choices that do not fit the table's columns any more, and ``RunStopped`` where they are
    not those that the run was asked for with.
    """
    types = column_types(change_request.dataset.meta.schema_json)
    chosen = selectors.current_resolutions(change_request)
    if run is not None and digest_of(chosen) != run.resolutions_digest:
        raise RunStopped("The choices moved after the merge was asked for.")
    return replace(
        bare_request_for(change_request, revision, run=run),
        resolutions=tuple(_resolution(resolution, types) for resolution in (*chosen, *choosing)),
        expectations=expectations.rules_for(change_request.dataset, answered=answered),
    )


def _resolution(resolution: ConflictResolution, types: Mapping[str, str]) -> merging.Resolution:
    return merging.Resolution(
        key=typed_key(kept(resolution.key), types),
        column=resolution.column or None,
        choice=cast(merging.Choice, resolution.choice),
        value=kept(resolution.value),
        inputs_digest=resolution.inputs_digest,
    )


@contextmanager
def plan_of(
    change_request: ChangeRequest, *, choosing: Sequence[ConflictResolution] = ()
) -> Iterator[merging.MergePlan]:
    """The plan on the table as it is now; with ``choosing`` as it will be once those choices are made.

    Raises ``NotFound`` before the first upload, ``ContentMissing`` where the staged content is gone, ``TableReplaced``,
    and the engine's errors.
    """
    revision = selectors.current_revision(change_request)
    if revision is None:
        raise NotFound("No changes were uploaded yet, so there is nothing to plan.")
    if revision.table_id != change_request.dataset.meta.table_id:
        raise TableReplaced("The table was dropped and made anew since the changes were staged.")
    with (
        naming_missing_content(change_request, revision),
        merging.plan(merge_request_for(change_request, revision, choosing=choosing)) as plan,
    ):
        yield plan


@contextmanager
def naming_missing_content(change_request: ChangeRequest, revision: Revision) -> Iterator[None]:
    """Say what the files that hold a request's content are, where they are gone or damaged, and what can be done.

    Content goes when its merge is recorded, or when newer content took its place: whoever was just reading it is told
    so (``ContentMoved``). Raises ``ContentMissing`` where nobody knows why it is gone.
    """
    try:
        yield
    except (merging.MergeFailed, FileNotFoundError) as error:
        now = ChangeRequest.objects.get(pk=change_request.pk)
        if now.status == Status.MERGED != change_request.status:
            raise ContentMoved(
                f"{now.cr_id} was merged a moment ago, as version {now.merged_version}. Look at it again: what it "
                f"changed is kept.",
                moved="merged",
            ) from error
        if selectors.current_revision(now) != revision:
            raise ContentMoved(
                f"The content of {now.cr_id} was replaced a moment ago. Look at it again.", moved="revision"
            ) from error
        if not isinstance(error, merging.StagedCorrupt):
            raise
        merged = change_request.status == Status.MERGED
        raise ContentMissing(
            f"The rows that {change_request.cr_id} {'changed' if merged else 'proposes'} cannot be shown: their files "
            f"are gone or damaged. {error.message} "
            + (
                "The counts and the audit events are kept."
                if merged
                else "If the database was restored from a backup, an operator runs manage.py after_restore: it "
                "may be merged already. Else upload the rows again."
            )
        ) from error


def check(*, change_request_id: int) -> PlanCheck | None:
    """Plan a draft or pending request on the table as it is now and remember the numbers; None if it is neither.

    Where the request moved meanwhile, or a newer version was checked, that is left alone and answered. The
    expectations that look at changed rows alone are judged too, and what they said is kept with the revision.
    """
    change_request = (
        ChangeRequest.objects.select_related("dataset__meta", "dataset__project")
        .filter(pk=change_request_id, status__in=[Status.DRAFT, Status.PENDING])
        .first()
    )
    revision = selectors.current_revision(change_request) if change_request else None
    if change_request is None or revision is None:
        return None
    digest = change_request.resolutions_digest
    report = None
    try:
        with plan_of(change_request) as plan:
            numbers = _numbers(plan)
            try:
                report = plan.check_expectations(rows_only=True)
            except merging.SuiteRejected as error:
                numbers |= {"problem": _suite_problem(change_request, error), "problem_code": error.code}
    except (merging.MergeError, ContentMissing, TableReplaced) as error:
        numbers = {
            "problem": error.message,
            "problem_code": error.code,
            "table_version": change_request.dataset.meta.delta_version,
        }
    numbers = storable(numbers)
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if change_request.status not in (Status.DRAFT, Status.PENDING):
            return None
        now = facts_of(change_request)
        standing = now.plan_check
        if now.revision != revision or now.resolutions_digest != digest:
            return standing
        made = "plan_digest" in numbers  # a table that cannot be read any more has no version to compare
        if made and standing is not None and standing.table_version > numbers["table_version"]:
            return standing
        if report is not None:
            expectations.remember_check(change_request, revision, digest, report.as_json())
        PlanCheck.objects.filter(pk=change_request_id).delete()
        return PlanCheck.objects.create(
            change_request_id=change_request_id,
            revision=revision,
            resolutions_digest=digest,
            checked_at=timezone.now(),
            **numbers,
        )


def may_check_again(facts: Facts) -> bool:
    """Whether the asker may have the request checked again."""
    return facts.contributes or (facts.asker is not None and is_operator(facts.asker))


def check_again(*, change_request_id: int, actor: User) -> PlanCheck | None:
    """Plan anew because somebody asked for it: what could not be checked for want of means may be tried again, too.

    For contributors, owners and operators, else ``Forbidden``.
    """
    change_request = ChangeRequest.objects.select_related("dataset__project").get(pk=change_request_id)
    if not may_check_again(facts_of(change_request, actor)):
        raise Forbidden("To check a request again you need the role of a contributor.")
    expectations.forget_what_could_not_be_checked(change_request_id)
    return check(change_request_id=change_request_id)


def _suite_problem(change_request: ChangeRequest, error: merging.SuiteRejected) -> str:
    return (
        f"The expectations of {change_request.dataset.name} do not fit the table any more; "
        f"an owner has to edit them. {error.message}"
    )


def _numbers(plan: merging.MergePlan) -> dict[str, Any]:
    return {
        "table_version": plan.version,
        "plan_digest": plan.digest,
        "strategy": plan.strategy,
        "rows_added": plan.rows_added,
        "rows_updated": plan.rows_updated,
        "rows_deleted": plan.rows_deleted,
        "rows_agreed": plan.rows_agreed,
        "cells_updated": dict(plan.cells_updated),
        "schema_changes": [
            {"kind": change.kind, "column": change.column, "type": change.type}
            for change in plan.schema_changes
        ],
        "conflicts": len(plan.conflicts),
        "unresolved": plan.unresolved,
        "row_count_before": plan.row_count_before,
        "row_count_after": plan.row_count_after,
        "deleted_share": plan.deleted_share,
    }


def check_if_outdated(*, change_request_id: int) -> PlanCheck | None:
    """The check of a draft or pending request, made now unless its numbers are current; None if it is neither."""
    change_request = (
        ChangeRequest.objects.select_related("dataset__meta", "dataset__project")
        .filter(pk=change_request_id, status__in=[Status.DRAFT, Status.PENDING])
        .first()
    )
    return fresh_check(facts_of(change_request)) if change_request is not None else None


def fresh_check(facts: Facts) -> PlanCheck | None:
    """The check in numbers, made again if the table or the content moved since the last one."""
    known = facts.plan_check
    if known is not None and not known.problem:
        try:
            version = merging.inspect_table(facts.dataset.table_uri).version
        except merging.MergeError:
            version = -1
        unjudged = facts.expectation_check is None and suites.active_suite(facts.dataset) is not None
        if version == known.table_version and not unjudged:
            return known
    return check(change_request_id=facts.change_request.pk)


def changes_page(
    *,
    change_request: ChangeRequest,
    operation: str | None = None,
    column: str | None = None,
    after: str | None = None,
    limit: int = PAGE_SIZE,
) -> merging.Page[merging.ChangedRow]:
    """What the request changes (``before`` and ``after`` of each row), in key order: Base against Proposed while it is
    open; what was merged, once it is merged.

    Raises ``ContentMissing`` where the files that hold it are gone.
    """
    revision = selectors.current_revision(change_request)
    if revision is None:
        return merging.Page(())
    filters: dict[str, Any] = {"operation": operation, "column": column, "after": after, "limit": limit}
    with naming_missing_content(change_request, revision):
        if change_request.status == Status.MERGED:
            return merging.read_diff(str(audit_folder(change_request)), **filters)
        return merging.open_for_pages(revision.location).page(**filters)


def grouped_changes(*, change_request: ChangeRequest, limit: int = 50) -> tuple[merging.ValueGroup, ...]:
    """The most frequent equal edits of an open request, for reviewers of many rows. Raises ``ContentMissing``."""
    revision = selectors.current_revision(change_request)
    if revision is None or change_request.status == Status.MERGED:
        return ()
    with naming_missing_content(change_request, revision):
        return merging.open_for_pages(revision.location).value_groups(limit=limit)


@dataclass(frozen=True)
class ConflictsPage:
    """A page of conflicts in key order with the exact counts of all of them.

    ``standing`` are the choices by key digest and column, ``selections`` what was seen of each column (empty for
    whole rows): send that back with a choice for all of it.
    """

    conflicts: tuple[merging.Conflict, ...]
    next: str | None
    total: int
    unresolved: int
    table_version: int
    standing: Mapping[tuple[str, str], ConflictResolution] = field(default_factory=dict)
    selections: Mapping[str, str] = field(default_factory=dict)

    def chosen_for(self, conflict: merging.Conflict) -> ConflictResolution | None:
        """Who chose what stands for a conflict of this page, and when."""
        found = self.standing.get((key_digest(conflict.key), conflict.column or ""))
        return found if conflict.choice is not None else None


def seen_choice(conflict: merging.Conflict) -> str:
    """What stands for the choice that somebody sees for a conflict: send it back with another choice."""
    return choice_digest(conflict.choice, keepable(conflict.value))


def read_selection(seen: str) -> tuple[str, int]:
    """The digest of a selection, and the newest choice that was made before it was shown."""
    digest, _, newest = seen.rpartition("-")
    return digest, int(newest) if newest.isascii() and newest.isdecimal() and len(newest) <= 18 else 0


def conflicts_page(
    *,
    change_request: ChangeRequest,
    after: str | None = None,
    column: str | None = None,
    limit: int = PAGE_SIZE,
) -> ConflictsPage:
    """The conflicts of an open request with the table as it is now; none before the first upload."""
    if change_request.status not in (Status.DRAFT, Status.PENDING):
        return ConflictsPage((), None, 0, 0, change_request.dataset.meta.delta_version)
    if selectors.current_revision(change_request) is None:
        return ConflictsPage((), None, 0, 0, change_request.dataset.meta.delta_version)
    newest = selectors.newest_choice(change_request)  # before the plan: what comes after it was not seen
    with plan_of(change_request) as plan:
        page = plan.conflicts.page(after=after, column=column, limit=limit)
        return ConflictsPage(
            page.items,
            page.next,
            len(plan.conflicts),
            plan.unresolved,
            plan.version,
            selectors.choices_for(change_request, {key_digest(one.key) for one in page.items}),
            {name: f"{digest}-{newest}" for name, digest in plan.conflicts.digests().items()},
        )


def conflict_document(conflict: merging.Conflict) -> dict[str, Any]:
    """A conflict in JSON values: what a run keeps of it, and an error answer tells."""
    return {
        "key": json_value(conflict.key),
        "column": conflict.column,
        "kind": conflict.kind,
        **{name: json_value(value) for name, value in vars(conflict.sides).items()},
        "inputs_digest": conflict.inputs_digest,
        "legal_choices": list(conflict.legal_choices),
        "message": conflict.message,
        "choice": conflict.choice,
        "value": json_value(conflict.value),
    }


#: How many conflicts an error answer lists; the count of rows is exact, and all of them are in their pages.
LISTED_CONFLICTS = 100


@dataclass(frozen=True)
class OpenConflicts:
    """The conflicts without a choice: how many rows they are in, and the first of them."""

    rows: int
    listed: tuple[merging.Conflict, ...]


def open_conflicts(change_request: ChangeRequest) -> OpenConflicts:
    """What still needs a choice, with the table as it is now. Raises as ``plan_of`` does."""
    rows, last_key = 0, None
    listed: list[merging.Conflict] = []
    with plan_of(change_request) as plan:
        for conflict in plan.conflicts:  # in key order, so that equal keys stand together
            if conflict.choice is not None:
                continue
            rows += conflict.key != last_key
            last_key = conflict.key
            if len(listed) < LISTED_CONFLICTS:
                listed.append(conflict)
    return OpenConflicts(rows, tuple(listed))
