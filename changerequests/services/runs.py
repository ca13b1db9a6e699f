"""Asking for a merge, waiting for it, cancelling it. The work itself is in ``execution``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from django.contrib.auth.models import User
from django.db import close_old_connections, transaction
from django.utils import timezone

from changerequests import queue
from changerequests.errors import InvalidTransition, PlanChanged, RunEnded
from changerequests.facts import Facts, facts_of
from changerequests.models import ChangeRequest, MergeRun
from changerequests.policies import CONFLICT_GATE, EXPECTATIONS_GATE, OVERRIDABLE_GATES, may, require
from changerequests.services import expectations, plans
from changerequests.services.evidence import OUTCOME, RUN
from changerequests.services.figures import count_ended_run
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.services.seen import require_revision
from changerequests.services.trail import NOT_WAITING, record_event
from changerequests.states import Action, RunPhase, RunStatus, Status
from datasets import leases, outages, table_work
from datasets.errors import Forbidden, InvalidInput
from datasets.idempotency import LONGEST_KEY
from datasets.operators import is_operator
from datasets.roles import is_owner

#: How long whoever waits for a run looks four times a second; afterwards it is every other second.
SOON_SECONDS = 60.0


@dataclass(frozen=True)
class Seen:
    """What somebody looked at before they asked for the merge; empty parts are not compared."""

    revision_digest: str = ""
    suite_number: int | None = None
    plan_digest: str = ""
    table_version: int | None = None
    base_version: int | None = None


def request_merge(
    *,
    change_request_id: int,
    actor: User,
    seen: Seen | None = None,
    message: str = "",
    idempotency_key: str = "",
    dataset_name_typed: str = "",
    merge_schema: bool | None = None,
    skip_conflict_check: bool = False,
    force_merge: bool = False,
    override_reason: str = "",
    requested_for: str = "",
) -> MergeRun:
    """Queue the merge of a pending request and ring a worker; the answer is the durable run.

    Asking again answers the same run while it is active or once it succeeded. With other options while it is active it
    is ``Blocked``; with a known ``idempotency_key`` and another body it is ``InvalidInput``. Raises ``Forbidden``,
    ``Blocked`` with every gate that stands in the way, ``ExpectationsFailed`` where only those do,
    ``InvalidTransition``, ``PlanChanged`` where what was ``seen`` has moved, and ``InvalidInput``. An
    ``override_reason`` overrides gates and answers for broken expectations, ``force_merge`` overrides conflicts too,
    ``skip_conflict_check`` does not look for them: all for owners, with a reason, and loud in the timeline.
    """
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    facts = facts_of(change_request, actor)
    overriding = _what_is_overridden(
        facts, actor, skip_conflict_check, force_merge, override_reason, requested_for
    )
    if facts.status == Status.PENDING and facts.run is None:
        checked = plans.fresh_check(facts)  # the gates below look at its numbers
        if checked is not None and checked.problem_code == table_work.STORE_SILENT:
            raise outages.unreachable(facts.dataset)
    if len(idempotency_key) > LONGEST_KEY:
        sentence = f"The key has {len(idempotency_key)} characters; {LONGEST_KEY} are possible."
        raise InvalidInput(sentence, errors={"Idempotency-Key": [sentence]})
    seen = seen or Seen()
    options: dict[str, Any] = {
        "merge_schema": change_request.merge_schema if merge_schema is None else merge_schema,
        "skip_conflict_check": skip_conflict_check,
        "force_merge": force_merge,
        "override_reason": override_reason.strip(),
    }
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        facts = facts_of(change_request, actor)
        known = _known_run(facts, idempotency_key, seen, options, message.strip())
        if known is not None:
            return known
        overridden = require(
            facts, Action.REQUEST_MERGE, dataset_name_typed=dataset_name_typed, overriding=overriding
        )
        _compare(facts, seen)
        revision = facts.revision
        if revision is None:  # the gate above has said so already
            raise InvalidTransition("Nothing was staged.")
        if any(blocker.code == EXPECTATIONS_GATE for blocker in overridden):
            expectations.give_override(facts, actor, override_reason)
        run = MergeRun.objects.create(
            change_request=change_request,
            dataset=change_request.dataset,
            revision=revision,
            revision_digest=revision.digest,
            resolutions_digest=change_request.resolutions_digest,
            requested_by=actor,
            requested_for=requested_for if requested_for != actor.get_username() else "",
            message=message.strip(),
            **options,
            large_delete_confirmed=dataset_name_typed == change_request.dataset.name,
            overridden_blockers=[
                {"code": blocker.code, "sentence": blocker.sentence} for blocker in overridden
            ],
            idempotency_key=idempotency_key,
        )
        ChangeRequest.objects.filter(pk=change_request.pk).update(**NOT_WAITING)
        record_event(
            change_request,
            "merge.requested",
            actor,
            {
                "run": run.pk,
                "digest": revision.digest,
                "resolutions_digest": run.resolutions_digest,
                "message": run.message,
                "requested_for": run.requested_for,
                "skip_conflict_check": skip_conflict_check,
                "force_merge": force_merge,
                "override_reason": run.override_reason,
                "overridden": run.overridden_blockers,
            },
            rows=RUN.seal(run),
        )
        queue.ring_on_commit(change_request.dataset_id)
    return run


def _what_is_overridden(
    facts: Facts,
    actor: User,
    skip_conflict_check: bool,
    force_merge: bool,
    override_reason: str,
    requested_for: str,
) -> frozenset[str]:
    if requested_for and requested_for != actor.get_username() and not facts.owns:
        raise Forbidden("Only owners of the dataset ask for a merge in the name of somebody else.")
    if not (skip_conflict_check or force_merge or override_reason.strip()):
        return frozenset()
    if not facts.owns:
        raise Forbidden(
            "Only owners of the dataset override gates, force a merge or skip the conflict check."
        )
    if not override_reason.strip():
        sentence = "Give a reason: it is shown in the timeline and kept in the audit trail."
        raise InvalidInput(sentence, errors={"reason": [sentence]})
    gates = OVERRIDABLE_GATES if force_merge or not skip_conflict_check else frozenset()
    return gates | {CONFLICT_GATE} if skip_conflict_check or force_merge else gates


def _known_run(
    facts: Facts,
    idempotency_key: str,
    seen: Seen,
    options: Mapping[str, Any],
    message: str,
) -> MergeRun | None:
    change_request = facts.change_request
    if not may(facts, Action.REQUEST_MERGE):
        return None  # the policy says why, in its own words
    if idempotency_key:
        same = change_request.runs.filter(idempotency_key=idempotency_key).first()
        if same is not None:
            asked = {"message": message, **options}
            other = sorted(name for name, value in asked.items() if getattr(same, name) != value)
            if other:
                named = " and ".join(other)
                sentence = f"The key was sent before with another {named}. Send a new key for another merge."
                raise InvalidInput(sentence, errors={"Idempotency-Key": [sentence]})
            return same
    if facts.status == Status.MERGED:
        return change_request.runs.get(status=RunStatus.SUCCEEDED)
    active = facts.run
    if active is None:
        return None
    if seen.revision_digest and seen.revision_digest != active.revision_digest:
        raise PlanChanged(
            "A merge of other content than you looked at is under way. Look again once it has ended.",
            moved="revision",
        )
    if any(getattr(active, name) != value for name, value in options.items()):
        require(facts, Action.REQUEST_MERGE)  # the run is in the way
    return active


def _compare(facts: Facts, seen: Seen) -> None:
    revision, check = facts.revision, facts.plan_check
    if revision is None or check is None:
        return
    if seen.suite_number is not None and seen.suite_number != facts.dataset.suite_number:
        raise expectations.suite_moved(facts.dataset)
    require_revision(revision, seen.revision_digest, looked="looked at the changes", then="merge")
    if seen.plan_digest and seen.plan_digest != check.plan_digest:
        raise PlanChanged(
            f"The table or the choices moved since you looked at the plan, and the merge would do something else now. "
            f"The table is at version {check.table_version}. Look again, then merge.",
            moved="plan",
            table_version=check.table_version,
        )
    if seen.table_version is not None and seen.table_version != check.table_version:
        raise PlanChanged(
            f"The table is at version {check.table_version} now, and you named version {seen.table_version}. Look at "
            f"the changes as they merge into version {check.table_version}, then merge with that version.",
            moved="table_version",
            table_version=check.table_version,
        )
    if seen.base_version is not None and seen.base_version != revision.base_version:
        raise PlanChanged(
            f"The changes were staged against version {revision.base_version}, and you named version "
            f"{seen.base_version} as their base. Merge with version {revision.base_version} as the base, or upload the "
            f"changes again.",
            moved="base_version",
            base_version=revision.base_version,
        )


def cancel_run(*, run_id: int, actor: User) -> MergeRun:
    """Stop a queued run at once, or ask a running one to stop before it commits.

    For whoever asked for it, the author, owners and operators. Raises ``InvalidTransition`` when the commit has begun.
    """
    with transaction.atomic():
        run = MergeRun.objects.get(pk=run_id)
        change_request = lock_change_request(run.change_request_id)
        run = lock_run(run_id)
        allowed = (
            actor.pk in (run.requested_by_id, change_request.author_id)
            or is_owner(actor, change_request.dataset)
            or is_operator(actor)
        )
        if not allowed:
            raise Forbidden("A merge is cancelled by whoever asked for it, the author or an owner.")
        if not run.is_active:
            raise InvalidTransition(f"The merge has ended already: it is {run.status}.")
        # A worker that is lost commits no more: the next one asks the log first, and records what stands or cancels.
        if run.phase in (RunPhase.COMMITTING, RunPhase.RECORDING) and not leases.has_run_out(run.dataset_id):
            raise InvalidTransition("The commit has begun; the merge can no longer be cancelled.")
        run.cancel_requested_by = actor
        if run.status == RunStatus.QUEUED:
            run.status, run.finished_at = RunStatus.CANCELLED, timezone.now()
            run.error_code, run.error_message = "cancelled", f"Cancelled by {actor}."
            count_ended_run(run)
            record_event(change_request, "merge.cancelled", actor, {"run": run.pk}, rows=OUTCOME.seal(run))
        else:
            record_event(change_request, "merge.cancel_requested", actor, {"run": run.pk})
        run.save()
        queue.ring_on_commit(run.dataset_id)
        if queue.next_run(run.dataset_id) is None:  # those before it left the check to it
            queue.ask_for_check_of_pending(run.dataset_id)
    return run


def wait_for_run(run_id: int, seconds: float, *, gone: Event | None = None) -> MergeRun:
    """The run once it has ended, or as it stands after ``seconds`` (``math.inf`` for ever), or once ``gone`` is set:
    whoever waited hears no answer any more. Call it outside a transaction: between two looks it holds no connection
    of the database.
    """
    began = time.monotonic()
    left = gone or Event()
    pause = 0.02
    while True:
        run = MergeRun.objects.select_related("change_request", "dataset").get(pk=run_id)
        if not run.is_active or left.is_set() or time.monotonic() - began >= seconds:
            return run
        close_old_connections()  # others need it meanwhile; inside a transaction it stays
        left.wait(pause)
        pause = min(pause * 1.5, 0.25 if time.monotonic() - began < SOON_SECONDS else 2.0)


def raise_unless_merged(run: MergeRun) -> None:
    """Turn a run that ended without a merge into the error that ended it."""
    if run.status != RunStatus.SUCCEEDED and not run.is_active:
        raise RunEnded(run.error_message, run.error_code, **run.error_data)
