"""Find and replace over the rows that a page shows: counted and shown before, then done as one step of the tray."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User

import merging
from changerequests.errors import EditsMoved
from changerequests.models import EditedRow
from changerequests.services.edits import (
    MOST_ROWS,
    TOO_MANY,
    Applied,
    Change,
    RowName,
    SetCells,
    apply,
    edits_of,
)
from datasets import services
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.roles import may_contribute
from datasets.rows import json_value, kept, key_digest, text_value

#: Cells that a look at what would be replaced shows; all of them are counted.
SHOWN: Final = 50
#: Rows that hold the text somewhere are looked at in pages of so many, and in so many pages.
PAGE_ROWS: Final = MOST_ROWS + 1
MOST_PAGES: Final = 20
#: Characters of what is looked for, and of what takes its place.
LONGEST: Final = 1_000
#: Columns that are looked through at once.
MOST_COLUMNS: Final = 100

Filter = tuple[str, str, str]


@dataclass(frozen=True)
class Replacing:
    """What is looked for in which columns, and what takes its place; None stands for NULL.

    Without ``whole_cell`` every occurrence within a cell is replaced. ``filters`` are those of the page.
    """

    columns: tuple[str, ...]
    find: str
    replace: str | None
    match_case: bool = False
    whole_cell: bool = False
    filters: tuple[Filter, ...] = ()

    def of(self, value: Any) -> str | None:
        """What becomes of a cell's value, as text; raises ``LookupError`` where it is not meant."""
        if value is None:
            raise LookupError
        text, flags = text_value(value), 0 if self.match_case else re.IGNORECASE
        if self.whole_cell:
            if not re.fullmatch(re.escape(self.find), text, flags):
                raise LookupError
            return self.replace
        made, times = re.subn(re.escape(self.find), lambda _: self.replace or "", text, flags=flags)
        if not times:
            raise LookupError
        return made


@dataclass(frozen=True)
class FoundCell:
    """A cell that would be replaced: of which row, what it holds and what it would hold, in JSON values."""

    row: RowName
    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Found:
    """Every cell that would be replaced, on one version of the table."""

    version: int
    cells: tuple[FoundCell, ...]

    @property
    def rows(self) -> int:
        """In how many rows."""
        return len({cell.row.name or key_digest(cell.row.key or {}) for cell in self.cells})


def find(*, dataset: Dataset, actor: User, replacing: Replacing) -> Found:
    """What would be replaced among the rows that the filters let through, with the actor's edits in their place.

    Raises ``InvalidInput`` where that are more rows than a tray holds, or the question is none, and ``Forbidden``.
    """
    if not may_contribute(actor, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )
    _require_sense(replacing)
    edited = _Edited.of(dataset, actor)
    version = services.newest_version(dataset)
    cells: list[FoundCell] = []
    for column in replacing.columns:
        cells += _in_table(dataset, version, replacing, column, edited)
        cells += edited.found(replacing, column)
    found = Found(version, tuple(cells))
    if found.rows > MOST_ROWS:
        raise InvalidInput(
            f"More than {MOST_ROWS:,} rows hold it, which is more than a tray takes. Narrow the rows by a filter, or "
            "propose it as an UPDATE in SQL.",
            errors={"find": [TOO_MANY]},
        )
    return found


def replace(*, dataset: Dataset, actor: User, replacing: Replacing, counted: int | None = None) -> Applied:
    """Replace all that ``find`` finds, as one step. Raises as that and ``apply`` do, and ``EditsMoved`` where it is not
    as many cells as were ``counted`` before.
    """
    found = find(dataset=dataset, actor=actor, replacing=replacing)
    if counted is not None and counted != len(found.cells):
        raise EditsMoved(
            f"{len(found.cells):,} cells hold it by now, not {counted:,}: look at them again. Nothing was replaced."
        )
    changes: list[Change] = [SetCells(cell.row, {cell.column: cell.after}) for cell in found.cells]
    if not changes:
        return Applied()
    return apply(dataset=dataset, actor=actor, changes=changes, version=found.version)


def _require_sense(replacing: Replacing) -> None:
    if not replacing.find:
        raise InvalidInput("Say what to look for.", errors={"find": ["Say what to look for."]})
    if max(len(replacing.find), len(replacing.replace or "")) > LONGEST:
        sentence = f"Texts of up to {LONGEST:,} characters are found and replaced."
        raise InvalidInput(sentence, errors={"find": [sentence]})
    if replacing.replace is None and not replacing.whole_cell:
        sentence = "NULL takes the place of whole cells only."
        raise InvalidInput(sentence, errors={"replace": [sentence]})
    if not replacing.columns:
        raise InvalidInput("Choose a column.", errors={"columns": ["Choose a column."]})


@dataclass(frozen=True)
class _Edited:
    """The rows of the actor's tray, by name: for cells of theirs the tray speaks, not the table."""

    rows: dict[str, EditedRow]

    @classmethod
    def of(cls, dataset: Dataset, actor: User) -> _Edited:
        edits = edits_of(dataset, actor)
        return cls({row.name: row for row in edits.rows.all()} if edits is not None else {})

    def holds(self, name: str, column: str) -> bool:
        """Whether the tray says what the cell is, or that its row goes."""
        row = self.rows.get(name)
        return row is not None and (row.operation == EditedRow.Operation.DELETE or column in kept(row.values))

    def found(self, replacing: Replacing, column: str) -> Iterator[FoundCell]:
        """The tray's own cells that are meant, whatever filters say: they are what the page shows on top."""
        for row in self.rows.values():
            values = kept(row.values)
            if column not in values:
                continue
            try:
                after = replacing.of(values[column])
            except LookupError:
                continue
            yield FoundCell(RowName(name=row.name), column, values[column], after)


def _in_table(
    dataset: Dataset, version: int, replacing: Replacing, column: str, edited: _Edited
) -> Iterator[FoundCell]:
    filters: Sequence[Filter] = (*replacing.filters, (column, "contains", replacing.find))
    if column in dataset.primary_keys:
        sentence = f"{column} is part of the key, which names the row: it is not edited."
        raise InvalidInput(sentence, errors={"columns": [sentence]})
    found = 0
    for row in _rows_holding(dataset, version, column, filters):
        key = {name: row[name] for name in dataset.primary_keys}
        if edited.holds(key_digest(key), column):
            continue
        try:
            after = replacing.of(row[column])
        except LookupError:
            continue
        yield FoundCell(RowName(key=json_value(key)), column, json_value(row[column]), after)
        found += 1
        if found > MOST_ROWS:
            return  # more than a tray holds, however many more there are


def _rows_holding(
    dataset: Dataset, version: int, column: str, filters: Sequence[Filter]
) -> Iterator[merging.Row]:
    """The rows whose cell holds the text somewhere, whatever its case: all of them are looked at, page by page.

    Raises ``InvalidInput`` where that are more than a page of the browser can wait for.
    """
    after: str | None = None
    looked = 0
    for _ in range(MOST_PAGES):
        page: merging.TablePage = services.preview(
            dataset=dataset,
            version=version,
            columns=[*dataset.primary_keys, column],
            filters=filters,
            after=after,
            limit=PAGE_ROWS,
        )
        yield from page.rows
        looked += len(page.rows)  # pages of large texts end early
        after = page.next
        if after is None:
            return
    sentence = (
        f"More than {looked:,} rows of {column} hold it somewhere. Narrow the rows by a filter, or "
        "propose it as an UPDATE in SQL."
    )
    raise InvalidInput(sentence, errors={"find": [sentence]})
