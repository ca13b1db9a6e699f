"""Choices for conflicts: one by one, or a whole column at once."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import queue, selectors
from changerequests.errors import ChosenMeanwhile, PlanChanged
from changerequests.facts import Facts, facts_of
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.policies import require
from changerequests.services import plans
from changerequests.services.choices import choice_digest, replace_choices
from changerequests.services.evidence import CHOICE
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event, withdraw_merge_when_ready
from changerequests.states import Action
from datasets.errors import InvalidInput
from datasets.rows import json_value, keepable, kept, key_digest, shown_json

#: How many choices one call may carry.
MOST_CHOICES = 10_000
#: How many choices a file may hold.
MOST_FILED_CHOICES = 100_000
#: How many lines that do not fit are told; their number is exact.
MOST_TOLD_LINES = 1_000
_FILE_BOUNDS = merging.Bounds(memory_bytes=2 * 1024**3, seconds=30)
#: How many choices of others an answer tells; their number is exact.
TOLD_CHOICES = 100
#: How often choices are planned again because others chose for other conflicts meanwhile.
MOST_TRIES = 5


@dataclass(frozen=True)
class Choosing:
    """One choice as it comes in: which conflict, what is taken, and which three values were judged.

    ``key`` and ``value`` are in JSON; with ``as_text`` the value is the text of a cell, as a form has it. ``seen`` is
    the digest of the choice that the chooser saw, empty for none. Without it that is what stands when the call begins,
    unless somebody else chose it: what others chose is replaced only by those who saw it.
    """

    key: Mapping[str, Any]
    column: str | None
    choice: str
    inputs_digest: str
    value: Any = None
    as_text: bool = False
    seen: str | None = None


def resolve(*, change_request_id: int, actor: User, choices: Sequence[Choosing]) -> int:
    """Store choices for conflicts that are there now; returns how many conflicts are left without one.

    Every choice must fit its conflict: ``InvalidInput`` names the first that is not offered, whose key and digest
    belong to different rows, or whose custom value does not fit the column, ``PlanChanged`` one whose values moved
    since they were looked at, ``ChosenMeanwhile`` those for which another choice stands than was seen. Then none is
    stored.
    """
    if not choices:
        raise InvalidInput("Choose a value for at least one conflict.")
    if len(choices) > MOST_CHOICES:
        raise InvalidInput(f"At most {MOST_CHOICES:,} choices at once; use the choice for a whole column.")

    def attempt() -> int | None:
        change_request = _asked_for(change_request_id, actor)
        with plans.plan_of(change_request) as plan:
            standing = _standing(plan)
            chosen = [_fitting(choosing, standing, plan) for choosing in choices]
        return _store(change_request, actor, chosen)

    return _stored(attempt)


def resolve_by_file(*, change_request_id: int, actor: User, content: bytes, file_format: str) -> int:
    """Store the choices of a CSV or Parquet file, as a download of conflicts has them; returns how many conflicts are
    left without one. It is read by a confined process.

    All are stored or none: raises as ``resolve`` does, but tells every line that does not fit
    (``merging.StagingRejected``; ``PlanChanged`` with ``errors`` where all of them are about values that moved).
    """
    change_request = _asked_for(change_request_id, actor)
    keys = change_request.dataset.primary_keys
    with tempfile.TemporaryDirectory(prefix="headgate-choices-") as folder:
        path = Path(folder) / "choices"
        path.write_bytes(content)
        read = merging.read_choices(
            str(path), file_format, keys, bounds=_FILE_BOUNDS, scratch=folder, most=MOST_FILED_CHOICES
        )
    if not read:
        raise InvalidInput("The file chooses nothing: its column choice is empty throughout.")

    def attempt() -> int | None:
        asked = _asked_for(change_request_id, actor)
        with plans.plan_of(asked) as plan:
            standing = _standing(plan)
            chosen = _fitting_lines(read, standing, plan)
        return _store(asked, actor, chosen)

    return _stored(attempt)


def _fitting_lines(
    lines: Sequence[merging.ChoiceLine],
    standing: Mapping[tuple[str, str], merging.Conflict],
    plan: merging.MergePlan,
) -> list[_Chosen]:
    chosen, problems, moved = [], [], 0
    for one in lines:
        conflict = standing.get((one.inputs_digest, one.column or ""))
        key = one.key if conflict is None or len(one.key) == len(conflict.key) else json_value(conflict.key)
        choosing = Choosing(
            key, one.column, one.choice, one.inputs_digest, one.value, as_text=True, seen=one.seen
        )
        try:
            chosen.append(_fitting(choosing, standing, plan))
        except (InvalidInput, PlanChanged) as error:
            moved += isinstance(error, PlanChanged)
            problems.append(
                merging.StagingProblem(error.code, error.message, one.line, one.column, one.choice)
            )
    if problems and moved == len(problems):
        errors = [vars(one) for one in problems[:TOLD_CHOICES]]
        raise PlanChanged(
            f"{problems[0].describe()} Nothing of the file was stored.",
            moved="table",
            errors=errors,
            total=moved,
        )
    if problems:
        raise merging.StagingRejected(problems[:MOST_TOLD_LINES], total=len(problems))
    return chosen


def _stored(attempt: Callable[[], int | None]) -> int:
    """Try until nobody chose for other conflicts between the plan and the lock. Raises ``PlanChanged``."""
    for _ in range(MOST_TRIES):
        left = attempt()
        if left is not None:
            return left
    raise PlanChanged(
        "Others choose values while you chose. Wait a moment, then choose again.", moved="choices"
    )


def _asked_for(change_request_id: int, actor: User) -> ChangeRequest:
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.RESOLVE)
    return change_request


@dataclass(frozen=True)
class _Chosen:
    """A choice for a conflict that is there; a custom ``value`` is of the column's type."""

    conflict: merging.Conflict
    choice: str
    value: Any = None
    seen: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        return key_digest(self.conflict.key), self.conflict.column or ""

    def may_replace(self, standing: ConflictResolution | None, actor: User) -> bool:
        """Whether what stands now is what the chooser saw, or is what they want anyway."""
        now = choice_digest(standing.choice, standing.value) if standing else ""
        if now == choice_digest(self.choice, keepable(self.value)):
            return True
        if self.seen is not None:
            return now == self.seen
        before = choice_digest(self.conflict.choice, keepable(self.conflict.value))
        return now == before and (standing is None or standing.chosen_by_id == actor.pk)


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
        return _Chosen(conflict, choosing.choice, seen=choosing.seen)
    try:
        value = plan.value_of(conflict.column or "", choosing.value, as_text=choosing.as_text)
    except merging.InvalidResolution as error:
        raise InvalidInput(error.message, **error.data) from error
    return _Chosen(conflict, choosing.choice, value, choosing.seen)


def _key_of(key: Mapping[str, Any], plan: merging.MergePlan) -> dict[str, Any]:
    try:
        return {name: plan.value_of(name, value) for name, value in key.items()}
    except merging.InvalidResolution as error:
        raise InvalidInput(f"The key {_named(key)} is none of this table: {error.message}") from error


def resolve_column(
    *, change_request_id: int, actor: User, column: str, choice: str, seen: str | None = None
) -> int:
    """Make the same choice for every conflict of a column that has none yet; returns how many are left.

    ``seen`` is what ``plans.ConflictsPage.selections`` said of the column: where its conflicts or their choices are
    others now, ``ChosenMeanwhile`` or ``PlanChanged`` says what differs, and nothing is stored. Without it the open
    conflicts are those that are open when the call begins.
    """

    def attempt() -> int | None:
        change_request = _asked_for(change_request_id, actor)
        with plans.plan_of(change_request) as plan:
            standing = _standing(plan)
            if seen is not None:
                _require_selection(change_request, column, seen, plan.conflicts.digests().get(column, ""))
        found = [
            conflict
            for conflict in standing.values()
            if (conflict.column or "") == column
            and conflict.choice is None
            and choice in conflict.legal_choices
        ]
        if not found:
            raise InvalidInput(f"No open conflict of {column or 'whole rows'} offers the choice {choice!r}.")
        return _store(change_request, actor, [_Chosen(conflict, choice) for conflict in found])

    return _stored(attempt)


def _require_selection(change_request: ChangeRequest, column: str, seen: str, digest: str) -> None:
    """Compare the conflicts of a column and their choices with what somebody saw of them."""
    seen_digest, newest = plans.read_selection(seen)
    if seen_digest == digest:
        return
    chosen = [
        one
        for one in selectors.current_resolutions(change_request)
        if one.column == column and one.pk > newest
    ]
    if chosen:
        raise _chosen_meanwhile(chosen)
    raise PlanChanged(
        f"The conflicts of {column or 'whole rows'} are others than those that you looked at: the table or the "
        "content moved while you chose. Look again, then choose.",
        moved="table",
    )


def _standing(plan: merging.MergePlan) -> dict[tuple[str, str], merging.Conflict]:
    return {(conflict.inputs_digest, conflict.column or ""): conflict for conflict in plan.conflicts}


def _store(change_request: ChangeRequest, actor: User, chosen: Sequence[_Chosen]) -> int | None:
    """Plan with the choices in place, then store them all where nothing moved meanwhile; None where others chose for
    other conflicts meanwhile, and the plan is to be made again.

    Planning takes seconds where conflicts are many: it is done before the lock, which every other writer waits for.
    """
    made = _as_rows(change_request, actor, chosen)
    try:
        with plans.plan_of(change_request, choosing=made) as plan:
            unresolved = plan.unresolved
    except merging.InvalidResolution as error:
        raise InvalidInput(error.message, **error.data) from error
    with transaction.atomic():
        now = lock_change_request(change_request.pk)
        standing = facts_of(now, actor)
        require(standing, Action.RESOLVE)
        _require_unmoved(plan, standing)
        _require_as_seen(now, actor, chosen)
        if now.resolutions_digest != change_request.resolutions_digest:
            return None
        replace_choices(now, made)
        choices = Counter(row.choice for row in made)
        columns = sorted({row.column for row in made if row.column})
        told = {"choices": dict(choices), "columns": columns, "unresolved": unresolved}
        record_event(now, "conflicts.resolved", actor, told, rows=CHOICE.seals(made))
        if now.merge_when_ready_by_id != actor.pk:
            withdraw_merge_when_ready(
                now, reason=f"{actor} chose values that whoever asked for it has not seen."
            )
        queue.ask_for_check(now.pk)
    return unresolved


def _as_rows(
    change_request: ChangeRequest, actor: User, chosen: Sequence[_Chosen]
) -> list[ConflictResolution]:
    """One row for each conflict, in the order given; of two choices for one conflict the last counts."""
    rows = {}
    for one in chosen:
        digest, column = one.place
        rows[digest, column] = ConflictResolution(
            change_request=change_request,
            key=keepable(one.conflict.key),
            key_digest=digest,
            column=column,
            choice=one.choice,
            value=keepable(one.value),
            inputs_digest=one.conflict.inputs_digest,
            chosen_by=actor,
        )
    return list(rows.values())


def _require_unmoved(plan: merging.MergePlan, now: Facts) -> None:
    """The second look, under the lock: what the plan was made of is what there is. Raises ``PlanChanged``."""
    if now.revision is None or now.revision.digest != plan.staged.digest:
        moved, what = "revision", "New content was uploaded"
    elif now.dataset.meta.delta_version > plan.version:
        moved, what = "table", "The table moved"
    else:
        return
    raise PlanChanged(f"{what} while you chose. Look again, then choose.", moved=moved)


def _require_as_seen(now: ChangeRequest, actor: User, chosen: Sequence[_Chosen]) -> None:
    """Compare, under the lock, each choice that would be replaced with the one that was seen."""
    standing = {(one.key_digest, one.column): one for one in selectors.current_resolutions(now)}
    differing = {}
    for one in chosen:
        found = standing.get(one.place)
        if found is not None and found.inputs_digest != one.conflict.inputs_digest:
            found = None  # it judged other values: it does not count, and nobody is shown it
        if not one.may_replace(found, actor):
            differing[one.place] = found or one
    others = [one for one in differing.values() if isinstance(one, ConflictResolution)]
    if others:
        raise _chosen_meanwhile(others)
    if differing:
        raise PlanChanged("The choice that you saw does not stand any more. Look again.", moved="choices")


def _chosen_meanwhile(found: Sequence[ConflictResolution]) -> ChosenMeanwhile:
    first = found[0]
    column = first.column or "the row"
    place = f"{column} at {_named(kept(first.key))}" if first.key else column
    who = first.chosen_by.get_full_name() or first.chosen_by.get_username()
    sentence = f"{who} chose {first.choice!r} for {place} at {first.chosen_at:%Y-%m-%d %H:%M} UTC"
    if len(found) > 1:
        sentence += f", and {len(found) - 1:,} more choices were made,"
    told = [
        {
            "key": kept(one.key),
            "column": one.column or None,
            "choice": one.choice,
            "value": kept(one.value),
            "chosen_by": one.chosen_by.get_username(),
            "chosen_at": one.chosen_at.isoformat(),
        }
        for one in found[:TOLD_CHOICES]
    ]
    message = f"{sentence} while you chose. Nothing of yours was stored. Look again, then choose."
    return ChosenMeanwhile(message, told, len(found))


def _named(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {shown_json(value)}" for name, value in key.items())
