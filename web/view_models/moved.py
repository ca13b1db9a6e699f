"""What moved in the table under the rows of an open request, in words."""

from dataclasses import dataclass

from changerequests.services.rebasing import Moved
from web.wording import counted, listed


@dataclass(frozen=True)
class MovedColumn:
    """In how many of the request's rows a column moved, and in how many of those the request changes it too."""

    name: str
    cells: int
    edited: int


@dataclass(frozen=True)
class MovedPage:
    """The sentence that merge dialog and checks show, and what the page adds to it."""

    moved: Moved
    sentence: str
    columns: tuple[MovedColumn, ...]
    gained: str

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
    )


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
