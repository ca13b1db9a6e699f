"""What all sources share: problems with their places, the opened source, headers, text and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from merging.errors import StagingRejected
from merging.model import EmptyCells, StagingProblem
from merging.sql.content_limits import ContentLimits
from merging.sql.parsing import NumberText, Refused, cell_value, shown
from merging.sql.session import limits
from merging.sql.types import is_nested

BATCH_ROWS = 50_000
BATCH_BYTES = 16 << 20
BATCH_CELLS = 4_000_000
OPERATION_COLUMN = "_op"

Flags = npt.NDArray[np.bool_]
ABSENT_TYPE = pa.list_(pa.int16())
REFUSED_TYPE = pa.list_(
    pa.struct([("c", pa.int32()), ("v", pa.string()), ("code", pa.string()), ("message", pa.string())])
)
"""Cells that a reader could not make into a value of their column: place, value, and why (see ``parsing.explain``)."""


@dataclass
class Problems:
    """Problems found while reading and checking: the first ``cap`` with their places, all of them counted."""

    cap: int = 1_000
    total: int = 0
    found: list[tuple[int | None, StagingProblem]] = field(default_factory=list)

    def add(
        self,
        code: str,
        message: str,
        *,
        ordinal: int | None = None,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
    ) -> None:
        """Note one problem at a row (``ordinal``, turned into its line later) or at a known line."""
        self.total += 1
        if len(self.found) < self.cap:
            safe = None if value is None else value[:200]
            self.found.append((ordinal, StagingProblem(code, message, line, column, safe)))

    def count_only(self, number: int) -> None:
        """Count problems that are not listed, because there are more than the cap."""
        self.total += number

    @property
    def room(self) -> int:
        """How many more problems are listed."""
        return max(self.cap - len(self.found), 0)

    def ordinals(self) -> set[int]:
        """The rows whose lines are wanted."""
        return {ordinal for ordinal, _ in self.found if ordinal is not None}

    def rejection(self, lines: Mapping[int, int], columns: Sequence[str] = ()) -> StagingRejected:
        """The refusal, problems in the order of their lines and then of the columns."""
        places = {name: place for place, name in enumerate(columns)}
        placed = [
            problem
            if ordinal is None
            else StagingProblem(
                problem.code, problem.message, lines.get(ordinal), problem.column, problem.value
            )
            for ordinal, problem in self.found
        ]
        placed.sort(key=lambda one: (one.line is not None, one.line or 0, places.get(one.column or "", -1)))
        return StagingRejected(placed, total=self.total)


CellKind = Literal["text", "number", "boolean", "date", "timestamp", "other"]
"""What a cell is by its own format, where that tells texts from numbers (JSON, workbooks)."""


@dataclass
class Source:
    """An opened source: its columns, its stream, and how to find lines.

    ``kinds``: of each column (by its place), the kinds of the cells that are not NULL. Filled while the stream is
    read, and without an entry where the format has no kinds (CSV) or a type of its own for the column.
    ``warnings``: sentences for whoever uploads, said of what was read and left out; filled while the stream is read.
    ``rows_read``, ``bytes_read``: what went through ``reader`` so far; ``failure``: what ended it, which the error of
    whoever reads the stream natively does not tell.
    ``spreadsheet``: whether numbers were cut to what spreadsheets keep of them, and empty texts are empty cells.
    ``units``: of typed columns of timestamps (by their places), the unit in which they came, whatever they became.
    ``header_line``: the line (or row of a sheet) that names the columns, None where the format has none.
    """

    columns: tuple[str, ...]
    schema: pa.Schema
    text: bool
    null_token: str | None
    batches: Iterator[pa.RecordBatch]
    lines: Callable[[set[int]], dict[int, int]]
    kinds: dict[int, set[CellKind]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    units: dict[int, str] = field(default_factory=dict)
    header_line: int | None = None
    spreadsheet: bool = False
    failure: Exception | None = field(default=None, init=False)
    rows_read: int = field(default=0, init=False)
    bytes_read: int = field(default=0, init=False)
    _told: Callable[[int], None] | None = field(default=None, init=False)

    def tell_rows(self, told: Callable[[int], None]) -> None:
        """Call ``told`` with the number of rows read so far, after each batch."""
        self._told = told

    def reader(self) -> pa.RecordBatchReader:
        """The stream as DuckDB takes it."""
        fields = [pa.field("ordinal", pa.int64()), pa.field("absent", ABSENT_TYPE)]
        fields.append(pa.field("refused", REFUSED_TYPE))
        fields += [pa.field(f"f{index}", data.type) for index, data in enumerate(self.schema)]
        return pa.RecordBatchReader.from_batches(pa.schema(fields), self._counted())

    def _counted(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self.batches:
                self.rows_read += batch.num_rows
                self.bytes_read += batch.nbytes
                self._check_size()
                if self._told is not None:
                    self._told(self.rows_read)
                yield batch
        except Exception as error:
            self.failure = error
            raise

    def _check_size(self) -> None:
        if self.rows_read > content_limits().rows:
            raise beyond("rows", f"there are more than {most('rows')} rows", code="too_many_rows")
        if self.bytes_read > content_limits().unpacked_bytes:
            raise beyond(
                "unpacked_bytes",
                f"the first {self.rows_read:,} rows take {self.bytes_read:,} bytes together",
            )


Targets = Mapping[str, pa.DataType]


class RefusedCells:
    """The cells of one batch that a reader refuses, gathered as ``numbered`` takes them."""

    def __init__(self) -> None:
        self._by_row: dict[int, list[dict[str, Any]]] = {}

    def add(self, row: int, place: int, code: str, message: str, value: str) -> None:
        """Refuse the cell in the column at ``place`` of a row, counted from 0 in the batch."""
        told = StagingProblem(code, message, value=value[:200])
        cell = {"c": place, "v": told.value, "code": code, "message": told.message}
        self._by_row.setdefault(row, []).append(cell)

    def column(self, rows: int) -> pa.Array | None:
        """The column ``refused`` of the batch, None where nothing was refused."""
        if not self._by_row:
            return None
        return pa.array([self._by_row.get(row) for row in range(rows)], REFUSED_TYPE)


def refuse(code: str, message: str, *, line: int | None = None, column: str | None = None) -> StagingRejected:
    """A refusal for one reason."""
    return StagingRejected([StagingProblem(code, message, line, column)])


def content_limits() -> ContentLimits:
    """What uploads may hold in this process."""
    return limits()


def most(limit: str) -> str:
    """What a limit allows, as sentences show it: ``8 MiB``, ``10,000``."""
    value: int = getattr(content_limits(), limit)
    if not limit.endswith("_bytes"):
        return f"{value:,}"
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value and value % (1 << shift) == 0:
            return f"{value >> shift} {unit}"
    return f"{value:,} bytes"


def beyond(
    limit: str, told: str, *, code: str = "too_large", line: int | None = None, column: str | None = None
) -> StagingRejected:
    """The refusal for content beyond a limit of ``ContentLimits``; ``told`` says what is, without a full stop."""
    return refuse(code, f"{told} (limit {limit}: {most(limit)}).", line=line, column=column)


def row_lines(ordinals: set[int]) -> dict[int, int]:
    """Sources without lines: the first row is 1."""
    return {ordinal: ordinal + 1 for ordinal in ordinals}


def check_header(columns: Iterable[str], line: int | None = None) -> None:
    """Refuse empty and repeated column names, all of them at once."""
    columns = list(columns)
    if len(columns) > content_limits().columns:
        raise beyond(
            "columns",
            f"there are more than {most('columns')} columns: {len(columns):,}",
            code="too_many_columns",
            line=line,
        )
    size = sum(len(name) for name in columns)
    if size > content_limits().header_bytes:
        raise beyond("header_bytes", f"the names of the columns take {size:,} characters together", line=line)
    seen: set[str] = set()
    problems = []
    for position, name in enumerate(columns, start=1):
        if name.strip() == "":
            problems.append(
                StagingProblem(
                    "unnamed_column",
                    f"column {position} has no name in the header; give it one, or leave the column out (row numbers "
                    "are left out by index=False in pandas, by row.names=FALSE in R).",
                    line,
                )
            )
        elif name in seen:
            problems.append(
                StagingProblem("repeated_column", "the column stands twice in the header.", line, name)
            )
        seen.add(name)
    if not seen:
        problems.append(StagingProblem("no_header", "there are no columns.", line))
    if problems:
        raise StagingRejected(problems)


def numbered(
    start: int, rows: int, columns: list[pa.Array], absent: pa.Array | None, refused: pa.Array | None = None
) -> pa.RecordBatch:
    """A batch of a source's stream: the row numbers from ``start`` on, what rows left out, refused cells, the cells."""
    ordinal = pa.array(np.arange(start, start + rows, dtype=np.int64))
    left_out = pa.nulls(rows, ABSENT_TYPE) if absent is None else absent
    unreadable = pa.nulls(rows, REFUSED_TYPE) if refused is None else refused
    names = ["ordinal", "absent", "refused", *(f"f{index}" for index in range(len(columns)))]
    return pa.RecordBatch.from_arrays([ordinal, left_out, unreadable, *columns], names)


@dataclass(frozen=True)
class Blanks:
    """What cells of CSV files and workbooks mean that hold nothing: ``null_token`` is what an unquoted CSV cell holds
    for NULL, ``empty_cells`` says it of cells without anything where somebody chose. ``text_columns`` are those that
    can hold an empty text.
    """

    null_token: str = ""
    empty_cells: EmptyCells | None = None
    text_columns: frozenset[str] = frozenset()

    def are_text_in(self, column: str) -> bool:
        """Whether the column's empty cells are empty texts."""
        return self.empty_cells == "text" and column in self.text_columns


def absent_cells(empty: Flags) -> pa.Array | None:
    """The column ``absent`` of a batch whose ``empty`` cells (rows by columns) leave the table's values as they are."""
    if not empty.any():
        return None
    places = np.nonzero(empty)[1]
    ends = np.cumsum(empty.sum(axis=1))
    offsets = pa.array(np.concatenate(([0], ends)).astype(np.int32), pa.int32())
    listed = pa.ListArray.from_arrays(offsets, pa.array(places.astype(np.int16)))
    return pc.if_else(pa.array(empty.any(axis=1)), listed, pa.nulls(len(empty), ABSENT_TYPE))


def is_nested_target(targets: Targets, name: str) -> bool:
    """Whether the table holds structs, lists or maps in the column."""
    return name in targets and is_nested(targets[name])


class RepeatedName(ValueError):
    """A JSON object gives the same name twice."""


class UnfitJson(ValueError):
    """JSON that cannot be a value of a table; the message is a full sentence."""


_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|,', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedName(twice)
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


def _number(digits: str) -> NumberText:
    if len(digits) > content_limits().number_digits:
        raise UnfitJson(
            f"a number has {len(digits):,} digits (limit number_digits: {most('number_digits')})."
        )
    return NumberText(digits)


def load_json(text: str) -> Any:
    """The value of a JSON text, numbers by their digits (``NumberText``).

    Raises RepeatedName, UnfitJson (with a sentence), or another ValueError where it is no JSON.
    """
    allowed = content_limits()
    opened = text.count("[") + text.count("{")
    if opened + text.count(",") > min(allowed.json_depth, allowed.json_values):
        _refuse_large(text, opened, allowed)
    number = NumberText if len(text) <= allowed.number_digits else _number
    value = json.loads(
        text,
        parse_int=number,
        parse_float=number,
        parse_constant=_no_constant,
        object_pairs_hook=_pairs,
    )
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(value)
    return value


def _refuse_large(text: str, opened: int, allowed: ContentLimits) -> None:
    """Refuse nesting and numbers of values that would cost more than the text, which Python's reader does not count.

    ``opened``: how many brackets open in the text, those in strings counted.
    """
    counts_values = opened + text.count(",") > allowed.json_values
    if not counts_values and opened <= allowed.json_depth:
        return
    depth = values = 0
    for match in _STRUCTURE.finditer(text):
        found = match.group()
        if found in "[{":
            depth += 1
            values += 1
            if depth > allowed.json_depth:
                raise UnfitJson(
                    f"the value is nested more than {most('json_depth')} deep (limit json_depth: {most('json_depth')})."
                )
        elif found in "]}":
            depth -= 1
        elif found == ",":
            values += 1
        if values > allowed.json_values:
            raise UnfitJson(
                f"there are more than {most('json_values')} values (limit json_values: {most('json_values')})."
            )


def _refuse_lone_surrogates(value: Any) -> None:
    lone = _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False))
    if lone is not None:
        raise UnfitJson(f"a text holds \\u{ord(lone.group()):04x}, half of a pair that makes one character.")


def nested_cell(text: str, target: pa.DataType) -> Any:
    """A cell of text that holds JSON as a nested value. Raises Refused with a full sentence."""
    try:
        return cell_value(load_json(text), target)
    except (Refused, UnfitJson) as error:
        raise Refused(str(error)) from error
    except RepeatedName as error:
        raise Refused(f"an object gives the name {shown(str(error))} twice.") from error
    except ValueError as error:
        raise Refused("the cell is not valid JSON.") from error
