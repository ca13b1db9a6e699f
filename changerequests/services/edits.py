"""What a person edits in a dataset's rows before proposing it: a tray of one's own, kept in the database.

Whatever was typed is kept, also where it does not fit: what is wrong is told at the cell, each time that the tray is
looked at, and stands in the way of proposing alone. A cell remembers what stood in the table when it was edited, a row
the version that was looked at; proposing stages the rows on that version, so that what others changed since is a
conflict there and never lost. Every change of a tray is made under its lock and kept as a step that can be undone.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Sum

import merging
from changerequests.errors import EditsProposed
from changerequests.models import EditedRow, Edits, EditStep, Upload
from changerequests.services import uploads
from changerequests.services.locks import lock_edits
from changerequests.services.proposals import proposable
from changerequests.states import FollowUp, UploadKind, UploadStatus
from datasets import outages
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.roles import Role, datasets_with_role, may_contribute
from datasets.rows import json_value, keepable, kept, key_digest, same_value, text_value, write_json

#: Rows of one tray; more are changed by a file or a statement.
MOST_ROWS: Final = 2_000
#: Steps that can be undone.
MOST_STEPS: Final = 100
TOO_MANY: Final = (
    f"A tray holds up to {MOST_ROWS:,} edited rows. Propose these first, or upload the rows as a file: that takes any "
    "number."
)
_NEW: Final = "new-"
#: What added rows are called.
NAME_OF_ADDED: Final = re.compile(f"{_NEW}[0-9a-f]{{32}}")

Operation = EditedRow.Operation
Cells = Mapping[str, Any]


# --- What can be done ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowName:
    """A row that is meant: one of the table by its ``key``, or one of the tray by its ``name``."""

    key: Cells | None = None
    name: str = ""


@dataclass(frozen=True)
class SetCells:
    """New values for cells of a row. ``seen`` is what its person saw in them, for being told where that moved."""

    row: RowName
    values: Cells
    seen: Cells = field(default_factory=dict)


@dataclass(frozen=True)
class AddRow:
    """A new row; its key may still be missing.

    ``name`` is how its maker calls it in the tray (``new-`` and 32 hexadecimal digits): adding it once more, where the
    answer was lost, adds nothing. Without one it gets a name.
    """

    values: Cells
    name: str = ""


@dataclass(frozen=True)
class DeleteRow:
    """A row of the table that shall go, or an added one that shall not be added after all."""

    row: RowName


@dataclass(frozen=True)
class RestoreRow:
    """Take edits back: of these columns, or of the row as a whole."""

    row: RowName
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeepRow:
    """Keep what was edited although somebody else changed the row: it counts as seen as it is now."""

    row: RowName


Change = SetCells | AddRow | DeleteRow | RestoreRow | KeepRow


@dataclass(frozen=True)
class Overwritten:
    """A cell that held something else than its person saw when they set it; undoing brings ``before`` back."""

    row: str
    column: str
    before: Any


@dataclass(frozen=True)
class Applied:
    """What became of changes: the rows that they touched, those that were added in order, and what they overwrote."""

    touched: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    overwritten: tuple[Overwritten, ...] = ()


# --- What a tray looks like -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EditedCell:
    """One edited cell, in JSON values: as typed, as it was seen, as the table has it now, and what is wrong with it."""

    column: str
    value: Any
    seen: Any
    current: Any
    moved: bool
    problem: str


@dataclass(frozen=True)
class TrayRow:
    """One edited row; ``problem`` is of the row itself, ``gone`` tells that somebody else deleted it meanwhile.

    ``current`` is the whole row as the table has it now, in JSON values; None where it has none.
    """

    name: str
    operation: str
    key: Cells
    cells: tuple[EditedCell, ...]
    problem: str
    gone: bool
    current: Cells | None

    @property
    def problems(self) -> int:
        """How many things are wrong with it."""
        return bool(self.problem) + sum(bool(cell.problem) for cell in self.cells)

    @property
    def moved(self) -> bool:
        """Whether somebody else changed what is edited here, or deleted the row."""
        return self.gone or any(cell.moved for cell in self.cells)


@dataclass(frozen=True)
class TrayCounts:
    """How much there is in a tray, without a look at the table."""

    changes: int = 0
    rows: int = 0
    undo: bool = False
    redo: bool = False


@dataclass(frozen=True)
class Tray:
    """Somebody's edits against the table as it is now, at ``version``; ``rows`` may be some of them."""

    edits: Edits | None
    counts: TrayCounts
    version: int
    rows: tuple[TrayRow, ...]

    @property
    def problems(self) -> int:
        """How many things are wrong with the rows."""
        return sum(row.problems for row in self.rows)

    @property
    def moved(self) -> int:
        """How many of the rows somebody else changed meanwhile."""
        return sum(row.moved for row in self.rows)


def edits_of(dataset: Dataset, person: User) -> Edits | None:
    """The person's edits of the dataset, if there are any."""
    return Edits.objects.filter(dataset=dataset, person=person).select_related("upload").first()


def counts_of(edits: Edits | None) -> TrayCounts:
    """What a tray's line says: "3 changes in 2 rows"."""
    if edits is None:
        return TrayCounts()
    found = edits.rows.aggregate(changes=Sum("changes", default=0), rows=Count("pk"))
    undone = set(edits.steps.values_list("undone", flat=True))
    return TrayCounts(found["changes"], found["rows"], undo=False in undone, redo=True in undone)


@dataclass(frozen=True)
class WaitingTray:
    """What a person edited in one dataset and has not proposed yet."""

    dataset: Dataset
    changes: int
    rows: int


def trays_of(person: User) -> list[WaitingTray]:
    """The person's trays that hold something, where they may still propose it, the one touched last first."""
    found = (
        Edits.objects.filter(
            person=person, dataset__in=datasets_with_role(person, Role.CONTRIBUTOR).values("pk")
        )
        .annotate(changes=Sum("rows__changes", default=0), edited=Count("rows"))
        .filter(edited__gt=0)
        .select_related("dataset__project")
        .order_by("-updated_at")
    )
    return [WaitingTray(one.dataset, one.changes, one.edited) for one in found]


def kept_until(edits: Edits) -> Any:
    """When edits that nobody touches any more are removed."""
    return edits.updated_at + timedelta(days=settings.RETENTION_DAYS["edits"])


def tray_of(*, dataset: Dataset, person: User, names: Iterable[str] | None = None) -> Tray:
    """The person's edits, or the rows with these names, judged on the table as it is now.

    Raises ``Forbidden`` and the engine's errors.
    """
    _require_contributor(dataset, person)
    edits = edits_of(dataset, person)
    table = _table(dataset)
    rows = (
        []
        if edits is None
        else list(edits.rows.all() if names is None else edits.rows.filter(name__in=[*names]))
    )
    judged = tuple(_Judging(table, edits, rows).rows()) if edits is not None else ()
    return Tray(edits, counts_of(edits), table.version, judged)


@dataclass(frozen=True)
class LookedAt:
    """One row for whoever edits it: as the table has it (in JSON values), and the edits of it so far."""

    version: int
    row: Cells | None
    edited: TrayRow | None


def look_at(*, dataset: Dataset, person: User, row: RowName) -> LookedAt:
    """A row of the table by its key, or of the tray by its name; both may be missing. Raises ``InvalidInput``."""
    table = _table(dataset)
    name, found = row.name, None
    if row.key is not None:
        key = _typed_key(table, row.key)
        name = key_digest(key)
        [found] = table.rows([key])
    tray = tray_of(dataset=dataset, person=person, names=[name])
    edited = next(iter(tray.rows), None)
    return LookedAt(table.version, json_value(found) if found is not None else None, edited)


class _Judging:
    """Edited rows beside the table as it is now: what moved, and what is wrong."""

    def __init__(self, table: merging.EditedTable, edits: Edits, rows: Sequence[EditedRow]) -> None:
        self._table, self._edits, self._edited = table, edits, rows
        self._problems: list[dict[str, str]] = []
        self._whole: list[dict[str, Any]] = []
        self._keys = [self._key_of(row) for row in rows]
        wanted = [key for key in self._keys if key is not None]
        found = iter(table.rows(wanted))
        self.current = [next(found) if key is not None else None for key in self._keys]

    def rows(self) -> list[TrayRow]:
        """Each row with all that is to be told of it."""
        for row, current in zip(self._edited, self.current, strict=True):
            whole, problems = self._typed(row, current)
            self._whole.append(whole)
            self._problems.append(problems)
        self._refuse_doubles()
        self._ask_table()
        return [self._told(number) for number in range(len(self._edited))]

    def _key_of(self, row: EditedRow) -> dict[str, Any] | None:
        """The key in the table's types; None of an added row whose key is not whole yet."""
        given = kept(row.values) if row.operation == Operation.INSERT else kept(row.key)
        typed = {}
        for name in self._table.keys:
            try:
                typed[name] = self._table.typed(name, given.get(name))
            except merging.Refused:
                return None
            if typed[name] is None:
                return None
        return typed

    def _typed(
        self, row: EditedRow, current: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The whole row as it would be, and what does not fit by column."""
        whole = dict(current or {}) if row.operation != Operation.INSERT else {}
        problems: dict[str, str] = {}
        for name, value in kept(row.values).items():
            if name in self._table.computed:
                problems[name] = f"The table computes {name} itself ({self._table.computed[name]})."
                continue
            try:
                whole[name] = self._table.typed(name, value)
            except merging.Refused as refusal:
                problems[name] = _sentence(str(refusal))
        return whole, problems

    def _refuse_doubles(self) -> None:
        added = [number for number, row in enumerate(self._edited) if row.operation == Operation.INSERT]
        others = {} if not added else self._names_of_added()
        for number in added:
            row, key = self._edited[number], self._keys[number]
            problems = self._problems[number]
            if key is None:
                given = kept(row.values)
                for name in self._table.keys:
                    if given.get(name) is None:
                        problems.setdefault(name, f"{name} is part of the key: give a value.")
                continue
            shown = ", ".join(text_value(one) for one in key.values())
            if self.current[number] is not None:
                problems.setdefault(
                    self._table.keys[0], f"The table has a row {shown} already: edit that one."
                )
            elif len(others.get(key_digest(key), ())) > 1:
                problems.setdefault(self._table.keys[0], f"Another added row has the key {shown}, too.")

    def _names_of_added(self) -> dict[str, set[str]]:
        """All added rows of the tray by their keys, whichever are looked at."""
        found: dict[str, set[str]] = {}
        for row in self._edits.rows.filter(operation=Operation.INSERT):
            if (key := self._key_of(row)) is not None:
                found.setdefault(key_digest(key), set()).add(row.name)
        return found

    def _ask_table(self) -> None:
        """Ask the table's own rules of the rows whose every value fits."""
        asked = [
            number
            for number, row in enumerate(self._edited)
            if row.operation != Operation.DELETE
            and not self._problems[number]
            and (row.operation == Operation.INSERT or self.current[number] is not None)
        ]
        for broken in self._table.broken([self._whole[number] for number in asked]):
            number = asked[broken.row]
            edited = kept(self._edited[number].values)
            at = next(
                (name for name in broken.columns if name in edited),
                broken.columns[0] if broken.columns else "",
            )
            self._problems[number].setdefault(at, broken.sentence)

    def _told(self, number: int) -> TrayRow:
        row, current, problems = self._edited[number], self.current[number], dict(self._problems[number])
        values, seen = kept(row.values), kept(row.seen)
        now = json_value(current) if current is not None else None
        is_edit = row.operation == Operation.UPDATE
        cells = tuple(
            EditedCell(
                column=name,
                value=value,
                seen=seen.get(name),
                current=now.get(name) if now is not None else None,
                moved=is_edit and now is not None and not _same(now.get(name), seen.get(name)),
                problem=problems.pop(name, ""),
            )
            for name, value in values.items()
        )
        cells += tuple(  # what an added row lacks is told where it should stand
            EditedCell(name, None, None, None, moved=False, problem=problems.pop(name))
            for name in self._table.columns
            if name in problems and row.operation == Operation.INSERT
        )
        gone = row.operation != Operation.INSERT and current is None
        key = kept(row.key) or {name: values.get(name) for name in self._table.keys}
        return TrayRow(row.name, row.operation, key, cells, " ".join(problems.values()), gone, now)


# --- Editing ----------------------------------------------------------------------------------------------------------


def apply(*, dataset: Dataset, actor: User, changes: Sequence[Change], version: int | None = None) -> Applied:
    """Do all of this to the person's tray, as one step; ``version`` is that of the table which they looked at.

    A cell that meanwhile holds something else than they saw (another tab) is set all the same, and told. Raises
    ``Forbidden``, ``EditsProposed`` while a proposal of the tray is read, and ``InvalidInput`` for rows that are not
    there, keys of existing rows that are edited, and a tray that is full.
    """
    _require_contributor(dataset, actor)
    table = _table(dataset, version)
    looked_at = _Looked.at(table, changes)
    with transaction.atomic():
        edits = _editable(dataset, actor)
        named = {change.name if isinstance(change, AddRow) else change.row.name for change in changes}
        editing = _Editing(edits, table, looked_at, named | set(looked_at.names.values()))
        for change in changes:
            editing.do(change)
        return editing.saved()


def undo(*, dataset: Dataset, actor: User) -> Applied:
    """Take the last step back; nothing where there is none."""
    return _walk(dataset, actor, back=True)


def redo(*, dataset: Dataset, actor: User) -> Applied:
    """Do the step again that was taken back last; nothing where there is none."""
    return _walk(dataset, actor, back=False)


def discard(*, dataset: Dataset, actor: User) -> None:
    """Throw the person's edits of the dataset away, for good. Raises ``Forbidden``, ``EditsProposed``."""
    _require_contributor(dataset, actor)
    with transaction.atomic():
        _editable(dataset, actor).delete()


def _walk(dataset: Dataset, actor: User, *, back: bool) -> Applied:
    _require_contributor(dataset, actor)
    with transaction.atomic():
        edits = _editable(dataset, actor)
        steps = edits.steps.filter(undone=not back)
        step = steps.last() if back else steps.first()
        if step is None:
            return Applied()
        states = {name: images[0 if back else 1] for name, images in step.rows.items()}
        _put(edits, states)
        step.undone = back
        step.save(update_fields=["undone"])
    return Applied(touched=tuple(states))


def _editable(dataset: Dataset, actor: User) -> Edits:
    """The tray, locked, and its moment of the last touch moved. Raises ``EditsProposed``."""
    edits = lock_edits(dataset, actor)
    if edits.is_proposed:
        raise EditsProposed("These edits are being proposed just now. Wait a moment, then look again.")
    edits.upload = None
    edits.save(update_fields=["upload", "updated_at"])
    return edits


def _put(edits: Edits, states: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Make rows of a tray what these states say; None takes a row out."""
    edits.rows.filter(name__in=[name for name, state in states.items() if state is None]).delete()
    EditedRow.objects.bulk_create(
        [EditedRow(edits=edits, name=name, **state) for name, state in states.items() if state is not None],
        update_conflicts=True,
        unique_fields=["edits", "name"],
        update_fields=[*_STATE],
        batch_size=500,
    )


#: What a step keeps of a row.
_STATE: Final = ("operation", "key", "values", "seen", "version", "digest", "changes")


def _state_of(row: EditedRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _STATE}


@dataclass(frozen=True)
class _Looked:
    """Rows of the table that changes name by their keys, as their person looked at them."""

    names: Mapping[int, str]
    rows: Mapping[str, tuple[Cells, merging.Row | None]]

    @classmethod
    def at(cls, table: merging.EditedTable, changes: Sequence[Change]) -> _Looked:
        names: dict[int, str] = {}
        keys: dict[str, dict[str, Any]] = {}
        for place, change in enumerate(changes):
            key = None if isinstance(change, AddRow) else change.row.key
            if key is not None:
                typed = _typed_key(table, key)
                names[place] = key_digest(typed)
                keys[names[place]] = typed
        found = table.rows([*keys.values()])
        rows = {name: (keys[name], row) for name, row in zip(keys, found, strict=True)}
        return cls(names, rows)


def _typed_key(table: merging.EditedTable, key: Cells) -> dict[str, Any]:
    if set(key) != set(table.keys):
        raise _wrong(f"The key of a row has the columns {', '.join(table.keys)}.", "key")
    typed = {}
    for name in table.keys:
        try:
            typed[name] = table.typed(name, key[name])
        except merging.Refused as refusal:
            raise _wrong(f"The key column {name}: {refusal}", "key") from refusal
    return typed


class _Editing:
    """One step under way: rows as they were and as they are to be, by name."""

    def __init__(
        self, edits: Edits, table: merging.EditedTable, looked_at: _Looked, names: Collection[str]
    ) -> None:
        self._edits, self._table, self._looked_at = edits, table, looked_at
        self._place = -1
        self._before: dict[str, dict[str, Any] | None] = {}
        self._now: dict[str, dict[str, Any] | None] = {}
        self._there: dict[str, dict[str, Any] | None] = {
            row.name: _state_of(row) for row in edits.rows.filter(name__in=names)
        }
        self._added: list[str] = []
        #: What was done already, and nobody heard of it.
        self._done_before: list[str] = []
        self._overwritten: list[Overwritten] = []

    def do(self, change: Change) -> None:
        """One change after the other, in their order."""
        self._place += 1
        if isinstance(change, AddRow):
            self._add(change)
            return
        name = self._looked_at.names.get(self._place, change.row.name)
        if isinstance(change, SetCells):
            self._set(name, change)
        elif isinstance(change, DeleteRow):
            self._delete(name)
        elif isinstance(change, RestoreRow):
            self._restore(name, change.columns)
        else:
            self._keep(name)

    def saved(self) -> Applied:
        """Write the step and the rows. Raises ``InvalidInput`` where the tray would be too full."""
        moved = {name: state for name, state in self._now.items() if state != self._before[name]}
        more = sum((state is not None) - (self._before[name] is not None) for name, state in moved.items())
        if more > 0 and self._edits.rows.count() + more > MOST_ROWS:
            raise InvalidInput(TOO_MANY, errors={"changes": [TOO_MANY]})
        if moved:
            _put(self._edits, moved)
            self._remember({name: [self._before[name], state] for name, state in moved.items()})
        told = dict.fromkeys((*moved, *self._done_before))
        return Applied(tuple(told), tuple(self._added), tuple(self._overwritten))

    def _remember(self, images: dict[str, Any]) -> None:
        steps = self._edits.steps
        steps.filter(undone=True).delete()
        last = steps.last()
        number = last.number + 1 if last is not None else 1
        EditStep.objects.create(edits=self._edits, number=number, rows=images)
        steps.filter(number__lte=number - MOST_STEPS).delete()

    def _state(self, name: str) -> dict[str, Any] | None:
        return self._now[name] if name in self._now else self._there.get(name)

    def _become(self, name: str, state: dict[str, Any] | None) -> None:
        self._before.setdefault(name, self._there.get(name))
        self._now[name] = state

    def _of_tray_or_table(self, name: str) -> dict[str, Any]:
        """The row as it is edited so far, or an edit of nothing yet. Raises ``InvalidInput`` for one that is not."""
        state = self._state(name)
        if state is not None:
            return state
        key, row = self._looked_at.rows.get(name, (None, None))
        if key is None or row is None:
            raise _wrong("There is no such row, neither in the table nor among the edits. Look again.", "row")
        return {
            "operation": Operation.UPDATE.value,
            "key": keepable(json_value(key)),
            "values": {},
            "seen": {},
            "version": self._table.version,
            "digest": key_digest(row),
            "changes": 0,
        }

    def _add(self, change: AddRow) -> None:
        name = change.name or f"{_NEW}{uuid.uuid4().hex}"
        if NAME_OF_ADDED.fullmatch(name) is None:
            raise _wrong("A new row is called new- and 32 hexadecimal digits.", "row")
        self._added.append(name)
        if self._state(name) is not None:
            self._done_before.append(name)
            return
        values = {column: self._form(column, value) for column, value in change.values.items()}
        self._become(
            name,
            {
                "operation": Operation.INSERT.value,
                "key": {},
                "values": keepable(values),
                "seen": {},
                "version": self._table.version,
                "digest": "",
                "changes": 1,
            },
        )

    def _set(self, name: str, change: SetCells) -> None:
        state = self._of_tray_or_table(name)
        adding = state["operation"] == Operation.INSERT
        values, seen = dict(kept(state["values"])), dict(kept(state["seen"]))
        _, row = self._looked_at.rows.get(name, (None, None))
        for column, value in change.values.items():
            form = self._form(column, value)
            if not adding and column in self._table.keys:
                if not _same(form, kept(state["key"])[column]):
                    raise _wrong(
                        f"{column} is part of the key, which names the row: delete the row and add another.",
                        column,
                    )
                continue
            if not adding and column not in values:
                if row is None:
                    raise _wrong("Name the row by its key: what its other cells hold is looked up.", "row")
                seen[column] = json_value(row.get(column))
            before = values.get(column, seen.get(column))
            if column in change.seen and not _same(change.seen[column], before):
                self._overwritten.append(Overwritten(name, column, before))
            if not adding and _same(form, seen[column]):
                values.pop(column, None)
                seen.pop(column, None)
            else:
                values[column] = form
        self._become(name, self._edited(state, values, seen))

    def _edited(self, state: Cells, values: Cells, seen: Cells) -> dict[str, Any] | None:
        """The row with these values; None where nothing of it is edited any more."""
        adding = state["operation"] == Operation.INSERT
        if not adding and not values:
            return None
        return {
            **state,
            "operation": Operation.INSERT.value if adding else Operation.UPDATE.value,
            "values": keepable(values),
            "seen": keepable(seen),
            "changes": 1 if adding else len(values),
        }

    def _delete(self, name: str) -> None:
        if self._state(name) is None and NAME_OF_ADDED.fullmatch(name):
            self._done_before.append(name)
            return
        state = self._of_tray_or_table(name)
        if state["operation"] == Operation.INSERT:
            self._become(name, None)
        else:
            gone = {"operation": Operation.DELETE.value, "values": {}, "seen": {}, "changes": 1}
            self._become(name, {**state, **gone})

    def _restore(self, name: str, columns: tuple[str, ...]) -> None:
        state = self._state(name)
        if state is None:
            return
        if not columns or state["operation"] == Operation.DELETE:
            self._become(name, None)
            return
        values = {column: value for column, value in kept(state["values"]).items() if column not in columns}
        seen = {column: value for column, value in kept(state["seen"]).items() if column not in columns}
        self._become(name, self._edited(state, values, seen))

    def _keep(self, name: str) -> None:
        state = self._of_tray_or_table(name)
        _, row = self._looked_at.rows.get(name, (None, None))
        if row is None or state["operation"] == Operation.INSERT:
            raise _wrong(
                "The table does not have the row any more: take your edits of it back, or add it anew.", "row"
            )
        now = json_value(row)
        seen = {column: now.get(column) for column in kept(state["seen"])}
        self._become(
            name,
            {**state, "seen": keepable(seen), "version": self._table.version, "digest": key_digest(row)},
        )

    def _form(self, column: str, value: Any) -> Any:
        """A value in its column's form; as the text that was typed where it does not fit, to be told at the cell."""
        if column not in self._table.columns:
            raise _wrong(f"The table has no column {column}.", column)
        if value is None:
            return None
        try:
            return json_value(self._table.typed(column, value))
        except merging.Refused:
            return value if isinstance(value, str) else write_json(value)


# --- Proposing --------------------------------------------------------------------------------------------------------


def propose(
    *,
    dataset: Dataset,
    actor: User,
    title: str,
    description: str = "",
    submit: bool = False,
    call: str = "",
) -> Upload:
    """Propose the person's edits of the dataset: a draft with them, submitted at once where that is wanted.

    They stand still until the upload ends, and are gone once it is staged; where it is not, they are as before. The
    same upload where they are being proposed already. Raises ``InvalidInput`` where there is nothing to propose or a
    cell does not fit, and what ``uploads.receive_draft`` does.
    """
    proposable(dataset, actor, title)
    table = _table(dataset)
    with transaction.atomic():
        edits = lock_edits(dataset, actor)
        if edits.upload is not None and edits.is_proposed:
            return edits.upload
        rows = list(edits.rows.all())
        if not rows:
            raise _wrong("There is nothing to propose: no row is edited.", None)
        judging = _Judging(table, edits, rows)
        _require_fitting(judging.rows())
        with uploads.written_down(f"{write_json(_sent(row))}\n" for row in rows) as path:
            received = uploads.ReceivedFile(
                path,
                file_name="edited rows",
                file_format="jsonl",
                kind=UploadKind.ROWS,
                tray=edits,
                base_version=_base_version(rows, judging.current, table.version),
            )
            return uploads.receive_draft(
                dataset=dataset,
                author=actor,
                title=title,
                description=description,
                merge_schema=False,
                content=received,
                then=uploads.Then(FollowUp.SUBMIT) if submit else uploads.NOTHING_MORE,
                call=call,
            )


def failure_of(edits: Edits | None) -> str:
    """Why the last attempt to propose them was in vain; empty where there was none."""
    upload = edits.upload if edits is not None else None
    if upload is None or upload.is_active or upload.status == UploadStatus.STAGED:
        return ""
    return uploads.told_of(upload)


def _require_fitting(rows: Sequence[TrayRow]) -> None:
    wrong = [row for row in rows if row.problems]
    if not wrong:
        return
    first = wrong[0]
    told = first.problem or next(f"{cell.column}: {cell.problem}" for cell in first.cells if cell.problem)
    number = sum(row.problems for row in rows)
    what = "One cell does" if number == 1 else f"{number:,} cells do"
    shown = (
        ", ".join(text_value(value) for value in first.key.values() if value is not None) or "an added row"
    )
    raise _wrong(f"{what} not fit the table yet; nothing was proposed. Row {shown}: {told}", None)


def _sent(row: EditedRow) -> dict[str, Any]:
    """An edited row as content has it."""
    return {"_op": row.operation, **kept(row.key), **kept(row.values)}


def _base_version(rows: Sequence[EditedRow], current: Sequence[merging.Row | None], newest: int) -> int:
    """The newest version at which every row was as its person saw it: what others changed since is no news to merge
    but a conflict.
    """
    return min(
        newest
        if row.operation == Operation.INSERT or (now is not None and key_digest(now) == row.digest)
        else row.version
        for row, now in zip(rows, current, strict=True)
    )


# --- What several of these need ---------------------------------------------------------------------------------------


def _table(dataset: Dataset, version: int | None = None) -> merging.EditedTable:
    with outages.asking(dataset):
        return merging.open_for_editing(
            dataset.table_uri, primary_keys=tuple(dataset.primary_keys), version=version
        )


def _require_contributor(dataset: Dataset, person: User) -> None:
    if not may_contribute(person, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )


def _same(left: Any, right: Any) -> bool:
    """Whether two JSON values of cells are one; NULL is a value."""
    return same_value(left, right)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrong(sentence: str, field: str | None) -> InvalidInput:
    return InvalidInput(sentence, errors={field: [sentence]})
