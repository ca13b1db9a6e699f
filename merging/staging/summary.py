"""What pages of large content need beyond its rows, so that a page costs a page: where the rare rows are, and the most
frequent edits. Content of fewer rows is looked through when somebody asks.

``marks.parquet`` lists the rows of rare operations and those that change rare columns: ``n``, ``op``, ``positions`` (of
the rare columns that the row changes). ``groups.parquet`` has the most frequent equal edits, first ones first:
``position`` of the column, ``number`` of rows, ``b<i>`` and ``p<i>`` for the columns that are in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from merging.model import Operation
from merging.sql.equality import comparable
from merging.sql.quoting import any_of, literal
from merging.sql.session import Session
from merging.staging.layout import Layout, RowCounts
from merging.store.publishing import flush_file

MARKS = "marks.parquet"
GROUPS = "groups.parquet"
MOST_GROUPS = 500
_FROM_ROWS = 50_000
_RARE = 50  # one row in so many: the next hundred of them are spread over many row groups
_MOST_COLUMNS = 100


@dataclass(frozen=True)
class Summary:
    """Which operations and columns have all their rows in the marks."""

    operations: frozenset[Operation]
    columns: frozenset[str]

    def has_all(self, operation: Operation | None, column: str | None) -> bool:
        """Whether the marks have every row of the operation that changes the column; None stands for any."""
        if column is None or operation == "delete":
            return operation in self.operations
        return column in self.columns and (operation is not None or "delete" in self.operations)


def summarize(opened: Session, folder: Path, rows: str, layout: Layout, counts: RowCounts) -> Summary | None:
    """Write the summary of large content, flushed to disk; None for content that needs none."""
    total = sum(counts.operations.values())
    if total < _FROM_ROWS:
        return None
    rare = total // _RARE
    operations = frozenset(name for name, number in counts.operations.items() if number <= rare)
    names = layout.schema.names
    # Each new row may give a value: a column changes in no more rows than these.
    at_most = {
        position: counts.cells_updated.get(names[position], 0) + counts.operations["insert"]
        for position in layout.staged
    }
    positions = [position for position, number in at_most.items() if number <= rare]
    _write_marks(opened, folder / MARKS, rows, layout, operations, [one for one in positions if at_most[one]])
    groups = groups_sql(opened, rows, layout, counts.cells_updated, MOST_GROUPS)
    if groups is not None:
        _copy(opened, groups, folder / GROUPS)
    return Summary(operations, frozenset(names[position] for position in positions))


def _write_marks(
    opened: Session,
    path: Path,
    rows: str,
    layout: Layout,
    operations: frozenset[Operation],
    positions: list[int],
) -> None:
    changes = {position: f"(op <> 'delete' AND {layout.differs(position)})" for position in positions}
    listed = ", ".join(f"CASE WHEN {one} THEN {position}::SMALLINT END" for position, one in changes.items())
    of_operations = [f"op = {literal(operation)}" for operation in sorted(operations)]
    _copy(
        opened,
        f"SELECT n, op, list_filter([{listed}]::SMALLINT[], lambda place: place IS NOT NULL) AS positions "
        f"FROM {rows} WHERE {any_of([*of_operations, *changes.values()])} ORDER BY n",
        path,
    )


def _copy(opened: Session, query: str, path: Path) -> None:
    opened.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
    flush_file(path)


def marked_sql(folder: str, operation: Operation | None, position: int | None) -> str:
    """SQL of the marked rows of an operation that change a column; None stands for any."""
    conditions = [] if operation is None else [f"op = {literal(operation)}"]
    if position is not None:
        conditions.append(f"(op = 'delete' OR list_contains(positions, {position}))")
    source = f"read_parquet({literal(os.path.join(folder, MARKS))})"
    return f"(SELECT n FROM {source} WHERE {' AND '.join(conditions) or 'true'})"


def groups_sql(
    opened: Session, rows: str, layout: Layout, cells_updated: Mapping[str, int], limit: int
) -> str | None:
    """SQL of the most frequent equal edits, most frequent first; None where no cell is updated.

    Of thousands of columns only those with the most updated cells are looked at. Values are told apart by their hashes,
    so that a column of long texts takes no more memory than one of numbers.
    """
    found: list[tuple[int, str, int, int]] = []
    names = layout.schema.names
    most_cells = sorted(cells_updated.items(), key=lambda one: -one[1])[:_MOST_COLUMNS]
    for name, cells in most_cells:
        if len(found) == limit and -found[-1][0] >= cells:
            break
        position = names.index(name)
        data_type = layout.schema.field(position).type
        sides = (comparable(side, data_type) for side in (layout.base(position), f"p{position}"))
        grouped = opened.connection.execute(
            f"SELECT count(*) AS number, min(n) AS example FROM {rows} "
            f"WHERE op = 'update' AND {layout.differs(position)} "
            f"GROUP BY {', '.join(f'hash({side})' for side in sides)} "
            f"ORDER BY number DESC, example LIMIT {limit}"
        ).fetchall()
        found += [(-number, name, example, position) for number, example in grouped]
        found = sorted(found)[:limit]
    if not found:
        return None
    listed = ", ".join(
        f"({place}, {position}, {-number}, {example})"
        for place, (number, _, example, position) in enumerate(found)
    )
    images = [
        f"CASE WHEN g.position = {position} THEN {side}{position} END AS {side}{position}"
        for position in sorted({position for *_, position in found})
        for side in ("b", "p")
        if side == "p" or position < layout.base_width
    ]
    examples = ", ".join(str(example) for example in sorted({example for *_, example, _ in found}))
    return (
        f"SELECT g.position, g.number, {', '.join(images)} FROM {rows} "
        f"JOIN (VALUES {listed}) g(place, position, number, example) ON n = g.example "
        f"WHERE n IN ({examples}) ORDER BY g.place"
    )
