"""Random tables, edits on both sides, every strategy: the engine does what the naive rules say."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import merging
from merging.sql.equality import same_value
from tests.merging.naive import Row, Table, three_way
from tests.merging.world import STRATEGIES, World, arrow, proposal, resolve, same_rows
from tests.options import ENGINE_EXAMPLES

EXAMPLES = ENGINE_EXAMPLES or 10
DEFAULT = ENGINE_EXAMPLES is None

CELLS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "long": (pa.int64(), st.sampled_from([None, 0, 1, 2**53, 2**53 + 1, -(2**63)])),
    "double": (pa.float64(), st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf"), 5e-324])),
    "string": (pa.string(), st.sampled_from([None, "", "a", "A", "a ", "é", "é", "NULL", "x'\"\n"])),
    "decimal": (
        pa.decimal128(20, 3),
        st.sampled_from([None, Decimal("0.000"), Decimal("-1.500"), Decimal("9" * 17)]),
    ),
    "boolean": (pa.bool_(), st.sampled_from([None, True, False])),
    "binary": (pa.binary(), st.sampled_from([None, b"", b"\x00", b"\xff\x00"])),
    "list": (pa.list_(pa.int32()), st.sampled_from([None, [], [1], [1, None], [None]])),
    "struct": (
        pa.struct([("x", pa.int64()), ("y", pa.string())]),
        st.sampled_from([None, {"x": None, "y": None}, {"x": 1, "y": ""}]),
    ),
}
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "long": (pa.int64(), [-1, 0, 1, 2, 2**62]),
    "string": (pa.string(), ["", "a", "A", "a ", "é"]),
    "decimal": (pa.decimal128(9, 2), [Decimal("0.00"), Decimal("1.10"), Decimal("-1.10"), Decimal("7.00")]),
}


Drawn = tuple[pa.Schema, list[str], list[Row], list[Row], list[Row]]


@st.composite
def worlds(draw: st.DrawFn) -> Drawn:
    """A schema, its keys, and three states of a table."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    key_kinds = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=2))
    keys = [f"k{place}" for place in range(len(key_kinds))]
    names = [f"v {place}" for place in range(len(kinds))]
    fields = [pa.field(name, KEYS[kind][0]) for name, kind in zip(keys, key_kinds, strict=True)]
    fields += [pa.field(name, CELLS[kind][0]) for name, kind in zip(names, kinds, strict=True)]
    cells = dict(zip(names, (CELLS[kind][1] for kind in kinds), strict=True))
    key = st.tuples(*(st.sampled_from(KEYS[kind][1]) for kind in key_kinds))
    base: Table = draw(st.dictionaries(key, st.fixed_dictionaries(cells), max_size=6))

    def changed() -> Table:
        state = {one: dict(row) for one, row in base.items()}
        for one in draw(st.lists(st.sampled_from(sorted(base, key=str)), max_size=4)) if base else []:
            action = draw(st.sampled_from(["delete", "edit", "edit", "edit"]))
            if action == "delete":
                state.pop(one, None)
            elif one in state:
                name = draw(st.sampled_from(names))
                state[one] = {**state[one], name: draw(cells[name])}
        state.update(draw(st.dictionaries(key, st.fixed_dictionaries(cells), max_size=2)))
        return state

    def rows(state: Mapping[Any, Row]) -> list[Row]:
        return [{**dict(zip(keys, one, strict=True)), **row} for one, row in state.items()]

    return pa.schema(fields), keys, rows(base), rows(changed()), rows(changed())


def by_key(rows: list[Row], keys: list[str]) -> Table:
    return {tuple(row[key] for key in keys): row for row in rows}


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(drawn=worlds())
@settings(
    max_examples=25,
    derandomize=True,
)
def test_the_engine_equals_the_naive_rules(strategy: str, drawn: Drawn) -> None:
    assert_naive_rules(strategy, drawn)


def assert_naive_rules(strategy: str, drawn: Drawn) -> None:
    """Plan and merge come to what a few lines of Python make of the three states."""
    schema, keys, base, current, proposed = drawn
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), strategy, schema, base, keys)
        staged = world.stage(proposal(base, proposed, schema, keys))
        world.set_current(current)
        tables = [by_key(rows, keys) for rows in (base, current, proposed)]
        expected = three_way(*tables)
        with world.plan(staged) as plan:
            found = list(plan.conflicts)
            counts = (plan.rows_added, plan.rows_updated, plan.rows_deleted)
        places = {(tuple(one.key[key] for key in keys), one.column, one.kind) for one in found}
        assert places == expected.conflicts
        if found:
            version = world.version
            with pytest.raises(merging.MergeConflict):
                world.merge(staged)
            assert world.version == version
        side = "proposed" if len(base) % 2 else "current"
        result = world.merge(staged, resolutions=resolve(found, side))
        wanted = three_way(*tables, proposed_wins=side == "proposed").rows
        assert same_rows(world.rows(), arrow(schema, wanted.values()).to_pylist(), keys)
        moved = (
            sum(1 for key in wanted if key not in tables[1]),
            sum(1 for key in tables[1] if key not in wanted),
        )
        assert (result.diff.rows_added, result.diff.rows_deleted) == moved
        updated = [key for key in wanted if key in tables[1] and not same_value(tables[1][key], wanted[key])]
        assert result.diff.rows_updated == len(updated)
        if not found:
            assert counts == (moved[0], len(updated), moved[1])
        assert merging.inspect_table(world.uri).row_count == len(wanted)


@given(drawn=worlds())
@settings(max_examples=EXAMPLES, derandomize=DEFAULT)
def test_a_revert_undoes_any_merge(drawn: Drawn) -> None:
    schema, keys, base, current, proposed = drawn
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), "merge-on-read", schema, base, keys)
        staged = world.stage(proposal(base, proposed, schema, keys))
        world.set_current(current)
        result = world.merge(staged, force_merge=True)
        assert result.artefacts is not None
        reverse = merging.invert(world.uri, result.artefacts, keys, str(world.folder / "staging"))
        world.merge(reverse, "CR-2")
        assert same_rows(world.rows(), arrow(schema, current).to_pylist(), keys)


@given(drawn=worlds(), shuffled=st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES, derandomize=DEFAULT)
def test_the_digest_does_not_depend_on_the_order(drawn: Drawn, shuffled: Any) -> None:
    schema, keys, base, _current, proposed = drawn
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), "copy-on-write", schema, base, keys)
        changes = proposal(base, proposed, schema, keys)
        order = list(range(changes.num_rows))
        shuffled.shuffle(order)
        assert world.stage(changes).digest == world.stage(changes.take(pa.array(order, pa.int64()))).digest
