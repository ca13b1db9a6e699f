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
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.policies import require
from changerequests.services import plans
from changerequests.services.choices import resolutions_moved
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event, withdraw_merge_when_ready
from changerequests.states import Action
from datasets.errors import InvalidInput
from datasets.rows import keepable, key_digest, shown_json

#: How many choices one call may carry.
MOST_CHOICES = 10_000


@dataclass(frozen=True)
class Choosing:
    """One choice as it comes in: which conflict, what is taken, and which three values were judged.

    ``key`` and ``value`` are in JSON; with ``as_text`` the value is the text of a cell, as a form has it.
    """

    key: Mapping[str, Any]
    column: str | None
    choice: str
    inputs_digest: str
    value: Any = None
    as_text: bool = False


def resolve(*, change_request_id: int, actor: User, choices: Sequence[Choosing]) -> int:
    """Store choices for conflicts that are there now; returns how many conflicts are left without one.

    Every choice must fit its conflict: ``InvalidInput`` names the first that is not offered, whose key and digest
    belong to different rows, or whose custom value does not fit the column, ``PlanChanged`` one whose values moved
    since they were looked at. Then none is stored.
    """
    if not choices:
        raise InvalidInput("Choose a value for at least one conflict.")
    if len(choices) > MOST_CHOICES:
        raise InvalidInput(f"At most {MOST_CHOICES:,} choices at once; use the choice for a whole column.")
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.RESOLVE)
    with plans.plan_of(change_request) as plan:
        standing = _standing(plan)
        chosen = [_fitting(choosing, standing, plan) for choosing in choices]
    return _store(change_request_id, actor, chosen)


@dataclass(frozen=True)
class _Chosen:
    """A choice for a conflict that is there; a custom ``value`` is of the column's type."""

    conflict: merging.Conflict
    choice: str
    value: Any = None


def _fitting(
    choosing: Choosing,
    standing: Mapping[tuple[str, str], merging.Conflict],
    plan: merging.MergePlan,
) -> _Chosen:
    place = f" at {_named(choosing.key)}" if choosing.key else ""  # a conflict of the schema has no row
    named = f"{choosing.column or 'the row'}{place}"
    conflict = standing.get((choosing.inputs_digest, choosing.column or ""))
    if conflict is None:
        raise PlanChanged(f"The values of {named} moved since you looked at them. Look again, then choose.")
    if not merging.same_value(_key_of(choosing.key, plan), conflict.key):
        raise InvalidInput(
            f"The digest given for {named} is that of another row, {_named(conflict.key)}: "
            "key, column and inputs_digest of a choice are those of one conflict."
        )
    if choosing.choice not in conflict.legal_choices:
        raise InvalidInput(
            f"{choosing.choice!r} is not offered for {named}: choose one of {', '.join(conflict.legal_choices)}."
        )
    if choosing.choice != ConflictResolution.Choice.CUSTOM:
        return _Chosen(conflict, choosing.choice)
    try:
        value = plan.value_of(conflict.column or "", choosing.value, as_text=choosing.as_text)
    except merging.InvalidResolution as error:
        raise InvalidInput(error.message, **error.data) from error
    return _Chosen(conflict, choosing.choice, value)


def _key_of(key: Mapping[str, Any], plan: merging.MergePlan) -> dict[str, Any]:
    try:
        return {name: plan.value_of(name, value) for name, value in key.items()}
    except merging.InvalidResolution as error:
        raise InvalidInput(f"The key {_named(key)} is none of this table: {error.message}") from error


def resolve_column(*, change_request_id: int, actor: User, column: str, choice: str) -> int:
    """Make the same choice for every conflict of a column that has none yet; returns how many are left."""
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.RESOLVE)
    with plans.plan_of(change_request) as plan:
        standing = _standing(plan)
    found = [
        conflict
        for conflict in standing.values()
        if (conflict.column or "") == column and conflict.choice is None and choice in conflict.legal_choices
    ]
    if not found:
        raise InvalidInput(f"No open conflict of {column or 'whole rows'} offers the choice {choice!r}.")
    return _store(change_request_id, actor, [_Chosen(conflict, choice) for conflict in found])


def _standing(plan: merging.MergePlan) -> dict[tuple[str, str], merging.Conflict]:
    return {(conflict.inputs_digest, conflict.column or ""): conflict for conflict in plan.conflicts}


def _store(change_request_id: int, actor: User, choices: Sequence[_Chosen]) -> int:
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require(facts_of(change_request, actor), Action.RESOLVE)
        for chosen in choices:
            conflict = chosen.conflict
            digest, column = key_digest(conflict.key), conflict.column or ""
            change_request.resolutions.filter(key_digest=digest, column=column, is_current=True).update(
                is_current=False
            )
            ConflictResolution.objects.create(
                change_request=change_request,
                key=keepable(conflict.key),
                key_digest=digest,
                column=column,
                choice=chosen.choice,
                value=keepable(chosen.value),
                inputs_digest=conflict.inputs_digest,
                chosen_by=actor,
            )
        resolutions_moved(change_request)
        # The plan with the new choices in place: a custom value that does not fit takes the whole call back.
        try:
            with plans.plan_of(change_request) as plan:
                unresolved = plan.unresolved
        except merging.InvalidResolution as error:
            raise InvalidInput(error.message, **error.data) from error
        counts: dict[str, int] = {}
        for chosen in choices:
            counts[chosen.choice] = counts.get(chosen.choice, 0) + 1
        record_event(
            change_request,
            "conflicts.resolved",
            actor,
            {
                "choices": counts,
                "columns": sorted({chosen.conflict.column for chosen in choices if chosen.conflict.column}),
                "unresolved": unresolved,
            },
        )
        if change_request.merge_when_ready_by_id != actor.pk:
            withdraw_merge_when_ready(
                change_request, reason=f"{actor} chose values that whoever asked for it has not seen."
            )
        queue.ask_for_check(change_request.pk)
    return unresolved


def _named(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {shown_json(value)}" for name, value in key.items())
