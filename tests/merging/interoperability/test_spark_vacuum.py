"""What Apache Spark's VACUUM leaves: it compares paths as the log spells them with those that it finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

import merging
from merging import delta

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

VALUES = ["ä/ö=%", "(a)+,;@&$ ~!", "it's", "é\u00a0\u3000x", "😀", "[b]^{c}", "a.b-c_d", "1:2"]


def test_vacuum_leaves_what_was_merged_and_compacted(session: SparkSession, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    table = f"delta.`{uri}`"
    expected: dict[int, Any] = {}

    def vacuumed() -> dict[int, Any]:
        session.sql(f"VACUUM {table} RETAIN 0 HOURS").collect()
        rows = session.read.format("delta").load(uri).toArrow().to_pylist()
        return {row["id"]: row["ä"] for row in rows}

    session.sql(
        f"CREATE TABLE {table} (id BIGINT, `ä` STRING) USING delta PARTITIONED BY (`ä`)"
        " TBLPROPERTIES ('delta.enableDeletionVectors'='false')"
    ).collect()
    session.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    try:
        for start in (0, 10):
            texts = dict(enumerate(VALUES, start))
            listed = ", ".join(
                f"({place}, CAST(X'{value.encode().hex()}' AS STRING))" for place, value in texts.items()
            )
            session.sql(f"INSERT INTO {table} VALUES {listed}").collect()
            expected |= texts
        ours = dict(enumerate(VALUES, 20))
        changes = pa.table({"id": pa.array([*ours], pa.int64()), "ä": [*ours.values()]})
        staged = merging.stage(uri, changes, ["id"], destination=str(tmp_path / "staged"))
        merging.merge(merging.MergeRequest(uri, "CR-1", ["id"], staged))
        expected |= ours
        assert vacuumed() == expected
        with duckdb.connect(":memory:") as connection:
            done = delta.compact(
                connection, delta.open_snapshot(uri), attempt_id="compaction", application_id="compaction"
            )
        assert done.files_added == len(VALUES)
        assert vacuumed() == expected
    finally:
        session.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
