"""A cluster of several processes as the engine: random worlds, processes of it that die, and writers side by side."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

import merging
from merging import delta
from tests.merging.interoperability.conftest import StandaloneCluster, standalone_cluster
from tests.merging.interoperability.spark_connect import connected, hold_up_questions
from tests.merging.test_concurrency import rows_at, run_together
from tests.merging.test_properties import Drawn, assert_naive_rules, worlds
from tests.merging.world import STRATEGIES, B, Row, T, World, same_rows, with_rows
from tests.options import ENGINE_EXAMPLES

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark


def by_spark(port: int, seconds: float = 600) -> merging.EngineChoice:
    return merging.EngineChoice("spark", merging.Cluster(f"sc://127.0.0.1:{port}", seconds=seconds))


@pytest.fixture
def engines() -> Iterator[Callable[[merging.EngineChoice], None]]:
    """Says what reads tables, until the test ends."""
    yield lambda choice: merging.set_engines(lambda _: choice)
    merging.set_engines(lambda _: merging.EngineChoice())


@pytest.fixture(scope="module")
def session(standalone: StandaloneCluster) -> Iterator[SparkSession]:
    with connected(standalone.port) as opened:
        yield opened


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_equals_the_naive_rules(
    standalone: StandaloneCluster, engines: Callable[..., None], strategy: str
) -> None:
    """The property of test_properties, with fewer examples: each asks the cluster several times."""
    engines(by_spark(standalone.port))

    @given(drawn=worlds())
    @settings(
        max_examples=ENGINE_EXAMPLES or 6,
        derandomize=ENGINE_EXAMPLES is None,
        database=None,
    )
    def each(drawn: Drawn) -> None:
        assert_naive_rules(strategy, drawn)

    each()


def test_executors_that_die_cost_time_alone_and_no_executors_cost_the_merge_alone(
    engines: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver lives: it gives the work to others. Where none are left, the merge waits no longer than it may."""
    world = World(tmp_path, "merge-on-read")
    staged = [world.stage([{"id": number, "a": number + 10}]) for number in (1, 2)]
    world.set_current(with_rows(B, {"id": 3, "a": 33}))
    hold_up_questions(monkeypatch, seconds=10)
    with standalone_cluster() as own:
        engines(by_spark(own.port))
        first = own.executors()
        killed: list[int] = []

        def kill() -> None:
            killed.append(own.executors()[0])
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Timer(6, kill)
        killer.start()
        result = world.merge(staged[0])
        assert not killer.is_alive(), "the question was over before anything died"
        assert [read.engine for read in result.reads] == ["spark"]
        assert killed[0] in first
        assert [(row["id"], row["a"]) for row in world.rows()] == [(1, 11), (2, 20), (3, 33)]

        world.set_current(world.rows())
        before, paths = world.version, world.paths()
        for worker in own.workers:
            worker.kill()
        engines(by_spark(own.port, seconds=15))
        with pytest.raises(merging.ClusterFailed, match="within 15 seconds") as nobody:
            world.merge(staged[1], "CR-2")
        assert nobody.value.retriable
        assert (world.version, world.paths()) == (before, paths)
    engines(merging.EngineChoice("duckdb"))
    assert world.merge(staged[1], "CR-2").diff.rows_updated == 1
    assert [(row["id"], row["a"]) for row in world.rows()] == [(1, 11), (2, 12), (3, 33)]


OURS, THEIRS = range(40), range(100, 150)
REQUESTS = 2


class JobsOfSpark(threading.Thread):
    """Updates, deletes and compactions of a table, one after the other, until they are told to end and each landed
    twice; ``landed`` has the operations.
    """

    def __init__(self, session: SparkSession, uri: str) -> None:
        super().__init__(name="jobs of Spark", daemon=True)
        self.landed: list[str] = []
        self.refused = 0
        self.over = threading.Event()
        self._session = session
        self._table = f"delta.`{uri}`"

    @property
    def rounds(self) -> int:
        """How often each landed."""
        return min(map(self.landed.count, ("UPDATE", "OPTIMIZE", "DELETE")))

    def run(self) -> None:
        turn = 0
        while not self.over.is_set() or self.rounds < 2:
            statement = [
                f"UPDATE {self._table} SET a = a + 1 WHERE p = 1 AND id >= 110",
                f"OPTIMIZE {self._table} ZORDER BY (a)",  # writes what is one file already, too
                f"DELETE FROM {self._table} WHERE p = 1 AND id = {110 + self.landed.count('DELETE')}",
            ][turn % 3]
            turn += 1
            try:
                self._session.sql(statement).collect()
                self.landed.append(statement.split()[0])
            except Exception as error:
                if "DELTA_CONCURRENT" not in str(error):
                    raise
                self.refused += 1


def test_two_workers_and_jobs_of_spark_end_in_a_serial_order(
    standalone: StandaloneCluster, session: SparkSession, tmp_path: Path
) -> None:
    """Two processes merge by the cluster while Spark updates, deletes and compacts: each version of the table is the
    one before it and one whole change.
    """
    rows: list[Row] = [
        {"id": number, "a": number, "b": "made", "c": number / 2, "p": number // 100}
        for number in (*OURS, *THEIRS)
    ]
    world = World(tmp_path, "merge-on-read", T.append(pa.field("p", pa.int32())), rows, partition_by=["p"])
    requests: dict[str, list[Row]] = {}
    orders: list[dict[str, Any]] = []
    for process in range(2):
        locations = {}
        for place in range(REQUESTS):
            cr_id = f"CR-{process}-{place}"
            mine = {"id": process * 20 + place * 3, "a": -place, "b": cr_id, "p": 0}
            beside_theirs = {"id": 100 + process * 5 + place, "a": -1, "b": cr_id, "p": 1}
            requests[cr_id] = [mine, beside_theirs]
            locations[cr_id] = world.stage(requests[cr_id]).location
        address = f"sc://127.0.0.1:{standalone.port}"
        where = {"uri": world.uri, "options": {}, "cluster": address}
        orders.append({"action": "merge", **where, "requests": locations})
    jobs = JobsOfSpark(session, world.uri)
    jobs.start()
    while jobs.is_alive() and not jobs.rounds:  # no row stands where it stood when it was staged
        time.sleep(0.1)
    try:
        outcomes = run_together(orders)
    finally:
        jobs.over.set()
        jobs.join()
    merged = {cr_id: version for outcome in outcomes for cr_id, version in outcome.items()}
    assert merged.keys() == requests.keys()
    assert None not in merged.values(), "rows that nobody else touched do not conflict"
    by_version = {version: cr_id for cr_id, version in merged.items()}
    assert len(by_version) == len(requests)

    history = sorted(delta.read_history(world.uri, limit=10_000), key=lambda entry: entry.version)
    operations: list[str] = []
    expected = rows_at(world, world.base_version)
    for entry in history[world.base_version + 1 :]:
        merged_here = by_version.get(entry.version)
        if merged_here is not None:
            assert entry.cr_id == merged_here
            for change in requests[merged_here]:
                expected[change["id"]] |= change
        else:
            operations.append(entry.operation)
            if entry.operation == "UPDATE":
                for number, row in expected.items():
                    row["a"] += number >= 110
            elif entry.operation == "DELETE":
                del expected[min(number for number in expected if number >= 110)]
            else:
                assert entry.operation == "OPTIMIZE"
        found = rows_at(world, entry.version)
        assert same_rows(list(found.values()), list(expected.values()), ["id"]), entry
    assert [operations.count(one) for one in ("UPDATE", "DELETE")] == [
        jobs.landed.count(one) for one in ("UPDATE", "DELETE")
    ]
    told = session.read.format("delta").load(world.uri).toArrow().to_pylist()
    assert same_rows(told, list(expected.values()), ["id"])
