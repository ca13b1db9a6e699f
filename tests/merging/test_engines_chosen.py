"""Which engine reads a table for a change, and what becomes of a merge whose cluster gives nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging import Bounds, Cluster, EngineChoice, require_address
from merging.confinement import run_confined
from merging.engines import Answers, DuckDBEngine, Engine
from merging.engines.spark import SparkConnectEngine
from merging.sql.session import Session
from merging.staging import apart, pairing, workbench
from tests.merging.world import B, World, with_rows

#: Where nothing listens.
NOWHERE = Cluster("sc://127.0.0.1:9", seconds=60)
Choose = Callable[[EngineChoice], None]


@pytest.fixture
def choose() -> Iterator[Choose]:
    """Sets the engine of all tables for one test."""
    yield lambda choice: merging.set_engines(lambda _: choice)
    merging.set_engines(lambda _: EngineChoice())


@pytest.fixture
def moved(tmp_path: Path) -> tuple[World, merging.Staged]:
    """A table that somebody wrote anew since a change to it was staged: its rows have to be looked for."""
    world = World(tmp_path, "merge-on-read")
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current(with_rows(B, {"id": 3, "a": 33}))
    return world, staged


def test_what_one_machine_can_read_needs_no_cluster(
    choose: Choose, moved: tuple[World, merging.Staged]
) -> None:
    world, staged = moved
    choose(EngineChoice("auto", NOWHERE))
    size = merging.inspect_table(world.uri).size_bytes
    with world.plan(staged) as plan:
        assert [(read.engine, read.files, read.bytes, read.rows) for read in plan.reads] == [
            ("duckdb", 1, size, 1)
        ]
    choose(EngineChoice("auto", None, spark_above=0))
    assert [read.engine for read in world.merge(staged).reads] == ["duckdb"]


@pytest.mark.parametrize(
    "choice", [EngineChoice("auto", NOWHERE, spark_above=0), EngineChoice("spark", NOWHERE)]
)
def test_a_cluster_that_gives_nothing_leaves_all_as_it_is(
    choose: Choose, moved: tuple[World, merging.Staged], choice: EngineChoice
) -> None:
    world, staged = moved
    before, paths = world.version, world.paths()
    choose(choice)
    began = time.monotonic()
    with pytest.raises(merging.ClusterFailed) as failed:
        world.merge(staged)
    assert time.monotonic() - began < 30
    assert failed.value.message == (
        "The Spark cluster 127.0.0.1:9 failed. It cannot be reached, or went away in the middle of "
        "the work. Nothing was changed: try again once it works. An owner can choose DuckDB in the dataset's settings, "
        "and an operator can take the cluster from the connection."
    )
    assert failed.value.retriable
    assert (world.version, world.paths()) == (before, paths)
    choose(EngineChoice("duckdb", NOWHERE))
    result = world.merge(staged)
    assert (result.diff.rows_updated, [read.engine for read in result.reads]) == (1, ["duckdb"])


def test_a_process_without_a_main_file_asks_as_any_other(tmp_path: Path) -> None:
    """The client of Spark takes such a process for a test of its own and would end it."""
    program = (
        "import sys, merging; assert not hasattr(sys.modules['__main__'], '__file__')\n"
        "merging.set_engines(lambda _: merging.EngineChoice('spark', merging.Cluster('sc://127.0.0.1:9')))\n"
        "try: merging.check_keys(sys.argv[1], ['id'])\n"
        "except merging.ClusterFailed as failed: print(failed.data['reason'])\n"
        "assert not hasattr(sys.modules['__main__'], '__file__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, World(tmp_path, "merge-on-read").uri],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (
        0,
        "It cannot be reached, or went away in the middle of the work.\n",
    ), done.stderr


def test_expectations_that_nobody_can_count_leave_all_as_it_is(choose: Choose, tmp_path: Path) -> None:
    """A cluster that is away is no verdict: neither a failure of the suite nor a pass, but a merge that waits."""
    world = World(tmp_path, "merge-on-read")
    staged = world.stage([{"id": 1, "a": 11}])
    before, paths = world.version, world.paths()
    rows = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}}
    values = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}
    suite = {"name": "s", "expectations": [rows, values]}
    choose(EngineChoice("spark", NOWHERE))
    with pytest.raises(merging.ClusterFailed, match="cannot be reached") as failed:
        world.merge(staged, expectations=suite)
    assert failed.value.retriable
    assert (world.version, world.paths()) == (before, paths)
    with world.plan(staged, expectations=suite) as plan:  # as pages ask, which wait for no cluster
        quick = plan.check_expectations(rows_only=True)
        assert quick is not None
        assert [one.state for one in quick.results] == ["deferred", "passed"]
        assert quick.reads == ()
    choose(EngineChoice("duckdb", NOWHERE))
    result = world.merge(staged, expectations=suite)
    assert (result.diff.rows_updated, [read.engine for read in result.reads]) == (1, ["duckdb"])


def test_spark_without_a_cluster_is_refused(choose: Choose, moved: tuple[World, merging.Staged]) -> None:
    world, staged = moved
    choose(EngineChoice("spark"))
    with pytest.raises(merging.ClusterFailed, match="its connection has no cluster"):
        world.merge(staged)


@pytest.mark.parametrize("cluster", [NOWHERE, None], ids=["a cluster that is away", "no cluster"])
@pytest.mark.parametrize("strategy", ["copy-on-write", "merge-on-read"])
def test_rows_that_nobody_touched_need_no_cluster(
    choose: Choose, tmp_path: Path, strategy: str, cluster: Cluster | None
) -> None:
    world = World(tmp_path, strategy)
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 9}])
    choose(EngineChoice("spark", cluster))
    result = world.merge(staged)
    assert result.reads == ()
    assert {one.engine for one in result.writes} == {"duckdb"}
    assert {row["id"]: row["a"] for row in world.rows()}[1] == 11


@pytest.mark.parametrize("setting", ["auto", "spark"])
@pytest.mark.parametrize("strategy", ["copy-on-write", "merge-on-read"])
def test_what_is_written_again_is_weighed_as_what_is_read(
    choose: Choose, tmp_path: Path, strategy: str, setting: merging.EngineSetting
) -> None:
    """No row is looked for: of copy-on-write the files of the rows are written again, otherwise none is."""
    world = World(tmp_path, strategy)
    staged = world.stage([{"id": 1, "a": 11}])
    before, paths = world.version, world.paths()
    size = merging.inspect_table(world.uri).size_bytes
    if strategy == "copy-on-write":
        choose(EngineChoice(setting, NOWHERE, spark_above=size - 1))
        with pytest.raises(merging.ClusterFailed, match="cannot be reached"):
            world.merge(staged)
        assert (world.version, world.paths()) == (before, paths)
        choose(EngineChoice(setting, NOWHERE, spark_above=size))
    else:
        choose(EngineChoice(setting, NOWHERE, spark_above=0))
    result = world.merge(staged)
    works = {"copy-on-write": ["rewrite", "write"], "merge-on-read": ["write"]}
    assert [(one.engine, one.work) for one in result.writes] == [("duckdb", work) for work in works[strategy]]


def test_results_that_are_found_again_tell_what_read(moved: tuple[World, merging.Staged]) -> None:
    world, staged = moved
    first = world.merge(staged)
    again = world.merge(staged)
    assert again.already_merged
    assert again.reads == first.reads != ()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("https://spark.example.org", "written sc://"),
        ("sc://", "written sc://"),
        ("sc://me@spark.example.org", "written sc://"),
        ("sc://spark.example.org:port", "no such port"),
        ("sc://spark.example.org/path", "parameters alone"),
        ("sc://spark.example.org/;use_ssl=true;Token=abc", "is a secret"),
    ],
)
def test_what_is_no_address_of_a_cluster(address: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        require_address(address)
    with pytest.raises(ValueError, match=sentence):
        Cluster(address)


@pytest.mark.parametrize(
    "said",
    [
        "[INVALID_HANDLE.SESSION_CLOSED] The handle 1 is invalid. Session was closed. SQLSTATE: HY000",
        "[OPERATION_CANCELED] Operation has been canceled. SQLSTATE: HY008",
        "(java.lang.IllegalStateException) Cannot call methods on a stopped SparkContext. This stopped",
        "[INVALID_HANDLE.OPERATION_ABANDONED] The handle 1 is invalid. Operation was considered abandoned",
    ],
)
def test_work_that_others_ended_is_tried_again(said: str) -> None:
    """As Spark 4.1 says it; the first two are met by chance in ``test_spark_resent``."""
    with closing(Session()) as opened:
        failed = SparkConnectEngine(opened, NOWHERE)._named(RuntimeError(said), "read")
    assert isinstance(failed, merging.ClusterFailed)
    assert failed.retriable
    assert "lost the session in the middle of the work, or somebody ended the work there" in failed.message


def test_a_cluster_shows_its_token_to_nobody() -> None:
    cluster = Cluster("sc://spark.example.org:443/;use_ssl=true", "secret/of;ours")
    assert cluster.host == "spark.example.org:443"
    assert "secret" not in repr(cluster)
    assert "secret" not in repr(EngineChoice("spark", cluster))
    assert cluster.url == "sc://spark.example.org:443/;use_ssl=true;token=secret%2Fof%3Bours"
    assert Cluster("sc://spark.example.org", "a").url == "sc://spark.example.org/;token=a"
    assert Cluster("sc://spark.example.org").url == "sc://spark.example.org"


def upload(world: World, folder: Path, text: str) -> merging.Staged:
    """The rows of a CSV file, staged in a process of its own as an upload is."""
    (folder / "rows.csv").write_text(text)
    (folder / "scratch").mkdir(exist_ok=True)
    return merging.stage_apart(
        world.uri,
        str(folder / "rows.csv"),
        ("id",),
        destination=str(folder / "from_upload"),
        scratch=str(folder / "scratch"),
        bounds=Bounds(memory_bytes=2 * 1024**3, seconds=60, file_bytes=1024**3, network=True),
        file_name="rows.csv",
    )


class Neighbour(Cluster):
    """A cluster whose work DuckDB does, in the process that asks it; ``asked`` has who waits for each answer."""

    asked: ClassVar[list[Callable[[], None] | None]] = []

    def engine(self, opened: Session, while_waiting: Callable[[], None] | None) -> Engine:
        self.asked.append(while_waiting)
        return DuckDBEngine(opened)


@pytest.fixture
def neighbour() -> Neighbour:
    Neighbour.asked.clear()
    return Neighbour(NOWHERE.address)


def content_of(staged: merging.Staged) -> dict[str, bytes]:
    """The files of staged content."""
    return {path.name: path.read_bytes() for path in Path(staged.location).iterdir()}


def test_the_base_images_of_an_upload_are_found_by_the_cluster(
    choose: Choose, child_for_staging: None, neighbour: Neighbour, tmp_path: Path
) -> None:
    """The confined process asks its caller for the rows that have its keys; what it stages is the same."""
    rows = [{"id": n, "a": n, "b": f"{n:>400}", "c": n / 7} for n in range(2_000)]
    world = World(tmp_path, "merge-on-read", rows=rows)
    text = "id,a,_op\n" + "".join(f"{n},{n % 7},\n" for n in range(0, 3_000, 3)) + "1,,delete\n"
    choose(EngineChoice("duckdb", neighbour))
    here = upload(world, tmp_path, text)
    assert not neighbour.asked
    for choice in (EngineChoice("spark", neighbour), EngineChoice("auto", neighbour, spark_above=0)):
        choose(choice)
        neighbour.asked.clear()
        there = upload(world, tmp_path, text)
        assert len(neighbour.asked) == 1
        assert content_of(there) == content_of(here)
    choose(EngineChoice("auto", neighbour))
    neighbour.asked.clear()
    assert upload(world, tmp_path, text).digest == here.digest
    assert not neighbour.asked
    assert not [*(tmp_path / "scratch").rglob("*.parquet")]


def test_wide_base_images_are_asked_for_once(
    choose: Choose, neighbour: Neighbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever joins few at a time does not ask for each portion."""
    monkeypatch.setattr(pairing, "_WIDE", 1)
    monkeypatch.setattr(pairing, "_MUCH", 1)
    monkeypatch.setattr(workbench, "_BYTES_AT_ONCE", 100 << 10)
    world = World(
        tmp_path,
        "merge-on-read",
        rows=[{"id": n, "b": "".join(map(str, range(n, n + 900)))} for n in range(99)],
    )
    text = "id,a\n" + "".join(f"{n},{n}\n" for n in range(0, 120, 2))
    staged = []
    for engine in ("duckdb", "spark"):
        choose(EngineChoice(engine, neighbour))
        staged.append(upload(world, tmp_path, text))
    assert len(neighbour.asked) == 1
    assert content_of(staged[1]) == content_of(staged[0])


def test_the_caller_answers_what_staging_asks_alone(neighbour: Neighbour, tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read")
    folder = tmp_path / "scratch"
    folder.mkdir()
    sought = folder / "sought.parquet"
    pq.write_table(pa.table({"k0": pa.array([1, 3, 9], pa.int64())}), sought)
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "else.parquet").write_bytes(sought.read_bytes())
    asked = {"version": 0, "columns": ["id", "a"], "keys": ["id"], "files": [0], "sought": str(sought)}
    answers = Answers(world.uri, neighbour, str(folder), None)
    told = answers(asked)
    assert told["rows"] == 2
    assert Path(told["file"]).is_relative_to(folder)
    strange: list[dict[str, Any]] = [
        {"columns": ["id", "nothing"]},
        {"keys": ["nothing"]},
        {"keys": []},
        {"files": [1]},
        {"sought": str(tmp_path / "else.parquet")},
        {"sought": str(folder / "link" / "else.parquet")},
        {"sought": str(folder)},
        {"version": None},
    ]
    for change in strange:
        with pytest.raises(merging.StagedCorrupt):
            Answers(world.uri, neighbour, str(folder), None)({**asked, **change})
    with pytest.raises(merging.StagedCorrupt):  # staging asks once
        answers(asked)
    for files, rows in (([], 0), (None, 2)):
        told = Answers(world.uri, neighbour, str(folder), None)({**asked, "files": files})
        assert told["rows"] == rows
    assert len(neighbour.asked) == 3


def test_uploads_are_read_without_the_cluster_and_without_its_token(
    choose: Choose,
    child_for_staging: None,
    moved: tuple[World, merging.Staged],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A confined child reads what strangers sent: it has nothing that opens a cluster, with a network or without."""
    world, _ = moved
    choose(EngineChoice("spark", Cluster("sc://127.0.0.1:9", "secret-of-the-cluster", seconds=60)))
    told: list[Any] = []

    def listening(function: str, argument: Any, *more: Any, **options: Any) -> Any:
        told.append((function, argument, more))
        return run_confined(function, argument, *more, **options)

    monkeypatch.setattr(apart, "run_confined", listening)
    with pytest.raises(merging.ClusterFailed, match="cannot be reached"):  # its caller asked
        upload(world, tmp_path, "id,a\n1,12\n3,34\n")
    assert not [*(tmp_path / "from_upload").glob("staged-*")]
    choose(EngineChoice("auto", Cluster("sc://127.0.0.1:9", "secret-of-the-cluster", seconds=60)))
    assert upload(world, tmp_path, "id,a\n1,12\n3,34\n").rows == 2
    assert len(told) == 2
    assert "secret-of-the-cluster" not in repr(told)
    assert "sc://" not in repr(told)
