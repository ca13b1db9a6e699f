"""Tables that Spark made, merged by Headgate: Spark finds every row as expected, and goes on with the table."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tests.merging.interoperability.spark_table import SparkTable, own, rows_of
from tests.merging.test_rules import FULL, commit_by_hand

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

END = "TIMESTAMP '9999-12-31 00:00:00Z'"


@dataclass(frozen=True)
class Shape:
    """A kind of table: how Spark makes it, what a request changes, and what Spark does afterwards."""

    columns: str
    rows: str
    changes: list[dict[str, Any]]
    types: dict[str, pa.DataType]
    partition: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    further: tuple[str, ...] = ()
    generated: dict[str, str] = field(default_factory=dict)
    computed: dict[str, Any] = field(default_factory=dict)
    update: str = "UPDATE t SET a = a + 1 WHERE id = 3"


MAPPED = {"delta.columnMapping.mode": "name", "delta.minReaderVersion": "2", "delta.minWriterVersion": "5"}
NESTED = "s STRUCT<x: INT, y: ARRAY<STRUCT<p: STRING>>>, m MAP<STRING, STRUCT<q: DATE>>"
NESTED_ROWS = ", ".join(
    f"({n}, {n}, named_struct('x', {n}, 'y', array(named_struct('p', 'v{n}'), NULL)), "
    f"map('k', named_struct('q', DATE '2024-01-0{n}')))"
    for n in range(1, 6)
)
ID = {"id": pa.int64(), "a": pa.int32()}

SHAPES = {
    "constraint": Shape(
        "id BIGINT NOT NULL, a INT, until TIMESTAMP, part STRING",
        ", ".join(f"({n}, {n}, {END}, 'São {n % 2}')" for n in range(1, 6)),
        [{"id": 2, "a": 20}, {"id": 9, "a": 90}],
        ID,
        partition="PARTITIONED BY (part)",
        further=("ALTER TABLE t ADD CONSTRAINT small CHECK (a < 100 AND `id` > 0)",),
    ),
    "generated": Shape(
        "id BIGINT, a INT, day DATE, month STRING, year INT, twice INT",
        ", ".join(f"({n}, {n}, DATE '2024-0{n}-01', '2024-0{n}', 2024, {2 * n})" for n in range(1, 6)),
        [
            {"id": 2, "a": 20, "day": datetime.date(1999, 12, 31)},
            {"id": 9, "a": 90, "day": None},
        ],
        {**ID, "day": pa.date32()},
        partition="PARTITIONED BY (year)",
        generated={"month": "date_format(day, 'yyyy-MM')", "year": "YEAR(day)", "twice": "a * 2"},
        computed={
            "month": lambda row: row["day"] and f"{row['day']:%Y-%m}",
            "year": lambda row: row["day"] and row["day"].year,
            "twice": lambda row: 2 * row["a"],
        },
    ),
    "mapped from birth": Shape(
        f"id BIGINT, a INT, {NESTED}",
        NESTED_ROWS,
        [{"id": 2, "a": 20}, {"id": 9, "a": 90}],
        ID,
        properties=MAPPED,
    ),
    "mapped by id": Shape(
        f"id BIGINT, a INT, {NESTED}",
        NESTED_ROWS,
        [{"id": 2, "a": 20}, {"id": 9, "a": 90}],
        ID,
        properties={**MAPPED, "delta.columnMapping.mode": "id"},
        further=("ALTER TABLE t RENAME COLUMN s.x TO `x x`",),
    ),
    "mapped later and renamed": Shape(
        f"id BIGINT, a INT, {NESTED}",
        NESTED_ROWS,
        [{"id": 2, "a": 20, "s2": {"x": 7, "y": [{"pp": "new"}]}}, {"id": 9, "a": 90, "s2": None}],
        {**ID, "s2": pa.struct([("x", pa.int32()), ("y", pa.list_(pa.struct([("pp", pa.string())])))])},
        further=(
            "ALTER TABLE t SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name', "
            "'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5')",
            "ALTER TABLE t RENAME COLUMN s.y.element.p TO pp",
            "ALTER TABLE t RENAME COLUMN s TO s2",
            "ALTER TABLE t RENAME COLUMN m.value.q TO qq",
        ),
    ),
    "partitioned by instants": Shape(
        "id BIGINT, a INT, at TIMESTAMP",
        ", ".join(f"({n}, {n}, TIMESTAMP '2024-03-0{n} 17:00:00.25Z')" for n in range(1, 6)),
        [
            {"id": 2, "a": 20, "at": datetime.datetime(2024, 3, 2, 17, tzinfo=datetime.UTC)},
            {"id": 9, "a": 90, "at": datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC)},
        ],
        {**ID, "at": pa.timestamp("us", "UTC")},
        partition="PARTITIONED BY (at)",
    ),
    "declared lengths": Shape(
        "id BIGINT, a INT, v VARCHAR(3)",
        ", ".join(f"({n}, {n}, 'v{n}')" for n in range(1, 6)),
        [{"id": 2, "a": 20, "v": "äöü"}, {"id": 9, "a": 90, "v": "abc"}],
        {**ID, "v": pa.string()},
    ),
}


@pytest.fixture(params=["true", "false"], ids=["vectors", "rewritten"])
def table(
    request: pytest.FixtureRequest, session: SparkSession, tmp_path: Path
) -> Iterator[tuple[SparkTable, str]]:
    """Where Spark makes its table, and whether it has vectors."""
    session.conf.set("spark.sql.session.timeZone", "America/Los_Angeles")
    try:
        yield SparkTable(session, tmp_path), request.param
    finally:
        session.conf.set("spark.sql.session.timeZone", "UTC")


def state_generated(uri: str, expressions: dict[str, str]) -> None:
    """Make columns generated ones, which Spark computes and has no SQL for; it fills them from now on."""

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        for name, text in expressions.items():
            fields[name]["metadata"]["delta.generationExpression"] = text

    commit_by_hand(uri, change, FULL)


@pytest.mark.parametrize("name", SHAPES)
def test_fp1_to_fp8_spark_finds_every_row_and_goes_on(
    session: SparkSession, table: tuple[SparkTable, str], name: str
) -> None:
    spark, vectors = table
    uri, shape = spark.uri, SHAPES[name]
    properties = {**shape.properties, "delta.enableDeletionVectors": vectors}
    listed = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
    spark.ask(f"CREATE TABLE t ({shape.columns}) USING delta {shape.partition} TBLPROPERTIES ({listed})")
    if shape.generated:
        state_generated(uri, shape.generated)
    spark.ask(f"INSERT INTO t VALUES {shape.rows}")
    for statement in shape.further:
        spark.ask(statement)
    before = rows_of(session, uri)

    schema = pa.schema(list(shape.types.items()))
    result = spark.merged(spark.staged(pa.Table.from_pylist(shape.changes, schema=schema)))
    assert result.strategy == ("merge-on-read" if vectors == "true" else "copy-on-write")
    assert (result.diff.rows_updated, result.diff.rows_added) == (1, 1)

    blank = dict.fromkeys(before[1])
    expected = {**before, 2: {**before[2], **shape.changes[0]}, 9: {**blank, **shape.changes[1]}}
    for number in (2, 9):
        row = expected[number]
        expected[number] = {**row, **{column: made(row) for column, made in shape.computed.items()}}
    after = rows_of(session, uri)
    assert after == expected
    assert {row["id"]: row for row in own(uri)} == expected

    spark.ask(shape.update)
    spark.ask(
        "MERGE INTO t AS o USING (SELECT CAST(9 AS BIGINT) AS id) n ON n.id = o.id WHEN MATCHED THEN DELETE"
    )
    after = rows_of(session, uri)
    assert after[3]["a"] == expected[3]["a"] + 1
    assert {number: row for number, row in after.items() if number != 3} == {
        number: row for number, row in expected.items() if number not in (3, 9)
    }
    assert {row["id"]: row for row in own(uri)} == after
