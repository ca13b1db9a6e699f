"""Apache Spark as the engine: it finds what DuckDB finds, plans come out the same, and what ends it changes nothing."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from merging.delta import candidate_files, open_snapshot
from merging.engines import Cluster, EngineChoice, Keys, TableReader, spark, spark_exchange
from merging.engines.spark_classifying import Classifying
from merging.engines.spark_files import PLAIN_NAME
from merging.sql.quoting import column_sql
from merging.sql.session import session as opened_session
from tests.merging.interoperability.conftest import StandaloneCluster, connect_server
from tests.merging.interoperability.spark_connect import hold_up_questions
from tests.merging.test_reference_cases import DIRECTIONS, run_case
from tests.merging.world import STRATEGIES, B, World, with_rows

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")


class Asked:
    """Which engine tables are read by, for a test to change."""

    def __init__(self, choice: EngineChoice) -> None:
        self.choice = choice

    def __call__(self, _: str) -> EngineChoice:
        return self.choice


@pytest.fixture
def engines(standalone: StandaloneCluster) -> Iterator[Asked]:
    """Spark, whatever there is to read."""
    asked = Asked(EngineChoice("spark", Cluster(f"sc://127.0.0.1:{standalone.port}", seconds=120)))
    merging.set_engines(asked)
    yield asked
    merging.set_engines(lambda _: EngineChoice())


@pytest.mark.sample(20)
@pytest.mark.parametrize(("case_id", "mirrored"), DIRECTIONS)
def test_the_whole_collection_of_cases(engines: Asked, tmp_path: Path, case_id: str, mirrored: bool) -> None:
    strategy = STRATEGIES[mirrored]  # each case on both
    run_case(lambda **options: World(tmp_path, strategy, **options), case_id, mirrored)


@pytest.mark.sample(20)
@pytest.mark.parametrize(("case_id", "mirrored"), DIRECTIONS)
def test_the_whole_collection_told_apart_by_the_cluster(
    engines: Asked, tmp_path: Path, case_id: str, mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which rows changed since they were staged is Spark's to say, as of more of them than a worker takes: so many
    answers lie beside the table.
    """
    hand_over(monkeypatch, -1)
    engines.choice = replace(engines.choice, classifies_above=0)
    strategy = STRATEGIES[not mirrored]
    run_case(lambda **options: World(tmp_path, strategy, **options), case_id, mirrored)


#: How Spark makes tables that are read otherwise than they lie: each has keys ``id`` and a column ``v`` of text.
TABLES = {
    "vectors": "(id BIGINT, v STRING) USING delta TBLPROPERTIES (delta.enableDeletionVectors = true)",
    "names mapped": "(id BIGINT, v STRING, `a b;c` INT) USING delta TBLPROPERTIES (delta.columnMapping.mode = 'name')",
    "ids mapped": "(id BIGINT, v STRING) USING delta TBLPROPERTIES (delta.columnMapping.mode = 'id')",
    "partitions of odd values": "(id BIGINT, v STRING, p STRING) USING delta PARTITIONED BY (p)",
    "instants": "(id BIGINT, v STRING, t TIMESTAMP, n TIMESTAMP_NTZ, d DATE) USING delta PARTITIONED BY (d)",
    "nested": "(id BIGINT, v STRING, s STRUCT<x: INT, y: ARRAY<STRING>>, m MAP<STRING, DECIMAL(9,2)>) USING delta",
    "other kinds": "(id BIGINT, v STRING, c CHAR(5), w VARCHAR(7), b BINARY, f FLOAT, k SMALLINT, y BOOLEAN) "
    "USING delta",
    "names of Spark's own": "(id BIGINT, v STRING, `_metadata` STRING, r INT, f STRING, c0 STRING) USING delta",
}
VALUES = {
    "`a b;c`": "CAST(id AS INT)",
    "p": "element_at(array('a b', 'c:d%é', 'x=1/2', NULL, '100%'), CAST(id % 5 AS INT) + 1)",
    "t": "timestamp_micros(id * 1234567)",
    "n": "CAST(timestamp_micros(id * 7654321) AS TIMESTAMP_NTZ)",
    "d": "date_add(DATE '2020-02-28', CAST(id % 3 AS INT))",
    "s": "named_struct('x', CAST(id AS INT), 'y', array(CAST(id AS STRING), NULL))",
    "m": "map('k', CAST(id AS DECIMAL(9,2)))",
    "c": "CAST(id AS STRING)",
    "w": "CAST(id AS STRING)",
    "b": "CAST(CAST(id AS STRING) AS BINARY)",
    "f": "CAST(id AS FLOAT) / 3",
    "k": "CAST(id % 100 AS SMALLINT)",
    "y": "id % 2 = 0",
    "`_metadata`": "'own'",
    "r": "CAST(-id AS INT)",
    "c0": "'zero'",
    "z": "CASE id % 3 WHEN 0 THEN 0e0 WHEN 1 THEN double('NaN') ELSE id / 3e0 END",
}


def made(session: SparkSession, folder: Path, columns: str) -> str:
    """A table as ``made_at`` makes it, in a folder; its address."""
    uri = str(folder / "a table")
    made_at(session, uri, columns)
    return uri


def made_at(session: SparkSession, uri: str, columns: str) -> None:
    """A table of 400 rows in two loads, of which every seventh was deleted and some were updated."""
    session.sql(f"CREATE TABLE delta.`{uri}` {columns}")
    names = [f"`{name}`" for name in session.read.format("delta").load(uri).columns]
    plain = [name if name in VALUES else name.strip("`") for name in names]
    told = {"id": "id", "v": "concat('v', id)", **VALUES}
    if "c0" in plain:
        told |= {"f": "'f'"}
    listed = ", ".join(f"{told[name]} AS {quoted}" for name, quoted in zip(plain, names, strict=True))
    for first in (0, 200):
        session.sql(f"INSERT INTO delta.`{uri}` SELECT {listed} FROM range({first}, {first + 200})")
    session.sql(f"DELETE FROM delta.`{uri}` WHERE id % 7 = 0")
    session.sql(f"UPDATE delta.`{uri}` SET v = 'again' WHERE id % 11 = 0")


#: How much goes by Spark Connect, and which names of files are so plain that Spark tells numbers for them.
ASKED = {
    "by Spark Connect": (1 << 30, PLAIN_NAME),
    "beside the table": (-1, PLAIN_NAME),
    "by paths": (-1, re.compile("no name")),
}


def hand_over(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No more than so many bytes of rows go by Spark Connect."""
    monkeypatch.setattr(spark_exchange, "_SENT_UP_TO", most)
    monkeypatch.setattr(spark_exchange, "_ANSWERED_UP_TO", most)


@pytest.mark.parametrize(("most", "plain"), ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_it_finds_what_duckdb_finds(
    engines: Asked,
    session: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
    most: int,
    plain: re.Pattern[str],
) -> None:
    hand_over(monkeypatch, most)
    monkeypatch.setattr(spark, "PLAIN_NAME", plain)
    uri = made(session, tmp_path, columns)
    snapshot = open_snapshot(uri)
    by_spark = engines.choice
    with opened_session() as opened:
        opened.execute(f"CREATE TABLE sought AS SELECT i * 3 AS {column_sql('id')} FROM range(300) r(i)")
        found: dict[str, list[dict[str, Any]]] = {}
        again: dict[str, list[dict[str, Any]]] = {}
        for choice in (DUCKDB, by_spark):
            engines.choice = choice
            reader = TableReader(opened, snapshot)
            rows = reader.rows_of(Keys("sought", ["id"]), snapshot.schema.names)
            found[choice.engine] = opened.rows(f"SELECT * FROM {rows.sql} ORDER BY file_index, row_number")
            there = reader.rows_at(rows.sql, snapshot.schema.names[1:])
            again[choice.engine] = opened.rows(f"SELECT * FROM {there.sql} ORDER BY file_index, row_number")
            assert [(read.engine, read.files, read.rows) for read in reader.reads] == [
                (choice.engine, len(snapshot.files), rows.number),
                (choice.engine, len({row["file_index"] for row in found[choice.engine]}), rows.number),
            ]
    assert len(found["duckdb"]) == sum(1 for i in range(0, 400, 3) if i % 7)
    assert found["spark"] == found["duckdb"]
    assert again["spark"] == again["duckdb"]
    assert not [path for path in Path(uri).rglob("_headgate/**") if path.is_file()]


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_files_that_cannot_hold_a_row_are_not_opened(
    engines: Asked, session: SparkSession, tmp_path: Path, columns: str
) -> None:
    """Of a larger table: they need not even be there."""
    uri = made(session, tmp_path, columns)
    for more in (1_000, 2_000, 4_000, 8_000):
        session.sql(f"INSERT INTO delta.`{uri}` SELECT id + {more}, * EXCEPT (id) FROM delta.`{uri}`")
    snapshot = open_snapshot(uri)
    by_spark = engines.choice
    with opened_session() as opened:
        opened.execute(f"CREATE TABLE sought AS SELECT i * 3 AS {column_sql('id')} FROM range(120) r(i)")
        found: list[Any] = []
        for choice in (DUCKDB, by_spark):
            engines.choice = choice
            reader = TableReader(opened, snapshot)
            rows = reader.rows_of(Keys("sought", ["id"]), snapshot.schema.names)
            found.append(opened.rows(f"SELECT * FROM {rows.sql} ORDER BY file_index, row_number"))
            there = reader.rows_at(rows.sql, snapshot.schema.names[1:])
            found.append(opened.rows(f"SELECT * FROM {there.sql} ORDER BY file_index, row_number"))
            hit = {row["file_index"] for row in found[0]}
            possible = candidate_files(opened.connection, snapshot, "sought", ["id"])
            assert [(read.engine, read.files) for read in reader.reads] == [
                (choice.engine, len(possible)),
                (choice.engine, len(hit)),
            ]
            assert sum(read.bytes for read in reader.reads) <= snapshot.size_bytes
            for index, path in enumerate(snapshot.files.column("path").to_pylist()):
                data = Path(uri, urllib.parse.unquote(path))
                if index not in possible and data.exists():
                    data.rename(tmp_path / f"away-{index}")
    assert len(found[0]) == sum(1 for i in range(0, 360, 3) if i % 7)
    assert found[2:] == found[:2]


def test_what_the_cluster_looked_into_is_told(engines: Asked, session: SparkSession, tmp_path: Path) -> None:
    """As a whole, without the files that the range of all keys leaves out; rows at their places, in all of them."""
    uri = str(tmp_path / "a table")
    session.sql(f"CREATE TABLE delta.`{uri}` {TABLES['vectors']}")
    for first in range(0, 60, 10):
        session.sql(f"INSERT INTO delta.`{uri}` SELECT id, 'v' FROM range({first}, {first + 10}, 1, 1)")
    snapshot = open_snapshot(uri)
    with opened_session() as opened:
        opened.execute(
            f"CREATE TABLE sought AS SELECT unnest([11, 12, 31, 42, 51])::BIGINT AS {column_sql('id')}"
        )
        reader = TableReader(opened, snapshot)
        rows = reader.rows_of(Keys("sought", ["id"]), ["v"])
        assert rows.number == 5
        assert reader.rows_at(rows.sql, ["v"]).number == 5
    assert [(read.files, read.rows) for read in reader.reads] == [(5, 5), (6, 5)]
    assert reader.reads[1].bytes == snapshot.size_bytes


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_plan_and_its_merge_are_the_same(engines: Asked, tmp_path: Path, strategy: str) -> None:
    """The rows were staged on one version and moved by another writer: some conflict, some came in between."""
    by_spark = engines.choice
    world = World(tmp_path, strategy)
    proposed = [{"id": 1, "a": 11}, {"id": 2, "a": 21}, {"id": 4, "a": 41}]
    digests, contents, planned = [], [], []
    for choice in (DUCKDB, by_spark):
        engines.choice = choice
        contents.append(world.stage(proposed))
        digests.append(contents[-1].digest)
    world.set_current(with_rows(B, {"id": 2, "a": 22}, {"id": 4, "a": 40, "b": "new", "c": 0.5}))
    for choice in (DUCKDB, by_spark):
        engines.choice = choice
        with world.plan(contents[0]) as plan:
            planned.append((plan.digest, list(plan.conflicts), [vars(row) for row in plan.rows().items]))
            assert {read.engine for read in plan.reads} == {choice.engine}
    assert digests[0] == digests[1]
    assert planned[0] == planned[1]
    result = world.merge(contents[1], force_merge=True)
    assert [read.engine for read in result.reads] == ["spark"]
    assert [(row["id"], row["a"]) for row in world.rows()] == [(1, 11), (2, 21), (3, 30), (4, 41)]


#: Cells that others change between staging and planning, of every kind of value that ``TABLES`` have.
TOUCHED = {
    "v": "concat(v, '!')",
    "`a b;c`": "NULL",
    "p": "NULL",
    "t": "t + INTERVAL 1 MICROSECOND",
    "n": "NULL",
    "d": "date_add(d, 1)",
    "s": "named_struct('x', s.x, 'y', array(CAST(id AS STRING), 'no longer NULL'))",
    "c": "NULL",
    "b": "CAST(concat('x', id) AS BINARY)",
    "f": "-f",
    "k": "CAST(k + 1 AS SMALLINT)",
    "y": "NOT y",
    "`_metadata`": "NULL",
    "r": "r - 1",
    "c0": "'one'",
    "z": "-z",
}
TOLD_APART = TABLES | {
    "other kinds": TABLES["other kinds"].replace("c CHAR(5)", "c STRING"),
    "nested without maps": "(id BIGINT, v STRING, s STRUCT<x: INT, y: ARRAY<STRING>>) USING delta",
    "zeros with signs": "(id BIGINT, v STRING, z DOUBLE) USING delta",
}


@pytest.mark.parametrize("columns", TOLD_APART.values(), ids=TOLD_APART)
def test_the_cluster_tells_which_rows_changed(
    engines: Asked, session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """Some rows change in one cell, some go, some come back, all move: the plan is what DuckDB makes of whole rows, and
    of rows that nobody changed no cells come. Tables with maps are told apart here."""
    uri = made(session, tmp_path, columns)
    proposed = [{"id": number, "v": f"mine {number}"} for number in range(120)]
    engines.choice, by_spark = DUCKDB, replace(engines.choice, classifies_above=0)
    staged = merging.stage(uri, pa.Table.from_pylist(proposed), ["id"], destination=str(tmp_path / "staged"))
    names = [f"`{name}`" for name in session.read.format("delta").load(uri).columns]
    plain = [name if name in TOUCHED else name.strip("`") for name in names]
    touched = TOUCHED | ({"f": "NULL"} if "c0" in plain else {})
    for place, name in enumerate(one for one in plain if one in touched):
        told = name if name.startswith("`") else f"`{name}`"
        session.sql(f"UPDATE delta.`{uri}` SET {told} = {touched[name]} WHERE id % 23 = {place}")
    session.sql(f"DELETE FROM delta.`{uri}` WHERE id % 23 = 21")
    session.sql(
        f"OPTIMIZE delta.`{uri}`" if "PARTITIONED" in columns else f"OPTIMIZE delta.`{uri}` ZORDER BY (v)"
    )
    session.sql(f"REORG TABLE delta.`{uri}` APPLY (PURGE)")
    sent: list[int] = []
    apart = Classifying.apart

    def counted(question: Any, answers: Any, take_same: Any) -> Iterator[pa.Table]:
        for answer in apart(question, answers, take_same):
            sent.append(len(answer))
            yield answer

    monkeypatch.setattr(Classifying, "apart", counted)
    request = merging.MergeRequest(uri, "CR-1", ["id"], staged.location, destination=str(tmp_path / "made"))
    planned, found = [], []
    for choice in (DUCKDB, by_spark):
        engines.choice = choice
        with merging.plan(request) as plan:
            planned.append((plan.digest, list(plan.conflicts), [vars(row) for row in plan.rows().items]))
            found.append([(read.engine, read.rows) for read in plan.reads])
    assert repr(planned[1]) == repr(planned[0])  # NaN is NaN
    assert planned[0][1]
    assert found[1] == [("spark", found[0][0][1])]
    assert not list(Path(uri).glob("_headgate/**/*.parquet"))
    if "MAP" in columns:
        assert not sent
    else:
        changed = {one.key["id"] for one in planned[0][1] if one.kind != "delete/modify"}
        assert len(changed) <= sum(sent) < found[0][0][1] / 1.5
    before = {row["id"]: row for row in session.read.format("delta").load(uri).toArrow().to_pylist()}
    merging.merge(replace(request, force_merge=True))
    after = {row["id"]: row for row in session.read.format("delta").load(uri).toArrow().to_pylist()}
    assert {number: row["v"] for number, row in after.items() if number < 120} == {
        row["id"]: row["v"] for row in proposed
    }
    # To the sign of a zero, of the rows that were changed as of the others.
    assert {number: str({**after[number], "v": row["v"]}) for number, row in before.items()} == {
        number: str(row) for number, row in before.items()
    }
    assert {number for number in after if number >= 120} == {number for number in before if number >= 120}


@pytest.mark.parametrize("unable", ["to find them", "to take them"])
def test_without_images_there_rows_are_told_apart_here(
    engines: Asked, session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unable: str
) -> None:
    """Spark takes some names of folders for patterns, and whoever sees a plan may not be one who writes."""
    folder = tmp_path / ("of {many} [kinds]" if unable == "to find them" else "plain")
    folder.mkdir()
    uri = made(session, folder, TABLES["vectors"])
    engines.choice, by_spark = DUCKDB, replace(engines.choice, classifies_above=0)
    proposed = pa.table({"id": range(120), "v": ["mine"] * 120})
    staged = merging.stage(uri, proposed, ["id"], destination=str(tmp_path / "staged"))
    session.sql(f"OPTIMIZE delta.`{uri}` ZORDER BY (v)")
    if unable == "to take them":
        mkdir = Path.mkdir

        def refused(path: Path, *arguments: Any, **named: Any) -> None:
            if "_headgate" in path.parts:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            mkdir(path, *arguments, **named)

        monkeypatch.setattr(Path, "mkdir", refused)
    request = merging.MergeRequest(uri, "CR-1", ["id"], staged.location, destination=str(tmp_path / "made"))
    planned, found = [], []
    for choice in (DUCKDB, by_spark):
        engines.choice = choice
        with merging.plan(request) as plan:
            planned.append(plan.digest)
            found.append([(read.engine, read.rows) for read in plan.reads])
    assert planned[1] == planned[0]
    assert found[1] == [("spark", found[0][0][1])]


def test_rows_that_nobody_touched_need_no_cluster(engines: Asked, tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read")
    engines.choice = DUCKDB
    staged = world.stage([{"id": 1, "a": 11}])
    engines.choice = EngineChoice("spark", Cluster("sc://127.0.0.1:1"))
    assert world.merge(staged).reads == ()


def test_another_table_at_the_address_is_told_apart(
    engines: Asked, session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = made(session, tmp_path, TABLES["vectors"])
    (tmp_path / "other").mkdir()
    other = made(session, tmp_path / "other", TABLES["vectors"])
    monkeypatch.setattr(
        "merging.engines.spark._address_there", lambda address: other if address == uri else address
    )
    with opened_session() as opened:
        opened.execute(f"CREATE TABLE sought AS SELECT 3::BIGINT AS {column_sql('id')}")
        with pytest.raises(merging.ClusterFailed, match="another table"):
            TableReader(opened, open_snapshot(uri)).rows_of(Keys("sought", ["id"]), ["v"])


def ask(uri: str, while_waiting: Any = None) -> None:
    with opened_session() as opened:
        opened.execute(f"CREATE TABLE sought AS SELECT i::BIGINT AS {column_sql('id')} FROM range(3) r(i)")
        TableReader(opened, open_snapshot(uri), while_waiting).rows_of(Keys("sought", ["id"]), ["a"])


def test_whoever_waits_may_end_it(engines: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, "merge-on-read")
    asked = []

    def cancelled() -> None:
        asked.append(threading.current_thread() is threading.main_thread())
        if len(asked) == 12:
            raise merging.CutShort("Nobody wants it any more.")

    began = time.monotonic()
    with monkeypatch.context() as slow:
        hold_up_questions(slow, seconds=100)
        with pytest.raises(merging.CutShort, match="Nobody wants it"):
            ask(world.uri, cancelled)
    assert time.monotonic() - began < 60
    assert all(asked)
    ask(world.uri)  # the cluster works on nothing else, and answers the next question


def test_a_question_has_its_time(engines: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, "merge-on-read")
    hold_up_questions(monkeypatch, seconds=100)
    cluster = engines.choice.cluster
    assert isinstance(cluster, Cluster)
    engines.choice = EngineChoice("spark", Cluster(cluster.address, seconds=8))
    with pytest.raises(merging.ClusterFailed, match="did not answer within 8 seconds") as late:
        ask(world.uri)
    assert late.value.retriable


def test_a_server_that_is_killed_in_the_middle(
    engines: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, "merge-on-read")
    engines.choice = DUCKDB
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current(with_rows(B, {"id": 3, "a": 33}))
    before, paths = world.version, world.paths()
    hold_up_questions(monkeypatch, seconds=100)
    with connect_server() as (server, port):
        engines.choice = EngineChoice("spark", Cluster(f"sc://127.0.0.1:{port}", seconds=120))
        killer = threading.Timer(15, os.kill, (server.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(merging.ClusterFailed, match="went away") as gone:
            world.merge(staged)
        killer.cancel()
    assert gone.value.code == "cluster_failed"
    assert world.version == before
    assert world.paths() == paths
    engines.choice = DUCKDB
    assert world.merge(staged).diff.rows_updated == 1


def test_an_address_where_nobody_is(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read")
    merging.set_engines(lambda _: EngineChoice("spark", Cluster("sc://127.0.0.1:9", seconds=60)))
    try:
        began = time.monotonic()
        with pytest.raises(merging.ClusterFailed, match="cannot be reached") as refused:
            ask(world.uri)
        assert time.monotonic() - began < 30
        assert refused.value.retriable
    finally:
        merging.set_engines(lambda _: EngineChoice())
