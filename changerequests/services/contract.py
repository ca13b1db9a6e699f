"""The synchronous merge for existing clients: ask, wait, and answer as they know it (``POST /delta/merge-cr``)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from django.conf import settings
from django.contrib.auth.models import User

from changerequests import selectors
from changerequests.errors import Blocked, ConflictsDetected
from changerequests.models import ChangeRequest, MergeRun
from changerequests.policies import CONFLICT_GATE
from changerequests.services import plans, runs
from changerequests.states import RunStatus
from datasets.errors import InvalidInput, NotFound

#: How long the answer waits for the staged content to be cleared, which follows the merge at once.
CLEAN_UP_SECONDS = 5.0


@dataclass(frozen=True)
class MergeCall:
    """What a client sends. ``delta_version_before`` is the base and ``current_delta_version`` the table's version
    that it knew; ``project_id`` and ``dataset_id`` are ids or slugs, as text."""

    project_id: str
    dataset_id: str
    cr_id: str
    primary_keys: Sequence[str]
    delta_version_before: int | None = None
    current_delta_version: int | None = None
    merge_schema: bool = True
    requested_by: str | None = ""
    skip_conflict_check: bool = False
    force_merge: bool = False
    reason: str = ""


def merge_and_wait(
    *,
    actor: User,
    call: MergeCall,
    idempotency_key: str = "",
    for_ever: bool = False,
    gone: Event | None = None,
) -> MergeRun:
    """Merge and wait for the end, at most ``MERGE_WAIT_SECONDS`` unless it is ``for_ever``: the run succeeded, or is
    still active. Nobody waits any more once ``gone`` is set: the caller has left. The merge goes on.

    A second call answers the first result. Raises ``NotFound``, ``InvalidInput``, ``Forbidden``, ``Blocked``,
    ``InvalidTransition``, ``PlanChanged``, ``ConflictsDetected`` and, for runs that ended otherwise, ``RunEnded``.
    """
    change_request = _addressed(actor, call)
    try:
        run = runs.request_merge(
            change_request_id=change_request.pk,
            actor=actor,
            seen=runs.Seen(table_version=call.current_delta_version, base_version=call.delta_version_before),
            merge_schema=call.merge_schema,
            skip_conflict_check=call.skip_conflict_check,
            force_merge=call.force_merge,
            override_reason=call.reason,
            requested_for=call.requested_by or "",
            idempotency_key=idempotency_key,
        )
    except Blocked as blocked:
        if any(blocker.code == CONFLICT_GATE for blocker in blocked.blockers):
            _raise_conflicts(change_request, blocked)
        raise
    run = runs.wait_for_run(run.pk, math.inf if for_ever else settings.MERGE_WAIT_SECONDS, gone=gone)
    if run.status == RunStatus.CONFLICTED:
        _raise_conflicts(change_request, None)
    runs.raise_unless_merged(run)
    return run


def is_cleaned_up(run: MergeRun) -> bool:
    """Whether the staged content of a merged request is gone; waits a moment, for it follows the merge at once."""
    deadline = time.monotonic() + CLEAN_UP_SECONDS
    while True:
        found = ChangeRequest.objects.filter(
            pk=run.change_request_id, staging_removed_at__isnull=False
        ).exists()
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(0.02)


def _addressed(actor: User, call: MergeCall) -> ChangeRequest:
    change_request = selectors.visible_change_request(actor, call.cr_id)
    dataset = change_request.dataset
    if call.project_id not in (str(dataset.project_id), dataset.project.slug) or call.dataset_id not in (
        str(dataset.pk),
        dataset.slug,
        f"{dataset.project.slug}/{dataset.slug}",
    ):
        raise NotFound(
            f"There is no change request {call.cr_id} to dataset {call.dataset_id} of {call.project_id}."
        )
    if sorted(call.primary_keys) != sorted(dataset.primary_keys):
        sentence = f"The key of {dataset.name} is {', '.join(dataset.primary_keys)}."
        raise InvalidInput(sentence, errors={"primary_keys": [sentence]})
    return change_request


def _raise_conflicts(change_request: ChangeRequest, blocked: Blocked | None) -> None:
    """Say which rows conflict now; silent where somebody has just chosen for all of them."""
    found = plans.open_conflicts(
        ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(pk=change_request.pk)
    )
    if not found.rows:
        return
    noun = "row" if found.rows == 1 else "rows"
    others = (
        [vars(blocker) for blocker in blocked.blockers if blocker.code != CONFLICT_GATE] if blocked else []
    )
    raise ConflictsDetected(
        f"Merge conflicts detected: {found.rows} {noun}",
        conflicts=[plans.conflict_document(conflict) for conflict in found.listed],
        **({"blockers": others} if others else {}),
    ) from blocked
