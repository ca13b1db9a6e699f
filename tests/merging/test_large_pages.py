"""Pages of rows of every size: they end early where the rows are large, and have each row once, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging.sql import paging
from merging.sql.paging import PAGE_BYTES

KEYS = ["id"]
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("number", pa.int64()),
        ("body", pa.string()),
        ("raw", pa.binary()),
        ("notes", pa.list_(pa.string())),
        ("pair", pa.struct([("left", pa.string())])),
    ]
)
PAGE = 1 << 20
#: Nothing, little, the share of one row and a page, and more than a page, side by side in every order.
SIZES = (0, 5, 5_600, 62_500, PAGE + 1, 10, 310_000, 430_000, 37_000, 190_000, PAGE, 1)
PLACES = ("body", "raw", "notes", "pair")
LIMIT = 7

Place = tuple[int, str | None]
Listing = Callable[[str | None, int], tuple[list[Place], str | None, str | None, int]]
"""A page at a cursor: the keys of its rows, of conflicts with their columns; the cursors of the next and of the page
before; and what its rows hold.
"""


def rows(mark: str) -> pa.Table:
    """A row of each size in each kind of column; ``mark`` tells one version's values from another's."""
    made = []
    for number, size in enumerate(SIZES * len(PLACES)):
        text = (mark * size)[:size]
        row: dict[str, Any] = {"id": number, "number": ord(mark)}
        row |= {"body": mark, "raw": b"", "notes": None, "pair": {"left": mark}}
        place = PLACES[number % len(PLACES)]
        row[place] = {"body": text, "raw": text.encode(), "notes": [mark, text], "pair": {"left": text}}[
            place
        ]
        made.append(row)
    return pa.Table.from_pylist(made, SCHEMA)


NUMBER = len(SIZES) * len(PLACES)
#: Cells in which both sides propose what the table had.
AGREED = {
    (number, column)
    for number, size in enumerate(SIZES * len(PLACES))
    for column in PLACES
    if (
        not size and column != "notes"
        if column == PLACES[number % len(PLACES)]
        else column in ("raw", "notes")
    )
}


def held(value: Any) -> int:
    """What a value of a page holds."""
    if isinstance(value, dict):
        return sum(map(held, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(held, value))
    return len(value) if isinstance(value, (str, bytes)) else 0


@pytest.fixture(scope="module")
def listings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Listing]]:
    """Every listing of rows that there is, of a table whose rows were all changed, by us and by somebody else."""
    folder = tmp_path_factory.mktemp("large-pages")
    table, other = str(folder / "table"), str(folder / "other")
    for one in (table, other):
        merging.create_table(one, rows("a"))
    staged, theirs, ours = (
        merging.stage(one, rows(mark), KEYS, destination=str(folder / "staged"))
        for one, mark in ((table, "b"), (other, "c"), (other, "b"))
    )
    request = merging.MergeRequest(table, "CR-1", KEYS, staged, destination=str(folder / "artefacts"))
    with ExitStack() as opened:
        opened.enter_context(pytest.MonkeyPatch.context()).setattr(paging, "PAGE_BYTES", PAGE)
        before = merging.inspect_table(table).version
        done = merging.merge(request)
        merging.merge(merging.MergeRequest(other, "CR-1", KEYS, theirs))
        clash = merging.MergeRequest(other, "CR-2", KEYS, ours, destination=str(folder / "clash"))
        agreed = merging.MergeRequest(other, "CR-3", KEYS, ours, skip_conflict_check=True)
        [images] = (folder / "artefacts").rglob("images.parquet")
        plan = opened.enter_context(merging.plan(agreed))
        conflicts = opened.enter_context(merging.plan(clash)).conflicts
        kept = opened.enter_context(merging.open_conflicts(clash, str(folder / "kept"), ()))
        versions = opened.enter_context(
            closing(
                merging.compare_versions(table, primary_keys=KEYS, before=before, after=done.merged_version)
            )
        )
        merged = opened.enter_context(closing(merging.changes_merged(str(images.parent))))

        def of_table(**order: Any) -> Listing:
            def page(after: str | None, limit: int) -> tuple[list[Place], str | None, str | None, int]:
                found = merging.preview(table, primary_keys=KEYS, after=after, limit=limit, **order)
                ids: list[Place] = [(row["id"], None) for row in found.rows]
                return ids, found.next, found.previous, held(found.rows)

            return page

        def of_changes(asked: Callable[..., Any]) -> Listing:
            def page(after: str | None, limit: int) -> tuple[list[Place], str | None, str | None, int]:
                found = asked(after=after, limit=limit)
                if getattr(found, "total", 0):
                    assert found.total == NUMBER
                    assert found.start == found.items[0].key["id"]
                sides = [[vars(one.sides), getattr(one, "merged", None)] for one in found.items]
                ids = [(one.key["id"], getattr(one, "column", None)) for one in found.items]
                return ids, found.next, found.previous, held(sides)

            return page

        yield {
            "table": of_table(),
            "table by another column": of_table(order_by="number", descending=True),
            "staged": of_changes(staged.page),
            "plan": of_changes(plan.rows),
            "versions": of_changes(versions.page),
            "merged": of_changes(merged.page),
            "conflicts": of_changes(conflicts.page),
            "kept conflicts": of_changes(kept.page),
        }


@pytest.mark.parametrize(
    "name",
    [
        "table",
        "table by another column",
        "staged",
        "plan",
        "versions",
        "merged",
        "conflicts",
        "kept conflicts",
    ],
)
def test_every_row_is_on_one_page_and_no_page_holds_more_than_a_row_or_so_many_bytes(
    listings: dict[str, Listing], name: str
) -> None:
    page = listings[name]
    pages, after, previous = [], None, None
    while True:
        places, after, previous, size = page(after, LIMIT)
        assert len({number for number, _ in places}) == 1 or size <= PAGE
        pages.append(places)
        if after is None:
            break
    listed = [place for places in pages for place in places]
    assert len(pages) > len(listed) // LIMIT + 1
    if "conflicts" in name:  # all of them are of cells, and their pages go forward only
        columns = [one for one in SCHEMA.names if one != "id"]
        assert listed == [
            (number, column)
            for number in range(NUMBER)
            for column in columns
            if (number, column) not in AGREED
        ]
        return
    assert listed == [(number, None) for number in range(NUMBER)]
    back = [pages[-1]]
    while previous is not None:
        places, _, previous, size = page(previous, LIMIT)
        assert len(places) == 1 or size <= PAGE
        back.insert(0, places)
    assert [place for places in back for place in places] == listed


MEASURED = """
import json, resource, sys
import merging
merging.warm_up()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table, staged = sys.argv[1:]
rows = merging.preview(table, primary_keys=["id"], limit=200).rows
changes = merging.open_for_pages(staged).page(limit=200).items
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([len(rows), len(changes), grown << 10]))
"""


def test_a_page_of_rows_of_a_megabyte_takes_a_bounded_part_of_memory(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("body", pa.string())])

    def batches(mark: str) -> pa.RecordBatchReader:
        parts = (
            pa.record_batch(
                [
                    list(range(at, at + 20)),
                    [f"{mark} {one} " + "x" * 1_000_000 for one in range(at, at + 20)],
                ],
                schema,
            )
            for at in range(0, 400, 20)
        )
        return pa.RecordBatchReader.from_batches(schema, parts)

    table = str(tmp_path / "table")
    merging.create_table(table, batches("a"))
    staged = merging.stage(table, batches("b"), KEYS, destination=str(tmp_path / "staged"))
    command = [sys.executable, "-c", MEASURED, table, staged.location]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shown, changed, grown = json.loads(done.stdout)
    assert shown == PAGE_BYTES // 1_000_010
    assert changed == PAGE_BYTES // 2_000_020
    assert grown < 400 << 20
