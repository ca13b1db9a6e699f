"""Choices for conflicts: one by one, by a file, or for all that a filter lets through; and taking the last back."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from changerequests.services.choices import choice_digest, replace_choices, take_choices_back
from changerequests.services.evidence import CHOICE
from changerequests.services.locks import lock_change_request
from changerequests.services.storage import choice_files
from changerequests.services.trail import record_event, withdraw_merge_when_ready
from changerequests.states import Action
from datasets.data_root import data_root
from datasets.errors import InvalidInput
from datasets.rows import json_value, keepable, kept, key_digest, shown_json

#: How many choices one call may carry.
MOST_CHOICES = 10_000
#: How many choices a file may hold.
MOST_FILED_CHOICES = 100_000
#: How many lines that do not fit are told; their number is exact.
MOST_TOLD_LINES = 1_000
#: How long a file waits between being looked at and being stored.
SECONDS_KEPT = 24 * 3600
_FILE_BOUNDS = merging.Bounds(memory_bytes=2 * 1024**3, seconds=30)
#: How many choices of others an answer tells; their number is exact.
TOLD_CHOICES = 100
#: Of so many rows the choices that stand are asked for by their keys, of more all of them are read.
_ASKED_BY_KEY = 500


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


@dataclass(frozen=True)
class ChosenForMany:
    """What a choice for all that a filter lets through did: for how many, how many are left, and by which name it can
    be undone.
    """

    chosen: int
    unresolved: int
    undo: str


@dataclass(frozen=True)
class Undone:
    """What undoing did: how many conflicts are as they were before, and how many stay because somebody chose since."""

    restored: int
    kept: int
    unresolved: int


@dataclass(frozen=True)
class FiledChoice:
    """What a line of a file would choose for its conflict; ``value`` is that of another value."""

    line: int
    conflict: merging.Conflict
    choice: str
    value: Any

    @property
    def changes_nothing(self) -> bool:
        """Whether that is what stands already."""
        now = choice_digest(self.conflict.choice, keepable(self.conflict.value))
        return now == choice_digest(self.choice, keepable(self.value))


@dataclass(frozen=True)
class FileLooked:
    """What a file would choose, and every line that does not fit, of which the first are told: with one of those
    nothing of it can be stored.
    """

    choices: tuple[FiledChoice, ...]
    problems: tuple[merging.StagingProblem, ...]
    problem_total: int


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
        raise InvalidInput(
            f"At most {MOST_CHOICES:,} choices at once; use the choice for all that a filter finds."
        )
    change_request = _asked_for(change_request_id, actor)
    with plans.conflicts_of(change_request) as found:
        standing = found.at(one.inputs_digest for one in choices)
        chosen = [_fitting(choosing, standing, found) for choosing in choices]
        return _store(change_request, actor, chosen, found).unresolved


def resolve_by_file(*, change_request_id: int, actor: User, content: bytes, file_format: str) -> int:
    """Store the choices of a CSV or Parquet file, as a download of conflicts has them; returns how many conflicts are
    left without one. It is read by a confined process.

    All are stored or none: raises as ``resolve`` does, but tells every line that does not fit
    (``merging.StagingRejected``; ``PlanChanged`` with ``errors`` where all of them are about values that moved).
    """
    change_request = _asked_for(change_request_id, actor)
    read = _read_file(change_request, content, file_format)
    with plans.conflicts_of(change_request) as found:
        filed = _fitting_lines(read, found)
        _require_all_fit(filed)
        return _store(change_request, actor, filed.chosen, found).unresolved


def look_at_file(*, change_request_id: int, actor: User, content: bytes, file_format: str) -> FileLooked:
    """What ``resolve_by_file`` would store, and what does not fit. Nothing is stored.

    Raises ``InvalidInput`` for a file that chooses nothing.
    """
    change_request = _asked_for(change_request_id, actor)
    if not content:
        raise InvalidInput("Choose the file with the choices first.")
    try:
        read = _read_file(change_request, content, file_format)
    except merging.StagingRejected as error:
        return FileLooked((), error.problems, error.total)
    with plans.conflicts_of(change_request) as found:
        filed = _fitting_lines(read, found)
    choices = [
        FiledChoice(line, one.conflict, one.choice, one.value)
        for line, one in zip(filed.lines, filed.chosen, strict=True)
    ]
    return FileLooked(tuple(choices), tuple(filed.problems[:MOST_TOLD_LINES]), len(filed.problems))


def keep_file(*, change_request_id: int, actor: User, content: bytes) -> str:
    """Keep a file of choices until it is stored; returns the name to ask for it by. Those of yesterday are removed."""
    change_request = _asked_for(change_request_id, actor)
    name = hashlib.sha256(content).hexdigest()
    keep, folder = data_root(), choice_files(change_request)
    with merging.naming_full_disks("keep the file", keep.address_of(folder)):
        keep.put(f"{folder}/{name}", content)
    yesterday = (time.time() - SECONDS_KEPT) * 1000
    keep.delete(other.path for other in keep.files(folder) if other.modified_ms < yesterday)
    return name


def kept_file(*, change_request_id: int, actor: User, name: str) -> bytes:
    """A file of choices that was looked at. Raises ``InvalidInput`` where it is not kept any more."""
    change_request = _asked_for(change_request_id, actor)
    if re.fullmatch("[0-9a-f]{64}", name):
        with suppress(FileNotFoundError):
            return data_root().read(f"{choice_files(change_request)}/{name}")
    raise InvalidInput("The file is not kept any more. Choose it again.")


def _read_file(change_request: ChangeRequest, content: bytes, file_format: str) -> list[merging.ChoiceLine]:
    with merging.scratch_folder("choices") as folder:
        path = folder / "choices"
        path.write_bytes(content)
        read = merging.read_choices(
            str(path),
            file_format,
            change_request.dataset.primary_keys,
            bounds=_FILE_BOUNDS,
            scratch=str(folder),
            most=MOST_FILED_CHOICES,
        )
    if not read:
        raise InvalidInput("The file chooses nothing: its column choice is empty throughout.")
    return read


@dataclass(frozen=True)
class _Filed:
    """The lines of a file that fit, with what they choose, and the others with why; ``moved`` of those are about values
    that moved.
    """

    lines: list[int]
    chosen: list[_Chosen]
    problems: list[merging.StagingProblem]
    moved: int


def _fitting_lines(read: Sequence[merging.ChoiceLine], found: merging.KeptConflicts) -> _Filed:
    standing = found.at(one.inputs_digest for one in read)
    lines, chosen, problems, moved = [], [], [], 0
    for one in read:
        conflict = standing.get((one.inputs_digest, one.column or ""))
        key = one.key if conflict is None or len(one.key) == len(conflict.key) else json_value(conflict.key)
        choosing = Choosing(
            key, one.column, one.choice, one.inputs_digest, one.value, as_text=True, seen=one.seen
        )
        try:
            chosen.append(_fitting(choosing, standing, found))
            lines.append(one.line)
        except (InvalidInput, PlanChanged) as error:
            moved += isinstance(error, PlanChanged)
            problems.append(
                merging.StagingProblem(error.code, error.message, one.line, one.column, one.choice)
            )
    return _Filed(lines, chosen, problems, moved)


def _require_all_fit(filed: _Filed) -> None:
    problems = filed.problems
    if problems and filed.moved == len(problems):
        errors = [vars(one) for one in problems[:TOLD_CHOICES]]
        raise PlanChanged(
            f"{problems[0].describe()} Nothing of the file was stored.",
            moved="table",
            errors=errors,
            total=filed.moved,
        )
    if problems:
        raise merging.StagingRejected(problems[:MOST_TOLD_LINES], total=len(problems))


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
    found: merging.KeptConflicts,
) -> _Chosen:
    place = f" at {_named(choosing.key)}" if choosing.key else ""  # a conflict of the schema has no row
    named = f"{choosing.column or 'the row'}{place}"
    conflict = standing.get((choosing.inputs_digest, choosing.column or ""))
    if conflict is None:
        raise PlanChanged(f"The values of {named} moved since you looked at them. Look again, then choose.")
    if not merging.same_value(_key_of(choosing.key, found), conflict.key):
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
        value = found.value_of(conflict.column or "", choosing.value, as_text=choosing.as_text)
    except merging.InvalidResolution as error:
        raise InvalidInput(error.message, **error.data) from error
    return _Chosen(conflict, choosing.choice, value, choosing.seen)


def _key_of(key: Mapping[str, Any], found: merging.KeptConflicts) -> dict[str, Any]:
    try:
        return {name: found.value_of(name, value) for name, value in key.items()}
    except merging.InvalidResolution as error:
        raise InvalidInput(f"The key {_named(key)} is none of this table: {error.message}") from error


def resolve_matching(
    *,
    change_request_id: int,
    actor: User,
    wanted: merging.ConflictFilter,
    choice: str,
    seen: str | None = None,
) -> ChosenForMany:
    """Make the same choice for every conflict that a filter lets through, that has none yet and that offers it.

    ``seen`` is what ``plans.ConflictsPage.selection`` said of the filter: where its conflicts or their choices are
    others now, ``ChosenMeanwhile`` or ``PlanChanged`` says what differs, and nothing is stored. Without it the open
    conflicts are those that are open when the call begins. Raises the engine's ``InvalidFilter``.
    """
    change_request = _asked_for(change_request_id, actor)
    with plans.conflicts_of(change_request) as found:
        if seen is not None:
            _require_selection(change_request, wanted, seen, found.selection(wanted))
        chosen = [
            _Chosen(conflict, choice)
            for conflict in found.matching(wanted, unresolved_only=True)
            if choice in conflict.legal_choices
        ]
        if not chosen:
            raise InvalidInput(f"No open conflict{_of(wanted)} offers the choice {choice!r}.")
        return _store(change_request, actor, chosen, found)


def _of(wanted: merging.ConflictFilter) -> str:
    if wanted == plans.ALL_CONFLICTS:
        return ""
    if wanted.kind is None and wanted.current is None and wanted.proposed is None:
        return f" of {wanted.column or 'whole rows'}"
    return " that the filter finds"


def _require_selection(
    change_request: ChangeRequest, wanted: merging.ConflictFilter, seen: str, digest: str
) -> None:
    """Compare the conflicts that a filter lets through and their choices with what somebody saw of them."""
    seen_digest, newest = plans.read_selection(seen)
    if seen_digest == digest:
        return
    later = change_request.resolutions.filter(is_current=True, pk__gt=newest).select_related("chosen_by")
    if wanted.column is not None:
        later = later.filter(column=wanted.column)
    if chosen := list(later.order_by("pk")):
        raise _chosen_meanwhile(chosen)
    raise PlanChanged(
        f"The conflicts{_of(wanted)} are others than those that you looked at: the table or the "
        "content moved while you chose, or a choice was undone. Look again, then choose.",
        moved="table",
    )


def undo(*, change_request_id: int, actor: User, name: str) -> Undone:
    """Let what stood before a choice of one's own for many stand again (``ChosenForMany.undo``), wherever nobody chose
    since. Raises ``InvalidInput`` where nothing of it stands any more.
    """
    change_request = _asked_for(change_request_id, actor)
    first, _, last = name.partition("-")
    span = [int(part) for part in (first, last) if part.isascii() and part.isdecimal() and len(part) <= 18]
    if len(span) != 2:
        raise InvalidInput(f"{name[:80]!r} is no choice that can be undone.")
    with plans.conflicts_of(change_request) as found, transaction.atomic():
        now = lock_change_request(change_request.pk)
        require(facts_of(now, actor), Action.RESOLVE)
        made = now.resolutions.filter(pk__range=span, chosen_by=actor)
        total = made.count()
        restored = take_choices_back(now, made)
        if not restored:
            raise InvalidInput("There is nothing left to undo: none of these choices stands any more.")
        of_schema = made.filter(key_digest=key_digest({})).exists()
        unresolved = _unresolved(now, found, of_schema=of_schema)
        told = {"restored": restored, "kept": total - restored, "unresolved": unresolved}
        record_event(now, "conflicts.undone", actor, told)
        _choices_moved(now, actor)
    return Undone(restored, total - restored, unresolved)


def _store(
    change_request: ChangeRequest, actor: User, chosen: Sequence[_Chosen], found: merging.KeptConflicts
) -> ChosenForMany:
    """Store choices where nothing moved since they were looked at; the second look is taken under the lock."""
    made = _as_rows(change_request, actor, chosen)
    with transaction.atomic():
        now = lock_change_request(change_request.pk)
        facts = facts_of(now, actor)
        require(facts, Action.RESOLVE)
        _require_unmoved(found, facts)
        standing = _standing(now, made)
        _require_as_seen(standing, actor, chosen)
        replace_choices(now, made, standing)
        unresolved = _unresolved(now, found, of_schema=any(not one.key for one in made))
        choices = Counter(row.choice for row in made)
        columns = sorted({row.column for row in made if row.column})
        told = {"choices": dict(choices), "columns": columns, "unresolved": unresolved}
        record_event(now, "conflicts.resolved", actor, told, rows=CHOICE.seals(made))
        _choices_moved(now, actor)
    return ChosenForMany(len(made), unresolved, f"{made[0].pk}-{made[-1].pk}")


def _unresolved(now: ChangeRequest, found: merging.KeptConflicts, *, of_schema: bool) -> int:
    """How many conflicts are left with the choices that a locked request has now. A choice for the schema lets other
    conflicts be found.
    """
    if of_schema:
        with plans.conflicts_of(now) as after:
            return after.unresolved
    found.choose(plans.choices_standing(now))
    return found.unresolved


def _choices_moved(now: ChangeRequest, actor: User) -> None:
    """What follows from other choices for a locked request."""
    if now.merge_when_ready_by_id != actor.pk:
        withdraw_merge_when_ready(now, reason=f"{actor} chose values that whoever asked for it has not seen.")
    queue.ask_for_check(now.pk)


def _standing(
    now: ChangeRequest, made: Sequence[ConflictResolution]
) -> dict[tuple[str, str], ConflictResolution]:
    """The choices that stand for the rows that are chosen for, and maybe for others."""
    digests = {one.key_digest for one in made}
    if len(digests) <= _ASKED_BY_KEY:
        return selectors.choices_for(now, digests)
    return {(one.key_digest, one.column): one for one in selectors.current_resolutions(now)}


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


def _require_unmoved(found: merging.KeptConflicts, now: Facts) -> None:
    """The second look, under the lock: what was in conflict is what is. Raises ``PlanChanged``."""
    if now.revision is None or now.revision.digest != found.staged_digest:
        moved, what = "revision", "New content was uploaded"
    elif now.dataset.meta.delta_version > found.version:
        moved, what = "table", "The table moved"
    else:
        return
    raise PlanChanged(f"{what} while you chose. Look again, then choose.", moved=moved)


def _require_as_seen(
    standing: Mapping[tuple[str, str], ConflictResolution], actor: User, chosen: Sequence[_Chosen]
) -> None:
    """Compare, under the lock, each choice that would be replaced with the one that was seen."""
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
