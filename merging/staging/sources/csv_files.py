"""CSV files: delimiter and header found, cells as text with the lines they came from.

Records are cut and judged in ``csv_records``; their cells are taken apart by pyarrow's reader, which gets whole records
only. DuckDB's reader was tried with ``strict_mode`` and its table of rejects: as fast, but it counts rows instead of
lines behind a line break in quotes, drops the blank of ``, "x"``, passes quotes in bare cells, and names no place where
line ends are mixed. pyarrow's own cutting loses the LF of a CR LF in quotes at the border of two blocks.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from merging.sql.parsing import Refused
from merging.sql.values import arrow_values
from merging.staging.sources.base import (
    OPERATION_COLUMN,
    Blanks,
    Problems,
    RefusedCells,
    Source,
    Targets,
    absent_cells,
    beyond,
    check_header,
    content_limits,
    is_nested_target,
    most,
    nested_cell,
    numbered,
    refuse,
)
from merging.staging.sources.content import Content
from merging.staging.sources.csv_records import BadRecord, Block, Positions, read_blocks, split

_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class _Dialect:
    """What the header tells: the names, the delimiter, the line on which it begins."""

    names: tuple[str, ...]
    delimiter: str
    line: int

    def rows(self, block: Block) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which records are rows: an empty line is one only where it is the empty cell of the only column."""
        return block.filled if len(self.names) > 1 else np.ones_like(block.filled)


def open_csv(path: Path, targets: Targets, problems: Problems, blanks: Blanks) -> Source:
    """Open a CSV file; ``blanks`` says what cells without anything mean.

    Raises StagingRejected where there is no header, or none that can be read.
    """
    with Content(path, "CSV") as content:
        dialect, _ = _header(read_blocks(content.read), targets)
    check_header(dialect.names, dialect.line)
    nested = {
        index: targets[name] for index, name in enumerate(dialect.names) if is_nested_target(targets, name)
    }
    schema = pa.schema(
        [pa.field(name, nested.get(index, pa.string())) for index, name in enumerate(dialect.names)]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for _, block in _rows(path, targets):
            cells = _cells(dialect, block, blanks.null_token, problems)
            columns, absent = _filled(dialect, block, cells, blanks)
            refused = RefusedCells()
            for place, target in nested.items():
                columns[place] = _nested_column(columns[place], target, place, refused)
            yield numbered(start, cells.num_rows, columns, absent, refused.column(cells.num_rows))
            start += cells.num_rows

    def lines(ordinals: set[int]) -> dict[int, int]:
        return _lines(path, targets, ordinals)

    return Source(dialect.names, schema, True, blanks.null_token, batches(), lines, header_line=dialect.line)


def _filled(
    dialect: _Dialect, block: Block, cells: pa.Table, blanks: Blanks
) -> tuple[list[pa.Array], pa.Array | None]:
    """The columns with what was chosen for cells without anything; and the column ``absent``."""
    columns = [column.combine_chunks() for column in cells.columns]
    if blanks.empty_cells is None or not cells.num_rows:
        return columns, None
    by_emptiness = columns
    if blanks.null_token:
        again = _cells(dialect, block, "", Problems())
        by_emptiness = [column.combine_chunks() for column in again.columns]
    empty = [column.is_null() for column in by_emptiness]
    nothing = pa.scalar(None, pa.string())
    for place, name in enumerate(dialect.names):
        filling = "" if blanks.are_text_in(name) else nothing
        columns[place] = pc.if_else(empty[place], filling, columns[place])
    if blanks.empty_cells != "keep":
        return columns, None
    return columns, absent_cells(np.column_stack([one.to_numpy(zero_copy_only=False) for one in empty]))


def _header(blocks: Iterator[Block], targets: Targets) -> tuple[_Dialect, Block]:
    """What the first record says, with the delimiter that gives the most names of the table; and what stands behind
    it in its block.
    """
    for block in blocks:
        record = block.first_record()
        if record is not None:
            return _dialect(record, targets), block.after_first_record()
    raise refuse("empty_file", "the file is empty: it has no header line.", line=1)


def _dialect(record: Block, targets: Targets) -> _Dialect:
    if len(record.data) > content_limits().header_bytes:
        told = f"the header takes {len(record.data):,} bytes"
        raise beyond("header_bytes", told, line=record.first_line)
    possible = []
    faults = []
    for delimiter in _DELIMITERS:
        try:
            record.check(delimiter)
        except BadRecord as bad:
            faults.append(refuse(bad.code, f"in the header, {bad}", line=record.line_of(bad.at)))
            continue
        possible.append(_Dialect(tuple(split(record, delimiter)), delimiter, record.first_line))
    if not possible:
        raise faults[0]
    # The first of the best: max() keeps the order of the delimiters.
    return max(
        possible, key=lambda one: sum(name in targets or name == OPERATION_COLUMN for name in one.names)
    )


def _rows(path: Path, targets: Targets) -> Iterator[tuple[_Dialect, Block]]:
    """The blocks behind the header, each checked: StagingRejected names the first quote out of its place."""
    with Content(path, "CSV") as content:
        blocks = read_blocks(content.read)
        dialect, rest = _header(blocks, targets)
        for block in itertools.chain([rest], blocks):
            try:
                block.check(dialect.delimiter)
            except BadRecord as bad:
                place = block.place_of(bad.at, dialect.delimiter)
                name = dialect.names[place] if place < len(dialect.names) else None
                raise refuse(bad.code, str(bad), line=block.line_of(bad.at), column=name) from bad
            yield dialect, block


def _cells(dialect: _Dialect, block: Block, null_token: str, problems: Problems) -> pa.Table:
    """The rows of a block that have as many cells as the header; the others are noted as problems."""
    labels = [f"f{index}" for index in range(len(dialect.names))]
    rows = int(dialect.rows(block).sum())
    if not rows:
        return pa.table({label: pa.array([], pa.string()) for label in labels})
    skipped = 0

    def skip(_: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    # Arrow takes U+FEFF at the beginning of what it reads for no part of it; here a row begins with it.
    before = b"-\n" if block.data.startswith(codecs.BOM_UTF8) else b""
    table = arrow_csv.read_csv(
        pa.BufferReader(before + block.data if before else block.data),
        read_options=arrow_csv.ReadOptions(
            column_names=labels,
            skip_rows=1 if before else 0,
            block_size=len(before) + len(block.data) + 1,
            use_threads=False,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=len(labels) > 1,
            invalid_row_handler=skip,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(labels, pa.string()),
            check_utf8=False,
            null_values=[null_token],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    if table.num_rows + skipped != rows:
        raise RuntimeError(f"{rows} records begin on line {block.first_line}, {table.num_rows} were read")
    if skipped:
        _note_ragged(dialect, block, problems)
    if len(block.data) > content_limits().cell_bytes:
        _note_long(dialect, block, table, problems)
    return table


def _note_ragged(dialect: _Dialect, block: Block, problems: Problems) -> None:
    width = len(dialect.names)
    widths = block.widths(dialect.delimiter)
    ragged = dialect.rows(block) & (widths != width)
    for line, number in zip(block.lines()[ragged].tolist(), widths[ragged].tolist(), strict=True):
        problems.add(
            "wrong_number_of_fields",
            f"the row has {number} fields, the header {width}; "
            "a value with a delimiter or a line break in it must stand in double quotes.",
            line=line,
        )


def _note_long(dialect: _Dialect, block: Block, table: pa.Table, problems: Problems) -> None:
    for name, column in zip(dialect.names, table.columns, strict=True):
        for row in np.flatnonzero(
            pc.greater(pc.binary_length(column), content_limits().cell_bytes).fill_null(False)
        ).tolist():
            line = int(_row_lines(dialect, block)[row])
            told = f"the cell is longer than {most('cell_bytes')} (limit cell_bytes: {most('cell_bytes')})."
            problems.add("too_long", told, line=line, column=name)


def _row_lines(dialect: _Dialect, block: Block) -> Positions:
    """The lines of the rows that ``_cells`` gives."""
    lines: Positions = block.lines()[
        dialect.rows(block) & (block.widths(dialect.delimiter) == len(dialect.names))
    ]
    return lines


def _lines(path: Path, targets: Targets, ordinals: set[int]) -> dict[int, int]:
    wanted = np.array(sorted(ordinals), np.int64)
    found: dict[int, int] = {}
    start = 0
    for dialect, block in _rows(path, targets):
        if not len(wanted) or start > wanted[-1]:
            break
        lines = _row_lines(dialect, block)
        here = wanted[(wanted >= start) & (wanted < start + len(lines))]
        found.update(zip(here.tolist(), lines[here - start].tolist(), strict=True))
        start += len(lines)
    return found


def _nested_column(column: pa.Array, target: pa.DataType, place: int, refused: RefusedCells) -> pa.Array:
    values = []
    for row, text in enumerate(column.to_pylist()):
        value = None
        if text is not None:
            try:
                value = nested_cell(text, target)
            except Refused as error:
                refused.add(row, place, "wrong_nested_value", str(error), text)
        values.append(value)
    return arrow_values(values, target)
