"""Tables in an object store that Apache Spark reads and writes by its own client, and we by ours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from merging.engines import Cluster, EngineChoice
from merging.store.stores import open_store
from tests.merging.interoperability.conftest import connect_server
from tests.merging.interoperability.spark_connect import connected
from tests.merging.interoperability.test_spark_engine import TABLES, made_at
from tests.stores.servers import Server, server

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def store() -> Server:
    return server("s3")


@pytest.fixture(scope="module")
def port(store: Server) -> Iterator[int]:
    """The port of a Spark Connect server that opens the store with the keys that we have."""
    settings = {
        "spark.hadoop.fs.s3a.endpoint": store.options["AWS_ENDPOINT_URL"],
        "spark.hadoop.fs.s3a.endpoint.region": store.options["AWS_REGION"],
        "spark.hadoop.fs.s3a.access.key": store.options["AWS_ACCESS_KEY_ID"],
        "spark.hadoop.fs.s3a.secret.key": store.options["AWS_SECRET_ACCESS_KEY"],
        "spark.hadoop.fs.s3a.path.style.access": "true",
    }
    with connect_server(settings=settings) as (_, found):
        yield found


@pytest.fixture(scope="module")
def session(port: int) -> Iterator[SparkSession]:
    with connected(port) as opened:
        yield opened


@pytest.fixture
def by_spark(port: int) -> Iterator[EngineChoice]:
    """Spark, whatever there is to read or to write."""
    yield EngineChoice("spark", Cluster(f"sc://127.0.0.1:{port}", seconds=600), spark_above=0, writes_above=0)
    merging.set_engines(lambda _: EngineChoice())


def rows_of(session: SparkSession, uri: str) -> list[dict[str, Any]]:
    """All rows as Spark reads them, by key."""
    found = session.read.format("delta").load(uri).toArrow().to_pylist()
    return sorted(found, key=lambda row: row["id"])


@pytest.mark.parametrize("kind", ["vectors", "names mapped", "partitions of odd values", "instants"])
def test_merges_and_jobs_of_spark_take_turns(
    by_spark: EngineChoice, session: SparkSession, store: Server, tmp_path: Path, kind: str
) -> None:
    """Rows are looked for by Spark, and files written again by it; rows that nobody names stay as they were."""
    uri = f"{store.address}/{uuid.uuid4().hex}/a table, 100%"
    there = uri.replace("s3://", "s3a://")
    options = dict(store.options)
    made_at(session, there, TABLES[kind])
    expected = {row["id"]: row for row in rows_of(session, there)}
    for number, vectors in enumerate((True, False)):
        session.sql(
            f"ALTER TABLE delta.`{there}` SET TBLPROPERTIES (delta.enableDeletionVectors = {vectors})"
        )
        rows = [{"id": 1, "v": f"one {number}"}, {"id": 399, "v": "last"}, {"id": 1000 + number, "v": "new"}]
        merging.set_engines(lambda _: EngineChoice("duckdb"))
        staged = merging.stage(
            *(uri, pa.Table.from_pylist(rows), ["id"]),
            destination=str(tmp_path / str(number)),
            storage_options=options,
        )
        # All rows move, so that they have to be looked for.
        session.sql(f"OPTIMIZE delta.`{there}`")
        session.sql(f"UPDATE delta.`{there}` SET v = concat(v, '+') WHERE id IN (30, 31)")
        for key in (30, 31):
            expected[key]["v"] += "+"
        merging.set_engines(lambda _: by_spark)
        request = merging.MergeRequest(
            *(uri, f"CR-{number}", ["id"], staged), identity=uuid.uuid4().hex, storage_options=options
        )
        result = merging.merge(request)
        assert {read.engine for read in result.reads} == {"spark"}
        if not vectors:
            written = {(one.engine, one.work) for one in result.writes}
            assert written == {("spark", "rewrite"), ("spark", "write")}
        for row in rows:
            expected[row["id"]] = {**dict.fromkeys(expected[2]), **expected.get(row["id"], {}), **row}
        assert rows_of(session, there) == [expected[key] for key in sorted(expected)]
        assert [
            one.path for one in open_store(uri, options).walk() if one.path.startswith("_headgate/")
        ] == []
