"""The rows of a plan, page by page: what the merge changes, and what leaves one key for another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from merging.model import ChangedRow, Operation, Page, RekeyedRow
from merging.sql.cursors import NumberedPlace
from merging.sql.equality import differs, same_value
from merging.sql.paging import is_one_of, read_numbered
from merging.sql.quoting import literal
from merging.sql.session import Session
from merging.threeway.alignment import Alignment
from merging.threeway.merged import MergedCells
from merging.threeway.sides import image_of, images_of, key_of


def changed_rows(
    opened: Session,
    cells: MergedCells,
    *,
    operation: Operation | None,
    column: str | None,
    after: str | None,
    limit: int,
) -> Page[ChangedRow]:
    """Rows that the merge changes in the table, in key order, with all four images."""
    alignment = cells.alignment
    place = NumberedPlace.at(after, "plan")
    conditions = [place.condition("m.n")]
    if operation is not None:
        conditions.append(f"m.action = {literal(operation)}")
    if column is not None:
        conditions.append(_changes_column(cells, column))
    images = ", ".join(
        [
            *(f"m.{cells.after(column)} AS m{column.position}" for column in alignment.columns),
            *(f"f{column.position}" for column in alignment.values if column.filled),
        ]
    )
    source = f"merged m JOIN {cells.joined} j ON j.n = m.n"
    found = opened.connection.execute(
        f"SELECT m.n FROM {source if column else 'merged m'} "
        f"WHERE {' AND '.join(conditions)} ORDER BY {place.order('m.n')} LIMIT {limit + 1}"
    ).fetchall()
    numbers = sorted(number for (number,) in found[:limit])
    within = " AND ".join(is_one_of(numbers, of) for of in ("m.n", "j.n"))
    shown = read_numbered(
        opened, f"SELECT j.*, m.action, {images} FROM {source} WHERE {within}", numbers, back=place.back
    )
    items = [_changed_row(row, alignment) for row in shown]
    return place.page(items, [row["n"] for row in shown], more=len(found) > len(shown))


def _changes_column(cells: MergedCells, name: str) -> str:
    for column in cells.alignment.values:
        if column.name == name:
            changed = differs(f"m.{cells.after(column)}", f"j.c{column.position}", column.type)
            return f"(m.action = 'delete' OR {changed})"
    return "false"


def _changed_row(row: Mapping[str, Any], alignment: Alignment) -> ChangedRow:
    operation: Operation = row["action"]
    sides = images_of(row, alignment)
    merged = image_of(row, alignment, "m") if operation != "delete" else None
    values = alignment.values
    if operation == "update":
        changed = tuple(
            column.name
            for column in values
            if not same_value(row[f"m{column.position}"], row[f"c{column.position}"])
        )
    else:
        side = merged or sides.current or {}
        changed = tuple(column.name for column in values if side.get(column.name) is not None)
    filled = tuple(
        column.name
        for column in values
        if (column.filled and row[f"f{column.position}"])
        or (column.computed and operation != "delete" and (operation == "insert" or column.name in changed))
    )
    return ChangedRow(key_of(row, alignment), operation, changed, sides, merged, filled)


def rekeyed_rows(opened: Session, cells: MergedCells, limit: int) -> tuple[RekeyedRow, ...]:
    """Rows whose content leaves one key for another in this request."""
    alignment = cells.alignment
    keys = [f"k{place}" for place in range(len(alignment.keys))]
    old, new = ", ".join(f"o.{key} AS o_{key}" for key in keys), ", ".join(f"j.{key}" for key in keys)
    found = opened.rows(
        f"SELECT {old}, {new} FROM {cells.joined} o JOIN {cells.joined} j ON j.n = o.rekeyed "
        f"WHERE o.op = 'delete' ORDER BY o.n LIMIT {limit}"
    )
    return tuple(
        RekeyedRow(
            {name: row[f"o_k{place}"] for place, name in enumerate(alignment.keys)}, key_of(row, alignment)
        )
        for row in found
    )
