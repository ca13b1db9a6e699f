"""The three-way cases observed on doltlite, on every strategy, both ways round.

Where our rule goes beyond the reference's the difference is written here; what a table of Delta Lake or a change
request cannot say (UNIQUE, foreign keys, column defaults, a change request that drops or renames columns) is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from tests.merging.world import Row, World, proposal, resolve, same_rows

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case
    for case in json.loads(Path(__file__).with_name("merge-cases.json").read_text(encoding="utf-8"))["cases"]
}
# UNIQUE over other columns than the key, and foreign keys, do not exist in Delta tables.
NOT_IN_DELTA = {"52", "54"}
# Mirrored, the change request itself would have to drop the column.
PROPOSED_DROPS = {"78", "79", "81"}
# Mirrored, Proposed says NULL in a column that it adds: a NULL there proposes nothing.
PROPOSED_ADDS_NULL = {"76"}
# Dolt resolves whole rows; here the cells in no conflict merge whatever is chosen (G01, G02).
MERGED_BY_CELL: dict[str, list[list[Any]]] = {
    "09b": [[1, 12, "o", 9.9], [2, 20, "y", 2.5], [3, 30, None, None]],
    "09c": [[1, 11, "o", 9.9], [2, 20, "y", 2.5], [3, 30, None, None]],
    # No default fills the new column of a row that the other side added (D02).
    "72": [[1, 10, "x", 7], [2, 20, "y", 7], [3, 30, "o", None]],
}
TYPES = {"int": pa.int32(), "integer": pa.int64(), "text": pa.string(), "real": pa.float64()}
KINDS = {"modified": "modify", "removed": "delete", "added": "add"}


def test_the_whole_collection_is_here() -> None:
    assert len(CASES) == 50


def schema_of(case: dict[str, Any], side: str) -> pa.Schema:
    statement = case["schema"] if isinstance(case["schema"], str) else case["schema"][-1]
    declared = dict(re.findall(r"[(,]\s*(\w+) (int|integer|text|real)\b", statement))
    for name in ("bb", "b1", "b2"):
        declared[name] = declared.get("b", "int")
    return pa.schema([(name, TYPES[declared.get(name, "int")]) for name in case[side]["columns"]])


def rows_of(case: dict[str, Any], side: str) -> list[Row]:
    return [dict(zip(case[side]["columns"], row, strict=True)) for row in case[side]["rows"]]


def keys_of(case: dict[str, Any]) -> list[str]:
    return (
        ["k1", "k2"]
        if "k1" in case["base"]["columns"]
        else ["k"]
        if "k" in case["base"]["columns"]
        else ["id"]
    )


DIRECTIONS = [
    pytest.param(case_id, mirrored, id=f"{case_id}-{'mirrored' if mirrored else 'direct'}")
    for case_id in CASES
    for mirrored in (False, True)
    if case_id not in NOT_IN_DELTA and not (mirrored and case_id in PROPOSED_DROPS | PROPOSED_ADDS_NULL)
]


@pytest.mark.sample(40)
@pytest.mark.parametrize(("case_id", "mirrored"), DIRECTIONS)
def test_case(make_world: Callable[..., World], case_id: str, mirrored: bool) -> None:
    run_case(make_world, case_id, mirrored)


def run_case(make_world: Callable[..., World], case_id: str, mirrored: bool) -> None:
    """Stage, plan and merge a case, and compare all that comes of it with what the collection says."""
    case = CASES[case_id]
    current, proposed = ("theirs", "ours") if mirrored else ("ours", "theirs")
    keys = keys_of(case)
    base_schema = schema_of(case, "base")
    world = make_world(schema=base_schema, rows=rows_of(case, "base"), keys=keys)
    staged = world.stage(
        proposal(rows_of(case, "base"), rows_of(case, proposed), schema_of(case, proposed), keys)
    )
    if case[current] != case["base"]:
        world.set_current(rows_of(case, current), schema_of(case, current))
    before = world.version

    if case["outcome"] == "clean":
        result = world.merge(staged)
        assert result.merged_version == before + 1
        assert same_rows(world.rows(), expected_rows(case, case_id), keys)
        return

    with world.plan(staged) as plan:
        found = list(plan.conflicts)
    with pytest.raises(merging.MergeConflict) as refused:
        world.merge(staged)
    assert [one.key for one in refused.value.conflicts] == [one.key for one in found]
    assert world.version == before
    assert same_rows(world.rows(), rows_of(case, current), keys)
    if case["outcome"] == "schema_conflict":
        assert {one.kind for one in found} == {"schema"}
        return
    assert_same_conflicts(found, case, keys, mirrored=mirrored)
    if case["resolve"] is not None:
        side = "proposed" if (case["resolve"] == "theirs") != mirrored else "current"
        world.merge(staged, resolutions=resolve(found, side))
        assert same_rows(world.rows(), expected_rows(case, case_id), keys)


def expected_rows(case: dict[str, Any], case_id: str) -> list[Row]:
    rows = MERGED_BY_CELL.get(case_id, case["merged"]["rows"])
    return [dict(zip(case["merged"]["columns"], row, strict=True)) for row in rows]


def assert_same_conflicts(
    found: list[merging.Conflict], case: dict[str, Any], keys: list[str], *, mirrored: bool
) -> None:
    expected = set()
    for one in case["conflicts"]:
        current, proposed = (one["theirs"], one["ours"]) if mirrored else (one["ours"], one["theirs"])
        current_kind, proposed_kind = (
            (one["theirs_kind"], one["ours_kind"]) if mirrored else (one["ours_kind"], one["theirs_kind"])
        )
        base = one["base"]
        key = tuple((current or proposed or base)[name] for name in keys)
        kind = f"{KINDS[current_kind]}/{KINDS[proposed_kind]}"
        if current is None or proposed is None:
            expected.add((key, None, kind))
            continue
        known = set(case["base"]["columns"])
        for name in current:
            unmoved = base is not None and name in known and base[name] in (current[name], proposed[name])
            if current[name] != proposed[name] and not unmoved:
                expected.add((key, name, kind))
    assert {(tuple(one.key[name] for name in keys), one.column, one.kind) for one in found} == expected
    for one in found:
        if one.column is not None:
            source = next(
                item
                for item in case["conflicts"]
                if (item["ours"] or item["theirs"])[keys[0]] == one.key[keys[0]]
            )
            ours, theirs = source["ours"][one.column], source["theirs"][one.column]
            assert (one.current, one.proposed) == ((theirs, ours) if mirrored else (ours, theirs))
            assert one.base == (source["base"] or {}).get(one.column)
