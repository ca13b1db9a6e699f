"""Expectations of change requests: the rules of a merge, what checks found, who answers for what is broken."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

import merging
from changerequests import queue
from changerequests.errors import PlanChanged
from changerequests.facts import Facts, facts_of
from changerequests.models import (
    ChangeRequest,
    ExpectationCheck,
    ExpectationOverride,
    MergeRun,
    Revision,
)
from changerequests.services.evidence import OVERRIDE
from changerequests.services.locks import lock_change_request
from changerequests.services.seen import require_revision
from changerequests.services.trail import record_event
from changerequests.states import Status
from datasets import suites
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset, SuiteVersion
from datasets.rows import storable

#: Failing rows on one page.
PAGE_ROWS = 50


# --- The rules ----------------------------------------------------------------------------------------------


def rules_for(dataset: Dataset, *, answered: Collection[int] = ()) -> merging.ExpectationRules | None:
    """The suite that holds, as the engine wants it; None where the dataset expects nothing.

    ``answered`` are the numbers of what an owner answers for: in a merge that does not block.
    """
    suite = suites.active_suite(dataset)
    if suite is None:
        return None
    return merging.ExpectationRules(
        suite.content,
        block_pre_existing=dataset.block_pre_existing,
        overridden=frozenset(answered),
        version=suite.number,
    )


def save_suite(
    *, dataset_id: int, actor: User, document: str | Mapping[str, Any], edited_number: int, note: str = ""
) -> SuiteVersion:
    """Save a dataset's suite, and check the open requests by it. Raises as ``suites.save_suite`` does."""
    with transaction.atomic():
        version = suites.save_suite(
            dataset_id=dataset_id, actor=actor, document=document, edited_number=edited_number, note=note
        )
        _check_open_requests(dataset_id)
    return version


def restore_suite(
    *, dataset_id: int, actor: User, number: int, edited_number: int, note: str = ""
) -> SuiteVersion:
    """Make an earlier suite hold again, and check the open requests by it. Raises as ``suites.restore_suite`` does."""
    with transaction.atomic():
        version = suites.restore_suite(
            dataset_id=dataset_id, actor=actor, number=number, edited_number=edited_number, note=note
        )
        _check_open_requests(dataset_id)
    return version


def _check_open_requests(dataset_id: int) -> None:
    still_open = ChangeRequest.objects.filter(
        dataset=dataset_id, status__in=[Status.DRAFT, Status.PENDING], revisions__is_current=True
    )
    for pk in still_open.values_list("pk", flat=True):
        queue.ask_for_check(pk)


# --- What checks found --------------------------------------------------------------------------------------


def remember_check(
    change_request: ChangeRequest,
    revision: Revision,
    resolutions_digest: str,
    report: Mapping[str, Any],
    *,
    run: MergeRun | None = None,
) -> ExpectationCheck:
    """Store a report (as JSON): the quick answer in place of the one before, or that of a run."""
    report = storable(report)
    results = report["results"]
    suite = SuiteVersion.objects.get(dataset=change_request.dataset_id, number=report["version"])
    facts = {
        "suite_version": suite,
        "resolutions_digest": resolutions_digest,
        "block_pre_existing": report["block_pre_existing"],
        "table_version": report["table_version"],
        "failing": [
            {"number": one["number"], "message": one["message"], "state": one["state"]}
            for one in results
            if one["blocking"]
        ],
        "passed": sum(one["state"] == "passed" for one in results),
        "warnings": report["warnings"],
        "pre_existing": report["pre_existing"],
        "deferred": report["deferred"],
        "overridden": report["overridden"],
        "report": report,
        "checked_at": timezone.now(),
    }
    check, _ = ExpectationCheck.objects.update_or_create(
        change_request=change_request, revision=revision, run=run, defaults=facts
    )
    return check


def forget_what_could_not_be_checked(change_request_id: int) -> None:
    """Let full checks that failed for want of means not count any more: the next merge run tries again."""
    for check in ExpectationCheck.objects.filter(
        change_request=change_request_id, run__isnull=False, counts=True
    ).defer("report"):
        if check.could_not_check:
            ExpectationCheck.objects.filter(pk=check.pk).update(counts=False)


@dataclass(frozen=True)
class FailingRows:
    """A page of the failing rows that a report keeps of one expectation; ``total`` is exact, ``kept`` may be less."""

    rows: tuple[dict[str, Any], ...]
    start: int
    next: int | None
    kept: int
    total: int


def failing_rows(
    check: ExpectationCheck, number: int, *, start: int = 0, limit: int = PAGE_ROWS
) -> FailingRows:
    """Failing rows of one expectation, the new ones first. Raises ``NotFound`` for an unknown number."""
    for one in check.report["results"]:
        if one["number"] == number:
            rows = one["failing_rows"]
            end = start + limit
            return FailingRows(
                tuple(rows[start:end]),
                start,
                end if end < len(rows) else None,
                len(rows),
                one["failing_rows_total"],
            )
    raise NotFound(f"The suite has no expectation number {number}.")


# --- Answering for failures ---------------------------------------------------------------------------------


def override_expectations(
    *,
    change_request_id: int,
    actor: User,
    reason: str,
    suite_number: int | None = None,
    revision_digest: str = "",
) -> ExpectationOverride:
    """Answer for every expectation that the request is known to break now. For owners, with a reason.

    ``suite_number`` and ``revision_digest`` are what the actor looked at: ``PlanChanged`` if one moved. Raises
    ``Forbidden``, and ``InvalidInput`` without a reason or where there is nothing to answer for.
    """
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        facts = facts_of(change_request, actor)
        if not facts.owns:
            raise Forbidden("Only owners of the dataset answer for expectations that a request breaks.")
        revision = facts.revision
        if suite_number is not None and suite_number != change_request.dataset.suite_number:
            raise suite_moved(change_request.dataset)
        if revision is not None:
            require_revision(revision, revision_digest, looked="looked at the check", then="answer")
        if change_request.status not in (Status.DRAFT, Status.PENDING):
            raise InvalidInput(f"{change_request.cr_id} is {change_request.status}.")
        if not facts.unanswered_failures:
            raise InvalidInput("The request breaks no expectation that somebody would have to answer for.")
        return give_override(facts, actor, reason)


def suite_moved(dataset: Dataset) -> PlanChanged:
    """What somebody is told who looked at a check by an earlier suite."""
    return PlanChanged(
        f"The expectations of {dataset.name} were edited since you looked; version {dataset.suite_number} holds now. "
        "Look again.",
        moved="suite",
        suite_version=dataset.suite_number,
    )


def give_override(facts: Facts, actor: User, reason: str) -> ExpectationOverride:
    """Record that an owner answers for what a locked request breaks, in the surrounding transaction."""
    change_request, check = facts.change_request, facts.expectation_check
    if not reason.strip():
        sentence = "Give a reason: it is shown in the timeline and kept in the audit trail."
        raise InvalidInput(sentence, errors={"reason": [sentence]})
    if check is None:
        raise InvalidInput("The content was not yet checked by the suite that holds now.")
    override = ExpectationOverride.objects.create(
        change_request=change_request,
        suite_version=check.suite_version,
        revision_digest=check.revision.digest,
        resolutions_digest=check.resolutions_digest,
        expectations=[
            {"number": one["number"], "message": one["message"]} for one in facts.unanswered_failures
        ],
        reason=reason.strip(),
        given_by=actor,
    )
    record_event(
        change_request,
        "expectations.overridden",
        actor,
        {
            "suite_version": check.suite_version.number,
            "digest": override.revision_digest,
            "resolutions_digest": override.resolutions_digest,
            "expectations": override.expectations,
            "reason": override.reason,
        },
        rows=OVERRIDE.seal(override),
    )
    return override


def overrides_as_json(overrides: Collection[ExpectationOverride]) -> list[dict[str, Any]]:
    """Overrides for the audit: who answers for what, and why."""
    return [
        {
            "expectations": override.expectations,
            "reason": override.reason,
            "given_by": str(override.given_by),
            "given_at": override.given_at,
        }
        for override in overrides
    ]
