"""Value objects that cross the engine's face: frozen, plain Python values inside, no I/O.

Cell values are plain Python: int, float, Decimal, str, bytes, bool, date, datetime (aware, UTC, for
``timestamp``; naive for ``timestamp_ntz``), list, dict, None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

Operation = Literal["insert", "update", "delete"]
ConflictKind = Literal["modify/modify", "modify/delete", "delete/modify", "add/add", "schema"]
Choice = Literal["current", "proposed", "base", "custom", "keep", "delete"]
ConflictPolicy = Literal["cell", "row"]
StrategyName = Literal["merge-on-read", "copy-on-write"]
Phase = Literal["reading", "checking", "validating", "writing", "committing", "recording", "uncommitted"]


class Progress(Protocol):
    """How a merge tells where it is. Called from the merging thread, in the order of ``Phase`` per attempt. Staging has
    the phases ``reading`` and ``checking``, and tells the ``rows`` read so far.

    ``committing`` is the last call before the put-if-absent of the commit: an exception raised there
    stops the merge, its files are removed and nothing is committed. That is the place to re-check
    fence, lease, digest and cancellation. Exceptions raised in other phases stop the merge too, before
    anything is committed; in ``recording`` (after the commit) they reach the caller although the merge
    stands. ``uncommitted`` takes ``committing`` back: the store refused the put (a full disk), and neither
    this version nor an earlier one of this merge can land any more.
    """

    def __call__(self, phase: Phase, **facts: Any) -> None: ...


Item = TypeVar("Item", covariant=True)
Other = TypeVar("Other")
Row = dict[str, Any]
"""A whole row: its cells by column name."""


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a listing in key order; ``next`` is the opaque cursor of the following page, None at the end;
    ``previous`` that of the page before, None at the beginning and where a listing goes forward only.
    """

    items: tuple[Item, ...]
    next: str | None = None
    previous: str | None = None


@dataclass(frozen=True)
class ChangesPage(Page[Item]):
    """One page of changed rows, and where it is: ``start`` rows that match stand before it, ``total`` match in all."""

    start: int = 0
    total: int = 0


@dataclass(frozen=True)
class CellText:
    """A value as people write it; None stands for NULL, which the empty text is not."""

    text: str | None


@dataclass(frozen=True)
class ChangesFilter:
    """Which changed rows: those of which everything holds that is named.

    ``key`` is part of the text of one of the key columns, in any case. The others are about one changed cell of the
    row, that of ``column`` where one is named: ``old`` and ``new`` are its two values, ``became_null`` says that it had
    a value and has none, ``unusual`` that its new value lies outside the range of the column at the base. A deleted
    row changes every column.
    """

    operation: Operation | None = None
    column: str | None = None
    key: str | None = None
    old: CellText | None = None
    new: CellText | None = None
    became_null: bool = False
    unusual: bool = False

    @property
    def is_of_cells(self) -> bool:
        """Whether something is asked about the values of a cell."""
        return self.old is not None or self.new is not None or self.became_null or self.unusual

    @property
    def lets_all_through(self) -> bool:
        """Whether nothing is asked."""
        return self == ChangesFilter()


@dataclass(frozen=True)
class LeftOut:
    """What of staged content is left out: whole rows by their ``keys`` (typed) and by ``filters``, and of updated rows
    the cells of ``columns``. Inserted and deleted rows have no part of their own for a column: they stay whole.
    """

    keys: tuple[Row, ...] = ()
    filters: tuple[ChangesFilter, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitCounts:
    """What leaving something out would do: ``rows_left`` go whole and ``rows_parted`` with some of their cells, which
    are counted by column in ``cells_left`` (of updated rows); ``rows_kept`` stay, those with the rest of their cells
    included. ``rows_whole`` are inserted and deleted rows that stay although columns are left out.
    """

    rows_left: int
    rows_parted: int
    rows_kept: int
    rows_whole: int
    cells_left: Mapping[str, int]


@dataclass(frozen=True)
class Column:
    """A column as the table has it; ``type`` is Delta's name for it (``long``, ``decimal(15,2)``, ...)."""

    name: str
    type: str
    nullable: bool = True
    comment: str = ""


@dataclass(frozen=True)
class FilledColumn:
    """How a table fills the cell of a new row that says nothing of a column: in ``words``, as SQL declares it.
    ``takes_values`` tells whether the row may say something of it.
    """

    words: str
    takes_values: bool


@dataclass(frozen=True)
class Sides(Generic[Item]):
    """One thing on the three sides of a merge: as it was when staged, as the table has it now, as the request wants it.

    The thing is a cell's value, a whole row (None where the row is absent), or what somebody makes of either.
    """

    base: Item
    current: Item
    proposed: Item

    def map(self, function: Callable[[Item], Other]) -> Sides[Other]:
        """The same of each side."""
        return Sides(function(self.base), function(self.current), function(self.proposed))

    def __iter__(self) -> Iterator[Item]:
        return iter((self.base, self.current, self.proposed))


class _Sided(Generic[Item]):
    """What has three sides, each to be asked for by its name."""

    sides: Sides[Item]

    @property
    def base(self) -> Item:
        """As it was when staged."""
        return self.sides.base

    @property
    def current(self) -> Item:
        """As the table has it now."""
        return self.sides.current

    @property
    def proposed(self) -> Item:
        """As the request wants it."""
        return self.sides.proposed


@dataclass(frozen=True)
class ChangedRow(_Sided[Row | None]):
    """One row of a diff. ``changed`` names the columns that differ; an image is None where the row is absent, or
    where that side is not what the diff is of. ``filled`` names those in which the table fills the cell itself: a
    default, a number, what it computes.
    """

    key: Row
    operation: Operation
    changed: tuple[str, ...]
    sides: Sides[Row | None]
    merged: Row | None = None
    filled: tuple[str, ...] = ()

    @property
    def before(self) -> Row | None:
        """The row that the change replaces: Current where it tells of a merge, Base where it is only proposed."""
        return self.current if self._is_of_merge else self.base

    @property
    def after(self) -> Row | None:
        """The row that takes its place: the merged one where it tells of a merge, Proposed where it does not."""
        return self.merged if self._is_of_merge else self.proposed

    @property
    def _is_of_merge(self) -> bool:
        return self.merged is not None or (self.operation == "delete" and self.current is not None)


@dataclass(frozen=True)
class ValueGroup:
    """Equal edits of one column, taken together for the reviewer: ``column: old -> new, rows``."""

    column: str
    old: Any
    new: Any
    rows: int


@dataclass(frozen=True)
class Conflict(_Sided[Any]):
    """A cell (or, with ``column`` None, a row) that Current and Proposed both changed.

    ``kind`` reads Current/Proposed. For rows the three sides are whole rows (None where absent); for ``schema`` they
    are the column's types, and ``key`` is empty. ``inputs_digest`` stands for the three. ``value`` is what a ``custom``
    choice puts in their place. ``beside`` is how many other cells of the row the merge changes without a conflict,
    where that was counted.
    """

    key: Row
    column: str | None
    kind: ConflictKind
    sides: Sides[Any]
    inputs_digest: str
    legal_choices: tuple[Choice, ...]
    message: str = ""
    choice: Choice | None = None
    value: Any = None
    rekeyed_to: Row | None = None
    beside: int = 0


@dataclass(frozen=True)
class Held:
    """Exactly this value, NULL included: in JSON, or with ``as_text`` the text of a cell."""

    value: Any
    as_text: bool = False


@dataclass(frozen=True)
class ConflictFilter:
    """Which conflicts: those of a column (empty for whole rows), of a kind, in which a side holds a value; all of them
    where it says nothing. Values go with their column.
    """

    column: str | None = None
    kind: ConflictKind | None = None
    current: Held | None = None
    proposed: Held | None = None


@dataclass(frozen=True)
class Resolution:
    """What somebody chose for one conflict. It holds only while the conflict's ``inputs_digest`` stays the
    same.
    """

    key: Mapping[str, Any]
    column: str | None
    choice: Choice
    value: Any = None
    inputs_digest: str = ""


@dataclass(frozen=True)
class SchemaChange:
    """A change of the table's schema that the merge makes."""

    kind: Literal["add_column"]
    column: str
    type: str


@dataclass(frozen=True)
class RekeyedRow:
    """A row whose content leaves one key and arrives at another in the same change request."""

    old_key: Row
    new_key: Row


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


EmptyCells = Literal["keep", "null", "text"]
"""What a cell without anything in a CSV file or a workbook means: the value stays as it is, NULL, or empty text."""


@dataclass(frozen=True)
class ColumnAction:
    """What shall become of a column of the content: it is the column ``to`` of the table (``rename``), a new one
    (``add``, of a ``type`` by its name in Delta, or the one that its values have), or nothing (``leave_out``).
    """

    action: Literal["rename", "add", "leave_out"]
    to: str = ""
    type: str = ""


@dataclass(frozen=True)
class UnknownColumn:
    """A column of the content that the table does not have, and that nobody has decided about.

    ``suggestion`` is the column of the table that may be meant, else empty; ``type`` that of a new column for its
    values, empty where that is not known.
    """

    name: str
    suggestion: str = ""
    type: str = ""


@dataclass(frozen=True)
class StagingProblem:
    """One reason why content was refused. ``line`` counts the file's lines (CSV header = 1) or rows.

    Texts of strangers stand in it: what cannot be written as UTF-8 or kept by PostgreSQL (halves of surrogate pairs,
    U+0000) is shown by its escape.
    """

    code: str
    message: str
    line: int | None = None
    column: str | None = None
    value: str | None = None

    def __post_init__(self) -> None:
        for name in ("message", "column", "value"):
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, _UNSTORABLE.sub(_escaped, text))

    def describe(self) -> str:
        """The problem as one sentence with its place."""
        place = [f"line {self.line}"] if self.line is not None else []
        if self.column is not None:
            place.append(f"column {self.column}")
        return f"{', '.join(place)}: {self.message}" if place else self.message


@dataclass(frozen=True)
class Check:
    """The outcome of one check of a merged result: a built-in one, or (``overridable``) an expectation."""

    name: str
    ok: bool
    message: str
    failures: int = 0
    examples: tuple[dict[str, Any], ...] = ()
    overridable: bool = False

    @property
    def built_in(self) -> bool:
        """Whether it is a rule of the table itself and no expectation of a suite; holds for rebuilt results too."""
        return not self.name.startswith("expectation:")


@dataclass(frozen=True)
class TableInfo:
    """A Delta table at one version, from its log alone: no data file is read.

    ``warnings`` are sentences on what its owners should know before they rely on it; ``files_elsewhere`` the paths of
    its files, as its log spells them, that lie outside of its folder (as those of a shallow clone do).
    """

    version: int
    table_id: str
    name: str
    row_count: int
    size_bytes: int
    file_count: int
    columns: tuple[Column, ...]
    partition_columns: tuple[str, ...]
    schema_json: str
    properties: Mapping[str, str]
    strategy: StrategyName
    features: tuple[str, ...]
    constraints: Mapping[str, str]
    timestamp: datetime | None
    warnings: tuple[str, ...] = ()
    files_elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyReport:
    """Whether columns can be a primary key: rows with NULL in them, keys held by several rows, some
    examples.
    """

    null_rows: int
    duplicate_keys: int
    examples: tuple[dict[str, Any], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every row has a complete key of its own."""
        return self.null_rows == 0 and self.duplicate_keys == 0


@dataclass(frozen=True)
class TableVersion:
    """One commit of a table as its history shows it. Row counts are None where the writer did not tell."""

    version: int
    timestamp: datetime | None
    operation: str
    user: str
    cr_id: str | None
    rows_added: int | None
    rows_updated: int | None
    rows_deleted: int | None
    engine: str
