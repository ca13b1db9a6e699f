"""Rows under edit as pages show them: the form of one row, and the tray with what it would change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from changerequests.services import edits
from datasets.models import Dataset
from datasets.rows import text_value
from web.cells import cell_html, difference_html
from web.view_models.datasets import KEY_PARAMETER, filled_words, fixed_columns, is_numeric, types_of
from web.wording import counted

#: Types whose values are written on several lines.
_LONG = ("struct", "array", "map")
_OPERATIONS = {"insert": ("+", "Added"), "update": ("~", "Edited"), "delete": ("−", "Deleted")}


@dataclass(frozen=True)
class CellField:
    """One cell in the form of a row."""

    number: int
    name: str
    type: str
    text: str
    is_null: bool
    is_key: bool
    computed: str
    is_long: bool
    is_boolean: bool
    is_required: bool
    was: SafeString | str
    problem: str
    moved: SafeString | str
    #: What the table fills the cell of a new row with that is left as it is.
    filled: str = ""
    #: As the page showed it first, where it shows what was typed since.
    seen: str = ""
    was_null: bool = False
    is_focused: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether it cannot be edited."""
        return bool(self.computed)

    @property
    def lines(self) -> int:
        """How high its field is."""
        return min(12, max(3 if self.is_long else 1, self.text.count("\n") + 1))


def row_fields(
    dataset: Dataset, current: Mapping[str, Any] | None, edited: edits.TrayRow | None, *, adding: bool
) -> list[CellField]:
    """The cells of a row as a form holds them: as edited so far, else as in the table; ``current`` are JSON values."""
    schema = dataset.meta.schema_json["fields"]
    computed, types = fixed_columns(dataset), types_of(dataset)
    filled = filled_words(dataset.meta.schema_json) if adding else {}
    required = {one["name"] for one in schema if not one.get("nullable", True)} - filled.keys()
    cells = {cell.column: cell for cell in edited.cells} if edited is not None else {}
    fields = []
    for number, (name, kind) in enumerate(types.items()):
        cell = cells.get(name)
        standing = (current or {}).get(name)
        value = cell.value if cell is not None else standing
        is_edit = cell is not None and not adding
        fields.append(
            CellField(
                number=number,
                name=name,
                type=kind,
                text=text_value(value),
                seen=text_value(value),
                is_null=value is None,
                was_null=value is None,
                is_key=name in dataset.primary_keys,
                computed=computed.get(name, ""),
                is_long=kind in _LONG,
                is_boolean=kind == "boolean",
                filled=filled.get(name, ""),
                is_required=name in required or name in dataset.primary_keys,
                was=cell_html(standing) if is_edit else "",
                problem=cell.problem if cell is not None else "",
                moved=cell_html(cell.current) if cell is not None and cell.moved else "",
            )
        )
    return with_focus(fields)


def with_focus(fields: Iterable[CellField]) -> list[CellField]:
    """The first cell that is wrong has the focus."""
    found = list(fields)
    wrong = next((field.number for field in found if field.problem), None)
    return [replace(field, is_focused=field.number == wrong) for field in found]


def as_typed(
    fields: Iterable[CellField], posted: Mapping[str, str], problems: Mapping[str | None, list[str]]
) -> list[CellField]:
    """The cells as a form that was refused held them, each with what is wrong with it by the name of its column."""
    return with_focus(
        replace(
            field,
            text=posted[f"value-{field.number}"],
            is_null=f"null-{field.number}" in posted,
            seen=posted.get(f"seen-{field.number}", ""),
            was_null=f"was-{field.number}" in posted,
            problem=" ".join(problems.get(field.name, ())) or field.problem,
        )
        if posted.get(f"column-{field.number}") == field.name and f"value-{field.number}" in posted
        else field
        for field in fields
    )


@dataclass(frozen=True)
class TrayCellLine:
    """One edited cell in the tray."""

    column: str
    is_numeric: bool
    change: SafeString
    problem: str
    moved: SafeString | str


@dataclass(frozen=True)
class TrayLine:
    """One edited row in the tray."""

    name: str
    sign: str
    what: str
    key: str
    url: str
    cells: tuple[TrayCellLine, ...]
    problem: str
    gone: bool
    moved: bool


@dataclass(frozen=True)
class TrayPage:
    """The tray: in a line, and row by row."""

    sentence: str
    changes: str
    lines: tuple[TrayLine, ...]
    counts: edits.TrayCounts
    problems: str
    moved: str
    kept_until: datetime | None
    upload: int | None
    failure: str


def tray_sentence(counts: edits.TrayCounts) -> str:
    """ "3 changes in 2 rows"."""
    return f"{counted(counts.changes, 'change')} in {counted(counts.rows, 'row')}"


def tray_page(dataset: Dataset, tray: edits.Tray) -> TrayPage:
    """The tray as its page tells it."""
    types = types_of(dataset)
    upload = tray.edits.upload if tray.edits is not None else None
    return TrayPage(
        sentence=tray_sentence(tray.counts),
        changes=counted(tray.counts.changes, "change"),
        lines=tuple(_line(dataset, row, types) for row in tray.rows),
        counts=tray.counts,
        problems=counted(tray.problems, "thing") if tray.problems else "",
        moved=counted(tray.moved, "row") if tray.moved else "",
        kept_until=edits.kept_until(tray.edits) if tray.edits is not None and tray.counts.rows else None,
        upload=upload.pk if upload is not None and upload.is_active else None,
        failure=edits.failure_of(tray.edits),
    )


def _line(dataset: Dataset, row: edits.TrayRow, types: Mapping[str, str]) -> TrayLine:
    sign, what = _OPERATIONS[row.operation]
    adding = row.operation == "insert"
    return TrayLine(
        name=row.name,
        sign=sign,
        what=what,
        key=", ".join(text_value(value) or "no key yet" for value in row.key.values()),
        url=row_form_url(dataset, row.key, row.name if adding else ""),
        cells=tuple(
            TrayCellLine(
                cell.column,
                is_numeric(types.get(cell.column, "string")),
                cell_html(cell.value) if adding else difference_html(cell.seen, cell.value),
                cell.problem,
                cell_html(cell.current) if cell.moved else "",
            )
            for cell in row.cells
        ),
        problem=row.problem,
        gone=row.gone,
        moved=row.moved,
    )


def row_form_url(dataset: Dataset, key: Mapping[str, Any], name: str = "") -> str:
    """Where a row is edited in a form: by its key, or an added one by its name."""
    address = reverse("edit_row", args=[dataset.project.slug, dataset.slug])
    parts = (
        {"row": name} if name else {KEY_PARAMETER + one: text_value(key[one]) for one in dataset.primary_keys}
    )
    return f"{address}?{urlencode(parts)}"


def fields_of_columns(dataset: Dataset) -> list[dict[str, Any]]:
    """What the grid has to know of each column: name, type, whether it is a key, computed, or takes no NULL."""
    schema = dataset.meta.schema_json["fields"]
    computed, types = fixed_columns(dataset), types_of(dataset)
    nullable = {one["name"]: one.get("nullable", True) for one in schema}
    return [
        {
            "name": name,
            "type": types[name],
            "key": name in dataset.primary_keys,
            "computed": computed.get(name, ""),
            "nullable": nullable[name] and name not in dataset.primary_keys,
        }
        for name in _keys_first(dataset, types)
    ]


def _keys_first(dataset: Dataset, names: Iterable[str]) -> list[str]:
    keys = list(dataset.primary_keys)
    return [*keys, *(name for name in names if name not in keys)]
