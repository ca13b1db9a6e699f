"""The columns of ``rows.parquet``, and what is the same for all content however it was made: its digest, its counts.

``n`` (0, 1, … in the order of the keys), ``op`` (insert, update, delete as against the base), ``absent`` (positions of
columns that an inserted row did not give), ``rekeyed`` (the ``n`` of the row that this one's content left or went to),
``base_file`` and ``base_row`` where the row stood (see ``pinning``), ``k<i>`` the key columns, ``b<i>`` the base image,
``p<i>`` the proposed values. ``i`` is a position in the schema: the table's columns at the base version, then the new
ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from merging.model import Operation
from merging.sql.equality import differs, digest_of, fingerprint
from merging.sql.session import Session
from merging.sql.types import null_of, type_name

_DIGEST_ROWS = 500_000


@dataclass(frozen=True)
class Layout:
    """What the columns of staged rows are: ``staged`` are the positions of the value columns that the content gives
    values for, ``base_width`` columns of the schema the base version had.
    """

    keys: tuple[str, ...]
    schema: pa.Schema
    base_width: int
    staged: tuple[int, ...]

    @property
    def based(self) -> list[int]:
        """The positions of the value columns that a base image has."""
        names = self.schema.names[: self.base_width]
        return [position for position, name in enumerate(names) if name not in self.keys]

    def position(self, name: str) -> int | None:
        """Where a column is in the schema; None where it is not."""
        names = self.schema.names
        return names.index(name) if name in names else None

    def base(self, position: int) -> str:
        """SQL of a column's value in the base image."""
        field = self.schema.field(position)
        if field.name in self.keys:
            return f"k{self.keys.index(field.name)}"
        return f"b{position}" if position < self.base_width else null_of(field.type)

    def differs(self, position: int) -> str:
        """SQL: the value proposed in a staged column is not that of the base image."""
        return differs(self.base(position), f"p{position}", self.schema.field(position).type)


@dataclass(frozen=True)
class RowCounts:
    """What rows would change: by operation, updated cells by column (those with any)."""

    operations: Mapping[Operation, int]
    cells_updated: Mapping[str, int]
    rekeyed: int
    has_absent: bool

    def keeps(self, name: str) -> bool:
        """Whether every row has a base image and proposes its value in the column."""
        changes = self.operations["insert"] or self.operations["delete"] or name in self.cells_updated
        return not changes


def count_rows(opened: Session, rows: str, layout: Layout) -> RowCounts:
    """Count staged rows and their cells, in one pass."""
    # One list of counts is planned in linear time.
    cells = ", ".join(f"count_if(op = 'update' AND {layout.differs(position)})" for position in layout.staged)
    inserts, updates, deletes, absent, rekeyed, updated = opened.row(
        "SELECT count(*) FILTER (op = 'insert'), count(*) FILTER (op = 'update'), count(*) FILTER (op = 'delete'), "
        f"count(absent), count(rekeyed) // 2, [{cells}]::BIGINT[] FROM {rows}"
    )
    names = layout.schema.names
    found = zip(layout.staged, updated, strict=True)
    return RowCounts(
        operations={"insert": inserts, "update": updates, "delete": deletes},
        cells_updated={names[position]: int(number) for position, number in found if number},
        rekeyed=rekeyed,
        has_absent=bool(absent),
    )


def nulled_cells(opened: Session, rows: str, layout: Layout) -> dict[str, int]:
    """Count the cells of updated rows that would become NULL by column, those with any."""
    old = [position for position in layout.staged if position < layout.base_width]
    counts = opened.counts(
        f"FROM {rows} WHERE op = 'update'", [f"b{place} IS NOT NULL AND p{place} IS NULL" for place in old]
    )
    found = zip(old, counts, strict=True)
    return {layout.schema.field(position).name: number for position, number in found if number}


def content_digest(opened: Session, rows: str, table_id: str, layout: Layout, counts: RowCounts) -> str:
    """SHA-256 over staged rows in key order: operation, key, base image, proposed values, columns left out.

    ``counts`` are those of the rows: what they say of all rows need not be asked of each.
    """
    schema, width = layout.schema, layout.base_width
    # Each cell's fingerprint once, by name: of thousands of columns to write it out twice costs a third of the plan.
    cells = {
        f"k{index}": fingerprint(f"k{index}", schema.field(name).type)
        for index, name in enumerate(layout.keys)
    }
    parts = ["op", *cells]
    staged = set(layout.staged)
    for position, field in enumerate(schema):
        if field.name in layout.keys:
            continue
        base, given = "'~'", position in staged
        if position < width:
            base = f"b{position}"
            cells[base] = fingerprint(base, field.type)
            parts.append(base)
        proposed = base
        if given and not (position < width and counts.keeps(field.name)):
            proposed = f"p{position}"
            cells[proposed] = fingerprint(proposed, field.type)
        parts.append(_proposed_part(proposed, position, counts, given=given))
    overall = hashlib.sha256()
    described = [table_id, *layout.keys]
    new = sorted(list(schema)[width:], key=lambda field: field.name)
    described += [f"{field.name} {type_name(field.type)}" for field in new]
    overall.update("\x00".join(described).encode())
    # In slices, so that what is held of a large upload is bounded.
    printed = ", ".join(f"{text} AS {cell}" for cell, text in cells.items())
    [last] = opened.row(f"SELECT coalesce(max(n), -1) FROM {rows}")
    for start in range(0, last + 1, _DIGEST_ROWS):
        # Held first: a result as Arrow is planned twice, which of thousands of columns is a fifth of what it costs.
        opened.execute(
            f"CREATE OR REPLACE TEMP TABLE digests AS SELECT n, {digest_of(parts)} AS d FROM "
            f"(SELECT n, op, absent, {printed} FROM {rows} WHERE n >= {start} AND n < {start + _DIGEST_ROWS})"
        )
        found = opened.table("FROM digests")
        # The rows stand in this order, and a sort in the engine is dearer than to look.
        if not np.array_equal(found.column("n"), np.arange(start, start + found.num_rows)):
            found = found.sort_by("n")
        for chunk in filter(len, found.column("d").chunks):
            _, offsets, texts = chunk.buffers()
            [first, end] = np.frombuffer(offsets, np.int32)[[chunk.offset, chunk.offset + len(chunk)]]
            overall.update(memoryview(texts)[first:end])
    return overall.hexdigest()


def _proposed_part(proposed: str, position: int, counts: RowCounts, *, given: bool) -> str:
    """SQL of what stands for a proposed value: whether it is there is asked only where some row lacks it."""
    cases = ""
    if counts.operations["delete"]:
        cases += "WHEN op = 'delete' THEN '' "
    if counts.operations["insert"] and not given:
        cases += "WHEN op = 'insert' THEN '!' "
    elif counts.operations["insert"] and counts.has_absent:
        cases += f"WHEN op = 'insert' AND coalesce(list_contains(absent, {position}), false) THEN '!' "
    return f"CASE {cases}ELSE {proposed} END" if cases else proposed
