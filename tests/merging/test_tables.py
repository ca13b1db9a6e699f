"""What others read of a table: facts, keys, pages, history."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import merging
from tests.merging.sites import Site
from tests.merging.world import B, Row, World

pytestmark = pytest.mark.any_store


def test_facts_from_the_log(world: World) -> None:
    info = merging.inspect_table(world.uri)
    assert (info.version, info.row_count, info.strategy) == (0, 3, "merge-on-read")
    assert [(one.name, one.type) for one in info.columns] == [
        ("id", "long"),
        ("a", "integer"),
        ("b", "string"),
        ("c", "double"),
    ]
    world.merge(world.stage(pa.table({"id": [1], "_op": ["delete"]})))
    assert merging.inspect_table(world.uri).row_count == 2
    assert merging.inspect_table(world.uri, version=0).row_count == 3
    with pytest.raises(merging.TableNotFound):
        merging.inspect_table(str(world.folder / "nowhere"))


def test_keys_are_checked(site: Site) -> None:
    rows: list[Row] = [*B, {"id": 1, "a": 10, "b": "q", "c": None}, {"id": None, "a": 1, "b": "r", "c": None}]
    world = World(site, "merge-on-read", rows=rows)
    report = merging.check_keys(world.uri, ["id"])
    assert (report.null_rows, report.duplicate_keys, report.ok) == (1, 1, False)
    assert report.examples == ({"id": None}, {"id": 1})
    assert merging.check_keys(world.uri, ["a", "id"]).duplicate_keys == 1
    with pytest.raises(merging.InvalidKeys, match="cannot be keys"):
        merging.check_keys(world.uri, ["c"])


def pages(world: World, **options: Any) -> list[list[Any]]:
    found, after = [], None
    while True:
        page = merging.preview(world.uri, primary_keys=world.keys, after=after, limit=3, **options)
        found.append([row["id"] for row in page.rows])
        after = page.next
        if after is None:
            assert back_from(page, world, **options) == found[-2::-1]
            return found


def back_from(page: merging.TablePage, world: World, **options: Any) -> list[list[Any]]:
    """The pages before a page, the nearest first; each leads on to where one came from."""
    found = []
    while page.previous is not None:
        page = merging.preview(world.uri, primary_keys=world.keys, after=page.previous, limit=3, **options)
        found.append([row["id"] for row in page.rows])
        assert page.next is not None
    return found


def test_pages_lead_back_to_rows_that_went_meanwhile_no_more(site: Site) -> None:
    rows: list[Row] = [{"id": n, "a": 0, "b": None, "c": None} for n in range(6)]
    world = World(site, "merge-on-read", rows=rows)
    first = merging.preview(world.uri, primary_keys=["id"], limit=3)
    world.set_current(rows[:3])
    gone = merging.preview(world.uri, primary_keys=["id"], limit=3, after=first.next)
    assert (gone.rows, gone.next) == ((), None)
    back = merging.preview(world.uri, primary_keys=["id"], limit=3, after=gone.previous)
    assert ([row["id"] for row in back.rows], back.previous) == ([0, 1, 2], None)
    assert merging.preview(world.uri, primary_keys=["id"], limit=3, after=back.next).rows == ()


def test_pages_in_any_order(site: Site) -> None:
    rows = [
        {"id": n, "a": [None, 1, 2][n % 3], "b": f"b{n}", "c": float("nan") if n == 4 else n / 3}
        for n in range(8)
    ]
    world = World(site, "merge-on-read", rows=rows)
    world.merge(world.stage(pa.table({"id": [7], "_op": ["delete"]})))
    assert pages(world) == [[0, 1, 2], [3, 4, 5], [6]]
    assert pages(world, order_by="id", descending=True) == [[6, 5, 4], [3, 2, 1], [0]]
    assert pages(world, order_by="a") == [[1, 4, 2], [5, 0, 3], [6]]
    assert pages(world, order_by="a", descending=True) == [[2, 5, 1], [4, 0, 3], [6]]
    assert pages(world, order_by="c", descending=True) == [[4, 6, 5], [3, 2, 1], [0]]
    assert pages(world, filters=[("a", "is not null", None), ("id", ">", "1")]) == [[2, 4, 5]]
    assert pages(world, filters=[("b", "contains", "B3")]) == [[3]]
    page = merging.preview(world.uri, primary_keys=["id"], columns=["b"], version=0, limit=1)
    assert (page.rows, page.version) == (({"b": "b0"},), 0)
    with pytest.raises(merging.InvalidFilter):
        pages(world, filters=[("a", "=", "many")])
    with pytest.raises(merging.InvalidFilter):
        pages(world, filters=[("a", "; drop", 1)])
    with pytest.raises(merging.InvalidFilter):
        pages(world, order_by="nope")
    with pytest.raises(merging.InvalidCursor):
        merging.preview(world.uri, primary_keys=["id"], after="rubbish")


def test_pages_of_some_partitions_in_an_order(site: Site) -> None:
    """Rows of several files whose partition is told by the file: DuckDB's own way to their first rows breaks."""
    rows = [{"id": n, "a": n % 3, "b": f"b{n % 2}", "c": n / 3} for n in range(12)]
    world = World(site, "merge-on-read", rows=rows, partition_by=["a", "b"])
    assert pages(world, filters=[("a", "=", 1)], order_by="a") == [[1, 4, 7], [10]]
    assert pages(world, filters=[("b", "=", "b1")], order_by="b", descending=True) == [[1, 3, 5], [7, 9, 11]]
    assert pages(world, filters=[("a", ">", 0), ("id", "<", 9)], order_by="a") == [[1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (
            pa.timestamp("us", tz="UTC"),
            [datetime.datetime(2024, 1, n, tzinfo=datetime.UTC) for n in (1, 2, 3, 4)],
        ),
        (pa.date32(), [datetime.date(2024, 1, n) for n in (1, 2, 3, 4)]),
        (pa.decimal128(10, 2), [Decimal("-1.50"), Decimal("0.00"), Decimal("2.25"), Decimal("10.00")]),
        (pa.binary(), [b"", b"\x00", b"0x", b"\xff"]),
        (pa.string(), ["", "'", "A", "é"]),
    ],
)
def test_pages_by_keys_of_any_type(site: Site, kind: pa.DataType, values: list[Any]) -> None:
    schema = pa.schema([("id", kind), ("v", pa.int64())])
    world = World(site, "merge-on-read", schema, [{"id": value, "v": 1} for value in reversed(values)])
    assert pages(world) == [values[:3], values[3:]]
    first = merging.preview(world.uri, primary_keys=["id"], filters=[("id", "=", values[1])])
    assert [row["id"] for row in first.rows] == [values[1]]


def test_history_is_paged(world: World) -> None:
    for number in range(3):
        world.merge(world.stage([{"id": 1, "a": number}], base_version=None), f"CR-{number}")
    newest = merging.history(world.uri, limit=2)
    assert [one.cr_id for one in newest] == ["CR-2", "CR-1"]
    assert [one.version for one in merging.history(world.uri, before=newest[-1].version)] == [1, 0]
