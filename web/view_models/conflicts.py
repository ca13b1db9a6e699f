"""Conflicts as cards: one per row, with Base, Current and Proposed of each cell and the choices they leave."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from django.contrib.auth.models import User
from django.utils.safestring import SafeString

from changerequests.errors import ChosenMeanwhile
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.services.plans import ConflictsPage, seen_choice
from datasets.rows import Conflict, Row, Sides, json_value, key_digest, same_value, text_value
from web.cells import absent_html, cell_html
from web.view_models.datasets import types_of
from web.wording import name_of

KINDS = {
    "modify/modify": "Both sides changed this value.",
    "modify/delete": "The table's row was changed meanwhile; this request deletes it.",
    "delete/modify": "The table's row was deleted meanwhile; this request changes it.",
    "add/add": "Both sides added a row with this key, with different values.",
    "schema": "Both sides changed the column itself.",
}

#: choice -> its title and where its value comes from
CHOICES = {
    "base": ("Back to base", "as it was at the upload"),
    "current": ("Keep current", "as the table has it now"),
    "proposed": ("Take proposed", "as this request wants it"),
    "custom": ("Another value", "typed here"),
    "keep": ("Keep the row", "as it is on the side that still has it"),
    "delete": ("Delete the row", "as the other side wants it"),
}


@dataclass(frozen=True)
class ChoiceOption:
    """One way to settle a conflict."""

    name: str
    title: str
    source: str
    html: SafeString | None
    is_chosen: bool


@dataclass(frozen=True)
class RowImage:
    """One column of the three rows where a whole row is in conflict."""

    column: str
    sides: Sides[SafeString]


@dataclass(frozen=True)
class Picked:
    """A choice as a form has it: its name, and the text of another value or NULL."""

    choice: str
    text: str = ""
    is_null: bool = False

    @property
    def as_field(self) -> str:
        """In one hidden field, to tell whether the form was changed."""
        if self.choice != "custom":
            return self.choice
        return "custom NULL" if self.is_null else f"custom: {self.text}"


@dataclass(frozen=True)
class Unsaved:
    """What somebody chose in the card of a row and could not be stored: it stands in the card again."""

    key_digest: str
    picked: Mapping[str, Picked]

    def of(self, key_digest: str, column: str) -> Picked | None:
        """What was chosen for a cell of a row."""
        return self.picked.get(column) if key_digest == self.key_digest else None

    @property
    def typed(self) -> tuple[str, ...]:
        """The other values that were typed, for where the card has gone."""
        return tuple(one.text for one in self.picked.values() if one.text)


@dataclass(frozen=True)
class ConflictCell:
    """One conflicting cell, or the whole row where ``column`` is empty.

    ``seen`` and ``was`` stand for the choice that is shown as the standing one, ``chosen`` says whose it is.
    """

    position: int
    column: str
    type: str
    sentence: str
    inputs_digest: str
    options: tuple[ChoiceOption, ...]
    is_resolved: bool
    custom_value: str
    custom_is_null: bool
    images: tuple[RowImage, ...]
    seen: str
    was: str
    chosen: str
    is_unsaved: bool


@dataclass(frozen=True)
class ConflictCard:
    """Every conflict of one row."""

    anchor: str
    key_json: str
    key: tuple[tuple[str, SafeString], ...]
    cells: tuple[ConflictCell, ...]
    is_resolved: bool


@dataclass(frozen=True)
class Bulk:
    """A column with open conflicts on this page, for choices that take all of them at once."""

    column: str
    title: str
    choices: tuple[tuple[str, str], ...]
    seen: str


def conflict_cards(
    change_request: ChangeRequest, page: ConflictsPage, unsaved: Unsaved | None = None
) -> list[ConflictCard]:
    """Cards in key order; conflicts of one row share a card."""
    types = types_of(change_request.dataset)
    by_row: dict[str, list[Conflict]] = {}
    for conflict in page.conflicts:
        by_row.setdefault(key_digest(conflict.key), []).append(conflict)
    cards, position = [], 0
    for digest, conflicts in by_row.items():
        cells = []
        for conflict in conflicts:
            mine = unsaved.of(digest, conflict.column or "") if unsaved else None
            cells.append(_cell(conflict, types, position, page.chosen_for(conflict), mine))
            position += 1
        key = conflicts[0].key
        cards.append(
            ConflictCard(
                anchor=f"row-{digest[:12]}",
                key_json=json.dumps(json_value(key)),
                key=tuple((name, cell_html(value)) for name, value in key.items()),
                cells=tuple(cells),
                is_resolved=all(cell.is_resolved for cell in cells),
            )
        )
    return cards


def _cell(
    conflict: Conflict,
    types: dict[str, str],
    position: int,
    chosen: ConflictResolution | None,
    mine: Picked | None,
) -> ConflictCell:
    standing = _picked(conflict)
    shown = mine or standing
    type_name = types.get(conflict.column or "", "string")
    whole_row = conflict.column is None
    values = {} if whole_row else vars(conflict.sides)
    options = tuple(
        ChoiceOption(
            name=choice,
            title=CHOICES[choice][0],
            source=CHOICES[choice][1],
            html=cell_html(values[choice]) if choice in values else None,
            is_chosen=shown is not None and shown.choice == choice,
        )
        for choice in CHOICES
        if choice in conflict.legal_choices
    )
    return ConflictCell(
        position=position,
        column=conflict.column or "",
        type=type_name if conflict.column else "",
        sentence=conflict.message or KINDS.get(conflict.kind, conflict.kind),
        inputs_digest=conflict.inputs_digest,
        options=options,
        is_resolved=conflict.choice is not None,
        custom_value=shown.text if shown else "",
        custom_is_null=shown is not None and shown.is_null,
        images=_images(conflict, types) if whole_row else (),
        seen=seen_choice(conflict),
        was=standing.as_field if standing else "",
        chosen=chosen_sentence(chosen) if chosen else "",
        is_unsaved=mine is not None and mine != standing,
    )


def _picked(conflict: Conflict) -> Picked | None:
    """The choice that stands."""
    if conflict.choice != "custom":
        return Picked(conflict.choice) if conflict.choice else None
    return Picked("custom", text_value(conflict.value), conflict.value is None)


def chosen_sentence(chosen: ConflictResolution) -> str:
    """Who chose what, and when."""
    at = chosen.chosen_at.astimezone(UTC)
    return (
        f"{name_of(chosen.chosen_by)} chose “{CHOICES[chosen.choice][0]}” on {at.day} {at:%b %Y at %H:%M} UTC"
    )


def _images(conflict: Conflict, columns: Iterable[str]) -> tuple[RowImage, ...]:
    """The columns in which the three rows differ."""
    rows: Sides[Row | None] = conflict.sides
    there = [row for row in rows if row is not None]
    images = []
    for name in columns:
        if name in conflict.key or not any(name in row for row in there):
            continue
        values = [row.get(name) for row in there]
        if len(there) < 2 or not all(same_value(value, values[0]) for value in values):
            images.append(RowImage(name, rows.map(partial(_image_html, name))))
    return tuple(images)


def _image_html(name: str, row: Row | None) -> SafeString:
    return absent_html() if row is None else cell_html(row.get(name))


def choices_of_others(error: ChosenMeanwhile) -> tuple[str, ...]:
    """A line for each choice that somebody else made meanwhile, as far as the error tells them."""
    told = error.data["choices"]
    people = User.objects.in_bulk({one["chosen_by"] for one in told}, field_name="username")
    lines = []
    for one in told:
        place = ", ".join(f"{name} = {text_value(value)}" for name, value in one["key"].items())
        choice = CHOICES[one["choice"]][0]
        if one["choice"] == "custom":
            choice += f", {'NULL' if one['value'] is None else text_value(one['value'])}"
        where = " · ".join(filter(None, (place, one["column"])))
        at = datetime.fromisoformat(one["chosen_at"]).astimezone(UTC)
        who = name_of(people[one["chosen_by"]])
        lines.append(f"{where}: {who} chose “{choice}” on {at.day} {at:%b %Y at %H:%M} UTC")
    return tuple(lines)


def bulk_choices(page: ConflictsPage) -> list[Bulk]:
    """Columns of this page that have conflicts without a choice, and what can be chosen for all of them."""
    legal: dict[str, set[str]] = {}
    for conflict in page.conflicts:
        if conflict.choice is None:
            offered: set[str] = {*conflict.legal_choices}
            offered.discard("custom")
            name = conflict.column or ""
            legal[name] = legal[name] & offered if name in legal else offered
    return [
        Bulk(
            column,
            column or "whole rows",
            tuple((choice, CHOICES[choice][0]) for choice in CHOICES if choice in choices),
            page.selections.get(column, ""),
        )
        for column, choices in legal.items()
        if choices
    ]
