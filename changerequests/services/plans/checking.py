"""The numbers of a plan, remembered with the request and made again when the table, the content or a choice moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

import merging
from changerequests import queue, selectors
from changerequests.errors import ContentMissing
from changerequests.facts import Facts, facts_of
from changerequests.models import ChangeRequest, PlanCheck, Revision
from changerequests.services import expectations
from changerequests.services.locks import lock_change_request
from changerequests.services.plans.planning import keep_conflicts, plan_of
from changerequests.states import Status
from datasets import outages, suites, table_work, work
from datasets.errors import Forbidden, TableReplaced
from datasets.operators import is_operator
from datasets.rows import storable

#: The ``problem_code`` of content whose checks ended their workers each time.
GIVEN_UP: Final = "check_given_up"
#: For how many requests one sweep asks that could not be planned while a store did not answer.
CHECKED_AT_ONCE = 50
_GIVEN_UP = (
    f"It could not be checked: {work.MOST_ATTEMPTS} attempts were cut short, each with its worker. It may be what "
    "kills them, for want of memory above all; the worker's log says more. Ask to check it again, or propose fewer "
    "rows at once."
)
_CHECKED_AGAIN = "A worker checks it again, after attempts that were cut short: look again in a while."


def check(*, change_request_id: int) -> PlanCheck | None:
    """Plan a draft or pending request on the table as it is now and remember the numbers; None if it is neither.

    Where the request moved meanwhile, or a newer version was checked, that is left alone and answered; a version that
    was checked before and is not there any more (the table was put back from a backup) is not. The expectations that
    look at changed rows alone are judged too, and what they said is kept with the revision.
    Content whose checks were cut short too often is not planned again: what kills its workers must not do so for ever.
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
    started, report = timezone.now(), None
    if revision.checks_cut_short >= work.MOST_ATTEMPTS:
        numbers = _problem(change_request, GIVEN_UP, _GIVEN_UP)
    else:
        with _counted(revision):
            numbers, report = _planned(change_request)
    numbers = storable(numbers)
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if change_request.status not in (Status.DRAFT, Status.PENDING):
            return None
        now = facts_of(change_request)
        standing = now.plan_check
        if now.revision != revision or now.resolutions_digest != digest:
            return standing
        is_silent = numbers.get("problem_code") == table_work.STORE_SILENT
        if is_silent and standing is not None and not standing.problem:
            return standing  # what is known stays: a merge looks at the table itself, once its store answers
        made = "plan_digest" in numbers  # a table that cannot be read any more has no version to compare
        if (
            made
            and standing is not None
            and standing.table_version > numbers["table_version"]
            and standing.checked_at > started
        ):
            return standing
        if report is not None:
            expectations.remember_check(change_request, revision, digest, report)
        PlanCheck.objects.filter(pk=change_request_id).delete()
        return PlanCheck.objects.create(
            change_request_id=change_request_id,
            revision=revision,
            resolutions_digest=digest,
            checked_at=timezone.now(),
            **numbers,
        )


@contextmanager
def _counted(revision: Revision) -> Iterator[None]:
    """Count a check of a revision as cut short until it ends, however it does: a process that dies leaves it so."""
    counted = Revision.objects.filter(pk=revision.pk)
    counted.update(checks_cut_short=F("checks_cut_short") + 1)
    try:
        yield
    finally:
        counted.update(checks_cut_short=0)


def _planned(change_request: ChangeRequest) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The numbers of the plan, or why there is none; and the report of the expectations on its rows."""
    try:
        with plan_of(change_request) as plan:
            numbers = _numbers(plan)
            keep_conflicts(change_request, plan)
            try:
                report = plan.check_expectations(rows_only=True)
            except merging.SuiteRejected as error:
                problem = {"problem": _suite_problem(change_request, error), "problem_code": error.code}
                return numbers | problem, None
            return numbers, None if report is None else report.as_json()
    except (merging.MergeError, ContentMissing, TableReplaced) as error:
        return _problem(change_request, error.code, error.message), None


def _problem(change_request: ChangeRequest, code: str, sentence: str) -> dict[str, Any]:
    version = change_request.dataset.meta.delta_version
    return {"problem": sentence, "problem_code": code, "table_version": version}


def may_check_again(facts: Facts) -> bool:
    """Whether the asker may have the request checked again."""
    return facts.contributes or (facts.asker is not None and is_operator(facts.asker))


def check_again(*, change_request_id: int, actor: User) -> PlanCheck | None:
    """Plan anew because somebody asked for it: what could not be checked for want of means may be tried again, too.

    Content whose checks ended their workers is not planned here, but left to a worker again, as the answer says. For
    contributors, owners and operators, else ``Forbidden``.
    """
    change_request = ChangeRequest.objects.select_related("dataset__project").get(pk=change_request_id)
    facts = facts_of(change_request, actor)
    if not may_check_again(facts):
        raise Forbidden("To check a request again you need the role of a contributor.")
    expectations.forget_what_could_not_be_checked(change_request_id)
    standing = facts.plan_check
    if standing is not None and standing.problem_code == GIVEN_UP:
        standing.problem, standing.checked_at = _CHECKED_AGAIN, timezone.now()
        with transaction.atomic():
            Revision.objects.filter(pk=standing.revision_id).update(checks_cut_short=0)
            standing.save(update_fields=["problem", "checked_at"])
            queue.ask_for_check(change_request_id)
        return standing
    return check(change_request_id=change_request_id)


def check_what_was_out_of_reach() -> int:
    """Ask workers to plan what could not be planned while the store of its table did not answer, now that it does;
    returns how many.
    """
    again = PlanCheck.objects.filter(
        problem_code=table_work.STORE_SILENT,
        change_request__dataset__meta__unreachable_since=None,
        change_request__status__in=[Status.DRAFT, Status.PENDING],
    ).values_list("change_request_id", flat=True)[:CHECKED_AT_ONCE]
    if again and outages.is_data_root_shut_off():
        return 0
    for change_request_id in again:
        queue.ask_for_check(change_request_id)
    return len(again)


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
        "reads": [dict(vars(one)) for one in plan.reads],
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
    known, revision = facts.plan_check, facts.revision
    worn_out = revision is not None and revision.checks_cut_short >= work.MOST_ATTEMPTS
    if known is not None and known.problem_code == GIVEN_UP and worn_out:
        return known
    if known is not None and not known.problem:
        try:
            with outages.asking(facts.dataset):
                version = merging.inspect_table(facts.dataset.table_uri).version
        except merging.TableUnreachable:
            return known
        except merging.MergeError:
            version = -1
        unjudged = facts.expectation_check is None and suites.active_suite(facts.dataset) is not None
        if version == known.table_version and not unjudged:
            return known
    return check(change_request_id=facts.change_request.pk)
