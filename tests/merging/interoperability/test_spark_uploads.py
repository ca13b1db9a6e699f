"""Apache Spark finds the base images of an upload: the confined process that reads it asks its caller, and what it
stages is, file by file, what it stages by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

import merging
from merging import Bounds
from merging.engines import Cluster, EngineChoice
from tests.merging.interoperability.test_spark_engine import TABLES, made

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

#: Tables by the kinds of their keys.
KEYED = {
    "decimals": ("k DECIMAL(20,4)", "CAST(id AS DECIMAL(20,4)) / 8"),
    "moments": ("k TIMESTAMP", "timestamp_micros(id * 1234567)"),
    "moments without a zone": ("k TIMESTAMP_NTZ", "CAST(timestamp_micros(id * 7654321) AS TIMESTAMP_NTZ)"),
    "texts": ("k STRING", "concat('kéy ', id)"),
    "bytes": ("k BINARY", "CAST(CAST(id AS STRING) AS BINARY)"),
}
DEFERRED = "TBLPROPERTIES (delta.enableDeletionVectors = true)"


@pytest.fixture
def uploaded(
    child_for_staging: None, by_spark: EngineChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Stages a file by either engine, and holds what came of it against each other."""

    def upload(uri: str, file: Path, keys: Sequence[str]) -> dict[str, bytes]:
        (tmp_path / "scratch").mkdir(exist_ok=True)
        staged = merging.stage_apart(
            uri,
            str(file),
            keys,
            destination=str(tmp_path / "staged"),
            scratch=str(tmp_path / "scratch"),
            bounds=Bounds(memory_bytes=2 * 1024**3, seconds=60, open_files=512, file_bytes=1024**3),
            file_name=file.name,
        )
        assert staged.counts["update"]
        assert staged.counts["insert"]
        assert staged.counts["delete"]
        return {path.name: path.read_bytes() for path in Path(staged.location).iterdir()}

    asked: list[Cluster] = []

    def ask(cluster: Cluster, *more: Any) -> Any:
        asked.append(cluster)
        return engine(cluster, *more)

    engine = Cluster.engine
    monkeypatch.setattr(Cluster, "engine", ask)

    def check(uri: str, file: Path, keys: Sequence[str] = ("id",)) -> None:
        merging.set_engines(lambda _: EngineChoice("duckdb"))
        here = upload(uri, file, keys)
        assert not asked
        merging.set_engines(lambda _: by_spark)
        assert upload(uri, file, keys) == here
        assert asked

    return check


def changes(session: SparkSession, folder: Path, keys: str, value: str) -> Path:
    """Rows of which some are in the table, some are not, and some go."""
    rows = session.sql(
        f"SELECT {keys}, {value} AS v, IF(id % 8 = 0, 'delete', 'upsert') AS _op FROM range(0, 500, 4) "
        "WHERE id % 8 <> 0 OR (id % 7 <> 0 AND id < 400)"
    ).toArrow()
    path = folder / "changes.parquet"
    pq.write_table(rows, path)
    return path


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_an_upload_is_staged_alike(
    uploaded: Callable[..., None], session: SparkSession, tmp_path: Path, columns: str
) -> None:
    uri = made(session, tmp_path, columns)
    uploaded(uri, changes(session, tmp_path, "id", "concat('new ', id)"))


@pytest.mark.parametrize("kind", KEYED)
def test_an_upload_is_staged_alike_by_keys_of_each_kind(
    uploaded: Callable[..., None], session: SparkSession, tmp_path: Path, kind: str
) -> None:
    column, value = KEYED[kind]
    uri = str(tmp_path / "a table")
    session.sql(
        f"CREATE TABLE delta.`{uri}` ({column}, day DATE, v STRING) USING delta PARTITIONED BY (day) {DEFERRED}"
    )
    day = "date_add(DATE '2020-02-28', CAST(id % 3 AS INT))"
    for first in (0, 200):
        session.sql(
            f"INSERT INTO delta.`{uri}` SELECT {value}, {day}, concat('v', id) FROM range({first}, {first + 200})"
        )
    session.sql(f"DELETE FROM delta.`{uri}` WHERE v LIKE '%3'")
    session.sql(f"UPDATE delta.`{uri}` SET v = NULL WHERE v LIKE '%5'")
    file = changes(session, tmp_path, f"{value} AS k, {day} AS day", "concat('new ', id)")
    uploaded(uri, file, ("k", "day"))
