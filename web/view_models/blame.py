"""The history of one row as its page tells it: where each cell of today comes from, and every change, newest first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.safestring import SafeString

from changerequests.services.blame import CellOrigin, Decision, RowChange, RowHistory
from changerequests.services.column_blame import ColumnHistory
from datasets.models import Dataset
from datasets.rows import ChangedRow
from web.cells import absent_html, cell_html, difference_html
from web.view_models.datasets import KEY_PARAMETER, is_numeric, types_of
from web.wording import counted, listed, name_of


@dataclass(frozen=True)
class KeyInput:
    """One key column in the form that asks for a row."""

    name: str
    parameter: str
    type: str
    value: str


def key_fields(dataset: Dataset, given: Mapping[str, str]) -> list[KeyInput]:
    """The key columns with what the address gives for them."""
    types = types_of(dataset)
    return [
        KeyInput(name, KEY_PARAMETER + name, types.get(name, ""), given.get(KEY_PARAMETER + name, ""))
        for name in dataset.primary_keys
    ]


@dataclass(frozen=True)
class CellSource:
    """A change request as the source of a value."""

    cr_id: str
    url: str
    title: str


@dataclass(frozen=True)
class CellLine:
    """A cell of today and where its value comes from."""

    column: str
    is_numeric: bool
    value: SafeString
    source: CellSource | None
    who: str
    when: datetime | None
    version: int | None
    approved_by: str
    through: tuple[CellSource, ...]
    from_outside: bool


@dataclass(frozen=True)
class CellChange:
    """What a change did to one cell."""

    column: str
    difference: SafeString
    decision: str


@dataclass(frozen=True)
class ChangeEntry:
    """One change of the row, with everything that the trail keeps of it."""

    source: CellSource
    what: str
    sign: str
    operation: str
    version: int
    when: datetime | None
    author: str
    merged_by: str
    requested_for: str
    approved_by: str
    description: str
    message: str
    override_reason: str
    reverts: CellSource | None
    cells: tuple[CellChange, ...]
    row_decision: str
    changed_outside: str


@dataclass(frozen=True)
class RowStory:
    """The whole page."""

    key: tuple[tuple[str, SafeString], ...]
    is_there: bool
    is_complete: bool
    cells: tuple[CellLine, ...]
    changes: tuple[ChangeEntry, ...]
    unreadable: tuple[tuple[str, str], ...]


_OPERATIONS = {
    "insert": ("added the row", "+"),
    "update": ("changed it", "~"),
    "delete": ("deleted the row", "−"),
}


def row_story(dataset: Dataset, history: RowHistory) -> RowStory:
    """What the page says of a row, with people's full names in one query."""
    types, names = types_of(dataset), _full_names(history.changes)
    titles = {change.cr_id: change.title for change in history.changes}
    return RowStory(
        key=tuple((name, cell_html(value)) for name, value in history.key.items()),
        is_there=history.current is not None,
        is_complete=history.is_complete,
        cells=tuple(
            _cell_line(column, origin, types.get(column, "string"), names)
            for column, origin in history.cells.items()
        ),
        changes=tuple(_entry(change, names, titles) for change in reversed(history.changes)),
        unreadable=tuple(history.unreadable.items()),
    )


@dataclass(frozen=True)
class ColumnEntry:
    """One merged request that changed cells of the column."""

    source: CellSource
    what: str
    version: int
    when: datetime | None
    author: str
    merged_by: str
    approved_by: str
    reverts: CellSource | None


@dataclass(frozen=True)
class ColumnPerson:
    """Somebody whose requests changed the column."""

    name: str
    times: str
    version: int
    when: datetime | None


@dataclass(frozen=True)
class ColumnStory:
    """The whole page of a column."""

    column: str
    is_there: bool
    times: int
    people: tuple[ColumnPerson, ...]
    changes: tuple[ColumnEntry, ...]
    before: int | None


def column_story(history: ColumnHistory) -> ColumnStory:
    """What the page says of a column, with people's full names in one query."""
    names = _names_of(
        {
            *(one.author for one in history.people),
            *(name for one in history.changes for name in (one.merged_by, *one.approved_by)),
        }
    )
    return ColumnStory(
        column=history.column,
        is_there=history.is_there,
        times=history.times,
        people=tuple(
            ColumnPerson(
                _people([one.author], names), counted(one.times, "change request"), one.version, one.merged_at
            )
            for one in history.people
        ),
        changes=tuple(
            ColumnEntry(
                source=_source(one.cr_id, one.title),
                what=f"{'added the column and ' if one.added else ''}changed {counted(one.cells, 'cell')}",
                version=one.version,
                when=one.merged_at,
                author=_people([one.author], names),
                merged_by=_people([one.merged_by], names),
                approved_by=_people(one.approved_by, names),
                reverts=_source(one.reverts, "") if one.reverts else None,
            )
            for one in history.changes
        ),
        before=history.before,
    )


def _full_names(changes: Iterable[RowChange]) -> dict[str, str]:
    return _names_of(
        {
            name
            for change in changes
            for name in (
                change.author,
                change.merged_by,
                *change.approved_by,
                *(choice.chosen_by for choice in change.decisions),
            )
        }
    )


def _names_of(mentioned: Iterable[str]) -> dict[str, str]:
    return {user.get_username(): name_of(user) for user in User.objects.filter(username__in=mentioned)}


def _source(cr_id: str, title: str) -> CellSource:
    return CellSource(cr_id, reverse("change_request", args=[cr_id]), title)


def _people(usernames: Iterable[str], names: Mapping[str, str]) -> str:
    return listed(names.get(name, name) for name in usernames)


def _cell_line(column: str, origin: CellOrigin, type_name: str, names: Mapping[str, str]) -> CellLine:
    change = origin.change
    return CellLine(
        column=column,
        is_numeric=is_numeric(type_name),
        value=cell_html(origin.value),
        source=_source(change.cr_id, change.title) if change else None,
        who=_people([change.author], names) if change else "",
        when=change.merged_at if change else None,
        version=change.version if change else None,
        approved_by=_people(change.approved_by, names) if change else "",
        through=tuple(_source(revert.cr_id, revert.title) for revert in origin.through),
        from_outside=origin.from_outside,
    )


def _entry(change: RowChange, names: Mapping[str, str], titles: Mapping[str, str]) -> ChangeEntry:
    what, sign = _OPERATIONS[change.row.operation]
    decided = {choice.column: _decision(choice, names) for choice in change.decisions}
    return ChangeEntry(
        source=_source(change.cr_id, change.title),
        what=what,
        sign=sign,
        operation=change.row.operation,
        version=change.version,
        when=change.merged_at,
        author=_people([change.author], names),
        merged_by=_people([change.merged_by], names),
        requested_for=change.requested_for,
        approved_by=_people(change.approved_by, names),
        description=change.description,
        message=change.message,
        override_reason=change.override_reason,
        reverts=_source(change.reverts, titles.get(change.reverts, "")) if change.reverts else None,
        cells=tuple(
            CellChange(column, _difference(change.row, column), decided.get(column, ""))
            for column in change.row.changed
        ),
        row_decision=decided.get(None, ""),
        changed_outside=listed(change.changed_outside),
    )


def _decision(choice: Decision, names: Mapping[str, str]) -> str:
    return f"{_people([choice.chosen_by], names)} chose {choice.choice} for a conflict"


def _difference(row: ChangedRow, column: str) -> SafeString:
    if row.before is None or row.after is None:
        there = row.after or row.before
        return absent_html() if there is None else cell_html(there.get(column))
    return difference_html(row.before.get(column), row.after.get(column))
