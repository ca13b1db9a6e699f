"""The sentence about what moved under a request, for every mixture of what can have moved."""

from typing import Any

import pytest
from django.utils.html import strip_tags

from changerequests.services.rebasing import Moved
from datasets.rows import ChangedRow, Sides
from web.view_models.moved import MovedColumn, moved_page


def moved(**facts: Any) -> Moved:
    nothing: dict[str, Any] = {
        "base_version": 3,
        "version": 5,
        "rows_moved": 0,
        "rows_settled": 0,
        "conflicts": 0,
        "cells_moved": {},
        "cells_edited": {},
        "columns_gained": (),
        "rows": (),
        "versions": (),
    }
    return Moved(**{**nothing, **facts})


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"version": 3}, "The table has not moved since the base."),
        ({}, "None of your rows moved."),
        ({"rows_moved": 3}, "3 of your rows moved, none in a cell you change."),
        (
            {"rows_moved": 3, "cells_edited": {"seats": 2}, "conflicts": 2},
            "3 of your rows moved, in 2 cells that you change: 2 conflicts.",
        ),
        (
            {"rows_moved": 1, "cells_edited": {"seats": 1}, "rows_settled": 1},
            "1 of your rows moved, in 1 cell that you change: 1 is in the table as you want it already.",
        ),
        # A row that was deleted, or added by both sides, moved as a whole.
        ({"rows_moved": 2, "conflicts": 1}, "2 of your rows moved: 1 conflict."),
        (
            {"rows_moved": 2000, "rows_settled": 1200, "conflicts": 1},
            "2,000 of your rows moved: 1,200 are in the table as you want them already and 1 conflict.",
        ),
    ],
)
def test_the_sentence(facts: dict[str, Any], sentence: str) -> None:
    assert moved_page(moved(**facts)).sentence == sentence


def test_moved_cells_show_the_three_sides() -> None:
    whole = {"id": 1, "a": 10, "b": "x"}
    page = moved_page(
        moved(
            rows=(
                ChangedRow(
                    {"id": 1},
                    "update",
                    ("a", "b"),
                    Sides(whole, {"id": 1, "a": 9, "b": "y"}, {"id": 1, "a": 11}),
                ),
                ChangedRow({"id": 2}, "update", ("a",), Sides({"id": 2, "a": 1}, {"id": 2, "a": None}, None)),
                ChangedRow({"id": 3}, "delete", ("a",), Sides({"id": 3, "a": 1}, None, {"id": 3, "a": 2})),
            )
        )
    )
    shown = [(strip_tags(cell.key), cell.column, *map(strip_tags, cell.sides)) for cell in page.cells]
    assert shown == [
        ("1", "a", "10", "9", "11"),
        ("1", "b", "x", "y", "as the table"),
        ("2", "a", "1", "NULL", "no such row"),
        ("3", "", "the row", "no such row", "the row"),
    ]


def test_columns_stand_in_the_order_of_how_much_moved() -> None:
    page = moved_page(
        moved(cells_moved={"a": 1, "b": 2, "c": 1}, cells_edited={"c": 1}, columns_gained=("x", "y"))
    )
    assert page.columns == (MovedColumn("b", 2, 0), MovedColumn("a", 1, 0), MovedColumn("c", 1, 1))
    assert page.gained == "The table gained 2 columns: x and y."
    assert not page.is_current
