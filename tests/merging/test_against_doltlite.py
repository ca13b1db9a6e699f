"""Random three-way merges: the engine's result is doltlite's, another engine of the same semantics.

Where the two are known to differ, the test asks for what it can:

- doltlite keeps the whole row of Current where one cell is in conflict, the engine merges the row's other cells
  (A09): of rows in conflict their keys and kinds are compared, of all other rows the content.
- SQLite knows no NaN (it stores NULL), no negative zero and few types: none of them is drawn. Delta's
  other types are in test_properties.py, against rules in plain Python.
- Keys are never NULL: doltlite's may be where the table says so, the engine refuses them when they are staged (C09).
- Schemas are the same on all sides; changed ones are in test_reference_cases.py (D02, D10, D14).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.merging.world import STRATEGIES, Row, World, proposal, resolve, same_rows
from tests.options import ENGINE_EXAMPLES

EXAMPLES = ENGINE_EXAMPLES or 15
DEFAULT = ENGINE_EXAMPLES is None

CELLS: dict[str, tuple[pa.DataType, str, list[Any]]] = {
    "long": (pa.int64(), "INTEGER", [None, 0, 1, 2**53, 2**53 + 1, -(2**63)]),
    "double": (pa.float64(), "REAL", [None, 0.0, 1.5, 0.1 + 0.2, 0.3, float("inf"), 5e-324]),
    "string": (pa.string(), "TEXT", [None, "", "a", "A", "a ", "é", "1", "NULL", "x'\"\n"]),
    "text": (pa.string(), "TEXT", [None, "{}", '{"k":1}', "2024-01-01"]),
}
KEYS: dict[str, tuple[pa.DataType, str, list[Any]]] = {
    "long": (pa.int64(), "INTEGER", [-1, 0, 1, 2, 2**62]),
    "string": (pa.string(), "TEXT", ["", "a", "A", "a ", "é"]),
}
KINDS = {"modified": "modify", "removed": "delete", "added": "add"}
Merge = Callable[[dict[str, Any]], dict[str, Any]]
Drawn = tuple[list[tuple[str, pa.DataType, str]], list[str], dict[str, list[Row]]]


@pytest.fixture(scope="module")
def doltlite_merge() -> Iterator[Merge]:
    """Merges with doltlite, which needs a process of its own."""
    program = Path(__file__).with_name("doltlite_merging.py")
    child = subprocess.Popen(
        [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    given_to, answered = child.stdin, child.stdout

    def merge(case: dict[str, Any]) -> dict[str, Any]:
        given_to.write(json.dumps(case) + "\n")
        given_to.flush()
        answer: dict[str, Any] = json.loads(answered.readline())
        return answer

    yield merge
    given_to.close()
    assert child.wait(timeout=30) == 0
    answered.close()


@st.composite
def three_states(draw: st.DrawFn) -> Drawn:
    """Columns with their types, the names of the keys, and three states of a table."""
    key_kinds = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=2))
    cell_kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    keys = [f"k{place}" for place in range(len(key_kinds))]
    names = [f"v{place}" for place in range(len(cell_kinds))]
    drawn_keys = st.tuples(*(st.sampled_from(KEYS[kind][2]) for kind in key_kinds))
    cells = {name: st.sampled_from(CELLS[kind][2]) for name, kind in zip(names, cell_kinds, strict=True)}
    base = draw(st.dictionaries(drawn_keys, st.fixed_dictionaries(cells), max_size=6))

    def changed() -> list[Row]:
        state = {key: dict(row) for key, row in base.items()}
        for key in draw(st.lists(st.sampled_from(sorted(base, key=str)), max_size=5)) if base else []:
            if draw(st.integers(0, 3)) == 0:
                state.pop(key, None)
            elif key in state:
                name = draw(st.sampled_from(names))
                state[key][name] = draw(cells[name])
        state.update(draw(st.dictionaries(drawn_keys, st.fixed_dictionaries(cells), max_size=2)))
        return rows(state)

    def rows(state: dict[Any, Row]) -> list[Row]:
        return [{**dict(zip(keys, key, strict=True)), **row} for key, row in state.items()]

    columns = [(name, *KEYS[kind][:2]) for name, kind in zip(keys, key_kinds, strict=True)]
    columns += [(name, *CELLS[kind][:2]) for name, kind in zip(names, cell_kinds, strict=True)]
    return columns, keys, {"base": rows(base), "current": changed(), "proposed": changed()}


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(drawn=three_states())
@settings(
    max_examples=EXAMPLES,
    derandomize=DEFAULT,
)
def test_the_engine_equals_doltlite(doltlite_merge: Merge, strategy: str, drawn: Drawn) -> None:
    columns, keys, states = drawn
    schema = pa.schema([(name, data_type) for name, data_type, _ in columns])
    expected = doltlite_merge({"columns": [(name, sql) for name, _, sql in columns], "keys": keys, **states})
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), strategy, schema, states["base"], keys)
        staged = world.stage(proposal(states["base"], states["proposed"], schema, keys))
        world.set_current(states["current"])
        with world.plan(staged) as plan:
            found = list(plan.conflicts)
        world.merge(staged, resolutions=resolve(found, "current"))
        merged = world.rows()

    in_conflict = {tuple(key) for key, _, _ in expected["conflicts"]}
    assert {(tuple(one.key[key] for key in keys), one.kind) for one in found} == {
        (tuple(key), f"{KINDS[current]}/{KINDS[proposed]}")
        for key, current, proposed in expected["conflicts"]
    }

    def clean(rows: list[Row]) -> list[Row]:
        return [row for row in rows if tuple(row[key] for key in keys) not in in_conflict]

    assert same_rows(clean(merged), clean(expected["rows"]), keys)
    present = {tuple(row[key] for key in keys) for row in merged}
    assert present == {tuple(row[key] for key in keys) for row in expected["rows"]}
