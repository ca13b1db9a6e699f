"""What Python holds of a large content while it is merged: so much at a time, however many rows there are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import MergeRequest, Staged
from merging.delta import reading
from merging.staging import pinning
from merging.threeway.kept_conflicts import open_conflicts

NUMBER = 200_000
#: A number of eight bytes for each row would be more; the rows that go are held as such, for the vectors.
AT_A_TIME = 6 * NUMBER
KEYS = ("id",)


def rows(mark: str, step: int = 1) -> pa.Table:
    numbers = range(0, NUMBER, step)
    names = [f"{mark} {number}" for number in numbers]
    return pa.table({"id": list(numbers), "name": names, "other": [number % 7 for number in numbers]})


@pytest.fixture(autouse=True)
def portions(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading, pinning):
        monkeypatch.setattr(module, "_ROWS_AT_A_TIME", NUMBER // 20)


def held(work: Callable[[], object]) -> int:
    """How many bytes Python held at once, numpy's among them; DuckDB's and Arrow's are not."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def made(tmp_path: Path, *, vectors: bool) -> tuple[str, Staged]:
    """A table, and content that changes a cell in each of its rows."""
    table = str(tmp_path / "table")
    merging.create_table(table, rows("base"), deletion_vectors=vectors)
    return table, merging.stage(table, rows("proposed"), KEYS, destination=str(tmp_path / "staged"))


def request(table: str, staged: Staged) -> MergeRequest:
    return MergeRequest(table, "CR-1", KEYS, staged, force_merge=True)


def changed_meanwhile(table: str, tmp_path: Path, mark: str, step: int) -> None:
    """Some rows of the table as somebody else's merge leaves them: by vectors, or with their files."""
    staged = merging.stage(table, rows(mark, step), KEYS, destination=str(tmp_path / "others"))
    merging.merge(MergeRequest(table, "CR-2", KEYS, staged))


def test_rows_that_nobody_touched(tmp_path: Path) -> None:
    table, staged = made(tmp_path, vectors=True)
    assert held(lambda: merging.plan(request(table, staged)).close()) < AT_A_TIME


def test_rows_that_all_are_in_conflict(tmp_path: Path) -> None:
    table, staged = made(tmp_path, vectors=True)
    deltalake.write_deltalake(table, rows("current"), mode="overwrite")
    found = []

    def planned() -> None:
        with merging.plan(request(table, staged)) as plan:
            found.append(len(plan.conflicts))

    assert held(planned) < AT_A_TIME
    assert found == [NUMBER]


def test_the_choice_of_what_is_in_conflict(tmp_path: Path) -> None:
    table, staged = made(tmp_path, vectors=True)
    deltalake.write_deltalake(table, rows("current"), mode="overwrite")
    with open_conflicts(request(table, staged), str(tmp_path / "kept"), ()) as kept:
        assert held(kept.selection) < AT_A_TIME
        assert kept.count() == NUMBER


@pytest.mark.parametrize("vectors", [True, False])
def test_rows_of_which_others_moved_half(tmp_path: Path, *, vectors: bool) -> None:
    """By vectors, or with their files: either way others stand where they stood, or are found elsewhere."""
    table, staged = made(tmp_path, vectors=vectors)
    changed_meanwhile(table, tmp_path, "current", 2)
    found = []

    def planned() -> None:
        with merging.plan(request(table, staged)) as plan:
            found.append((len(plan.conflicts), plan.rows_updated))

    assert held(planned) < AT_A_TIME
    assert found == [(NUMBER // 2, NUMBER)]


@pytest.mark.parametrize("vectors", [True, False])
def test_rows_that_are_merged(tmp_path: Path, *, vectors: bool) -> None:
    """Twice, so that the second merge meets the vectors of the first."""
    table, staged = made(tmp_path, vectors=vectors)
    changed_meanwhile(table, tmp_path, "current", 2)
    results = []
    numbers = 40 * NUMBER
    assert held(lambda: results.append(merging.merge(request(table, staged)))) < numbers
    assert [result.rows_affected for result in results] == [NUMBER]
    told = merging.preview(table, primary_keys=["id"], limit=3).rows
    assert [row["name"] for row in told] == ["proposed 0", "proposed 1", "proposed 2"]
