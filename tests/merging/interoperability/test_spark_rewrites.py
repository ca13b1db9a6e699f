"""Data files that Apache Spark writes for our commits: tables come out as they do where DuckDB writes them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging import delta
from merging.delta import content_checks, open_snapshot
from merging.engines import Cluster, EngineChoice, spark_files
from merging.engines import writing as engine_writing
from tests.merging.delta.delta_tables import delta_rs_rows, own_rows, sample
from tests.merging.interoperability.conftest import connect_server
from tests.merging.interoperability.spark_connect import spark_rows
from tests.merging.interoperability.test_spark_engine import TABLES, made
from tests.merging.world import Row, World, same_rows, with_rows

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")
NO_VECTORS = "TBLPROPERTIES (delta.enableDeletionVectors = false)"


@pytest.fixture(autouse=True)
def every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written again is compared cell by cell, not one file in fifty."""
    monkeypatch.setattr(content_checks, "SHARE", 1.0)


def chosen(choice: EngineChoice) -> None:
    merging.set_engines(lambda _: choice)


def merged(uri: str, staged: merging.Staged, choice: EngineChoice) -> merging.MergeResult:
    chosen(choice)
    return merging.merge(merging.MergeRequest(uri, f"CR-{staged.digest[:8]}", ["id"], staged))


def changes_of(session: SparkSession, uri: str) -> list[str]:
    """The change data feed of the last version, without what differs from merge to merge, as text: NaN is NaN."""
    version = open_snapshot(uri).version
    feed = session.read.format("delta").option("readChangeFeed", "true").option("startingVersion", version)
    found = feed.load(uri).toArrow().to_pylist()
    for row in found:
        del row["_commit_timestamp"]
    return sorted(map(repr, found))


def statistics(uri: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What the log states of each file: partition and statistics."""
    files = [
        (dict(file.partition_values), json.loads(file.stats_json or "{}"))
        for file in open_snapshot(uri).files
    ]
    return sorted(files, key=repr)


def twice(uri: str, staged: merging.Staged, by_spark: EngineChoice) -> tuple[merging.MergeResult, str, str]:
    """The same merge into two copies of a table: by Spark, and by DuckDB. What was done by Spark, and both tables."""
    other = f"{uri} by duckdb"
    shutil.copytree(uri, other)
    result = merged(uri, staged, by_spark)
    assert {one.engine for one in merged(other, staged, DUCKDB).writes} == {"duckdb"}
    return result, uri, other


def left_over(uri: str) -> list[str]:
    """What is left of what was written for attempts."""
    return [str(path.relative_to(uri)) for path in Path(uri, "_headgate").rglob("*") if path.is_file()]


@pytest.mark.parametrize("partition_by", [[], ["part"]], ids=["plain", "partitioned"])
def test_a_merge_with_every_type(
    by_spark: EngineChoice, session: SparkSession, tmp_path: Path, partition_by: list[str]
) -> None:
    uri = str(tmp_path / "table")
    delta.create_table(
        uri, sample(40), deletion_vectors=False, partition_by=partition_by, change_data_feed=True
    )
    changes = sample(24, start=30).append_column("_op", pa.array(["upsert"] * 24)).to_pylist()
    changes += [{**row, "_op": "delete"} for row in sample(3, start=5).to_pylist()]
    for row in changes[:4]:
        row["whole"] = -1
    schema = sample(1).schema.append(pa.field("_op", pa.string()))
    staged = merging.stage(
        uri, pa.Table.from_pylist(changes, schema=schema), ["id"], destination=str(tmp_path / "staging")
    )
    result, ours, theirs = twice(uri, staged, by_spark)
    assert {(one.engine, one.work) for one in result.writes} == {("spark", "rewrite"), ("spark", "write")}
    names = open_snapshot(ours).schema.names
    assert own_rows(ours) == own_rows(theirs)
    assert delta_rs_rows(ours, names) == own_rows(ours)
    assert spark_rows(session, ours, names) == own_rows(ours)
    assert statistics(ours) == statistics(theirs)
    assert changes_of(session, ours) == changes_of(session, theirs)
    assert left_over(ours) == []


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_tables_that_spark_made(
    by_spark: EngineChoice, session: SparkSession, tmp_path: Path, columns: str
) -> None:
    if "TBLPROPERTIES" not in columns:
        columns += f" {NO_VECTORS}"
    uri = made(session, tmp_path, columns)
    chosen(DUCKDB)
    ids = pa.array([1, 2, 3, 150, 250, 9_000], pa.int64())
    staged = merging.stage(
        uri,
        pa.table({"id": ids, "v": ["new"] * 6, "_op": ["upsert", "delete", *["upsert"] * 4]}),
        ["id"],
        destination=str(tmp_path / "staging"),
    )
    result, ours, theirs = twice(uri, staged, by_spark)
    # With vectors nothing is written again.
    assert {one.engine for one in result.writes} == {"duckdb" if columns == TABLES["vectors"] else "spark"}
    names = open_snapshot(ours).schema.names
    assert own_rows(ours) == own_rows(theirs)
    assert spark_rows(session, ours, names) == spark_rows(session, theirs, names)
    assert left_over(ours) == []


def test_compaction(by_spark: EngineChoice, session: SparkSession, tmp_path: Path) -> None:
    """Small files and vectors: the same rows in fewer files, and nothing is dead."""
    uri = str(tmp_path / "table")
    delta.create_table(uri, sample(40), deletion_vectors=True)
    for start in (40, 80):
        deltalake.write_deltalake(uri, sample(40, start=start), mode="append")
    chosen(DUCKDB)
    staged = merging.stage(
        uri, pa.table({"id": [3, 50], "_op": ["delete"] * 2}), ["id"], destination=str(tmp_path / "staging")
    )
    merged(uri, staged, DUCKDB)
    before = own_rows(uri)
    stored = [
        pq.read_table(Path(uri, file.path)).column("id").to_pylist() for file in open_snapshot(uri).files
    ]
    chosen(by_spark)
    done = merging.compact(uri, attempt_id=uuid.uuid4().hex, application_id="test/compact", generation=1)
    assert (done.files_removed, done.files_added, done.vectors_folded) == (3, 1, 2)
    assert [(one.engine, one.work, one.files, one.rows) for one in done.writes] == [
        ("spark", "rewrite", 1, 118)
    ]
    assert own_rows(uri) == before
    assert spark_rows(session, uri, open_snapshot(uri).schema.names) == before
    [file] = open_snapshot(uri).files
    in_order = [number for one in stored for number in one if number not in (3, 50)]
    assert pq.read_table(Path(uri, file.path)).column("id").to_pylist() == in_order
    assert left_over(uri) == []


def test_a_file_that_spark_is_not_asked_for(
    by_spark: EngineChoice, session: SparkSession, tmp_path: Path
) -> None:
    """Of two files that are written again in one commit each is written by another engine, and both are told."""
    uri = str(tmp_path / "table")
    delta.create_table(uri, sample(20), deletion_vectors=False)
    [plain] = [file.path for file in open_snapshot(uri).files]
    os.rename(Path(uri, plain), Path(uri, "odd name.parquet"))
    log = Path(uri, "_delta_log", f"{0:020d}.json")
    log.write_text(log.read_text().replace(plain, "odd%20name.parquet"))
    deltalake.write_deltalake(uri, sample(20, start=20), mode="append")
    chosen(DUCKDB)
    staged = merging.stage(
        uri, pa.table({"id": [3, 30], "whole": [-1, -1]}), ["id"], destination=str(tmp_path / "staging")
    )
    result, ours, theirs = twice(uri, staged, by_spark)
    assert [(one.engine, one.work, one.files, one.rows) for one in result.writes] == [
        ("duckdb", "rewrite", 1, 19),
        ("spark", "rewrite", 1, 19),
        ("spark", "write", 1, 2),
    ]
    assert own_rows(ours) == own_rows(theirs)
    assert spark_rows(session, ours, open_snapshot(ours).schema.names) == own_rows(ours)


def test_what_a_worker_writes_sooner_itself(
    by_spark: EngineChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little that is written again, and rows that come, which are here: Spark looks for rows alone then."""
    worlds = [World(tmp_path / name, "copy-on-write") for name in ("little", "much")]
    told = []
    for world, rewrites_from in zip(worlds, (1 << 30, 1), strict=True):
        monkeypatch.setattr(engine_writing, "REWRITES_FROM", rewrites_from)
        chosen(DUCKDB)
        staged = world.stage([{"id": row["id"], "a": row["a"]} for row in PROPOSED])
        rows = world.rows()
        world.set_current(rows)
        chosen(EngineChoice("spark", by_spark.cluster))
        result = world.merge(staged)
        assert {one.engine for one in result.reads} == {"spark"}
        told.append([(one.engine, one.work) for one in result.writes])
        assert same_rows(world.rows(), with_rows(rows, *PROPOSED), ["id"])
    assert told == [
        [("duckdb", "rewrite"), ("duckdb", "write")],
        [("spark", "rewrite"), ("duckdb", "write")],
    ]


def test_a_folder_that_spark_takes_for_a_pattern(by_spark: EngineChoice, tmp_path: Path) -> None:
    """It would look for other files, or for none: DuckDB writes there."""
    uri = str(tmp_path / "a {b,c} [d]" / "table")
    delta.create_table(uri, sample(20), deletion_vectors=False)
    chosen(DUCKDB)
    staged = merging.stage(
        uri, pa.table({"id": [3], "whole": [-1]}), ["id"], destination=str(tmp_path / "staging")
    )
    chosen(by_spark)
    result = merging.merge(merging.MergeRequest(uri, "CR-1", ["id"], staged))
    assert [(one.engine, one.work) for one in result.writes] == [("duckdb", "rewrite"), ("duckdb", "write")]
    assert (3, -1) in own_rows(uri, names=["id", "whole"])


def test_rows_keep_their_ids(by_spark: EngineChoice, session: SparkSession, tmp_path: Path) -> None:
    uri = made(
        session,
        tmp_path,
        "(id BIGINT, v STRING) USING delta TBLPROPERTIES "
        "(delta.enableRowTracking = true, delta.enableDeletionVectors = false)",
    )
    chosen(DUCKDB)
    for turn, first in enumerate((1, 2)):  # the second time files have columns of ids
        staged = merging.stage(
            uri,
            pa.table({"id": pa.array([first, 10, 300], pa.int64()), "v": [f"turn {turn}"] * 3}),
            ["id"],
            destination=str(tmp_path / "staging"),
        )
        result, ours, theirs = twice(uri, staged, by_spark)
        assert {(one.engine, one.work) for one in result.writes} == {("spark", "rewrite"), ("spark", "write")}
        told = [
            session.sql(
                f"SELECT id, v, _metadata.row_id, _metadata.row_commit_version FROM delta.`{one}` ORDER BY id"
            )
            .toArrow()
            .to_pylist()
            for one in (ours, theirs)
        ]
        assert told[0] == told[1]
        assert len({row["row_id"] for row in told[0]}) == len(told[0]) == open_snapshot(uri).row_count
        shutil.rmtree(theirs)


def slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each row that is written take a while."""
    before = spark_files._write

    def slowly(rows: Any, number: str, into: str) -> None:
        from pyspark.sql.connect import functions

        before(
            rows.filter(functions.expr("coalesce(reflect('java.lang.Thread', 'sleep', 500L), '') <> 'x'")),
            number,
            into,
        )

    monkeypatch.setattr(spark_files, "_write", slowly)


def being_written(uri: str) -> list[Path]:
    return [path for path in Path(uri, "_headgate").rglob("*.parquet") if "_temporary" in path.parts]


PROPOSED: list[Row] = [{"id": 1, "a": 11}, {"id": 200, "a": 2, "b": None, "c": None}]


def worn(tmp_path: Path) -> tuple[World, merging.Staged]:
    """A table of which one file is to be written again, and what asks for it."""
    rows = [{"id": n, "a": n, "b": "x", "c": n / 2} for n in range(100)]
    world = World(tmp_path, "copy-on-write", rows=rows)
    return world, world.stage([{"id": row["id"], "a": row["a"]} for row in PROPOSED])


@pytest.mark.parametrize("store_is_away", [False, True], ids=["tidied", "left for later"])
def test_a_server_that_is_killed_while_it_rewrites(
    by_spark: EngineChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_is_away: bool
) -> None:
    world, staged = worn(tmp_path)
    before, paths, rows = world.version, world.paths(), world.rows()
    request = world.request(staged)

    def killed_once_it_writes(server: Any) -> Callable[..., None]:
        def look(phase: str, **_: Any) -> None:
            if phase == "writing" and being_written(world.uri):
                os.kill(server.pid, signal.SIGKILL)

        return look

    def away(*_: Any) -> None:
        raise merging.TableUnreachable("away", "It is away.", retriable=True)

    with connect_server() as (server, port), monkeypatch.context() as hindered:
        slow_down(hindered)
        if store_is_away:
            hindered.setattr("merging.store.stores.LocalStore.remove_folder", away)
        chosen(
            EngineChoice(
                "spark", Cluster(f"sc://127.0.0.1:{port}", seconds=120), spark_above=0, writes_above=0
            )
        )
        with pytest.raises(merging.ClusterFailed, match="went away") as gone:
            merging.merge(request, killed_once_it_writes(server))
    assert gone.value.retriable
    assert (world.version, world.rows()) == (before, rows)
    if store_is_away:
        assert being_written(world.uri)
        later = 4_000_000_000_000
        orphans = merging.find_orphaned_files(world.uri, [request.attempt_id], written_before_ms=later)
        assert {*orphans.paths} == world.paths() - paths
        assert (
            merging.find_unneeded_files(
                world.uri, retention_hours=0, now_ms=later, protect_attempts=[request.attempt_id]
            ).paths
            == ()
        )
        merging.remove_files(world.uri, orphans)
    assert world.paths() == paths
    chosen(by_spark)
    result = merging.merge(request)
    assert {(one.engine, one.work) for one in result.writes} == {("spark", "rewrite"), ("spark", "write")}
    again = merging.merge(request)
    assert (again.already_merged, again.merged_version, again.writes) == (True, before + 1, result.writes)
    assert same_rows(world.rows(), with_rows(rows, *PROPOSED), ["id"])
    assert left_over(world.uri) == []


def test_whoever_waits_may_end_a_rewrite(
    by_spark: EngineChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, staged = worn(tmp_path)
    paths, rows = world.paths(), world.rows()

    def cancelled(phase: str, **_: Any) -> None:
        if phase == "writing" and being_written(world.uri):
            raise merging.CutShort("Nobody wants it any more.")

    chosen(by_spark)
    with monkeypatch.context() as slow:
        slow_down(slow)
        with pytest.raises(merging.CutShort, match="Nobody wants it"):
            world.merge(staged, progress=cancelled)
    assert world.paths() == paths
    assert world.merge(staged).diff.rows_updated == 1
    assert same_rows(world.rows(), with_rows(rows, *PROPOSED), ["id"])
    assert left_over(world.uri) == []
