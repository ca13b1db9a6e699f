"""Staged rows written the short way stand as those that were written the long way, and have the same digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merging import Staged
from merging.sql.session import session
from merging.staging.layout import Layout, RowCounts, content_digest
from tests.merging.world import World
from tests.options import ENGINE_EXAMPLES

EXAMPLES = ENGINE_EXAMPLES or 15
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("a", pa.int64()),
        ("b", pa.string()),
        ("c", pa.float64()),
        ("kept", pa.string()),
        ("items", pa.list_(pa.float64())),
        ("pairs", pa.map_(pa.string(), pa.int64())),
    ]
)
CHANGED = SCHEMA.append(pa.field("new", pa.string())).append(pa.field("_op", pa.string()))
BASE: list[dict[str, Any]] = [
    {
        "id": n,
        "a": n,
        "b": [f"row {n}", "", None][n % 3],
        "c": [n / 2, 0.0, float("nan"), None][n % 4],
        "kept": [f"kept {n}", None][n % 2],
        "items": [[0.0, float(n)], [], None][n % 3],
        "pairs": [[("x", n), ("y", 1)], None][n % 2],
    }
    for n in range(8)
]
OPERATIONS = [["update"], ["insert"], ["delete"], ["update", "insert"], ["update", "insert", "delete"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("staged_rows"), "merge-on-read", SCHEMA, BASE)


@st.composite
def contents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with some of the operations, in any order, of which some columns change in no row."""
    operations = draw(st.sampled_from(OPERATIONS))
    changing = draw(st.sets(st.sampled_from(CHANGED.names[1:-1]), min_size=1))
    rows = []
    for number in draw(st.lists(st.integers(0, 11), min_size=1, unique=True)):
        old = ["update", "delete"] if number < 8 else ["insert"]
        fitting = [one for one in operations if one in old]
        if not fitting:
            continue
        base = BASE[number] if number < 8 else {"id": number}
        other = {
            "a": draw(st.sampled_from([-1, None])),
            "b": draw(st.sampled_from(["~", "", None, "a|b"])),
            "c": draw(st.sampled_from([-0.0, 0.0, float("nan"), float("inf"), 0.1, None])),
            "kept": draw(st.sampled_from(["other", None])),
            "items": draw(st.sampled_from([[-0.0, 1.0], [], [None], None])),
            "pairs": draw(st.sampled_from([[("y", 1), ("x", number)], [], None])),
            "new": draw(st.sampled_from(["n", None])),
        }
        given = {name: value for name, value in other.items() if name in changing}
        rows.append({**base, **given, "_op": draw(st.sampled_from(fitting))})
    return rows


def whole_digest(staged: Staged) -> str:
    """The digest of content of which every row and cell is looked at."""
    layout = Layout(
        staged.primary_keys,
        staged.schema,
        staged.base_column_count,
        tuple(
            position
            for position, name in enumerate(staged.schema.names)
            if name in staged.columns and name not in staged.primary_keys
        ),
    )
    anything = RowCounts(
        {"insert": 1, "update": 1, "delete": 1}, dict.fromkeys(staged.schema.names, 1), 0, has_absent=True
    )
    with session() as opened:
        rows = f"read_parquet('{staged.rows_path}')"
        return content_digest(opened, rows, staged.table_id, layout, anything)


@given(contents())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_digest_is_that_of_every_cell(world: World, rows: list[dict[str, Any]]) -> None:
    """What is known of all rows beforehand is not asked of each, and the digest is none the other for it."""
    staged = world.stage(pa.Table.from_pylist(rows, schema=CHANGED))
    assert staged.digest == whole_digest(staged)


@given(contents(), st.data())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_digest_knows_what_rows_leave_out(
    world: World, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    names = ["a", "b", "kept"]
    lines = [
        {
            "id": row["id"],
            "_op": row["_op"],
            **{name: row.get(name) for name in names if data.draw(st.booleans())},
        }
        for row in rows
    ]
    path = world.file("x.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    staged = world.stage(Path(path)) if lines else None
    assert staged is None or staged.digest == whole_digest(staged)
