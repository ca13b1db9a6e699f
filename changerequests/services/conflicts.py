"""Choices for conflicts: one by one, or a whole column at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import queue
from changerequests.errors import PlanChanged
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.policies import require
from changerequests.services import plans
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import drop_wish, tell
from changerequests.states import Action
from datasets.errors import InvalidInput
from datasets.rows import json_row, key_digest

#: How many choices one call may carry.
MOST_CHOICES = 10_000


@dataclass(frozen=True)
class Choosing:
    """One choice as it comes in: which conflict, what is taken, and which three values were judged."""

    key: Mapping[str, Any]
    column: str | None
    choice: str
    inputs_digest: str
    value: Any = None


def resolve(*, change_request_id: int, actor: User, choices: Sequence[Choosing]) -> int:
    """Store choices for conflicts that are there now; returns how many conflicts are left without one.

    Every choice must fit its conflict: ``InvalidInput`` names the first that is not offered or whose custom value
    does not fit the column, ``PlanChanged`` one whose values moved since they were looked at. Then none is stored.
    """
    if not choices:
        raise InvalidInput("Choose a value for at least one conflict.")
    if len(choices) > MOST_CHOICES:
        raise InvalidInput(f"At most {MOST_CHOICES:,} choices at once; use the choice for a whole column.")
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(change_request, actor, Action.RESOLVE)
    standing = _standing(change_request)
    for choosing in choices:
        conflict = standing.get((choosing.inputs_digest, choosing.column or ""))
        if conflict is None:
            raise PlanChanged(
                f"The values of {choosing.column or 'the row'} at {_named(choosing.key)} moved since you looked at "
                f"them. Look again, then choose."
            )
        if choosing.choice not in conflict.legal_choices:
            raise InvalidInput(
                f"{choosing.choice!r} is not offered for {choosing.column or 'the row'} at {_named(choosing.key)}: "
                f"choose one of {', '.join(conflict.legal_choices)}."
            )
    return _store(
        change_request_id,
        actor,
        [(standing[(c.inputs_digest, c.column or "")], c.choice, c.value) for c in choices],
    )


def resolve_column(*, change_request_id: int, actor: User, column: str, choice: str) -> int:
    """Make the same choice for every conflict of a column that has none yet; returns how many are left."""
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(change_request, actor, Action.RESOLVE)
    found = [
        conflict
        for conflict in _standing(change_request).values()
        if (conflict.column or "") == column and conflict.choice is None and choice in conflict.legal_choices
    ]
    if not found:
        raise InvalidInput(f"No open conflict of {column or 'whole rows'} offers the choice {choice!r}.")
    return _store(change_request_id, actor, [(conflict, choice, None) for conflict in found])


def _standing(change_request: ChangeRequest) -> dict[tuple[str, str], merging.Conflict]:
    with plans.plan_of(change_request) as plan:
        return {(conflict.inputs_digest, conflict.column or ""): conflict for conflict in plan.conflicts}


def _store(change_request_id: int, actor: User, choices: Sequence[tuple[merging.Conflict, str, Any]]) -> int:
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require(change_request, actor, Action.RESOLVE)
        for conflict, choice, value in choices:
            digest, column = key_digest(conflict.key), conflict.column or ""
            change_request.resolutions.filter(key_digest=digest, column=column, is_current=True).update(
                is_current=False
            )
            ConflictResolution.objects.create(
                change_request=change_request,
                key=json_row(conflict.key),
                key_digest=digest,
                column=column,
                choice=choice,
                value=value if choice == ConflictResolution.Choice.CUSTOM else None,
                inputs_digest=conflict.inputs_digest,
                chosen_by=actor,
            )
        # The plan with the new choices in place: a custom value that does not fit takes the whole call back.
        try:
            with plans.plan_of(change_request) as plan:
                unresolved = plan.unresolved
        except merging.InvalidResolution as error:
            raise InvalidInput(error.message, **error.data) from error
        counts: dict[str, int] = {}
        for _, choice, _ in choices:
            counts[choice] = counts.get(choice, 0) + 1
        tell(
            change_request,
            "conflicts.resolved",
            actor,
            {
                "choices": counts,
                "columns": sorted({c.column for c, _, _ in choices if c.column}),
                "unresolved": unresolved,
            },
        )
        if change_request.merge_when_ready_by_id != actor.pk:
            drop_wish(change_request, reason=f"{actor} chose values that whoever asked for it has not seen.")
        queue.ask_for_check(change_request.pk)
    return unresolved


def _named(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in key.items())
