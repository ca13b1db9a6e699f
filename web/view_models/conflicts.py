"""Conflicts as cards: one per row, with Base, Current and Proposed of each cell and the choices they leave."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from django.utils.safestring import SafeString

from changerequests.models import ChangeRequest
from changerequests.services.plans import ConflictsPage
from datasets.rows import Conflict, Row, Sides, json_value, key_digest, same_value, text_value
from web.cells import absent_html, cell_html
from web.view_models.datasets import types_of

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
class ConflictCell:
    """One conflicting cell, or the whole row where ``column`` is empty."""

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


def conflict_cards(change_request: ChangeRequest, page: ConflictsPage) -> list[ConflictCard]:
    """Cards in key order; conflicts of one row share a card."""
    types = types_of(change_request.dataset)
    by_row: dict[str, list[Conflict]] = {}
    for conflict in page.conflicts:
        by_row.setdefault(key_digest(conflict.key), []).append(conflict)
    cards, position = [], 0
    for digest, conflicts in by_row.items():
        cells = []
        for conflict in conflicts:
            cells.append(_cell(conflict, types, position))
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


def _cell(conflict: Conflict, types: dict[str, str], position: int) -> ConflictCell:
    type_name = types.get(conflict.column or "", "string")
    whole_row = conflict.column is None
    values = {} if whole_row else vars(conflict.sides)
    options = tuple(
        ChoiceOption(
            name=choice,
            title=CHOICES[choice][0],
            source=CHOICES[choice][1],
            html=cell_html(values[choice]) if choice in values else None,
            is_chosen=conflict.choice == choice,
        )
        for choice in CHOICES
        if choice in conflict.legal_choices
    )
    custom = conflict.choice == "custom"
    return ConflictCell(
        position=position,
        column=conflict.column or "",
        type=type_name if conflict.column else "",
        sentence=conflict.message or KINDS.get(conflict.kind, conflict.kind),
        inputs_digest=conflict.inputs_digest,
        options=options,
        is_resolved=conflict.choice is not None,
        custom_value=text_value(conflict.value) if custom else "",
        custom_is_null=custom and conflict.value is None,
        images=_images(conflict, types) if whole_row else (),
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
        )
        for column, choices in legal.items()
        if choices
    ]
