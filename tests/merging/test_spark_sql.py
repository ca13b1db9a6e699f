"""What Spark is told of an expression of DuckDB's, and what it is not told."""

from __future__ import annotations

import pyarrow as pa
import pytest

import merging
from merging.engines.protocol import NotSaid
from merging.engines.spark_sql import Said, spark_sql
from merging.sql.quoting import column_label, column_sql

TYPES = {
    "n": pa.int64(),
    "b": pa.int8(),
    "f": pa.float32(),
    "d": pa.float64(),
    "m": pa.decimal128(9, 2),
    "w": pa.decimal128(38, 12),
    "t": pa.string(),
    "y": pa.bool_(),
    "l": pa.list_(pa.int64()),
}
COLUMNS = {column_label(name): Said(f"c{place}", kind) for place, (name, kind) in enumerate(TYPES.items())}
N, B, F, D, M, W, T, Y, L = map(column_sql, TYPES)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("count(*)", "count(1)"),
        (f"count(*) FILTER ({N} IS NULL)", "count(1) FILTER (WHERE (c0 IS NULL))"),
        (f"sum({N}) FILTER (true)::DECIMAL(38, 0)", None),
        (f"NOT ({D} IS NULL OR isnan({D}))", None),
        # A text may hold what an SQL of another dialect takes for an escape.
        (f"{T} = 'a\\n''b'", "(c6 = CAST(X'615c6e2762' AS STRING))"),
        # Who compares a float with a whole number compares floats. No file is left out by what is said of them.
        (f"{F} > 16777217", "(greatest(c2, c2) > CAST(CAST('16777217' AS INT) AS FLOAT))"),
        (f"{F} > {D}", "(CAST(greatest(c2, c2) AS DOUBLE) > greatest(c3, c3))"),
        (
            f"{M} = 0.125",
            "(CAST(greatest(c4, c4) AS DECIMAL(10, 3)) = CAST(CAST('0.125' AS DECIMAL(3, 3)) AS DECIMAL(10, 3)))",
        ),
        (f"{N} IN (1, -2)", "(c0 IN (CAST('1' AS INT), CAST('-2' AS INT)))"),
        (f"{T} LIKE 'a\\_%'", "(c6 LIKE CAST(X'615c5f25' AS STRING) ESCAPE '^')"),
        (f"{L} IS NULL", "(c8 IS NULL)"),
        (f"{Y} IS NOT TRUE", "(NOT (c7 IS TRUE))"),
    ],
)
def test_what_it_is_told(given: str, told: str | None) -> None:
    found = spark_sql(given, COLUMNS)
    assert told is None or found == told


@pytest.mark.parametrize(
    "given",
    [
        f"median({N})",  # interpolated by another formula
        f"sum({M})",
        f"avg({W}::DOUBLE)",  # decimals of many digits become doubles by another rounding
        f"{W} = 0.1234567890123",  # no decimal holds both
        f"{M} = {D}",
        f"{T} = {N}",
        f"{L} = {L}",
        f"{T} LIKE {T}",
        f"{T} LIKE 'a' ESCAPE '!'",
        f"regexp_matches({T}, 'a')",
        f"lower({T}) = 'a'",
        f"{N} + {N} > 1",
        f"{N}::VARCHAR = '1'",
        f"approx_count_distinct({T})",
        f"count(DISTINCT {T})",
        f"isnan({N})",
        f"{N} IN (SELECT 1)",
        "u_other = 1",
        f"{D} > 1e5",
        f"{N} >",
    ],
)
def test_what_it_is_not_told(given: str) -> None:
    with pytest.raises(NotSaid):
        spark_sql(given, COLUMNS)


def test_whoever_looks_at_keys_waits_no_longer_for_a_cluster_than_they_said(tmp_path: object) -> None:
    """A cluster that cannot be reached is said at once; the time of the caller holds for it as for DuckDB."""
    uri = f"{tmp_path}/table"
    merging.create_table(uri, pa.table({"id": pa.array([1, 1, None], pa.int64())}))
    nowhere = merging.Cluster("sc://127.0.0.1:9", seconds=60)
    try:
        merging.set_engines(lambda _: merging.EngineChoice("spark", nowhere))
        with pytest.raises(merging.ClusterFailed, match="cannot be reached"):
            merging.check_keys(uri, ["id"])
        with pytest.raises(merging.CutShort, match="takes longer than 0 s"):
            merging.check_keys(uri, ["id"], seconds=0.1)
        merging.set_engines(lambda _: merging.EngineChoice("auto", nowhere))
        found = merging.check_keys(uri, ["id"])
    finally:
        merging.set_engines(lambda _: merging.EngineChoice())
    assert found == merging.KeyReport(1, 1, ({"id": None}, {"id": 1}))
