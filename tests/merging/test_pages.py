"""A page of staged content costs a page: what is read for it, and that nobody decides by what was not verified."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

import merging
from merging import Staged, StagedCorrupt, ValueGroup
from merging.model import ChangedRow, ChangesFilter, Operation, Sides
from merging.staging import summary
from merging.staging.summary import Summary
from merging.store.publishing import file_facts
from tests.merging.world import World

ROWS = 20_000
GROUP = 4_096
DELETED = range(7, ROWS, 3_001)
ADDED = range(ROWS, ROWS + 50)
RARE = range(11, ROWS, 2_003)
NEW = range(3, ROWS, 4_999)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    schema = pa.schema([("id", pa.int64()), ("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])
    rows = [{"id": n, "a": n, "b": f"row {n}", "c": n / 2} for n in range(ROWS)]
    return World(tmp_path_factory.mktemp("pages"), "merge-on-read", schema, rows)


@pytest.fixture(scope="module")
def large(world: World) -> Iterator[Staged]:
    """All rows get another ``a``, in two values; few another ``b`` or a value in a new column, few go, few come."""
    numbers = [*range(ROWS), *ADDED]
    changes = pa.table(
        {
            "id": numbers,
            "a": [-1 if n % 4 else -2 for n in numbers],
            "b": [f"other {n}" if n in RARE or n in ADDED else f"row {n}" for n in numbers],
            "new": [n if n in NEW else None for n in numbers],
            "_op": ["delete" if n in DELETED else "upsert" for n in numbers],
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "_FROM_ROWS", ROWS)
        yield world.stage(changes)


def walked(staged: Staged, operation: Operation | None, column: str | None, limit: int = 37) -> list[Any]:
    """The keys of all pages, one after the other."""
    keys, after = [], None
    while True:
        page = staged.page(ChangesFilter(operation=operation, column=column), after=after, limit=limit)
        keys += [row.key["id"] for row in page.items]
        after = page.next
        if after is None:
            return keys
        assert len(page.items) == limit


@pytest.mark.parametrize(("operation", "column"), [(None, None), (None, "b"), ("insert", None)])
def test_pages_lead_back_as_they_led_on(
    large: Staged, operation: Operation | None, column: str | None
) -> None:
    length = 4_999 if column is None and operation is None else 7
    ahead, after = [], None
    while True:
        page = large.page(ChangesFilter(operation=operation, column=column), after=after, limit=length)
        ahead.append([row.key["id"] for row in page.items])
        after = page.next
        if after is None:
            break
    assert len(ahead) > 2
    behind = []
    while page.previous is not None:
        page = large.page(
            ChangesFilter(operation=operation, column=column), after=page.previous, limit=length
        )
        behind.append([row.key["id"] for row in page.items])
    assert behind == ahead[-2::-1]


def test_large_content_has_a_summary(large: Staged) -> None:
    assert large.counts == {"insert": 50, "update": ROWS - 7, "delete": 7}
    assert large.summary == Summary(frozenset({"insert", "delete"}), frozenset({"b", "new"}))
    files = pyarrow.parquet.ParquetFile(large.rows_path).metadata
    assert [files.row_group(place).num_rows for place in range(files.num_row_groups)] == [
        *([GROUP] * 4),
        ROWS + 50 - 4 * GROUP,
    ]
    marks = pyarrow.parquet.read_table(Path(large.location) / "marks.parquet").to_pylist()
    assert {row["n"] for row in marks} == {*DELETED, *RARE, *NEW, *ADDED}
    assert Counter(row["op"] for row in marks) == {"delete": 7, "insert": 50, "update": 15}


@pytest.mark.sample(16)
@pytest.mark.parametrize("known", [True, False], ids=["with summary", "without"])
@pytest.mark.parametrize("column", [None, "b", "c", "new", "id", "nowhere"])
@pytest.mark.parametrize("operation", [None, "insert", "update", "delete"])
def test_filtered_pages_find_every_row_once(
    large: Staged, operation: Operation | None, column: str | None, known: bool
) -> None:
    staged = large if known else dataclasses.replace(large, summary=None)
    rows: dict[str, set[int]] = {
        "insert": set(ADDED),
        "delete": set(DELETED),
        "update": set(range(ROWS)) - set(DELETED),
    }
    changing: dict[str | None, set[int]] = {
        None: {*range(ROWS), *ADDED},
        "b": {*RARE, *ADDED, *DELETED},
        "new": {*NEW},
        "c": {*DELETED},
        "id": {*DELETED},
        "nowhere": set(),
    }
    changing["new"] |= set(DELETED)
    wanted = rows[operation] if operation else {*range(ROWS), *ADDED}
    limit = 5_000 if column is None else 3
    assert walked(staged, operation, column, limit) == sorted(wanted & changing[column])


def test_pages_show_the_rows_whole(large: Staged) -> None:
    [row] = large.page(ChangesFilter(column="b"), limit=1).items
    assert row == ChangedRow(
        key={"id": 7},
        operation="delete",
        changed=("a", "b", "c"),
        sides=Sides({"id": 7, "a": 7, "b": "row 7", "c": 3.5}, None, None),
    )
    row = large.page(ChangesFilter(operation="insert"), limit=1).items[0]
    assert (row.base, row.proposed) == (
        None,
        {"id": ROWS, "a": -2, "b": f"other {ROWS}", "c": None, "new": None},
    )
    assert large.page(ChangesFilter(operation="update", column="new"), limit=1).items[0].proposed == {
        "id": 3,
        "a": -1,
        "b": "row 3",
        "c": 1.5,
        "new": 3,
    }


def test_the_most_frequent_edits_are_known(large: Staged) -> None:
    """Equal edits are the same value from the same value; here every row of ``a`` had its own."""
    groups = large.value_groups(limit=30)
    assert groups == dataclasses.replace(large, summary=None).value_groups(limit=30)
    assert groups[:2] == (ValueGroup("a", 0, -2, 1), ValueGroup("a", 1, -1, 1))
    assert len(large.value_groups(limit=500)) == 500
    assert len(large.value_groups(limit=600)) == 600


def test_equal_edits_are_grouped_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_FROM_ROWS", 100)
    numbers = range(100)
    changes = pa.table(
        {
            "id": numbers,
            "b": ["same" if n < 40 else f"row {n}" for n in numbers],
            "flag": [None if n < 10 else "yes" if n < 40 else "no" for n in numbers],
            "c": pa.array([float(n) for n in numbers]),
        }
    )
    staged = world.stage(changes)
    assert staged.summary is not None
    assert staged.value_groups(limit=3) == (
        ValueGroup("flag", None, "no", 60),
        ValueGroup("flag", None, "yes", 30),
        ValueGroup("b", "row 0", "same", 1),
    )
    assert staged.value_groups() == dataclasses.replace(staged, summary=None).value_groups()


def damaged(staged: Staged, folder: Path, groups: set[int]) -> str:
    """A copy of the content in which the bytes of some row groups are zeros; no file has another size."""
    copy = folder / "damaged"
    copy.mkdir()
    for path in Path(staged.location).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    content = bytearray((copy / "rows.parquet").read_bytes())
    facts = pyarrow.parquet.ParquetFile(staged.rows_path).metadata
    for group in groups:
        for place in range(facts.num_columns):
            column = facts.row_group(group).column(place)
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    (copy / "rows.parquet").write_bytes(content)
    return str(copy)


def test_a_page_reads_the_row_groups_of_its_rows_alone(large: Staged, tmp_path: Path) -> None:
    """Row groups 1, 2 and 3 cannot be read: the pages of the others are whole all the same."""
    staged = merging.open_for_pages(damaged(large, tmp_path, {1, 2, 3}))
    of_b, added = ChangesFilter(column="b"), ChangesFilter(operation="insert")
    last = large.page(limit=GROUP * 4 + 100).next
    assert staged.page() == large.page()
    assert staged.page(after=last).items == large.page(after=last).items
    assert staged.page(of_b, limit=3) == large.page(of_b, limit=3)
    assert staged.page(added) == large.page(added)
    assert staged.value_groups() == large.value_groups()
    with pytest.raises(merging.MergeError):
        staged.page(after=large.page(limit=GROUP).next)


def test_no_page_hashes_the_content(large: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def facts(path: Path) -> dict[str, Any]:
        hashed.append(path)
        return file_facts(path)

    monkeypatch.setattr("merging.staging.staged.file_facts", facts)
    merging.open_for_pages(large.location).page(limit=1)
    assert hashed == []
    merging.open_staged(large.location)
    assert sorted(path.name for path in hashed) == [
        "base_files.parquet",
        "groups.parquet",
        "marks.parquet",
        "rows.parquet",
    ]


def test_nobody_decides_by_content_that_was_changed(world: World, large: Staged, tmp_path: Path) -> None:
    """The same size, other bytes: pages open, and plan, merge, rebase and whoever opens it whole refuse."""
    location = damaged(large, tmp_path, {2})
    assert merging.open_for_pages(location).digest == large.digest
    with pytest.raises(StagedCorrupt, match=r"rows\.parquet of the staged content at .* was changed"):
        merging.open_staged(location)
    for decide in (merging.plan, merging.merge, merging.rebase):
        with pytest.raises(StagedCorrupt, match=r"rows\.parquet"):
            decide(world.request(location))
    assert world.version == world.base_version


@pytest.mark.parametrize("name", ["rows.parquet", "marks.parquet", "groups.parquet", "base_files.parquet"])
def test_pages_refuse_what_is_truncated_or_missing(large: Staged, tmp_path: Path, name: str) -> None:
    location = damaged(large, tmp_path, set())
    path = Path(location) / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StagedCorrupt, match=f"{name} of the staged content at .* is truncated"):
        merging.open_for_pages(location)
    path.unlink()
    with pytest.raises(StagedCorrupt, match=f"lacks its file {name}"):
        merging.open_for_pages(location)


def test_pages_refuse_another_manifest(large: Staged, tmp_path: Path) -> None:
    location = damaged(large, tmp_path, set())
    manifest = Path(location) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"noop_rows": 0', '"noop_rows": 1'))
    with pytest.raises(StagedCorrupt, match="was changed after it was staged"):
        merging.open_for_pages(location)
