"""Public tables out of Delta Lake with each tool in each format, and in again: unchanged they change nothing, edited
exactly the cells that were edited. `make test-corpus` takes all tables, `make test` a sample.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pandas as pd
import pyarrow as pa
import pytest

import merging
from merging.sql.equality import same_value
from tests.corpus.exporters import EXPORTERS
from tests.corpus.tables import ROW, SAMPLE, TABLES, arrow_table

_KEPT_ROWS = {"pandas Parquet": lambda number: number % 7 != 3}


def _parameters() -> list[Any]:
    both: list[tuple[str, str, list[Any]]] = [
        (name, exporter, []) for name in SAMPLE for exporter in EXPORTERS
    ]
    both += [(name, exporter, [pytest.mark.corpus]) for name in TABLES for exporter in EXPORTERS]
    return [
        pytest.param({**SAMPLE, **TABLES}[name], exporter, marks=marks, id=f"{name}, {exporter}")
        for name, exporter, marks in both
    ]


@pytest.fixture(scope="module")
def delta_tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], pd.DataFrame]], Any]:
    """Each table once, as delta-rs writes it: its place, and its rows as delta-rs reads them."""
    made: dict[Callable[[], pd.DataFrame], tuple[str, pa.Table]] = {}

    def table_of(make: Callable[[], pd.DataFrame]) -> tuple[str, pa.Table]:
        if make not in made:
            uri = str(tmp_path_factory.mktemp("corpus") / "table")
            deltalake.write_deltalake(uri, arrow_table(make))
            made[make] = uri, deltalake.DeltaTable(uri).to_pyarrow_table().sort_by(ROW)
        return made[make]

    return table_of


@pytest.mark.sample(20)
@pytest.mark.parametrize(("make", "exporter"), _parameters())
def test_a_table_comes_back_as_it_went_out(
    make: Callable[[], pd.DataFrame],
    exporter: str,
    delta_tables: Callable[[Callable[[], pd.DataFrame]], tuple[str, pa.Table]],
    tmp_path: Path,
) -> None:
    uri, table = delta_tables(make)
    export, ending = EXPORTERS[exporter]
    unchanged, edited = tmp_path / f"unchanged.{ending}", tmp_path / f"edited.{ending}"
    export(table, unchanged)
    staged = merging.stage(uri, str(unchanged), [ROW], destination=str(tmp_path / "staging"))
    lost = _lost_by_pandas(table, unchanged) if exporter == "pandas JSON lines" else set()
    assert _changed_cells(staged).keys() == lost
    assert staged.new_columns == ()

    after, expected = _edit(table, exporter)
    export(after, edited)
    staged = merging.stage(uri, str(edited), [ROW], destination=str(tmp_path / "staging"))
    found = {
        cell: value for cell, value in _changed_cells(staged).items() if cell not in lost or cell in expected
    }
    assert found.keys() == expected.keys()
    assert all(same_value(found[cell], expected[cell]) for cell in found)


def _changed_cells(staged: merging.Staged) -> dict[tuple[int, str], Any]:
    return {
        (row.key[ROW], name): (row.proposed or {}).get(name)
        for row in staged.page(limit=10_000).items
        for name in row.changed
    }


def _lost_by_pandas(table: pa.Table, path: Path) -> set[tuple[int, str]]:
    """Cells that its JSON does not hold: pandas writes at most 15 decimals, so small numbers lose digits, and others
    become short ones, which might as well be meant.
    """
    read = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        (number, field.name)
        for field in table.schema
        if pa.types.is_floating(field.type)
        for number, held in enumerate(table.column(field.name).to_pylist())
        if held is not None and not _same_number(held, read[number][field.name])
    }


def _same_number(held: float, read: float) -> bool:
    digits = re.sub(r"[^0-9]|e.*", "", repr(read)).lstrip("0")
    return held == read or (len(digits) > 9 and abs(read - held) <= 1e-14 * abs(held))


def _edit(table: pa.Table, exporter: str) -> tuple[pa.Table, dict[tuple[int, str], Any]]:
    """The table as somebody edits it: in each column one value changed, one taken away and one gap filled."""
    rows = table.to_pylist()
    kept = [row for row in rows if _KEPT_ROWS.get(exporter, lambda _: True)(row[ROW])]
    expected: dict[tuple[int, str], Any] = {}
    for place, field in enumerate(table.schema):
        if field.name == ROW:
            continue
        filled = [row for row in kept if row[field.name] is not None]
        gaps = [row for row in kept if row[field.name] is None]
        changes = []
        if filled:
            row = filled[place % len(filled)]
            changes.append((row, _other(row[field.name])))
        if len(filled) > 2:
            changes.append((filled[-1 - place % 2], None))
        if gaps and filled:
            changes.append((gaps[place % len(gaps)], _other(filled[0][field.name])))
        for row, value in changes:
            row[field.name] = value
            expected[row[ROW], field.name] = value
    return pa.Table.from_pylist(rows, schema=table.schema), expected


def _other(value: Any) -> Any:
    if isinstance(value, str):
        return value + ' "neu", 2'
    if isinstance(value, bool):
        return not value
    if isinstance(value, datetime.date):
        return value + datetime.timedelta(days=1)
    # With digits that every tool writes.
    return value + 1 if isinstance(value, int) else round(value + 1, 3)
