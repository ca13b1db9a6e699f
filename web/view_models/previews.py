"""A look at content before it is proposed, as its page shows it: counts, questions, problems and the first rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.safestring import mark_safe

from changerequests.models import Preview
from changerequests.services import previews, uploads
from changerequests.states import UploadKind
from datasets.durable_work import WorkStatus
from datasets.models import Dataset
from datasets.rows import column_actions
from web.cells import cell_html, difference_html
from web.content_forms import ColumnToDecide
from web.view_models.changes import FILLED, MARKERS, DiffCell, DiffRow
from web.view_models.datasets import ColumnHead, is_numeric, types_of
from web.wording import counted

#: Problems that the page lists; all of them are counted.
SHOWN_PROBLEMS = 200
_OPERATION = "_op"
_NAMES = {"insert": "new", "update": "changed", "delete": "deleted"}
_NOTHING = mark_safe("")


@dataclass(frozen=True)
class Count:
    """How many rows one operation changes."""

    operation: str
    sign: str
    number: int
    word: str


@dataclass(frozen=True)
class WouldChange:
    """What the content would change."""

    version: int
    counts: tuple[Count, ...]
    total: int
    becoming_null: tuple[tuple[str, int], ...]
    cells: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    keys: tuple[ColumnHead, ...]
    columns: tuple[ColumnHead, ...]
    rows: tuple[DiffRow, ...]

    @property
    def nulled(self) -> int:
        """How many cells would become NULL."""
        return sum(number for _, number in self.becoming_null)


@dataclass(frozen=True)
class PreviewPage:
    """Everything that the page of a preview says; ``found`` is None while it is not known, or was refused."""

    subject: str
    subject_url: str
    content: str
    found: WouldChange | None
    rejection: Any
    problems: Sequence[Any]
    failure: str
    undecided: int
    asks_about_empty_cells: bool
    may_propose: bool


def preview_page(preview: Preview) -> PreviewPage:
    """The page of a preview, whether it has ended or not."""
    dataset, change_request = preview.dataset, preview.change_request
    if change_request is not None:
        subject, url = change_request.cr_id, reverse("change_request", args=[change_request.cr_id])
    else:
        subject, url = dataset.name, reverse("dataset", args=[dataset.project.slug, dataset.slug])
    rejected = preview.error_code == uploads.REJECTED
    rejection = previews.rejection_of(preview) if rejected else None
    found = _looked_at(preview) if preview.status == WorkStatus.SUCCEEDED else None
    undecided = sum(1 for column in columns_to_decide(preview) if column.decided is None)
    return PreviewPage(
        subject=subject,
        subject_url=url,
        content=_called(preview),
        found=found,
        rejection=rejection,
        problems=rejection.problems[:SHOWN_PROBLEMS] if rejection else (),
        failure=preview.error_message if not rejected and not preview.is_active else "",
        undecided=undecided,
        asks_about_empty_cells=previews.takes_empty_cells(preview),
        may_propose=found is not None and found.total > 0 and not undecided,
    )


def _called(preview: Preview) -> str:
    if preview.kind == UploadKind.SQL:
        return "a statement"
    return preview.file_name or "rows"


def columns_to_decide(preview: Preview) -> list[ColumnToDecide]:
    """The columns that somebody decides about, those with a decision first, by name; empty while nothing is known."""
    if preview.status == WorkStatus.SUCCEEDED:
        unknown = previews.found_by(preview).get("unknown_columns", [])
    else:
        unknown = preview.error_data.get("unknown_columns", [])
    possible = (*types_of(preview.dataset), _OPERATION)
    decided = [
        ColumnToDecide(name, action.to, action.type, possible, action)
        for name, action in sorted(column_actions(preview.column_actions).items())
    ]
    return decided + [
        ColumnToDecide(one["name"], one["suggestion"], one["type"], possible) for one in unknown
    ]


def _looked_at(preview: Preview) -> WouldChange:
    found = previews.found_by(preview)
    numbers = {name: found[f"rows_{name.removesuffix('e')}ed"] for name in _NAMES}
    counts = tuple(
        Count(name, MARKERS[name][0], number, _NAMES[name]) for name, number in numbers.items() if number
    )
    columns = _columns(preview.dataset, found["rows"])
    keys = tuple(columns[name] for name in preview.dataset.primary_keys)
    values = tuple(head for name, head in columns.items() if name not in preview.dataset.primary_keys)
    return WouldChange(
        version=found["version"],
        counts=counts,
        total=sum(numbers.values()),
        becoming_null=tuple(found["cells_becoming_null"].items()),
        cells=tuple(found["cells_updated"].items()),
        notes=tuple(_notes(found)),
        warnings=tuple(found["warnings"]),
        keys=keys,
        columns=values,
        rows=tuple(_row(row, keys, values) for row in found["rows"]),
    )


def _notes(found: Mapping[str, Any]) -> list[str]:
    notes = []
    if found["noop_rows"]:
        notes.append(f"{counted(found['noop_rows'], 'row')} already equal to the table: left out.")
    notes += [f"New column {name}: {kind}." for name, kind in found["new_columns"].items()]
    return notes


def _columns(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> dict[str, ColumnHead]:
    """The keys, and the columns in which a shown row differs, in the table's order; new ones last."""
    types, keys = types_of(dataset), list(dataset.primary_keys)
    named = dict.fromkeys(cell["column"] for row in rows for cell in row["cells"])
    ordered = [*keys, *(name for name in types if name in named and name not in keys)]
    ordered += [name for name in named if name not in types and name not in keys]
    return {
        name: ColumnHead(name, types.get(name, "new column"), name in keys, is_numeric(types.get(name, "")))
        for name in ordered
    }


def _row(row: Mapping[str, Any], keys: Sequence[ColumnHead], columns: Sequence[ColumnHead]) -> DiffRow:
    sign, word = MARKERS[row["operation"]]
    cells = {cell["column"]: cell for cell in row["cells"]}
    return DiffRow(
        row["operation"],
        sign,
        word,
        tuple(DiffCell(cell_html(row["key"][head.name]), head.is_numeric) for head in keys),
        tuple(
            DiffCell(FILLED, head.is_numeric, "filled")
            if head.name in row.get("filled", ())
            else _cell(row["operation"], cells.get(head.name), head.is_numeric)
            for head in columns
        ),
    )


def _cell(operation: str, cell: Mapping[str, Any] | None, numeric: bool) -> DiffCell:
    if cell is None:
        return DiffCell(_NOTHING, numeric)
    if operation == "update":
        return DiffCell(difference_html(cell["base"], cell["proposed"]), numeric, "changed")
    return DiffCell(cell_html(cell["base"] if operation == "delete" else cell["proposed"]), numeric)
