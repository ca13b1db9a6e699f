"""Numbers of a whole table by Apache Spark: those of DuckDB, or DuckDB is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging.delta import open_snapshot
from merging.engines import Aggregates, Changes, Cluster, EngineChoice, Keys, TableReader
from merging.sql.quoting import column_sql
from merging.sql.session import session as opened_session

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")


@pytest.fixture
def by_spark(spark_port: int) -> Iterator[EngineChoice]:
    """Spark, whatever there is to read."""
    yield EngineChoice("spark", Cluster(f"sc://127.0.0.1:{spark_port}", seconds=300))
    merging.set_engines(lambda _: EngineChoice())


def chosen(choice: EngineChoice) -> None:
    """Read all tables so."""
    merging.set_engines(lambda _: choice)


MOMENT = datetime(2013, 1, 5, 18, 5, 0, 123456, UTC)
#: Values that a key may have, of each type that may be one.
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "long": (pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63), 7]),
    "byte": (pa.int8(), [0, 1, -1, 127, -128, 7]),
    "text": (pa.string(), ["", " ", "a", "A", "a ", "ä"]),
    "decimal": (
        pa.decimal128(38, 10),
        [Decimal("0"), Decimal("1.5"), Decimal("-1.5"), *map(Decimal, (2, 3, 4))],
    ),
    "date": (
        pa.date32(),
        [date(1, 1, 1), date(1582, 10, 4), date(1970, 1, 1), *(date(2020, 1, n) for n in (1, 2, 3))],
    ),
    "timestamp": (
        pa.timestamp("us", tz="UTC"),
        [MOMENT.replace(year=year) for year in (1, 1500, 1900, 1970, 2013, 9999)],
    ),
    "timestamp_ntz": (
        pa.timestamp("us"),
        [MOMENT.replace(tzinfo=None, year=year) for year in (1, 1500, 1900, 1970, 2013, 9999)],
    ),
    "binary": (pa.binary(), [b"", b"\x00", b"a", b"A", b"\xff", b"a\x00"]),
    "boolean": (pa.bool_(), [True, False] * 3),
}


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "none"])
def test_keys_are_judged_alike(by_spark: EngineChoice, tmp_path: Path, vectors: bool) -> None:
    """A key of columns of all types, of which each is there twice, and a row that has none; and one that is a key."""
    count = 6
    columns: dict[str, pa.Array] = {"number": pa.array(range(count * 2 + 1), pa.int32())}
    for name, (kind, values) in KEYS.items():
        columns[name] = pa.array([*values, *values, None], kind)
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table(columns), deletion_vectors=vectors)
    found = []
    for choice in (DUCKDB, by_spark):
        chosen(choice)
        assert merging.check_keys(uri, ["number"]).ok
        found.append(merging.check_keys(uri, list(KEYS)))
    assert found[0] == found[1]
    assert (found[0].duplicate_keys, found[0].null_rows, len(found[0].examples)) == (count, 1, count + 1)


def test_a_table_as_a_merge_would_leave_it(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Rows that go, rows that come, a column that comes and one that is widened."""
    uri = str(tmp_path / "table")
    merging.create_table(
        uri,
        pa.table(
            {"id": pa.array(range(100), pa.int64()), "v": pa.array([n % 7 for n in range(100)], pa.int32())}
        ),
    )
    snapshot = open_snapshot(uri)
    id_, v, w = map(column_sql, ("id", "v", "w"))
    asked = Aggregates(
        [
            f"count(*) FILTER ({v} > 3)",
            f"sum({v})::DECIMAL(38, 0)",
            f"count(*) FILTER ({w} = 'new')",
            f"max({id_})",
        ],
        ["id", "v", "w"],
    )
    types = {"id": pa.int64(), "v": pa.int64(), "w": pa.string()}
    found = []
    with opened_session() as opened:
        placed = f"0 AS file_index, i::BIGINT AS row_number, i::BIGINT AS {id_}"
        opened.execute(f"CREATE TABLE gone AS SELECT {placed} FROM range(50) r(i)")
        opened.execute(f"CREATE TABLE added AS SELECT 1000::BIGINT AS {id_}, 5000000000 AS {v}, 'new' AS {w}")
        for choice in (DUCKDB, by_spark):
            chosen(choice)
            reader = TableReader(opened, snapshot)
            for changes in (Changes(Keys("gone", ["id"]), "added", types), Changes(None, "added", types)):
                told = reader.aggregate(asked, changes)
                found.append(opened.row(f"SELECT * FROM {told.sql}"))
            assert [read.engine for read in reader.reads] == [choice.engine] * 2
    whole = [n % 7 for n in range(100)]
    rest = [n % 7 for n in range(50, 100)]
    for given, numbers in zip((rest, whole), found[:2], strict=True):
        assert numbers == (sum(n > 3 for n in given) + 1, sum(given) + 5_000_000_000, 1, 1000)
    assert found[2:] == found[:2]


def test_what_spark_is_not_told_is_read_by_duckdb(by_spark: EngineChoice, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"id": pa.array([1, 2, 5], pa.int64())}))
    merging.set_engines(lambda _: by_spark)
    with opened_session() as opened:
        reader = TableReader(opened, open_snapshot(uri))
        found = reader.aggregate(Aggregates([f"median({column_sql('id')})"], ["id"]))
        assert opened.row(f"SELECT * FROM {found.sql}") == (2.0,)
    assert [read.engine for read in reader.reads] == ["duckdb"]
