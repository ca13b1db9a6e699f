"""Values in tables of Spark: shown otherwise than they are stored, or beyond what Python can say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from merging.delta import open_snapshot
from tests.merging.delta.test_layouts import read

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

OUTPUT = "spark.sql.parquet.outputTimestampType"
UTC_PARTITIONS = "spark.databricks.delta.write.utcTimestampPartitionValues"


@pytest.fixture(params=["true", "false"], ids=["vectors", "rewritten"])
def vectors(request: pytest.FixtureRequest) -> str:
    """Whether the table has deletion vectors."""
    return str(request.param)


@pytest.fixture
def westerner(session: SparkSession) -> Iterator[SparkSession]:
    """A session in Los Angeles that writes instants in partitions without their zone, as older ones did."""
    session.conf.set("spark.sql.session.timeZone", "America/Los_Angeles")
    session.conf.set(UTC_PARTITIONS, "false")
    yield session
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.conf.unset(UTC_PARTITIONS)


def made(session: SparkSession, uri: str, columns: str, rows: str, vectors: str, more: str = "") -> None:
    session.sql(
        f"CREATE TABLE delta.`{uri}` ({columns}) USING delta {more} "
        f"TBLPROPERTIES ('delta.enableDeletionVectors' = '{vectors}')"
    ).toArrow()
    session.sql(f"INSERT INTO delta.`{uri}` {rows}").toArrow()


def merged(uri: str, folder: Path) -> None:
    """Row 2 gets 20 in column a, row 9 comes with 90, row 3 goes."""
    changes = pa.table(
        {
            "id": pa.array([2, 9, 3], pa.int64()),
            "a": pa.array([20, 90, None], pa.int32()),
            "_op": ["upsert", "upsert", "delete"],
        }
    )
    staged = merging.stage(uri, changes, ["id"], destination=str(folder / "staged"))
    merging.merge(merging.MergeRequest(uri, "CR-1", ["id"], staged, destination=str(folder / "artefacts")))


def expected_after(before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [row | {"a": 20} if row["id"] == 2 else row for row in before if row["id"] != 3]
    return [*kept, dict.fromkeys(before[0]) | {"id": 9, "a": 90}]


def test_fp7_spark_pads_char_when_it_reads_so_it_is_no_key(session: SparkSession, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    made(session, uri, "id BIGINT, c CHAR(5)", "VALUES (1L, 'ab')", "true")
    [seen] = session.read.format("delta").load(uri).toArrow().to_pylist()
    assert (seen["c"], read(open_snapshot(uri))[0]["c"]) == ("ab   ", "ab")
    with pytest.raises(merging.InvalidKeys, match="char"):
        merging.check_keys(uri, ["c"])
    for text in ("ab", "ab   "):
        unchanged = pa.table({"id": [1], "c": [text]})
        assert merging.stage(uri, unchanged, ["id"], destination=str(tmp_path / "staged")).rows == 0


NUMBERS = ("id", "a", "unix_date(d) AS d", "unix_micros(t) AS t")


def in_numbers(session: SparkSession, uri: str) -> list[dict[str, Any]]:
    """The rows as Spark has them, days and moments as their numbers."""
    found: list[dict[str, Any]] = (
        session.read.format("delta").load(uri).selectExpr(*NUMBERS).toArrow().to_pylist()
    )
    return sorted(found, key=lambda row: row["id"])


@pytest.mark.parametrize("stored", ["INT96", "TIMESTAMP_MICROS"])
def test_fd12_days_and_moments_beyond_python_stay_as_spark_wrote_them(
    session: SparkSession, vectors: str, stored: str, tmp_path: Path
) -> None:
    """INT96 counts days from the year -4713: what lies before, two readers of Parquet take for the far future."""
    uri = str(tmp_path / "table")
    session.conf.set(OUTPUT, stored)
    try:
        made(
            session,
            uri,
            "id BIGINT, a INT, d DATE, t TIMESTAMP",
            "SELECT id, CAST(id AS INT), date_from_unix_date(CAST(3800000 * (id - 3) AS INT)), "
            "timestamp_seconds(105000000000 * (id - 3)) FROM range(1, 7)",
            vectors,
        )
        before = in_numbers(session, uri)
        assert [row["t"] for row in before] == [105_000_000_000_000_000 * (n - 3) for n in range(1, 7)]
        merged(uri, tmp_path)
        assert in_numbers(session, uri) == expected_after(before)
        page = merging.preview(uri, primary_keys=["id"], order_by="d", limit=10)
        assert [row["id"] for row in page.rows] == [1, 2, 4, 5, 6, 9]

        session.sql(
            f"INSERT INTO delta.`{uri}` SELECT 7L, 7, NULL, timestamp_seconds(-328320000000)"
        ).toArrow()
        after = in_numbers(session, uri)
        changes = pa.table({"id": [7], "a": pa.array([70], pa.int32())})
        if stored == "INT96":
            with pytest.raises(merging.UnsupportedTable, match="holds an INT96 timestamp before"):
                merging.stage(uri, changes, ["id"], destination=str(tmp_path / "staged"))
            assert in_numbers(session, uri) == after
        else:
            staged = merging.stage(uri, changes, ["id"], destination=str(tmp_path / "staged"))
            merging.merge(
                merging.MergeRequest(uri, "CR-2", ["id"], staged, destination=str(tmp_path / "more"))
            )
            assert in_numbers(session, uri) == [row | {"a": 70} if row["id"] == 7 else row for row in after]
    finally:
        session.conf.unset(OUTPUT)


def test_fp5_partitions_without_a_zone_are_read_as_their_writer_meant_them(
    westerner: SparkSession, vectors: str, tmp_path: Path
) -> None:
    """Before standard time, at both ends of daylight saving time, and in the first year of the calendar."""
    uri = str(tmp_path / "table")
    instants = ("0001-01-03 00:00:00", "1800-01-01 00:00:00.25", "2024-03-10 10:30:00", "2024-11-03 08:30:00")
    rows = ", ".join(f"({n}L, {n}, TIMESTAMP '{text}Z')" for n, text in enumerate(instants, start=1))
    made(westerner, uri, "id BIGINT, a INT, p TIMESTAMP", f"VALUES {rows}", vectors, "PARTITIONED BY (p)")
    with pytest.raises(merging.UnsupportedTable, match="partitionTimeZone"):
        merging.inspect_table(uri)
    westerner.sql(
        f"ALTER TABLE delta.`{uri}` SET TBLPROPERTIES ('headgate.partitionTimeZone' = 'America/Los_Angeles')"
    ).toArrow()

    def seen() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = westerner.read.format("delta").load(uri).toArrow().to_pylist()
        return sorted(found, key=lambda row: row["id"])

    before = seen()
    assert read(open_snapshot(uri)) == before
    merged(uri, tmp_path)
    assert seen() == read(open_snapshot(uri)) == expected_after(before)
