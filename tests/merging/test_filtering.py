"""Filters of changed rows mean the same wherever rows are; pages go both ways with exact counts."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import CellText, ChangedRow, ChangesFilter, Staged
from tests.merging.world import World

DAY = datetime.date(2020, 1, 1)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("seats", pa.int32()),
        ("price", pa.decimal128(9, 2)),
        ("share", pa.float64()),
        ("day", pa.date32()),
        ("tags", pa.list_(pa.string())),
    ]
)


def row(number: int, **cells: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"plane {number}",
        "seats": number * 10,
        "price": Decimal(number),
        "share": number / 4,
        "day": DAY,
        "tags": ["x"],
        **cells,
    }


BASE = [row(number) for number in range(1, 9)] + [row(9, name="", seats=None)]
CHANGES = [
    {**row(1, seats=15), "_op": "update"},
    {**row(2, seats=900, name=None), "_op": "update"},
    {**row(3, name="", price=Decimal("-0.01")), "_op": "update"},
    {**row(4, share=float("nan"), day=datetime.date(2021, 1, 1)), "_op": "update"},
    {**row(5, tags=["x", "y"]), "_op": "update"},
    {**row(6, seats=None, share=0.25), "_op": "update"},
    {**row(7), "_op": "delete"},
    {**row(9, seats=15, name=None), "_op": "update"},
    {**row(20, seats=15), "_op": "insert"},
    {**row(21, seats=91), "_op": "insert"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("filtering"), "merge-on-read", SCHEMA, BASE)


@pytest.fixture(scope="module")
def staged(world: World) -> Staged:
    schema = SCHEMA.append(pa.field("_op", pa.string()))
    return world.stage(pa.Table.from_pylist(CHANGES, schema=schema))


@pytest.fixture(scope="module")
def merged(world: World, staged: Staged) -> str:
    result = world.merge(staged)
    return str(result.artefacts)


def ids(page: merging.Page[ChangedRow]) -> list[int]:
    return [one.key["id"] for one in page.items]


CASES: list[tuple[ChangesFilter, list[int]]] = [
    (ChangesFilter(), [1, 2, 3, 4, 5, 6, 7, 9, 20, 21]),
    (ChangesFilter(operation="insert"), [20, 21]),
    (ChangesFilter(column="seats"), [1, 2, 6, 7, 9, 20, 21]),
    (ChangesFilter(operation="update", column="seats"), [1, 2, 6, 9]),
    (ChangesFilter(key="2"), [2, 20, 21]),
    (ChangesFilter(new=CellText("15")), [1, 9, 20]),
    (ChangesFilter(column="seats", old=CellText("10"), new=CellText("15")), [1]),
    (ChangesFilter(column="seats", old=CellText(None)), [9]),
    (ChangesFilter(column="name", old=CellText("")), [9]),
    (ChangesFilter(column="name", new=CellText("")), [3]),
    (ChangesFilter(new=CellText(None), operation="update"), [2, 6, 9]),
    (ChangesFilter(became_null=True), [2, 6, 9]),
    (ChangesFilter(became_null=True, column="seats"), [6]),
    (ChangesFilter(old=CellText("70")), [7]),
    (ChangesFilter(column="price", new=CellText("-0.01")), [3]),
    (ChangesFilter(column="day", new=CellText("2021-01-01")), [4]),
    (ChangesFilter(column="tags", new=CellText('["x","y"]')), [5]),
    (ChangesFilter(column="share", new=CellText("NaN")), [4]),
    (ChangesFilter(old=CellText("no value of anything")), []),
]


@pytest.mark.parametrize(("wanted", "found"), CASES, ids=[str(place) for place in range(len(CASES))])
def test_pages_files_and_merges_let_the_same_rows_through(
    staged: Staged, merged: str, wanted: ChangesFilter, found: list[int]
) -> None:
    page = staged.page(wanted)
    assert (ids(page), page.total, page.start) == (found, len(found), 0)
    assert ids(merging.read_diff(merged, wanted)) == found
    streams = (merging.changes_staged(staged.location), merging.changes_merged(merged))
    for changes in streams:
        with changes.stream(("base", "proposed"), wanted) as stream:
            assert [one for batch in stream.batches for one in batch.column("id").to_pylist()] == found


def test_what_is_unusual_is_outside_of_what_the_table_held(staged: Staged) -> None:
    assert staged.ranges["seats"] == (10, 80)
    assert staged.ranges["price"] == (Decimal("1.00"), Decimal("9.00"))
    assert (staged.ranges["day"], sorted(staged.ranges)) == ((DAY, DAY), ["day", "price", "seats", "share"])
    assert ids(staged.page(ChangesFilter(unusual=True))) == [2, 3, 4, 20, 21]
    assert ids(staged.page(ChangesFilter(unusual=True, column="seats"))) == [2, 21]
    assert ids(staged.page(ChangesFilter(unusual=True, column="name"))) == []
    assert merging.open_staged(staged.location).ranges == staged.ranges


def test_a_table_without_rows_has_no_usual_range(tmp_path: Path) -> None:
    empty = World(tmp_path, "merge-on-read", SCHEMA, [])
    staged = empty.stage(pa.Table.from_pylist([row(1)], schema=SCHEMA))
    assert staged.ranges == {}
    assert staged.page(ChangesFilter(unusual=True)).total == 0


@pytest.mark.parametrize(
    "wanted",
    [
        ChangesFilter(column="seats", new=CellText("many")),
        ChangesFilter(column="tags", new=CellText("x")),
        ChangesFilter(column="day", old=CellText("yesterday")),
    ],
)
def test_a_value_that_is_none_of_its_column_is_refused(staged: Staged, wanted: ChangesFilter) -> None:
    with pytest.raises(merging.InvalidFilter, match=f"Column {wanted.column}"):
        staged.page(wanted)


@pytest.mark.parametrize("wanted", [ChangesFilter(), ChangesFilter(column="seats"), ChangesFilter(key="2")])
def test_pages_go_both_ways(staged: Staged, merged: str, wanted: ChangesFilter) -> None:
    listings: list[Callable[..., merging.ChangesPage[ChangedRow]]] = [
        staged.page,
        lambda *given, **options: merging.read_diff(merged, *given, **options),
    ]
    for listing in listings:
        pages = [listing(wanted, limit=3)]
        while pages[-1].next is not None:
            pages.append(listing(wanted, after=pages[-1].next, limit=3))
        assert sum(len(page.items) for page in pages) == pages[0].total
        assert [page.start for page in pages] == list(range(0, pages[0].total, 3))
        back = [pages[-1]]
        while back[-1].previous is not None:
            back.append(listing(wanted, after=back[-1].previous, limit=3))
        assert [ids(page) for page in reversed(back)] == [ids(page) for page in pages]


def test_a_cursor_of_another_listing_is_refused(staged: Staged, merged: str) -> None:
    foreign = merging.read_diff(merged, limit=1).next
    for cursor in (foreign, "damaged"):
        with pytest.raises(merging.InvalidCursor):
            staged.page(after=cursor)
