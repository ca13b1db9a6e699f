"""Staging in a real child: it stages what staging in this process does, refuses the same, and dies alone."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import Bounds
from merging.staging import apart

ROWS = "id,price,color\n1,1.50,red\n2,2.50,\n9,3.25,blue\n"
BOUNDS = Bounds(memory_bytes=2 * 1024**3, seconds=60, open_files=256, file_bytes=1024**3)

Stage = Callable[..., merging.Staged]


@pytest.fixture
def table(tmp_path: Path) -> str:
    table = str(tmp_path / "table")
    merging.create_table(table, pa.table({"id": [1, 2, 3], "price": [1.0, 2.0, 3.0]}))
    return table


@pytest.fixture
def stage_text(child_for_staging: None, table: str, tmp_path: Path) -> Stage:
    def staged(text: str, *, bounds: Bounds = BOUNDS, **options: Any) -> merging.Staged:
        (tmp_path / "received").write_text(text)
        (tmp_path / "scratch").mkdir(exist_ok=True)
        return merging.stage_apart(
            table,
            str(tmp_path / "received"),
            ("id",),
            destination=str(tmp_path / "staged"),
            scratch=str(tmp_path / "scratch"),
            bounds=bounds,
            file_name="rows.csv",
            **options,
        )

    return staged


def test_it_stages_what_staging_here_does(stage_text: Stage, table: str, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    options: dict[str, Any] = {"null_token": "red", "column_types": {"color": "string"}}
    staged = stage_text(ROWS, on_progress=lambda phase, rows: told.append((phase, rows)), **options)

    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    here = merging.stage(table, path, ("id",), destination=str(tmp_path / "here"), **options)
    assert (staged.digest, staged.rows, staged.new_column_types) == (here.digest, 3, {"color": "string"})
    assert merging.open_staged(staged.location).digest == here.digest
    assert Path(staged.location).parent == tmp_path / "staged"
    assert (told[0][0], told[-1]) == ("reading", ("checking", 3))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_it_refuses_what_staging_here_does(stage_text: Stage, table: str, tmp_path: Path) -> None:
    wrong = "id,price\n1,many\n1,2.0\n\x01,3\n"
    with pytest.raises(merging.StagingRejected) as apart_refused:
        stage_text(wrong)
    path = tmp_path / "rows.csv"
    path.write_text(wrong)
    with pytest.raises(merging.StagingRejected) as here_refused:
        merging.stage(table, path, ("id",), destination=str(tmp_path / "here"))
    assert apart_refused.value.problems == here_refused.value.problems
    assert apart_refused.value.total == here_refused.value.total
    assert list((tmp_path / "staged").rglob("*.parquet")) == []
    with pytest.raises(merging.StagingRejected):
        stage_text(ROWS, merge_schema=False)


def test_fs2_time_and_memory_of_the_child_end(stage_text: Stage, tmp_path: Path) -> None:
    with pytest.raises(merging.ConfinedTooLong):
        stage_text(ROWS, bounds=Bounds(BOUNDS.memory_bytes, seconds=0.001))
    with pytest.raises(merging.ConfinedFailure) as ended:
        stage_text(ROWS, bounds=Bounds(memory_bytes=1024**2, seconds=60))
    assert isinstance(ended.value, merging.ConfinedOutOfMemory | merging.ConfinedDied)
    assert stage_text(ROWS).rows == 3


def test_fs1_a_child_that_crashes_takes_nobody_with_it(
    stage_text: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(apart, "_CHILD", "tests.merging.confined:crash")
        with pytest.raises(merging.ConfinedDied) as died:
            stage_text(ROWS)
    assert died.value.signal_number == signal.SIGSEGV
    assert stage_text(ROWS).rows == 3


def test_a_cancelled_child_is_ended(stage_text: Stage) -> None:
    with pytest.raises(merging.ConfinedCancelled):
        stage_text(ROWS, is_cancelled=lambda: True)
