"""The diff as a table: action marker and key first, then cells with the old value above the new one."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from changerequests.models import ChangeRequest
from datasets.rows import ChangedRow, Page, ValueGroup
from web.cells import cell_html, difference_html
from web.view_models.datasets import ColumnHead, is_numeric, types_of

#: operation -> the sign and the word of its marker
MARKERS = {"insert": ("+", "new"), "update": ("~", "changed"), "delete": ("−", "deleted")}
_NOTHING = mark_safe("")


@dataclass(frozen=True)
class DiffCell:
    """A cell of the diff, ready to show."""

    html: SafeString
    is_numeric: bool
    state: str = ""


@dataclass(frozen=True)
class DiffRow:
    """A row of the diff."""

    operation: str
    sign: str
    word: str
    key: tuple[DiffCell, ...]
    cells: tuple[DiffCell, ...]


@dataclass(frozen=True)
class DiffTable:
    """The diff of one page of rows."""

    keys: tuple[ColumnHead, ...]
    columns: tuple[ColumnHead, ...]
    rows: tuple[DiffRow, ...]
    hidden: int


def diff_table(change_request: ChangeRequest, page: Page[ChangedRow], *, all_columns: bool) -> DiffTable:
    """The table for a page of changes; without ``all_columns`` only columns in which a shown row differs."""
    dataset = change_request.dataset
    types, keys = types_of(dataset), list(dataset.primary_keys)
    present = _columns(page.items, list(types), keys)
    differing = {name for row in page.items for name in row.changed}
    shown = [name for name in present if all_columns or name in differing]
    heads = {
        name: ColumnHead(name, types.get(name, "new column"), name in keys, is_numeric(types.get(name, "")))
        for name in [*keys, *shown]
    }
    rows = []
    for row in page.items:
        sign, word = MARKERS[row.operation]
        rows.append(
            DiffRow(
                row.operation,
                sign,
                word,
                tuple(DiffCell(cell_html(row.key[name]), heads[name].is_numeric) for name in keys),
                tuple(_cell(row, name, heads[name].is_numeric) for name in shown),
            )
        )
    return DiffTable(
        tuple(heads[name] for name in keys),
        tuple(heads[name] for name in shown),
        tuple(rows),
        len(present) - len(shown),
    )


def _columns(rows: Sequence[ChangedRow], known: list[str], keys: list[str]) -> list[str]:
    """Value columns of the shown rows in the table's order, new columns last."""
    named = {name for row in rows for image in (row.before, row.after) if image for name in image}
    ordered = [name for name in known if name in named]
    return [name for name in [*ordered, *sorted(named - set(known))] if name not in keys]


def _cell(row: ChangedRow, name: str, numeric: bool) -> DiffCell:
    before, after = row.before or {}, row.after or {}
    if row.operation == "update" and name in row.changed:
        return DiffCell(difference_html(before.get(name), after.get(name)), numeric, "changed")
    image = before if row.operation == "delete" else after
    if name not in image:
        return DiffCell(_NOTHING, numeric)
    html = cell_html(image[name])
    if row.operation == "insert":
        return DiffCell(format_html("<ins>{}</ins>", html) if image[name] is not None else html, numeric)
    if row.operation == "delete":
        return DiffCell(format_html("<del>{}</del>", html) if image[name] is not None else html, numeric)
    return DiffCell(html, numeric, "unchanged")


@dataclass(frozen=True)
class Group:
    """Equal edits of one column."""

    column: str
    html: SafeString
    rows: int


def groups(found: Sequence[ValueGroup]) -> list[Group]:
    """The grouped view: column, old value to new value, and in how many rows."""
    return [Group(group.column, difference_html(group.old, group.new), group.rows) for group in found]
