"""The large tables of the benchmarks, made small: they are what others read, and every operation can be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

import merging
from benchmarks import scale
from benchmarks.scale_tables import Shape, linked, make_table, make_texts, make_wide
from tests.merging.delta.delta_tables import assert_all_readers_agree

SHAPE = Shape(files=120, adds=50, vectors=30, marked=4, checkpoint="files")
OF_MANY_FILES = [one for one in scale.OPERATIONS if one.table in ("many", "versions", "page", "small")]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(tmp_path_factory.mktemp("scale") / "table", SHAPE)


def test_everybody_reads_the_table_alike(table: Path) -> None:
    found = merging.table_condition(str(table))
    assert (found.version, found.files, found.vectors, found.row_count) == (3 + 8, 120, 30, SHAPE.rows)
    assert_all_readers_agree(str(table))


@pytest.mark.parametrize("operation", OF_MANY_FILES, ids=lambda one: one.name)
def test_every_operation_can_be_measured(
    operation: scale.Operation, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scale.SHAPES, "small", SHAPE)
    measured = scale.Measured()
    operation.run(str(linked(table, tmp_path / "copy")), measured)
    assert measured.cpu > 0


@pytest.mark.parametrize("step", scale.WIDE_STEPS)
def test_every_step_on_wide_tables_can_be_measured(tmp_path: Path, step: str) -> None:
    measured = scale.Measured()
    [run, *_] = [one.run for one in scale.OPERATIONS if one.name.endswith(f" columns, {step}")]
    run(str(make_wide(tmp_path / "wide", 20)), measured)
    assert measured.cpu > 0


def test_large_texts_can_be_measured(tmp_path: Path) -> None:
    measured = scale.Measured()
    texts = make_texts(tmp_path / "texts", 50, 10_000)
    assert_all_readers_agree(str(texts))
    scale.change_texts(str(texts), measured)
    assert measured.cpu > 0


def test_an_operation_that_ends_in_an_error_is_a_row_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(table: str, measured: scale.Measured) -> None:
        merging.inspect_table(str(tmp_path / "nothing"))

    monkeypatch.setattr(scale, "OPERATIONS", [scale.Operation("fails", "none", failing)])
    assert "no Delta table" in scale.measure_here("fails", str(tmp_path))["failed"]


def test_an_operation_whose_process_dies_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    unknown = scale.Operation("nobody knows it", "none", scale.open_cold)
    assert scale.measure(unknown, tmp_path / "table") == {"failed": "the process ended with 1"}
