"""Base, Current and Proposed as one value, on everything that has three sides."""

from collections.abc import Callable
from typing import Any

import pytest

import merging
from merging import ChangedRow, Sides
from tests.merging.world import B, World, with_rows


def test_sides_are_mapped_and_walked_in_their_order() -> None:
    sides = Sides(1, 2, 3)
    assert list(sides) == [1, 2, 3]
    assert sides.map(str) == Sides("1", "2", "3")
    assert sides == Sides(base=1, current=2, proposed=3)
    with pytest.raises(AttributeError):
        sides.base = 4  # type: ignore[misc]


def images(row: ChangedRow) -> tuple[Any, ...]:
    """Which images a row has, and what it changes from and to."""
    there = [name for name in ("base", "current", "proposed", "merged") if getattr(row, name) is not None]
    cells = [None if image is None else image["a"] for image in (row.before, row.after)]
    return row.operation, there, *cells


def test_rows_tell_what_they_change_whoever_gives_them(make_world: Callable[..., World]) -> None:
    """Proposed rows change Base, a merge's rows change Current; rows that come or go have one end alone."""
    world = make_world()
    lines = '{"id": 1, "a": 11}\n{"id": 3, "_op": "delete"}\n{"id": 4, "a": 40}'
    staged = world.stage(world.file("changes.jsonl", lines))
    world.set_current(with_rows(B, {"id": 1, "a": 10, "b": "moved"}))
    assert [images(row) for row in staged.page().items] == [
        ("update", ["base", "proposed"], 10, 11),
        ("delete", ["base"], 30, None),
        ("insert", ["proposed"], None, 40),
    ]
    with world.plan(staged) as plan:
        assert [images(row) for row in plan.rows().items] == [
            ("update", ["base", "current", "proposed", "merged"], 10, 11),
            ("delete", ["base", "current"], 30, None),
            ("insert", ["proposed", "merged"], None, 40),
        ]
    [moved] = merging.changes_under(world.request(staged)).examples
    assert (moved.changed, images(moved)) == (
        ("b",),
        ("update", ["base", "current", "proposed"], 10, 11),
    )
    result = world.merge(staged)
    assert [images(row) for row in merging.read_diff(str(result.artefacts)).items] == [
        ("update", ["current", "merged"], 10, 11),
        ("delete", ["current"], 30, None),
        ("insert", ["merged"], None, 40),
    ]
