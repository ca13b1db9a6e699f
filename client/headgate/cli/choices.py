"""Conflicts as CSV and back: filled in with any spreadsheet or editor, matched by key and column."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from headgate.errors import InvalidResolution
from headgate.results import Conflicts

#: What stands behind the key's columns. Values are JSON, so that ``null`` is not the empty text.
COLUMNS = ("column", "kind", "base", "current", "proposed", "choice", "value", "inputs_digest")


def write_conflicts(conflicts: Conflicts, file: TextIO) -> None:
    """A line for each conflict; ``choice`` and, for ``custom``, ``value`` are to be filled in."""
    keys = _key_names(conflicts)
    writer = csv.writer(file)
    writer.writerow([*keys, *COLUMNS])
    for one in conflicts:
        custom = json.dumps(one["value"]) if one["choice"] == "custom" else ""
        writer.writerow(
            [
                *_key_texts(one["key"], keys),
                one["column"] or "",
                one["kind"],
                *(json.dumps(one[name], ensure_ascii=False) for name in ("base", "current", "proposed")),
                one["choice"] or "",
                custom,
                one["inputs_digest"],
            ]
        )


def read_choices(path: Path, conflicts: Conflicts) -> list[dict[str, Any]]:
    """The choices in a file that ``write_conflicts`` wrote and somebody filled in, as ``resolve`` takes them.

    Raises ``InvalidResolution`` with the line of what is no conflict.
    """
    keys = _key_names(conflicts)
    known = {(*_key_texts(one["key"], keys), one["column"] or ""): one for one in conflicts}
    chosen = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in (*keys, "column", "choice") if name not in (reader.fieldnames or ())]
        if missing:
            raise InvalidResolution(f"{path} has no column {missing[0]!r}; write it with `conflicts --csv`.")
        for row in reader:
            if not row["choice"]:
                continue
            one = known.get((*(row[name] for name in keys), row["column"]))
            if one is None:
                raise InvalidResolution(
                    f"{path}, line {reader.line_num}: this is no conflict of {conflicts.cr_id}."
                )
            chosen.append(
                {
                    "key": one["key"],
                    "column": one["column"],
                    "choice": row["choice"],
                    "value": row.get("value") or "",
                    "inputs_digest": row.get("inputs_digest") or one["inputs_digest"],
                }
            )
    return chosen


def _key_names(conflicts: Sequence[Mapping[str, Any]]) -> list[str]:
    # The key of a conflict of the schema is empty.
    return next((list(one["key"]) for one in conflicts if one["key"]), [])


def _key_texts(key: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    texts = (key.get(name) for name in names)
    return [
        value if isinstance(value, str) else "" if value is None else json.dumps(value) for value in texts
    ]
