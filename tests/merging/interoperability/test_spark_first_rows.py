"""Pages of rows by Apache Spark: those of DuckDB, or DuckDB reads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging.delta import create_table
from merging.engines import EngineChoice
from tests.merging.delta.delta_tables import ODD, sample

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")
ROWS = 40


def chosen(choice: EngineChoice) -> None:
    """Read all tables so."""
    merging.set_engines(lambda _: choice)


def table_of_every_type(folder: Path, *, vectors: bool = True) -> str:
    uri = str(folder / "table")
    create_table(uri, sample(ROWS), deletion_vectors=vectors, partition_by=["part"])
    return uri


def pages(choice: EngineChoice, uri: str, **asked: Any) -> tuple[list[str], list[str]]:
    """Two pages onwards and one back, as text (NaN is NaN, a zero has its sign), and what looked for each."""
    chosen(choice)
    shown: list[str] = []
    engines: list[str] = []
    after = None
    for way in ("next", "next", "previous"):
        page = merging.preview(uri, primary_keys=["id"], limit=5, after=after, **asked)
        shown += [*map(repr, page.rows), str(page.next), str(page.previous)]
        engines += [read.engine for read in page.reads]
        after = getattr(page, way)
        if after is None:
            break
    return shown, engines


def assert_alike(choice: EngineChoice, uri: str, engine: str, **asked: Any) -> None:
    here, _ = pages(DUCKDB, uri, **asked)
    there, engines = pages(choice, uri, **asked)
    assert there == here
    assert set(engines) == {engine}


#: Filters on each type of column, each with an order that needs more than the files' statistics.
ASKED: dict[str, dict[str, Any]] = {
    "id": {"filters": [("id", ">", 3), ("id", "!=", 20)]},
    "text": {"filters": [(ODD, ">=", "text 2")], "order_by": ODD, "descending": True},
    "partition": {"filters": [("part", "=", "a b/ü%=1")], "order_by": "part"},
    "small": {"filters": [("small", "<=", 33)], "order_by": "small", "descending": True},
    "medium": {"filters": [("medium", ">", -1)]},
    "whole": {"filters": [("whole", "is null", None)], "order_by": "whole"},
    "price": {"filters": [("price", "<", "8.75")], "order_by": "price", "descending": True},
    "wide": {"filters": [("wide", ">", "10000000000000000000000.007")], "order_by": "wide"},
    "single": {"filters": [("single", ">=", "0.5")], "order_by": "single", "descending": True},
    "double": {"filters": [("double", "!=", 2.0)], "order_by": "double", "descending": True},
    "flag": {"filters": [("flag", "=", True)], "order_by": "flag"},
    "day": {"filters": [("day", ">", "2013-01-07")], "order_by": "day", "descending": True},
    "some columns": {
        "filters": [("whole", "is not null", None)],
        "columns": ["double", ODD],
        "order_by": "whole",
    },
    "no row": {"filters": [("id", ">", 1000)]},
}


@pytest.mark.parametrize("kind", ASKED)
def test_pages_are_those_of_duckdb(by_spark: EngineChoice, tmp_path: Path, kind: str) -> None:
    assert_alike(by_spark, table_of_every_type(tmp_path), "spark", **ASKED[kind])


def test_pages_of_a_table_without_vectors(by_spark: EngineChoice, tmp_path: Path) -> None:
    assert_alike(by_spark, table_of_every_type(tmp_path, vectors=False), "spark", **ASKED["text"])


def test_files_whose_statistics_are_wrong(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Those of delta-rs: a NaN is in none, decimals are floating numbers there, and moments are cut."""
    uri = str(tmp_path / "table")
    moment = datetime(2020, 1, 1, 1, 2, 3, 456789, UTC)
    values: dict[str, tuple[pa.DataType, list[Any]]] = {
        "double": (pa.float64(), [1.0, math.nan, -0.0]),
        "single": (pa.float32(), [3.0, math.nan, 2.0]),
        "price": (pa.decimal128(18, 2), [Decimal("90071992547409.93"), Decimal("-90071992547409.93"), None]),
        "wide": (
            pa.decimal128(38, 10),
            [Decimal("9999999999999999999.9999999999"), Decimal("0.0000000001"), None],
        ),
        "instant": (pa.timestamp("us", "UTC"), [moment, None, None]),
        "moment": (pa.timestamp("us"), [moment.replace(tzinfo=None), None, None]),
        "text": (pa.string(), ["\U0010ffff" * 99, "a", None]),
    }
    columns = {name: pa.array(given, kind) for name, (kind, given) in values.items()}
    deltalake.write_deltalake(uri, pa.table({"id": pa.array(range(3), pa.int64()), **columns}))
    number = 0
    for name, (_, given) in values.items():
        for value in [*given, *([0.0, 100.0] if name in ("double", "single") else [])]:
            if value is None:
                continue
            for operator in ("=", "!=", "<", "<=", ">", ">="):
                asked = [(name, operator, value.isoformat() if isinstance(value, datetime) else str(value))]
                found = []
                for choice in (DUCKDB, by_spark):
                    chosen(choice)
                    page = merging.preview(uri, primary_keys=["id"], filters=asked, limit=9)
                    assert {read.engine for read in page.reads} == {choice.engine}
                    found.append((asked, [row["id"] for row in page.rows]))
                assert found[0] == found[1]
                number += len(found[0][1])
    assert number > 60


def test_rows_that_share_a_key_or_have_none(by_spark: EngineChoice, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    rows = [{"id": None if n > 6 else n // 2, "v": n} for n in range(9)]
    schema = pa.schema([("id", pa.int64()), ("v", pa.int64())])
    merging.create_table(uri, pa.Table.from_pylist(rows, schema))
    for choice in (DUCKDB, by_spark):
        chosen(choice)
        found = merging.preview(uri, primary_keys=["id"], filters=[("v", ">=", 1)], limit=20)
        assert [row["id"] for row in found.rows] == [0, 1, 1, 2, 2, 3, None, None]
        assert sorted(row["v"] for row in found.rows) == [*range(1, 9)]


def test_what_spark_is_not_told_duckdb_reads(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Texts in any case are not the same to both, and the first page of all is read from the files that have it."""
    uri = table_of_every_type(tmp_path)
    assert_alike(by_spark, uri, "duckdb", filters=[(ODD, "contains", "TEXT 1")])
    assert_alike(by_spark, uri, "duckdb", filters=[("raw", "is not null", None), (ODD, "contains", "x")])
