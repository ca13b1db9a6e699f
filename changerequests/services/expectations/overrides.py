"""Who answers for broken expectations, and why."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from changerequests.errors import PlanChanged
from changerequests.facts import Facts, facts_of
from changerequests.models import (
    ExpectationOverride,
)
from changerequests.services.evidence import OVERRIDE
from changerequests.services.locks import lock_change_request
from changerequests.services.seen import require_revision
from changerequests.services.trail import record_event
from changerequests.states import Status
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset


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
