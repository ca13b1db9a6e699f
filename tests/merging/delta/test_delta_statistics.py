"""Statistics of the files we write: right, or absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import polars
import pyarrow as pa
import pytest

from merging import delta
from tests.merging.delta.delta_tables import Merger, sample


def stats_of(uri: str) -> dict[str, Any]:
    [file] = delta.open_snapshot(uri).files
    assert file.stats_json is not None
    loaded: dict[str, Any] = json.loads(file.stats_json)
    return loaded


def test_statistics_of_every_type(make_table: Callable[..., str]) -> None:
    stats = stats_of(make_table(sample(20)))
    assert stats["numRecords"] == 20
    assert stats["minValues"] == {
        "id": 0,
        'ä "b" c.d\'e': "text 1",
        "part": "a b/ü%=0",
        "small": 0,
        "medium": 0,
        "whole": 1,
        "price": 0.0,
        "single": 0.0,
        "day": "2013-01-01",
        "moment": "2013-01-01T05:00:00.000000Z",
    }
    assert stats["maxValues"] == {
        "id": 19,
        'ä "b" c.d\'e': "text 9",
        "part": "a b/ü%=2",
        "small": 19,
        "medium": 19,
        "whole": 19,
        "price": 4.75,
        "single": 9.5,
        "day": "2013-01-20",
        "moment": "2013-01-02T00:00:00.000019Z",
    }
    assert stats["nullCount"]["whole"] == 5
    assert stats["nullCount"]["part"] == 4
    assert "tags" not in stats["nullCount"]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (pa.array([0.1, 0.2], pa.float32()), float(np.float32(0.1)), float(np.float32(0.2))),
        (pa.array([0.0, -0.0], pa.float64()), -0.0, 0.0),
        (pa.array([1.0, float("nan")], pa.float64()), None, None),
        (pa.array([1.0, float("inf")], pa.float64()), None, None),
        (pa.array([None, None], pa.int64()), None, None),
        (pa.array(["a" * 300, "b"], pa.string()), None, None),
        (pa.array([2**63 - 1, -(2**63)], pa.int64()), -(2**63), 2**63 - 1),
        (pa.array([Decimal(f"{10**20}.001"), Decimal(1)], pa.decimal128(38, 3)), None, None),
        (pa.array([b"x", b"y"], pa.binary()), None, None),
    ],
    ids=str,
)
def test_bounds_are_exact_or_absent(
    values: pa.Array, low: Any, high: Any, make_table: Callable[..., str]
) -> None:
    stats = stats_of(make_table(pa.table({"v": values})))
    assert (repr(stats["minValues"].get("v")), repr(stats["maxValues"].get("v"))) == (repr(low), repr(high))


def test_no_reader_loses_a_row_to_our_statistics(make_table: Callable[..., str], merger: Merger) -> None:
    """Filters on every row's own values find that row, in delta-rs and in Polars."""
    table = sample(12)
    uri = make_table(table)
    merger.merge(uri, upsert=table.slice(3, 4), delete=[9])
    builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(uri))
    lazy = polars.scan_delta(uri)
    for row in table.to_pylist():
        if row["id"] == 9:
            continue
        single, price = row["single"], row["price"]
        found = pa.table(
            builder.execute(
                f"SELECT id FROM t WHERE single = arrow_cast({single}, 'Float32') AND price = {price} "
                f"AND moment = to_timestamp('{row['moment'].isoformat()}') AND day = '{row['day']}'"
            ).read_all()
        ).to_pydict()["id"]
        assert found == [row["id"]]
        wanted = (polars.col("moment") == row["moment"]) & (polars.col("wide") == row["wide"])
        assert lazy.filter(wanted).select("id").collect().to_series().to_list() == [row["id"]]


def test_files_that_may_hold_what_lies_between_two_values(tmp_path: Path) -> None:
    """A partition of NULLs holds none, and of a file without statistics nothing is known."""
    uri = str(tmp_path / "table")
    for first, day in ((0, "a"), (10, "b"), (20, None), (30, "b")):
        rows = pa.table({"id": range(first, first + 10), "day": pa.array([day] * 10, pa.string())})
        options = {"delta.dataSkippingStatsColumns": "day"} if first == 0 else None
        deltalake.write_deltalake(uri, rows, mode="append", partition_by=["day"], configuration=options)
        deltalake.DeltaTable(uri).alter.set_table_properties({"delta.dataSkippingStatsColumns": "id"})
    snapshot = delta.open_snapshot(uri)
    firsts = [json.loads(file.stats_json or "{}").get("minValues", {}).get("id") for file in snapshot.files]

    def held(**ranges: tuple[Any, Any]) -> list[Any]:
        return sorted(
            (firsts[index] for index in delta.files_between(snapshot, ranges)), key=lambda one: one or -1
        )

    assert held() == [None, 10, 20, 30]
    assert held(id=(12, 14)) == [None, 10]
    assert held(id=(19, 30)) == [None, 10, 20, 30]
    assert held(id=(40, 99)) == [None]
    assert held(day=("b", "z")) == [10, 30]
    assert held(id=(0, 12), day=("a", "z")) == [None, 10]
