"""Shallow clones that Apache Spark makes and edits: what they changed, on the version that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from merging.staging.clones import changes_of_clone

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "part": ["a", "a", "b", "b"],
        "v": pa.array([1, 2, 3, 4], pa.int32()),
    }
)  # fmt: skip


def changes(table: str, clone: str, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    with changes_of_clone(table, clone, ["id"], **options) as found:
        rows = found.rows.read_all().sort_by("id").to_pylist()
    return found.base_version, rows


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("partitioned", [True, False])
def test_a_shallow_clone_that_spark_edited(
    vectors: bool, partitioned: bool, tmp_path: Path, session: SparkSession
) -> None:
    table, clone = str(tmp_path / "a table"), str(tmp_path / "clone")
    merging.create_table(table, ROWS, deletion_vectors=vectors, partition_by=["part"] if partitioned else [])
    session.sql(f"CREATE TABLE delta.`{clone}` SHALLOW CLONE delta.`{table}`").collect()
    assert changes(table, clone) == (0, [])

    session.sql(f"UPDATE delta.`{clone}` SET v = v * 10 WHERE id = 2").collect()
    session.sql(f"DELETE FROM delta.`{clone}` WHERE id = 3").collect()
    session.sql(f"INSERT INTO delta.`{clone}` VALUES (9, 'c', 90)").collect()
    session.sql(f"ALTER TABLE delta.`{clone}` ADD COLUMNS (note STRING)").collect()
    session.sql(f"UPDATE delta.`{clone}` SET note = 'new' WHERE id = 4").collect()
    # Somebody else goes on with the table meanwhile.
    session.sql(f"UPDATE delta.`{table}` SET v = 40 WHERE id = 1").collect()

    assert changes(table, clone) == (
        0,
        [
            {"id": 2, "part": "a", "v": 20, "note": None, "_op": "update"},
            {"id": 3, "part": None, "v": None, "note": None, "_op": "delete"},
            {"id": 4, "part": "b", "v": 4, "note": "new", "_op": "update"},
            {"id": 9, "part": "c", "v": 90, "note": None, "_op": "insert"},
        ],
    )
    with changes_of_clone(table, clone, ["id"]) as found:
        staged = merging.stage(
            table, found.rows, ["id"], found.base_version, destination=str(tmp_path / "staged")
        )
    assert (dict(staged.counts), staged.new_columns) == ({"insert": 1, "update": 2, "delete": 1}, ("note",))


def test_a_clone_of_an_older_version(tmp_path: Path, session: SparkSession) -> None:
    table, clone = str(tmp_path / "table"), str(tmp_path / "clone")
    merging.create_table(table, ROWS)
    session.sql(f"UPDATE delta.`{table}` SET v = 40 WHERE id = 1").collect()
    session.sql(f"CREATE TABLE delta.`{clone}` SHALLOW CLONE delta.`{table}` VERSION AS OF 0").collect()
    session.sql(f"DELETE FROM delta.`{clone}` WHERE id = 4").collect()
    assert changes(table, clone) == (0, [{"id": 4, "part": None, "v": None, "_op": "delete"}])


def test_a_copy_by_a_query_is_compared_with_the_version_that_is_named(
    tmp_path: Path, session: SparkSession
) -> None:
    table, copy = str(tmp_path / "table"), str(tmp_path / "copy")
    merging.create_table(table, ROWS)
    session.sql(
        f"CREATE TABLE delta.`{copy}` USING delta AS SELECT * FROM delta.`{table}` WHERE id < 4"
    ).collect()
    with pytest.raises(merging.StagingRejected, match="does not show"):
        changes(table, copy)
    with pytest.raises(merging.StagingRejected, match="base_version"):
        changes(table, copy, proved_only=False)
    found = changes(table, copy, proved_only=False, base_version=0)
    assert found == (0, [{"id": 4, "part": None, "v": None, "_op": "delete"}])
