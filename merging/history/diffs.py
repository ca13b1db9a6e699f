"""Rows of a merge as the images that it stored have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.delta.schema import delta_schema
from merging.errors import StagedCorrupt
from merging.executing.artefacts import IMAGES, KNOWN_FORMATS, SUMMARY
from merging.model import ChangedRow, Operation, Row, Sides
from merging.sql.equality import same_value


def summary_of(folder: Path) -> tuple[dict[str, Any], pa.Schema]:
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if summary["format"] not in KNOWN_FORMATS or not (folder / IMAGES).is_file():
            raise ValueError("unknown format or no images")
        return summary, delta_schema(json.dumps({"type": "struct", "fields": summary["fields"]}))
    except (OSError, ValueError, KeyError) as error:
        raise StagedCorrupt(f"The stored diff at {folder} is missing or damaged.") from error


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
