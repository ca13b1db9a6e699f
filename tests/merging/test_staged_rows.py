"""Staged rows written the short way stand as those that were written the long way, and have the same digest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import Staged
from merging.engines import Rows
from merging.sql.session import session
from merging.staging import ordering, pairing
from merging.staging.layout import Layout, RowCounts, content_digest, count_rows
from merging.staging.workbench import Relation
from tests.merging.world import World, arrow
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
            "items": draw(st.sampled_from([[-0.0, 1.0], [-0.0, 0.0], [], [None], None])),
            "pairs": draw(st.sampled_from([[("y", 1), ("x", number)], [], None])),
            "new": draw(st.sampled_from(["n", None])),
        }
        given = {name: value for name, value in other.items() if name in changing}
        rows.append({**base, **given, "_op": draw(st.sampled_from(fitting))})
    return rows


def layout_of(staged: Staged) -> Layout:
    return Layout(
        staged.primary_keys,
        staged.schema,
        staged.base_column_count,
        tuple(
            position
            for position, name in enumerate(staged.schema.names)
            if name in staged.columns and name not in staged.primary_keys
        ),
    )


def whole_digest(staged: Staged) -> str:
    """The digest of content of which every row and cell is looked at."""
    anything = RowCounts(
        {"insert": 1, "update": 1, "delete": 1}, dict.fromkeys(staged.schema.names, 1), 0, has_absent=True
    )
    with session() as opened:
        rows = f"read_parquet('{staged.rows_path}')"
        return content_digest(opened, rows, staged.table_id, layout_of(staged), anything)


@contextlib.contextmanager
def everything_written() -> Iterator[None]:
    """Each row is written beside its base image with all its cells, and all are carried to where they are sorted."""

    def together(self: pairing._Pairing, found: Rows, *, whole: bool) -> Relation:
        base = found if whole else self._reader.rows_at(found.sql, self.snapshot.schema.names)
        return self._whole(self._written("paired", self.rows.sql, base))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pairing._Pairing, "together", together)
        patched.setattr(pairing.Marks, "once", lambda self: [])
        patched.setattr(ordering._Written, "_once", property(lambda self: []))
        yield


def written(staged: Staged) -> tuple[dict[str, str], str]:
    """The rows as they stand in their file: a zero with its sign, a map in its order."""
    table = pyarrow.parquet.read_table(staged.rows_path)
    types = {field.name: str(field.type).replace(" not null", "") for field in table.schema}
    return types, repr(table.to_pylist())


def assert_written_alike(world: World, changes: Any) -> None:
    briefly = world.stage(changes)
    with everything_written():
        plainly = world.stage(changes)
    assert written(briefly) == written(plainly)
    assert briefly.digest == plainly.digest == whole_digest(briefly)
    assert (briefly.noop_rows, briefly.warnings) == (plainly.noop_rows, plainly.warnings)
    with session() as opened:
        counts = count_rows(opened, f"read_parquet('{briefly.rows_path}')", layout_of(briefly))
    assert counts == RowCounts(
        briefly.counts, briefly.cells_updated, briefly.rekeyed_rows, has_absent=briefly.has_absent
    )


@given(contents(), st.sampled_from([None, 0, 1]))
@settings(max_examples=EXAMPLES)
def test_rows_are_written_as_if_every_cell_were_carried(
    world: World, rows: list[dict[str, Any]], numbered: int | None
) -> None:
    """What a row has in common with its base stands once until it is written, whether its numbers come first or last,
    and what has no base is not written beside it.
    """
    with pytest.MonkeyPatch.context() as patched:
        if numbered is not None:
            patched.setattr(ordering, "_NUMBERED_BEFORE", numbered)
        assert_written_alike(world, pa.Table.from_pylist(rows, schema=CHANGED))


@given(contents(), st.data())
@settings(max_examples=EXAMPLES)
def test_so_are_rows_that_leave_columns_out(
    world: World, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    names = ["a", "b", "kept", "c"]
    lines = []
    for row in rows:
        named = [
            name for name in names if data.draw(st.booleans()) and repr(row.get(name)) not in {"inf", "nan"}
        ]
        lines.append({"id": row["id"], "_op": row["_op"], **{name: row.get(name) for name in named}})
    path = world.file("x.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    if lines:
        assert_written_alike(world, path)


@pytest.mark.parametrize("bits", [1, 2])
def test_more_columns_than_one_number_has_bits(
    world: World, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    rows = [{**BASE[n], "a": -n, "kept": "other" if n > 4 else BASE[n]["kept"]} for n in range(1, 8)]
    changes = pa.Table.from_pylist(rows, schema=SCHEMA)
    one = world.stage(changes)
    monkeypatch.setattr(pairing, "_BITS", bits)
    several = world.stage(changes)
    assert several.cells_updated == one.cells_updated == {"a": 7, "kept": 3}
    assert written(several) == written(one)


@given(contents())
@settings(max_examples=EXAMPLES)
def test_the_digest_is_that_of_every_cell(world: World, rows: list[dict[str, Any]]) -> None:
    """What is known of all rows beforehand is not asked of each, and the digest is none the other for it."""
    staged = world.stage(pa.Table.from_pylist(rows, schema=CHANGED))
    assert staged.digest == whole_digest(staged)


def test_the_sign_of_a_zero_is_no_part_of_a_digest(world: World) -> None:
    """Two zeros are one value, in a list as in a cell, whatever else a content changes."""
    digests = set()
    for zero in (0.0, -0.0):
        for operation, key in (("update", 3), ("upsert", 100)):
            rows = [
                {"id": 0, "a": 7, "items": [zero, 0.0], "_op": "update"},
                {"id": key, "a": 8, "items": [zero], "_op": operation},
            ]
            staged = world.stage(arrow(CHANGED, [{**row, "c": zero} for row in rows]))
            assert "items" not in staged.cells_updated or staged.cells_updated["items"] == 1
            digests.add((key, staged.digest))
    assert len(digests) == 2
