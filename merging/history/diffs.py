"""The diff of a merged request, page by page, from the images that the merge stored. No table is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.delta.schema import delta_schema
from merging.errors import StagedCorrupt
from merging.executing.artefacts import FORMAT_VERSION, IMAGES, SUMMARY
from merging.model import ChangedRow, Operation, Page, Row, Sides
from merging.sql.cursors import NumberedPlace
from merging.sql.equality import differs, same_value
from merging.sql.quoting import literal
from merging.sql.session import session, tuples

_LISTING = "diff"


def read_diff(
    artefacts: str,
    *,
    operation: Operation | None = None,
    column: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[ChangedRow]:
    """Rows that a merge changed, in key order: ``current`` is the row before it, ``merged`` the row after it.

    ``artefacts`` is a folder with ``images.parquet`` and ``summary.json``. O(page): only the rows asked for are read.
    Raises StagedCorrupt where the folder is not whole, InvalidCursor for a foreign cursor.
    """
    folder = Path(artefacts)
    summary, schema = summary_of(folder)
    keys: list[str] = summary["primary_keys"]
    positions = [position for position, field in enumerate(schema) if field.name not in keys]
    place = NumberedPlace.at(after, _LISTING)
    conditions = [place.condition("file_row_number")]
    if operation is not None:
        conditions.append(f"op = {literal(operation)}")
    if column is not None:
        conditions.append(_changes(column, schema, positions))
    with session() as opened:
        opened.expect_columns(len(schema))
        found = opened.table(
            f"SELECT * FROM read_parquet({literal(str(folder / IMAGES))}, file_row_number = true) "
            f"WHERE {' AND '.join(conditions)} ORDER BY {place.order('file_row_number')} LIMIT {limit + 1}"
        )
    names = found.column_names
    rows = [dict(zip(names, values, strict=True)) for values in tuples(found)]
    shown = place.shown(rows, limit)
    items = [changed_row(row, schema, keys, positions) for row in shown]
    return place.page(items, [row["file_row_number"] for row in shown], more=len(rows) > limit)


def summary_of(folder: Path) -> tuple[dict[str, Any], pa.Schema]:
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if summary["format"] != FORMAT_VERSION or not (folder / IMAGES).is_file():
            raise ValueError("unknown format or no images")
        return summary, delta_schema(json.dumps({"type": "struct", "fields": summary["fields"]}))
    except (OSError, ValueError, KeyError) as error:
        raise StagedCorrupt(f"The stored diff at {folder} is missing or damaged.") from error


def _changes(column: str, schema: pa.Schema, positions: list[int]) -> str:
    for position in positions:
        if schema.field(position).name == column:
            return (
                f"(op = 'update' AND {differs(f'b{position}', f'a{position}', schema.field(position).type)})"
            )
    return "false"


def changed_row(
    row: Mapping[str, Any], schema: pa.Schema, keys: list[str], positions: list[int]
) -> ChangedRow:
    key = {name: row[f"k{place}"] for place, name in enumerate(keys)}
    before = {schema.field(position).name: row[f"b{position}"] for position in positions}
    after = {schema.field(position).name: row[f"a{position}"] for position in positions}
    operation: Operation = row["op"]
    changed = tuple(name for name in before if not same_value(before[name], after[name]))

    def whole(image: Mapping[str, Any]) -> Row:
        return {name: key[name] if name in key else image[name] for name in schema.names}

    current = None if operation == "insert" else whole(before)
    merged = None if operation == "delete" else whole(after)
    return ChangedRow(key, operation, changed, Sides(None, current, None), merged)
