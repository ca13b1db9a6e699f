"""Choices for conflicts: by a rule, or from a table in which somebody filled them in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from headgate import models
from headgate.content.rows import json_value
from headgate.content.sources import is_dictionaries, record_batches
from headgate.errors import InvalidResolution
from headgate.results import Conflicts, conflict_id

#: What a function answers for a conflict: a choice, a custom value, or nothing.
Chosen = str | tuple[str, Any] | None
Rule = str | Mapping[str | None, str] | Callable[[models.Conflict], Chosen]


def is_rule(choices: Any) -> bool:
    """Whether choices follow a rule, and do not stand in a table."""
    return isinstance(choices, (str, Mapping)) or callable(choices)


def chosen_by_rule(rule: Rule, conflicts: Conflicts) -> list[dict[str, Any]]:
    """The choices that a rule makes for the conflicts that have none; a function is asked for all."""
    chosen = []
    for conflict in conflicts:
        if callable(rule):
            answer = rule(conflict)
        elif conflict["choice"] is not None:
            continue
        else:
            answer = rule if isinstance(rule, str) else rule.get(conflict["column"])
        if answer is not None:
            chosen.append(_choice(conflict, answer, conflicts))
    return chosen


def _choice(conflict: models.Conflict, answer: str | tuple[str, Any], conflicts: Conflicts) -> dict[str, Any]:
    choice, *value = (answer,) if isinstance(answer, str) else answer
    return {
        "key": conflict["key"],
        "column": conflict["column"],
        "choice": choice,
        "inputs_digest": conflict["inputs_digest"],
        "seen": conflicts.seen_for(conflict),
        **({"value": json_value(value[0])} if value else {}),
    }


def rows_of_choices(rows: Any) -> list[dict[str, Any]]:
    """A frame, table or list of dictionaries as the last."""
    if is_dictionaries(rows):
        return [dict(row) for row in rows]
    table: list[dict[str, Any]] = pa.Table.from_batches(
        list(reader := record_batches(rows)), reader.schema
    ).to_pylist()
    return table


def chosen_in_rows(rows: Iterable[Mapping[str, Any]], conflicts: Conflicts) -> list[dict[str, Any]]:
    """The choices that were filled in, each for the conflict of its key and column as it was looked at.

    Raises ``InvalidResolution`` for rows that name no conflict.
    """
    known = {conflict_id(conflict): conflict for conflict in conflicts}
    chosen = []
    for number, row in enumerate(rows, start=1):
        if not row.get("choice"):
            continue
        key = row["key"] if "key" in row else _key_in(row, conflicts)
        conflict = known.get(conflict_id({"key": key, "column": row.get("column") or None}))
        if conflict is None:
            raise InvalidResolution(f"Row {number} names no conflict of {conflicts.cr_id}: {dict(row)}.")
        answer = (
            (row["choice"], _custom_value(row.get("value"))) if row["choice"] == "custom" else row["choice"]
        )
        made = _choice(conflict, answer, conflicts)
        if conflict["choice"] == row["choice"] and (
            row["choice"] != "custom" or conflict["value"] == made["value"]
        ):
            continue  # it stands already
        chosen.append({**made, "inputs_digest": row.get("inputs_digest") or conflict["inputs_digest"]})
    return chosen


def _key_in(row: Mapping[str, Any], conflicts: Conflicts) -> dict[str, Any]:
    names = list(conflicts[0]["key"]) if len(conflicts) else []
    return {name: json_value(row.get(name)) for name in names}


def _custom_value(value: Any) -> Any:
    """A custom value as it was filled in: JSON where it reads as such, else the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
