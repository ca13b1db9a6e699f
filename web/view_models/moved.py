"""What moved in the table under the rows of an open request, in words."""

from dataclasses import dataclass

from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from changerequests.services.rebasing import Moved, is_edited
from datasets.rows import ChangedRow, Sides
from web.cells import absent_html, cell_html
from web.wording import counted, listed

_THERE = mark_safe("the row")
_FOLLOWS = mark_safe('<span class="muted">as the table</span>')


@dataclass(frozen=True)
class MovedColumn:
    """In how many of the request's rows a column moved, and in how many of those the request changes it too."""

    name: str
    cells: int
    edited: int


@dataclass(frozen=True)
class MovedCell:
    """A cell that moved, or with ``column`` empty a whole row, on its three sides."""

    key: SafeString
    column: str
    sides: Sides[SafeString]


@dataclass(frozen=True)
class MovedPage:
    """The sentence that merge dialog and checks show, and what the page adds to it."""

    moved: Moved
    sentence: str
    columns: tuple[MovedColumn, ...]
    gained: str
    cells: tuple[MovedCell, ...]

    @property
    def is_current(self) -> bool:
        """Whether the base is the table's present version."""
        return self.moved.base_version == self.moved.version


def moved_page(moved: Moved) -> MovedPage:
    """What moved, for a reader."""
    gained = listed(moved.columns_gained)
    return MovedPage(
        moved=moved,
        sentence=_sentence(moved),
        columns=tuple(
            MovedColumn(name, cells, moved.cells_edited.get(name, 0))
            for name, cells in sorted(moved.cells_moved.items(), key=lambda item: (-item[1], item[0]))
        ),
        gained=f"The table gained {counted(len(moved.columns_gained), 'column')}: {gained}."
        if gained
        else "",
        cells=tuple(cell for row in moved.rows for cell in _cells(row)),
    )


def _cells(row: ChangedRow) -> list[MovedCell]:
    key = format_html_join(", ", "{}", ((cell_html(value),) for value in row.key.values()))
    if row.base is None or row.current is None:  # it came, or is gone, as a whole
        return [MovedCell(key, "", row.sides.map(lambda image: absent_html() if image is None else _THERE))]
    return [
        MovedCell(
            key,
            column,
            Sides(cell_html(row.base[column]), cell_html(row.current[column]), _proposed(row, column)),
        )
        for column in row.changed
    ]


def _proposed(row: ChangedRow, column: str) -> SafeString:
    if row.proposed is None:
        return absent_html()
    return cell_html(row.proposed[column]) if is_edited(row, column) else _FOLLOWS


def _sentence(moved: Moved) -> str:
    """\"3 of your rows moved, none in a cell you change.\""""
    if moved.base_version == moved.version:
        return "The table has not moved since the base."
    if not moved.rows_moved:
        return "None of your rows moved."
    rows = f"{moved.rows_moved:,} of your rows moved"
    edited = sum(moved.cells_edited.values())
    if edited:
        rows += f", in {counted(edited, 'cell')} that you change"
    elif not moved.conflicts and not moved.rows_settled:
        rows += ", none in a cell you change"
    further = []
    if moved.rows_settled:
        further.append(
            f"{moved.rows_settled:,} {'is' if moved.rows_settled == 1 else 'are'} in the table as you want "
            f"{'it' if moved.rows_settled == 1 else 'them'} already"
        )
    if moved.conflicts:
        further.append(counted(moved.conflicts, "conflict"))
    return ": ".join([rows, listed(further)] if further else [rows]) + "."
