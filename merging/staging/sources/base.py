"""What all sources share: problems with their places, the opened source, headers, text and JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from merging.columns import is_nested
from merging.errors import StagingRejected
from merging.model import StagingProblem
from merging.parsing import NumberText

BATCH_ROWS = 50_000
BATCH_BYTES = 16 << 20
BLOCK_BYTES = 4 << 20
OPERATION_COLUMN = "_op"
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
    ``rows_read``, ``bytes_read``: what went through ``reader`` so far.
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
    header_line: int | None = None
    rows_read: int = field(default=0, init=False)
    bytes_read: int = field(default=0, init=False)

    def reader(self) -> pa.RecordBatchReader:
        """The stream as DuckDB takes it."""
        fields = [pa.field("ordinal", pa.int64()), pa.field("absent", ABSENT_TYPE)]
        fields.append(pa.field("refused", REFUSED_TYPE))
        fields += [pa.field(f"f{index}", data.type) for index, data in enumerate(self.schema)]
        return pa.RecordBatchReader.from_batches(pa.schema(fields), self._counted())

    def _counted(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches:
            self.rows_read += batch.num_rows
            self.bytes_read += batch.nbytes
            yield batch


Targets = Mapping[str, pa.DataType]


def refuse(code: str, message: str, *, line: int | None = None, column: str | None = None) -> StagingRejected:
    return StagingRejected([StagingProblem(code, message, line, column)])


def row_lines(ordinals: set[int]) -> dict[int, int]:
    """Sources without lines: the first row is 1."""
    return {ordinal: ordinal + 1 for ordinal in ordinals}


def check_header(columns: Iterable[str], line: int | None = None) -> None:
    """Refuse empty and repeated column names, all of them at once."""
    seen: set[str] = set()
    problems = []
    for position, name in enumerate(columns, start=1):
        if name.strip() == "":
            problems.append(
                StagingProblem("unnamed_column", f"column {position} has no name in the header.", line)
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
    ordinal = pa.array(range(start, start + rows), pa.int64())
    left_out = pa.nulls(rows, ABSENT_TYPE) if absent is None else absent
    unreadable = pa.nulls(rows, REFUSED_TYPE) if refused is None else refused
    names = ["ordinal", "absent", "refused", *(f"f{index}" for index in range(len(columns)))]
    return pa.RecordBatch.from_arrays([ordinal, left_out, unreadable, *columns], names)


def is_nested_target(targets: Targets, name: str) -> bool:
    """Whether the table holds structs, lists or maps in the column."""
    return name in targets and is_nested(targets[name])


def open_text(path: Path) -> Any:
    stream = pa.input_stream(str(path), compression="detect")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def encoding_problem(line: int) -> StagingRejected:
    return refuse("not_utf8", "the text is not UTF-8; save the file with the encoding UTF-8.", line=line)


class RepeatedName(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedName(twice)
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


def load_json(text: str) -> Any:
    return json.loads(
        text,
        parse_int=NumberText,
        parse_float=NumberText,
        parse_constant=_no_constant,
        object_pairs_hook=_pairs,
    )
