"""Data files as Spark has written them over the years: read as Spark reads them, and merged without a row moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from merging.delta import open_snapshot
from merging.store.stores import LocalStore
from tests.merging.delta.test_layouts import read
from tests.merging.stores import Place, add_action, put_commit

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark


@dataclass(frozen=True)
class Layout:
    """How Spark is told to write, and what."""

    rows: str
    settings: dict[str, str] = field(default_factory=dict)


OUTPUT = "spark.sql.parquet.outputTimestampType"
REBASE = {
    "spark.sql.parquet.datetimeRebaseModeInWrite": "LEGACY",
    "spark.sql.parquet.int96RebaseModeInWrite": "LEGACY",
}
MOMENTS = (
    "SELECT id, a, to_date(d) AS d, to_timestamp(concat(d, ' 12:34:56.123456Z')) AS t, "
    "array(named_struct('t', to_timestamp(concat(d, ' 00:00:00Z')), 'd', to_date(d))) AS l FROM VALUES "
    "(1L, 1, '0001-01-01'), (2L, 2, '1000-02-28'), (3L, 3, '1100-03-01'), (4L, 4, '1582-10-04'), "
    "(5L, 5, '1582-10-15'), (6L, 6, '1883-11-18'), (7L, 7, '1969-12-31'), (8L, 8, '9999-12-31'), "
    "(10L, 10, NULL) AS v(id, a, d)"
)
NESTED = (
    "SELECT id, a, CAST(a AS DECIMAL(5,2)) AS small, CAST(a AS DECIMAL(18,3)) AS middle, "
    "CAST(a AS DECIMAL(38,10)) AS large, array(a, NULL) AS l, array(array('x'), array()) AS ll, "
    "map('k', array(named_struct('p', a, 'q', map(1, 'v')))) AS m, named_struct('e', CAST(NULL AS ARRAY<INT>)) AS s "
    "FROM VALUES (1L, 1), (2L, 2), (3L, NULL), (4L, 4) AS v(id, a)"
)
LAYOUTS = {
    "INT96": Layout(MOMENTS, {OUTPUT: "INT96"}),
    "micros": Layout(MOMENTS, {OUTPUT: "TIMESTAMP_MICROS"}),
    "millis": Layout(MOMENTS.replace(".123456", ".123"), {OUTPUT: "TIMESTAMP_MILLIS"}),
    "legacy calendar, INT96": Layout(MOMENTS, {OUTPUT: "INT96", **REBASE}),
    "legacy calendar, micros": Layout(MOMENTS, {OUTPUT: "TIMESTAMP_MICROS", **REBASE}),
    "legacy format": Layout(NESTED, {"spark.sql.parquet.writeLegacyFormat": "true"}),
    "format of today": Layout(NESTED, {"spark.sql.parquet.writeLegacyFormat": "false"}),
}


@pytest.fixture(params=["true", "false"], ids=["vectors", "rewritten"])
def vectors(request: pytest.FixtureRequest) -> str:
    """Whether the table has deletion vectors."""
    return str(request.param)


@pytest.fixture
def spark_settings(session: SparkSession) -> Iterator[dict[str, str]]:
    """Settings of the session, put back at the end; a test adds to it what it sets."""
    set_here: dict[str, str] = {}
    yield set_here
    for name in set_here:
        session.conf.unset(name)


def rows_of(session: SparkSession, uri: str) -> list[dict[str, Any]]:
    found: pa.Table = session.read.format("delta").load(uri).toArrow()
    return sorted(found.to_pylist(), key=lambda row: row["id"])


def merge_and_compare(session: SparkSession, uri: str, folder: Path) -> None:
    """Row 2 changes, row 9 comes; every other row is to Spark what it was."""
    before = rows_of(session, uri)
    assert read(open_snapshot(uri)) == before
    changes = pa.table({"id": pa.array([2, 9], pa.int64()), "a": pa.array([20, 90], pa.int32())})
    staged = merging.stage(uri, changes, ["id"], destination=str(folder / "staged"))
    merging.merge(merging.MergeRequest(uri, "CR-1", ["id"], staged, destination=str(folder / "artefacts")))
    after = rows_of(session, uri)
    assert read(open_snapshot(uri)) == after
    new = dict.fromkeys(before[0]) | {"id": 9, "a": 90}
    expected = [row | {"a": 20} if row["id"] == 2 else row for row in before] + [new]
    assert after == sorted(expected, key=lambda row: row["id"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_fp9_fp10_layouts_of_spark_are_read_and_merged(
    name: str, vectors: str, session: SparkSession, spark_settings: dict[str, str], tmp_path: Path
) -> None:
    layout = LAYOUTS[name]
    spark_settings |= layout.settings
    for key, value in spark_settings.items():
        session.conf.set(key, value)
    uri = str(tmp_path / "table")
    session.sql(
        f"CREATE TABLE delta.`{uri}` USING delta "
        f"TBLPROPERTIES ('delta.enableDeletionVectors' = '{vectors}') AS {layout.rows}"
    ).toArrow()
    merge_and_compare(session, uri, tmp_path)


def test_fp4_parquet_files_of_hive_converted_to_delta(
    vectors: str, session: SparkSession, tmp_path: Path
) -> None:
    """Files whose columns, and fields inside them, are spelled otherwise than the table's."""
    uri = str(tmp_path / "table")
    rows = (
        "SELECT id AS {id}, CAST(id AS INT) AS {a}, named_struct('{x}', id) AS {s} FROM range({start}, {end})"
    )
    lower = {"id": "id", "a": "a", "x": "x", "s": "s"}
    upper = {name: spelled.upper() for name, spelled in lower.items()}
    session.sql(rows.format(**lower, start=1, end=4)).write.parquet(uri)
    session.sql(f"CONVERT TO DELTA parquet.`{uri}`").toArrow()
    before = {path.name for path in Path(uri).glob("*.parquet")}
    other = str(tmp_path / "other")
    session.sql(rows.format(**upper, start=4, end=8)).coalesce(1).write.parquet(other)
    # What Hive adds beside the table's own files: the log is told of it as Spark tells it.
    [added] = Path(other).glob("*.parquet")
    added.rename(Path(uri) / added.name)
    assert added.name not in before
    content = (Path(uri) / added.name).read_bytes()
    put_commit(Place(uri, None, LocalStore(Path(uri))), 1, [add_action(added.name, content)])
    session.sql(
        f"ALTER TABLE delta.`{uri}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = '{vectors}')"
    ).toArrow()
    merge_and_compare(session, uri, tmp_path)
