"""Base, Current and Proposed of every staged row, side by side in one table, and how they are read back from it.

Per cell, NULL-safely, in the merged column's type: ``current = proposed → it``, ``current = base → proposed``,
``proposed = base → current``, otherwise that cell is in conflict and the row's other cells merge all the same. Rows:
delete/delete is clean, modify/delete and delete/modify conflict (only columns that the base had count as modified),
add/add is clean where equal and conflicts per cell where not. This is what Dolt's ``processColumn`` does, on cells.

The rules are DuckDB SQL over tables of one session (out of core where they must be), each in the order of ``n``; ``i``
is the position of the merged column, ``j`` the place of the key:

- ``joined``, told here, in any order where rows were touched since: n, op, here, file_index, row_number, rekeyed,
  ``k<j>`` keys, ``b<i>`` ``c<i>`` ``p<i>`` values, ``a<i>`` left out; and ``moved``, those of its rows that are
  not known to stand where they stood at the base;
- ``conflicts`` (see ``conflicts`` and ``resolutions``), where they were looked for: n, col, kind, digest, choice, pick;
- ``merged`` (see ``merged``): n, file_index, row_number, action, ``k<j>`` keys, ``c<i>`` and ``m<i>`` values before and
  after, ``u<i>`` changed, or ``v<i>`` where the values are alike in every row that stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from merging.delta.fields import stored_names
from merging.delta.snapshot import Snapshot
from merging.engines import Images, Rows, TableReader
from merging.model import Row, Sides
from merging.sql.equality import differs
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import cast, is_nested, null_of
from merging.staging.pinning import Standing, file_index_sql, find_standing, read_held
from merging.staging.staged import Staged
from merging.threeway.alignment import Alignment, MergedColumn, base_sql, current_sql, proposed_sql

SIDE_LETTERS = Sides("b", "c", "p")
"""What the columns of ``joined`` begin with that hold a side's values."""


def join_current(
    opened: Session, staged: Staged, reader: TableReader, alignment: Alignment
) -> tuple[Standing, str]:
    """Find the current rows of the staged keys and put the three images side by side: in the view ``joined``, or,
    where nothing was touched, in a query that one statement asks as a rule. What stands behind FROM is told.

    A row that stands where it stood at the base has its base image as current image: it is not read again, cannot be in
    conflict, and is not held. The others, if there are any, are in ``moved``.
    Raises DuplicateKeys when the table holds several rows of a staged key.
    """
    snapshot = reader.snapshot
    columns = snapshot.schema.names
    images = None
    if _tell_what_rows_hold(staged, snapshot, alignment):
        images = Images(
            f"({_images_sql(staged, snapshot, alignment)})", staged.rows, columns, staged.primary_keys
        )
    standing = find_standing(opened, staged, reader, columns, images)
    if standing.pinned and images is None:
        held_rows = read_held(opened, staged, standing, reader, columns)
        standing = replace(standing, pinned=False, found=_together(standing.found, held_rows))
    held = _held_sql(staged, snapshot, alignment, standing)
    if standing.untouched:
        return standing, f"({held})"
    rows, parts = f"{staged.source_sql()} s", []
    if standing.pinned and standing.lost:
        rows, parts = f"(SELECT s.* FROM {rows} ANTI JOIN held h ON h.n = s.n) s", [held]
    elif standing.pinned:
        rows, parts = f"(SELECT s.* FROM {rows} WHERE s.op = 'insert') s", [f"{held} WHERE s.op <> 'insert'"]
    moved = _moved_sql(staged, snapshot, alignment, rows, standing.found)
    opened.execute(f"CREATE TABLE moved AS {moved} ORDER BY s.n")
    opened.execute(f"CREATE VIEW joined AS {' UNION ALL '.join([*parts, 'SELECT * FROM moved'])}")
    return standing, "joined"


def _tell_what_rows_hold(staged: Staged, snapshot: Snapshot, alignment: Alignment) -> bool:
    """Whether base images tell what rows hold that stand where they stood.

    They do not of columns that the table gained since. Nor, where the table maps its columns, of nested ones once it
    moved on: a field inside may have been renamed, or dropped and added again under the same name.
    """
    if any(not column.in_base and not column.added for column in alignment.values):
        return False
    may_be_others = snapshot.version != staged.base_version and bool(stored_names(snapshot.schema_json))
    return not (may_be_others and any(is_nested(column.type) for column in alignment.values))


def _images_sql(staged: Staged, snapshot: Snapshot, alignment: Alignment) -> str:
    """The rows as they were at the base, as ``Images`` has them."""
    cells = {name: _key_sql(staged, snapshot, place) for place, name in enumerate(staged.primary_keys)}
    cells |= {column.name: base_sql(column, staged) for column in alignment.values}
    told = ", ".join(f"{cells[name]} AS v{at}" for at, name in enumerate(snapshot.schema.names))
    return f"SELECT s.n, s.op <> 'insert' AS known, {told} FROM {staged.source_sql()} s"


def _together(some: Rows, others: Rows) -> Rows:
    rows = f"(SELECT * FROM {some.sql} UNION ALL BY NAME SELECT * FROM {others.sql})"
    return Rows(rows, some.number + others.number)


def _held_sql(staged: Staged, snapshot: Snapshot, alignment: Alignment, standing: Standing) -> str:
    """The rows that stand where they stood, and without any that was lost also new ones: their base image is their
    current one.
    """
    source, here, places = (
        f"{staged.source_sql()} s",
        "s.op <> 'insert'",
        (file_index_sql(), "s.base_row"),
    )
    if standing.lost:
        source, here, places = f"{source} JOIN held h ON h.n = s.n", "true", ("h.file_index", "h.row_number")
    currents = {column.position: base_sql(column, staged) for column in alignment.values}
    columns = _side_by_side(staged, snapshot, alignment, here, places, currents)
    return f"SELECT {columns} FROM {source}"


def _moved_sql(staged: Staged, snapshot: Snapshot, alignment: Alignment, rows: str, found: Rows) -> str:
    """Rows beside what was ``found`` of them by their keys."""
    if not found.number:
        currents = {column.position: null_of(column.type) for column in alignment.values}
        nowhere = ("NULL::BIGINT", "NULL::BIGINT")
        return f"SELECT {_side_by_side(staged, snapshot, alignment, 'false', nowhere, currents)} FROM {rows}"
    currents = {column.position: current_sql(column) for column in alignment.values}
    here, places = "c.file_index IS NOT NULL", ("c.file_index", "c.row_number")
    columns = _side_by_side(staged, snapshot, alignment, here, places, currents)
    keys = enumerate(staged.primary_keys)
    on = " AND ".join(f"s.k{index} = c.{column_sql(name)}" for index, name in keys)
    return f"SELECT {columns} FROM {rows} LEFT JOIN {found.sql} c ON {on}"


def _side_by_side(
    staged: Staged,
    snapshot: Snapshot,
    alignment: Alignment,
    here: str,
    places: tuple[str, str],
    currents: Mapping[int, str],
) -> str:
    """SQL of the columns of ``joined``: whether a row is in the table, where it is, its values on the three sides."""
    columns = ["s.n", "s.op", f"({here}) AS here"]
    columns += [
        f"{place} AS {name}" for place, name in zip(places, ("file_index", "row_number"), strict=True)
    ]
    columns.append("s.rekeyed")
    columns += [
        f"{_key_sql(staged, snapshot, place)} AS k{place}" for place in range(len(staged.primary_keys))
    ]
    for column in alignment.values:
        columns.append(f"{base_sql(column, staged)} AS b{column.position}")
        columns.append(f"{currents[column.position]} AS c{column.position}")
        if column.staged:
            columns.append(f"{proposed_sql(column)} AS p{column.position}")
            columns.append(f"{_absent_sql(column, staged)} AS a{column.position}")
    return ", ".join(columns)


def _key_sql(staged: Staged, snapshot: Snapshot, place: int) -> str:
    """SQL (over ``rows.parquet`` as ``s``) of a part of the key, in the type that the table has now."""
    name = staged.primary_keys[place]
    return cast(f"s.k{place}", staged.schema.field(name).type, snapshot.schema.field(name).type)


def _absent_sql(column: MergedColumn, staged: Staged) -> str:
    if not staged.has_absent:
        return "false"
    return f"coalesce(list_contains(s.absent, {column.staged_position}), false)"


def edits(column: MergedColumn) -> str:
    """SQL: Proposed says something new of the cell."""
    if not column.in_base:
        return f"(op = 'update' AND p{column.position} IS NOT NULL)"
    return differs(f"p{column.position}", f"b{column.position}", column.type)


def current_edits(column: MergedColumn) -> str:
    return differs(f"c{column.position}", f"b{column.position}", column.type)


def disagree(column: MergedColumn) -> str:
    return differs(f"p{column.position}", f"c{column.position}", column.type)


def any_of(conditions: Sequence[str]) -> str:
    """SQL: one of the conditions holds."""
    return f"({' OR '.join(conditions)})" if conditions else "false"


def key_of(row: Mapping[str, Any], alignment: Alignment) -> Row:
    """The key of a row of ``joined`` by its columns."""
    return {name: row[f"k{place}"] for place, name in enumerate(alignment.keys)}


def images_of(row: Mapping[str, Any], alignment: Alignment) -> Sides[Row | None]:
    """A row of ``joined`` as it is on each side, None where it is not there."""
    return Sides(
        image_of(row, alignment, "b") if row["op"] != "insert" else None,
        image_of(row, alignment, "c") if row["here"] else None,
        image_of(row, alignment, "p") if row["op"] != "delete" else None,
    )


def image_of(row: Mapping[str, Any], alignment: Alignment, side: str) -> Row:
    """One image of a row (of ``merged`` as side ``m``), without the columns that its side does not know."""
    key = key_of(row, alignment)
    image: Row = {}
    for column in alignment.columns:
        position = column.position
        if column.name in key:
            image[column.name] = key[column.name]
        elif (side == "b" and not column.in_base) or (side == "c" and column.added):
            continue
        elif side == "p" and not column.staged:
            if column.in_base or row["op"] == "insert":
                image[column.name] = row[f"b{position}"]
        else:
            image[column.name] = row[f"{side}{position}"]
    return image
