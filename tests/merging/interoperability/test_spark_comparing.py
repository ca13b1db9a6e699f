"""Versions of a table beside each other by Apache Spark: what differs is what DuckDB says, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

import merging
from merging import delta
from merging.engines import EngineChoice, EngineName
from tests.merging.delta.delta_tables import Merger, sample
from tests.merging.interoperability.test_spark_engine import TABLES, hand_over, made
from tests.merging.test_exports import rows_of

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")


@pytest.fixture
def merger() -> Iterator[Merger]:
    with duckdb.connect(":memory:") as connection:
        yield Merger(connection)


def differences(
    choice: EngineChoice, uri: str, before: int, after: int
) -> tuple[list[str], set[EngineName], int]:
    """All rows as text (NaN is NaN, a zero has its sign), which engines read, and how many files."""
    merging.set_engines(lambda _: choice)
    found = merging.compare_versions(uri, primary_keys=["id"], before=before, after=after)
    rows = list(map(repr, rows_of(found.stream(("from", "to")))))
    return rows, {read.engine for read in found.reads}, sum(read.files for read in found.reads)


def assert_alike(by_spark: EngineChoice, uri: str, pairs: list[tuple[int, int]], engine: EngineName) -> int:
    """Both engines say the same of each pair, and how many rows that are."""
    number = 0
    for before, after in pairs:
        here, _, files = differences(DUCKDB, uri, before, after)
        there, engines, files_there = differences(by_spark, uri, before, after)
        assert there == here
        assert engines == {engine}
        assert files_there == files
        number += len(here)
    return number


@pytest.mark.parametrize("most", [1 << 30, -1], ids=["by Spark Connect", "beside the table"])
@pytest.mark.parametrize("kind", TABLES)
def test_it_tells_what_duckdb_tells(
    by_spark: EngineChoice,
    session: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    most: int,
) -> None:
    hand_over(monkeypatch, most)
    uri = made(session, tmp_path, TABLES[kind])
    session.sql(f"OPTIMIZE delta.`{uri}`")
    last = delta.open_snapshot(uri).version
    # What Spark does not group by as DuckDB does (maps), DuckDB reads.
    engine: EngineName = "duckdb" if kind == "nested" else "spark"
    assert assert_alike(by_spark, uri, [(0, 4), (4, 1), (2, 3), (3, 4), (last, 3)], engine) > 600
    assert differences(by_spark, uri, 4, last)[0] == []


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "none"])
@pytest.mark.parametrize("partition_by", [[], ["part", "day"]], ids=["plain", "partitioned"])
def test_values_of_every_type(
    by_spark: EngineChoice, tmp_path: Path, merger: Merger, vectors: bool, partition_by: list[str]
) -> None:
    uri = str(tmp_path / "table")
    delta.create_table(uri, sample(40), deletion_vectors=vectors, partition_by=partition_by)
    changed = sample(12, start=30)
    place = changed.schema.get_field_index("whole")
    merger.merge(uri, upsert=changed.set_column(place, "whole", pa.nulls(12, pa.int32())), delete=[3, 4])
    merger.merge(uri, upsert=sample(3, start=60))
    assert assert_alike(by_spark, uri, [(0, 1), (0, 2), (2, 0), (1, 2)], "spark") > 30


def test_zeros_keep_their_sign_and_equal_rows_cancel(by_spark: EngineChoice, tmp_path: Path) -> None:
    """A row of which one version has more than the other is told that many times."""
    uri = str(tmp_path / "table")
    rows: list[dict[str, Any]] = [
        {"id": 1, "f": -0.0, "s": {"t": ["a", None]}},
        {"id": 2, "f": float("nan"), "s": None},
        {"id": 3, "f": 0.5, "s": {"t": None}},
        {"id": 3, "f": 0.5, "s": {"t": None}},
    ]
    schema = pa.schema(
        [("id", pa.int64()), ("f", pa.float64()), ("s", pa.struct([("t", pa.list_(pa.string()))]))]
    )
    delta.create_table(uri, pa.Table.from_pylist(rows[:2], schema), deletion_vectors=True)
    rest = pa.Table.from_pylist([*rows, {"id": 4, "f": -0.0, "s": {"t": []}}], schema)
    deltalake.write_deltalake(uri, rest.slice(2), mode="append")
    deltalake.write_deltalake(
        uri, pa.Table.from_pylist([rows[0] | {"f": 0.0}, rows[2]], schema), mode="overwrite"
    )
    assert assert_alike(by_spark, uri, [(0, 1), (1, 2), (2, 0)], "spark") == 3 + 3 + 2
