"""Blame: for one row, which request changed which cell when, by whom, approved by whom and why, through reverts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import merging
from audit.selectors import events_of_many
from changerequests.models import ChangeRequest, ConflictResolution, MergeRun
from changerequests.services import storage
from changerequests.services.merged_keys import merges_that_can_have_changed
from changerequests.states import RunStatus
from datasets import outages
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.rows import column_types, key_digest, typed_key


@dataclass(frozen=True)
class Decision:
    """What was chosen for a conflict of the row (column None) or one of its cells, and by whom."""

    column: str | None
    choice: str
    chosen_by: str


@dataclass(frozen=True)
class RowChange:
    """What one merged request did to the row. ``changed_outside`` names columns that somebody changed past Headgate
    since the change before.
    """

    cr_id: str
    title: str
    description: str
    version: int
    merged_at: datetime | None
    author: str
    merged_by: str
    requested_for: str
    message: str
    override_reason: str
    approved_by: tuple[str, ...]
    decisions: tuple[Decision, ...]
    reverts: str | None
    row: merging.ChangedRow
    changed_outside: tuple[str, ...]


@dataclass(frozen=True)
class CellOrigin:
    """Where a cell's value of today comes from.

    ``change`` made the value; None where it is from before the first merge or from outside. ``through`` are the
    reverts, newest first, that brought an earlier value back.
    """

    value: Any
    change: RowChange | None
    through: tuple[RowChange, ...]
    from_outside: bool


@dataclass(frozen=True)
class RowHistory:
    """Every merged change of a row, oldest first, and the origin of each of its cells of today.

    ``current`` is None where the row is not in the table, and where that cannot be told: while the table's store does
    not answer it is not ``is_complete``, and no origin is told. ``unreadable`` names requests whose stored images are
    missing or damaged: what they did is not told here.
    """

    key: dict[str, Any]
    current: dict[str, Any] | None
    changes: tuple[RowChange, ...]
    cells: Mapping[str, CellOrigin]
    unreadable: Mapping[str, str]
    is_complete: bool


def row_history(*, dataset: Dataset, key: Mapping[str, Any]) -> RowHistory:
    """Who made the row what it is. ``key`` has JSON values or text for every key column.

    Reads the stored images of those merged requests that can have changed the row (only the parts that can hold the
    key) and one row of the table. Raises ``InvalidInput`` or the engine's ``InvalidKeys`` where the key does not fit.
    """
    if set(key) != set(dataset.primary_keys):
        sentence = f"Name exactly the key columns: {', '.join(dataset.primary_keys)}."
        raise InvalidInput(sentence, errors={"key": [sentence]})
    types = column_types(dataset.meta.schema_json)
    typed = typed_key(key, types)
    merged = list(
        ChangeRequest.objects.filter(pk__in=merges_that_can_have_changed(dataset, typed))
        .select_related("author", "merged_by", "reverts")
        .order_by("merged_version")
    )
    folders = {storage.artefacts_of(change_request): change_request for change_request in merged}
    touched: list[tuple[ChangeRequest, merging.ChangedRow]] = []
    unreadable: dict[str, str] = {}
    for traced in merging.trace_row(folders, typed):
        if traced.problem:
            unreadable[folders[traced.artefacts].cr_id] = traced.problem
        elif traced.row is not None:
            touched.append((folders[traced.artefacts], traced.row))
    changes = _changes(touched, key_digest(typed))
    try:
        current, is_complete = _current(dataset, typed), True
    except merging.TableUnreachable:
        current, is_complete = None, False
    return RowHistory(
        key=typed,
        current=current,
        changes=changes,
        cells={
            column: _origin(column, value, changes)
            for column, value in (current or {}).items()
            if column not in typed
        },
        unreadable=unreadable,
        is_complete=is_complete,
    )


def _current(dataset: Dataset, key: Mapping[str, Any]) -> dict[str, Any] | None:
    with outages.asking(dataset):
        page = merging.preview(
            dataset.table_uri,
            primary_keys=tuple(dataset.primary_keys),
            filters=tuple((name, "=", value) for name, value in key.items()),
            limit=1,
        )
    return page.rows[0] if page.rows else None


def _changes(
    touched: Sequence[tuple[ChangeRequest, merging.ChangedRow]], digest: str
) -> tuple[RowChange, ...]:
    requests = [change_request for change_request, _ in touched]
    runs = {
        run.change_request_id: run
        for run in MergeRun.objects.filter(change_request__in=requests, status=RunStatus.SUCCEEDED)
    }
    approvals = {
        event.subject_id: tuple(event.data.get("approved_by", ()))
        for event in events_of_many(
            "change_request", (request.cr_id for request in requests), "change_request.merged"
        )
    }
    decisions: dict[int, list[Decision]] = {}
    for choice in ConflictResolution.objects.filter(
        change_request__in=requests, key_digest=digest, is_current=True
    ).select_related("chosen_by"):
        decided = Decision(choice.column or None, choice.choice, str(choice.chosen_by))
        decisions.setdefault(choice.change_request_id, []).append(decided)
    changes: list[RowChange] = []
    last: dict[str, Any] | None = None
    for position, (change_request, row) in enumerate(touched):
        run = runs.get(change_request.pk)
        changes.append(
            RowChange(
                cr_id=change_request.cr_id,
                title=change_request.title,
                description=change_request.description,
                version=change_request.merged_version or 0,
                merged_at=change_request.merged_at,
                author=str(change_request.author),
                merged_by=str(change_request.merged_by or ""),
                requested_for=run.requested_for if run else "",
                message=run.message if run else "",
                override_reason=run.override_reason if run else "",
                approved_by=approvals.get(change_request.cr_id, ()),
                decisions=tuple(decisions.get(change_request.pk, ())),
                reverts=change_request.reverts.cr_id if change_request.reverts else None,
                row=row,
                changed_outside=_differing(last, row.before) if position else (),
            )
        )
        last = row.after
    return tuple(changes)


def _differing(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> tuple[str, ...]:
    one, other = left or {}, right or {}
    return tuple(name for name in {**one, **other} if not merging.same_value(one.get(name), other.get(name)))


def _origin(column: str, value: Any, changes: Sequence[RowChange]) -> CellOrigin:
    """Walk back from the newest change of the cell; a revert that restored a value passes on to who made that value."""
    through: list[RowChange] = []
    position = _last_change_of(column, changes)
    newest = changes[position] if position is not None else None
    if newest is not None and not _held(newest.row.after, column, value):
        return CellOrigin(value, None, (), from_outside=True)
    while position is not None:
        change = changes[position]
        target = next((place for place in range(position) if changes[place].cr_id == change.reverts), None)
        if target is None or not _held(changes[target].row.before, column, value):
            return CellOrigin(value, change, tuple(through), from_outside=False)
        through.append(change)
        if column in changes[target].changed_outside:
            return CellOrigin(value, None, tuple(through), from_outside=True)
        position = _last_change_of(column, changes[:target])
    outside = any(column in change.changed_outside for change in changes) and not through
    return CellOrigin(value, None, tuple(through), from_outside=outside)


def _held(row: Mapping[str, Any] | None, column: str, value: Any) -> bool:
    return merging.same_value((row or {}).get(column), value)


def _last_change_of(column: str, changes: Sequence[RowChange]) -> int | None:
    """The newest change that set the cell: changed it, or brought the row."""
    for position in range(len(changes) - 1, -1, -1):
        row = changes[position].row
        if row.after is not None and (column in row.changed or row.operation == "insert"):
            return position
    return None
