"""Merge when ready: ask once, and the merge begins by itself when nothing has to be waited for any more."""

from __future__ import annotations

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from changerequests import queue
from changerequests.errors import Blocked, InvalidTransition
from changerequests.facts import facts_of, facts_of_many
from changerequests.models import ChangeRequest, MergeRun
from changerequests.policies import blockers, may, merge_gates, raise_first
from changerequests.services import plans, runs
from changerequests.services.evidence import WAIT
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event, withdraw_merge_when_ready
from changerequests.states import Action, Status
from datasets.errors import DomainError, Forbidden

logger = structlog.get_logger(__name__)


def merge_when_ready(*, change_request_id: int, actor: User, message: str = "") -> ChangeRequest:
    """Let the merge of a pending request begin by itself once the last *wait* is over; at once where there is none.

    For whoever may merge it. Raises ``Forbidden``, ``InvalidTransition``, and ``Blocked`` with what somebody has to
    mend first. New content, choices that others make for its conflicts, going back to draft and closing take the wish
    back.
    """
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    if change_request.status == Status.PENDING:
        plans.fresh_check(facts_of(change_request))  # the gates below look at its numbers
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        found = blockers(facts_of(change_request, actor), Action.REQUEST_MERGE)
        raise_first(found, Forbidden, "forbidden")
        raise_first(found, InvalidTransition, "invalid_transition")
        in_the_way = [
            blocker
            for blocker in found
            if blocker.kind == "fix" or blocker.code in ("run_active", "nothing_staged")
        ]
        if in_the_way:
            raise Blocked(" ".join(blocker.sentence for blocker in in_the_way), in_the_way)
        if (change_request.merge_when_ready_by_id, change_request.merge_when_ready_message) == (
            actor.pk,
            message.strip(),
        ):
            return change_request  # the same wish, sent again
        change_request.merge_when_ready_by = actor
        change_request.merge_when_ready_at = timezone.now()
        change_request.merge_when_ready_message = message.strip()
        change_request.save(
            update_fields=["merge_when_ready_by", "merge_when_ready_at", "merge_when_ready_message"]
        )
        record_event(
            change_request,
            "merge.when_ready_asked",
            actor,
            {"message": message.strip(), "waiting_for": [blocker.code for blocker in found]},
            rows=WAIT.seal(change_request),
        )
        queue.ask_for_check(change_request_id)
    return change_request


def stop_waiting(*, change_request_id: int, actor: User) -> ChangeRequest:
    """Take back the wish to merge when ready. For whoever may merge the request, and its author."""
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        facts = facts_of(change_request, actor)
        if not facts.is_author and not may(facts, Action.REQUEST_MERGE):
            raise Forbidden("You may not merge this change request.")
        withdraw_merge_when_ready(change_request, actor=actor)
    return change_request


def merge_if_ready(*, change_request_id: int) -> MergeRun | None:
    """Queue the merge of a request that waits for it, if nothing stands in the way now; None otherwise.

    Safe to call at any time: the same gates as for a click hold, for the person who asked.
    """
    change_request = (
        ChangeRequest.objects.select_related("dataset__meta", "dataset__project", "merge_when_ready_by")
        .filter(pk=change_request_id, status=Status.PENDING, merge_when_ready_by__isnull=False)
        .first()
    )
    if change_request is None or change_request.merge_when_ready_by is None:
        return None
    facts = facts_of(change_request)
    if facts.run is not None:
        return None
    if facts.plan_check is None:
        queue.ask_for_check(change_request_id)
        return None
    if merge_gates(facts):
        return None
    try:
        return runs.request_merge(
            change_request_id=change_request_id,
            actor=change_request.merge_when_ready_by,
            message=change_request.merge_when_ready_message,
        )
    except Forbidden as error:
        with transaction.atomic():
            withdraw_merge_when_ready(lock_change_request(change_request_id), reason=error.message)
    except DomainError as error:  # a gate closed between the look and the lock: it waits on
        logger.info("not_ready_after_all", cr_id=change_request.cr_id, reason=error.code)
    return None


def merge_what_is_ready(*, dataset_id: int | None = None) -> int:
    """Queue every waiting merge (of one dataset) that nothing stands in the way of; returns how many.

    Those that wait on are looked at together, in a number of statements that does not grow with them.
    """
    waiting = ChangeRequest.objects.filter(status=Status.PENDING, merge_when_ready_by__isnull=False)
    if dataset_id is not None:
        waiting = waiting.filter(dataset=dataset_id)
    related = waiting.select_related("dataset__meta", "dataset__project")
    due = [
        facts.change_request.pk
        for facts in facts_of_many(related.order_by("merge_when_ready_at", "pk"))
        if facts.run is None and (facts.plan_check is None or not merge_gates(facts))
    ]
    return sum(merge_if_ready(change_request_id=pk) is not None for pk in due)
