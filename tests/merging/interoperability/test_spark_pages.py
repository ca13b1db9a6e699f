"""Files of Spark's that lose rows page by page: what Spark reads in them afterwards, by its vectors, row by row, and by
the indexes of pages."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging.delta import content_checks, open_snapshot
from merging.delta.writing import by_duckdb, splicing
from tests.merging.delta.delta_tables import delta_rs_rows, own_rows
from tests.merging.interoperability.spark_connect import spark_rows

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

ROWS = 30_000
COLUMNS = """
    id, id % 7 AS few, concat('text ', md5(cast(id AS STRING))) AS t,
    if(id % 5 = 0, NULL, cast(id AS DECIMAL(12, 2))) AS price,
    cast(id / 3 AS DOUBLE) AS d, id % 2 = 0 AS flag, timestamp_micros(id * 1000003) AS moment,
    if(id % 9 = 0, NULL, named_struct('x', id, 'y', concat('y', id % 4))) AS place
"""
WRITTEN = {
    "version 1": {"parquet.writer.version": "v1"},
    "version 2": {"parquet.writer.version": "v2", "parquet.enable.dictionary": "false"},
    "zstd": {"compression": "zstd"},
    "Bloom filters": {"parquet.bloom.filter.enabled#t": "true", "compression": "gzip"},
}


@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN)
def test_spark_reads_every_row(
    session: SparkSession, tmp_path: Path, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", 1.0)
    monkeypatch.setattr(splicing, "_PACKING", 0)
    monkeypatch.setattr(splicing, "_TAKING_OUT", 0)
    made: list[Any] = []
    real = splicing.splice

    def noted(*given: Any) -> Any:
        made.append(real(*given))
        return made[-1]

    monkeypatch.setattr(by_duckdb, "splice", noted)
    # INT96 has no bounds in the file, and the log has: such files are written whole.
    session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    uri = str(tmp_path / "table")
    rows = session.sql(f"SELECT {COLUMNS} FROM range(0, {ROWS}, 1, 1)")
    settings = {
        "parquet.page.size": "20000",
        "parquet.page.row.count.limit": "2000",
        "parquet.block.size": "400000",
        **options,
    }
    rows.write.format("delta").options(**settings).option("delta.enableDeletionVectors", "false").save(uri)
    gone = sorted(random.Random(5).sample(range(1, ROWS - 1), 40))  # noqa: S311
    names = open_snapshot(uri).schema.names
    deltas = any("DELTA" in encoding for encoding in _encodings(uri))
    before = {row[0]: row for row in spark_rows(session, uri, names)}
    staged = merging.stage(
        uri, pa.table({"id": gone, "_op": ["delete"] * 40}), ["id"], destination=str(tmp_path / "staging")
    )
    merging.merge(merging.MergeRequest(uri, "CR-1", ["id"], staged))
    # Deltas, which version 2 writes without dictionaries, are written whole.
    assert [one is not None for one in made] == [not deltas]
    left = [row for number, row in before.items() if number not in gone]
    assert own_rows(uri) == left
    assert delta_rs_rows(uri, names) == left
    assert spark_rows(session, uri, names) == left
    session.conf.set("spark.sql.parquet.enableVectorizedReader", "false")
    try:
        assert spark_rows(session, uri, names) == left
        _finds_each(session, uri, gone)
    finally:
        session.conf.unset("spark.sql.parquet.enableVectorizedReader")
        session.conf.unset("spark.sql.parquet.outputTimestampType")
    _finds_each(session, uri, gone)


def _encodings(uri: str) -> set[str]:
    [file] = open_snapshot(uri).files
    metadata = pq.read_metadata(Path(uri, file.path))
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    return {
        one for group in groups for place in range(group.num_columns) for one in group.column(place).encodings
    }


def _finds_each(session: SparkSession, uri: str, gone: list[int]) -> None:
    """By their values, which the indexes of pages lead to: neighbours of those that went, and none of those."""
    table = f"delta.`{uri}`"
    for number in gone[::8]:
        for wanted, count in ((number, 0), (number + 1, int(number + 1 not in gone))):
            text = f"SELECT count(t) AS n FROM {table} WHERE id = {wanted}"
            assert session.sql(text).toArrow().to_pydict() == {"n": [count]}
            text = f"SELECT count(*) AS n FROM {table} WHERE t = concat('text ', md5('{wanted}'))"
            assert session.sql(text).toArrow().to_pydict() == {"n": [count]}
