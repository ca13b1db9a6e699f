"""The three-way rules in plain Python, as slow and as plain as can be: what the engine is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from merging.sql.equality import same_value

Row = dict[str, Any]
Table = dict[Any, Row]


@dataclass
class Outcome:
    """The merged rows by key, and the conflicts as (key, column or None, kind)."""

    rows: Table
    conflicts: set[tuple[Any, str | None, str]] = field(default_factory=set)


def three_way(base: Table, current: Table, proposed: Table, *, proposed_wins: bool = False) -> Outcome:
    """Merge whole tables. In conflicts Current stands, or Proposed where it wins."""
    outcome = Outcome({key: dict(row) for key, row in current.items()})
    for key in base.keys() | proposed.keys():
        before, now, wanted = base.get(key), current.get(key), proposed.get(key)
        if same(before, wanted):
            continue
        if wanted is None:
            if now is None:
                continue
            if not same(before, now):
                outcome.conflicts.add((key, None, "modify/delete"))
                if not proposed_wins:
                    continue
            del outcome.rows[key]
        elif now is None:
            if before is not None:
                outcome.conflicts.add((key, None, "delete/modify"))
                if not proposed_wins:
                    continue
            outcome.rows[key] = dict(wanted)
        else:
            merge_cells(outcome, key, before, now, wanted, proposed_wins=proposed_wins)
    return outcome


def merge_cells(
    outcome: Outcome, key: Any, before: Row | None, now: Row, wanted: Row, *, proposed_wins: bool
) -> None:
    for name, value in wanted.items():
        if same_value(now[name], value) or (before is not None and same_value(before[name], value)):
            continue
        if before is None or not same_value(before[name], now[name]):
            outcome.conflicts.add((key, name, "add/add" if before is None else "modify/modify"))
            if not proposed_wins:
                continue
        outcome.rows[key][name] = value


def same(left: Row | None, right: Row | None) -> bool:
    if left is None or right is None:
        return left is right
    return same_value(left, right)
