"""A cluster with settings of its own, and tables that Spark by itself reads otherwise: it finds what DuckDB finds."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging.delta import open_snapshot
from merging.engines import Aggregates, Cluster, EngineChoice, Keys, TableReader, spark_sessions
from merging.sql.quoting import column_sql
from merging.sql.session import session as opened_session
from merging.store.stores import LocalStore
from tests.merging.interoperability import test_spark_aggregates as asked
from tests.merging.interoperability.conftest import connect_server
from tests.merging.interoperability.spark_connect import connected
from tests.merging.interoperability.test_spark_engine import hand_over
from tests.merging.interoperability.test_spark_values import UTC_PARTITIONS
from tests.merging.stores import Place, add_action, put_commit
from tests.merging.test_exports import rows_of

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")
SCHEMA = pa.schema([("id", pa.int64()), ("v", pa.string())])
#: What whoever runs a cluster may have set for all of its sessions, where it could change what is read.
SETTINGS = {
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.session.timeZone": "Asia/Tokyo",
    "spark.sql.parser.escapedStringLiterals": "true",
    "spark.sql.legacy.timeParserPolicy": "LEGACY",
    "spark.sql.files.ignoreMissingFiles": "true",
    "spark.sql.files.ignoreCorruptFiles": "true",
    "spark.sql.parquet.fieldId.read.enabled": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "LEGACY",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.driver.maxResultSize": "1m",
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with connect_server(settings=SETTINGS) as (_, listening):
        yield listening


@pytest.fixture
def by_spark(port: int) -> Iterator[EngineChoice]:
    yield EngineChoice("spark", Cluster(f"sc://127.0.0.1:{port}", seconds=300))
    merging.set_engines(lambda _: EngineChoice())


def _always(choice: EngineChoice, _: str) -> EngineChoice:
    return choice


def rows(count: int, start: int = 0) -> pa.Table:
    ids = range(start, start + count)
    return pa.table({"id": pa.array(ids, pa.int64()), "v": [f"v{n}" for n in ids]})


def told(choice: EngineChoice, uri: str, version: int | None = None) -> list[Any]:
    """All that an engine tells of a table: rows by their keys and by where they stand, numbers of all, and a page."""
    merging.set_engines(lambda _: choice)
    snapshot = open_snapshot(uri, version=version)
    names = snapshot.schema.names
    with opened_session() as opened:
        opened.execute(f"CREATE TABLE sought AS SELECT i::BIGINT AS {column_sql('id')} FROM range(100) r(i)")
        reader = TableReader(opened, snapshot)
        found = reader.rows_of(Keys("sought", ["id"]), names)
        there = reader.rows_at(found.sql, names[1:])
        least = [f"{which}({column_sql(name)})" for name in names for which in ("min", "max")]
        numbers = reader.aggregate(Aggregates(["count(*)", *least], names))
        ordered = "ORDER BY file_index, row_number"
        shown = [
            opened.rows(query)
            for query in (
                f"FROM {found.sql} {ordered}",
                f"FROM {there.sql} {ordered}",
                f"FROM {numbers.sql}",
            )
        ]
    page = merging.preview(uri, primary_keys=["id"], version=version, order_by=names[-1], limit=100)
    return [*shown, page.rows]


def test_values_at_the_borders_of_their_types(by_spark: EngineChoice, tmp_path: Path) -> None:
    asked.test_values_at_the_borders_of_their_types(by_spark, tmp_path)


def test_whoever_asks_is_warned_of_nothing(
    by_spark: EngineChoice, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Each question would fill the log of a worker: Spark is to lose one of the settings one day."""
    uri = str(tmp_path / "table")
    merging.create_table(uri, rows(9))
    assert told(by_spark, uri)[0]
    assert [str(one.message) for one in recwarn] == []


def test_one_session_for_all_that_is_asked(
    by_spark: EngineChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is as it was after each question; where it was lost between two, another one is opened."""
    uri = str(tmp_path / "table")
    for first in (0, 100, 200):
        if first:
            deltalake.write_deltalake(uri, rows(90, first), mode="append")
        else:
            merging.create_table(uri, rows(90))
    connected: list[Any] = []
    connect = spark_sessions._connected

    def counted(url: str) -> Any:
        connected.append(connect(url))
        return connected[-1]

    monkeypatch.setattr(spark_sessions, "_connected", counted)
    hand_over(monkeypatch, -1)
    merging.set_engines(lambda _: by_spark)
    with opened_session() as opened:
        opened.execute(f"CREATE TABLE sought AS SELECT i::BIGINT AS {column_sql('id')} FROM range(99) r(i)")
        reader = TableReader(opened, open_snapshot(uri))
        settings: list[dict[str, str]] = []
        for ask in (
            lambda: reader.aggregate(Aggregates(["count(*)"], [])),
            lambda: reader.rows_of(Keys("sought", ["id"]), ["id", "v"]),
            lambda: reader.rows_of(Keys("sought", ["id"]), ["id", "v"]),
        ):
            ask()
            settings.append(dict(connected[0].conf.getAll))
        assert settings[1] == settings[0]
        assert len(connected) == 1
        connected[0].client.release_session()
        assert reader.rows_of(Keys("sought", ["id"]), ["v"]).number == 90
        assert len(connected) == 2
    assert connected[1].is_stopped


@pytest.mark.parametrize("vectors", ["true", "false"], ids=["vectors", "none"])
def test_more_rows_than_the_driver_takes_at_once(
    by_spark: EngineChoice, port: int, tmp_path: Path, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of words whose length nobody knows: at the end of the table they are longer."""
    uri = str(tmp_path / "table")
    with connected(port) as session:
        session.sql(
            f"CREATE TABLE delta.`{uri}` USING delta TBLPROPERTIES (delta.enableDeletionVectors = {vectors}) AS "
            "SELECT id, repeat(sha2(CAST(id AS STRING), 256), CAST(id DIV 20000 AS INT)) AS v "
            "FROM range(0, 60000, 1, 4)"
        )
    snapshot = open_snapshot(uri)
    told: list[list[Any]] = []
    with opened_session() as opened:
        opened.execute(
            f"CREATE TABLE sought AS SELECT i::BIGINT AS {column_sql('id')} FROM range(60000) r(i)"
        )
        for choice, most in ((DUCKDB, 1 << 18), (by_spark, 1 << 18), (by_spark, 1 << 30)):
            merging.set_engines(partial(_always, choice))
            hand_over(monkeypatch, most)
            reader = TableReader(opened, snapshot)
            refused = pytest.raises(
                merging.ClusterFailed, match=r"takes fewer .* spark\.driver\.maxResultSize"
            )
            with refused if most == 1 << 30 else contextlib.nullcontext():
                found = reader.rows_of(Keys("sought", ["id"]), ["id", "v"])
                there = reader.rows_at(found.sql, ["v"])
                told += [opened.rows(f"FROM {rows.sql} ORDER BY ALL") for rows in (found, there)]
    assert len(told[0]) == 60_000
    assert told[2:] == told[:2]


def test_versions_that_differ_in_more_than_the_driver_takes(
    by_spark: EngineChoice, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "table")
    with connected(port) as session:
        session.sql(
            f"CREATE TABLE delta.`{uri}` USING delta AS SELECT id, sha2('a', 256) AS v FROM range(60000)"
        )
        session.sql(f"UPDATE delta.`{uri}` SET v = sha2(CAST(id AS STRING), 256)")
    told: list[Any] = []
    for choice, most in ((DUCKDB, -1), (by_spark, -1), (by_spark, 1 << 30)):
        merging.set_engines(partial(_always, choice))
        hand_over(monkeypatch, most)
        refused = pytest.raises(merging.ClusterFailed, match=r"spark\.driver\.maxResultSize")
        with refused if most == 1 << 30 else contextlib.nullcontext():
            found = merging.compare_versions(uri, primary_keys=["id"], before=0, after=1)
            told.append([repr(row) for row in rows_of(found.stream(("from", "to")))])
    assert len(told[0]) == 60_000
    assert told[1] == told[0]


def test_where_nothing_may_lie_beside_a_table_all_is_sent(
    by_spark: EngineChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By neither of the two, whatever the reason: what stands there in the way is no folder."""
    uri = str(tmp_path / "table")
    merging.create_table(uri, rows(9), deletion_vectors=True)
    (tmp_path / "table" / "_headgate").write_text("")
    hand_over(monkeypatch, -1)
    there = told(by_spark, uri)
    assert there == told(DUCKDB, uri)
    assert len(there[0]) == 9


def test_a_file_that_is_missing_is_missed(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Rows that nobody finds would come in a second time."""
    uri = str(tmp_path / "table")
    merging.create_table(uri, rows(9))
    [path] = open_snapshot(uri).files.column("path").to_pylist()
    (tmp_path / "table" / path).unlink()
    merging.set_engines(lambda _: by_spark)
    for ask in (
        lambda: merging.check_keys(uri, ["id"]),
        lambda: merging.preview(uri, primary_keys=["id"], filters=[("v", ">", "a")]),
    ):
        with pytest.raises(merging.ClusterFailed, match="could not read"):
            ask()


def test_versions_older_than_what_vacuum_spares(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Their files are there as long as nobody removes them."""
    uri = str(tmp_path / "table")
    merging.create_table(uri, rows(9))
    place = Place(uri, None, LocalStore(Path(uri)))
    pq.write_table(rows(9, 9), tmp_path / "table" / "more.parquet")
    put_commit(place, 1, [add_action("more.parquet", (tmp_path / "table" / "more.parquet").read_bytes())])
    then = time.time() - 40 * 86_400
    for commit in (tmp_path / "table" / "_delta_log").glob("*.json"):
        os.utime(commit, (then, then))
    for version in (0, 1):
        assert told(by_spark, uri, version) == told(DUCKDB, uri, version)


@pytest.mark.parametrize("vectors", ["true", "false"], ids=["vectors", "none"])
def test_partitions_without_a_zone(by_spark: EngineChoice, port: int, tmp_path: Path, vectors: str) -> None:
    """Spark takes them for moments in the zone of its session, the table says whose they are."""
    uri = str(tmp_path / "table")
    with connected(port) as session:
        session.conf.set("spark.sql.session.timeZone", "America/Los_Angeles")
        session.conf.set(UTC_PARTITIONS, "false")
        session.sql(
            f"CREATE TABLE delta.`{uri}` (id BIGINT, p TIMESTAMP_LTZ) USING delta PARTITIONED BY (p) TBLPROPERTIES "
            f"('delta.enableDeletionVectors' = '{vectors}', 'headgate.partitionTimeZone' = 'America/Los_Angeles')"
        )
        moments = ("1800-01-01 00:00:00.25Z", "2024-03-10 10:30:00Z", "2024-11-03 08:30:00Z")
        listed = ", ".join(f"({n}L, TIMESTAMP_LTZ '{text}')" for n, text in enumerate(moments))
        session.sql(f"INSERT INTO delta.`{uri}` VALUES {listed}, (3L, NULL)")
    found = told(DUCKDB, uri)
    assert [len(one) for one in found] == [4, 4, 1, 4]
    assert told(by_spark, uri) == found


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "none"])
def test_names_of_files_of_any_characters(by_spark: EngineChoice, tmp_path: Path, vectors: bool) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, SCHEMA.empty_table(), deletion_vectors=vectors)
    place = Place(uri, None, LocalStore(Path(uri)))
    names = {"a b%20+c.parquet": "a%20b%2520+c.parquet", "x[1]{b}.parquet": "x%5B1%5D%7Bb%7D.parquet"}
    actions = []
    for start, (name, logged) in enumerate(names.items()):
        pq.write_table(rows(5, start * 5), tmp_path / "table" / name)
        actions.append(add_action(logged, (tmp_path / "table" / name).read_bytes()))
    put_commit(place, 1, actions)
    assert told(by_spark, uri) == told(DUCKDB, uri)
