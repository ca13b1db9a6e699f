"""Apache Spark with Delta Lake for the tests of `make test-spark`, in a process of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import merging
from demo.processes import ManagedProcess, wait_until
from merging.engines import Cluster, EngineChoice
from tests.merging.interoperability.spark_connect import connected
from tests.services import free_port, private_folder

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

INSTALLED = Path(__file__).parents[3] / "var" / "spark"
HOME = INSTALLED / "python" / "pyspark"
EXECUTOR = b"org.apache.spark.executor.CoarseGrainedExecutorBackend"


def _process(name: str, command: list[str], folder: Path) -> ManagedProcess:
    """One of Spark's own processes, on the loopback address."""
    environment = {**os.environ, "SPARK_HOME": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
    log = folder / f"{name}.log"
    return ManagedProcess(name, command, environment=environment, folder=folder, log=log)


def _wait_for(process: ManagedProcess, said: str) -> None:
    """Until its log has the words."""
    assert process.log is not None
    log = process.log
    wait_until(process, lambda: said in log.read_text(errors="replace"), seconds=120)


@contextlib.contextmanager
def connect_server(
    master: str = "local[2]", settings: Mapping[str, str] | None = None
) -> Iterator[tuple[ManagedProcess, int]]:
    """A Spark Connect server of its own, with what tests/install-spark brought, and the port on which it listens.

    Its executors are those of ``master``; ``settings`` come to those that it has.
    """
    port = free_port()
    with private_folder("spark") as folder:
        told = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(folder),
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
            "spark.ui.enabled": "false",
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            **(settings or {}),
        }
        jars = sorted(str(path) for path in (INSTALLED / "jars").glob("*.jar"))
        command = [
            *(str(HOME / "bin" / "spark-submit"), "--master", master, "--jars", ",".join(jars)),
            *(word for name, value in told.items() for word in ("--conf", f"{name}={value}")),
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
        ]
        server = _process("spark", command, folder)
        try:
            _wait_for(server, "Spark Connect server started")
            yield server, port
        finally:
            server.stop(seconds=15)


@dataclass(frozen=True)
class StandaloneCluster:
    """``port`` is that of its Spark Connect server; ``workers`` are the processes that start the executors."""

    port: int
    workers: tuple[ManagedProcess, ...]

    def executors(self) -> list[int]:
        """The process ids of the executors that live, one of each worker."""
        groups = {worker.pid for worker in self.workers}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(folder.name)) in groups and EXECUTOR in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return sorted(found)


@contextlib.contextmanager
def standalone_cluster() -> Iterator[StandaloneCluster]:
    """A master and two workers, in processes of their own, each worker with an executor of one core; and a Spark
    Connect server whose executors these are.
    """
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    launch = [str(HOME / "bin" / "spark-class"), "org.apache.spark.deploy"]
    with private_folder("cluster") as folder, contextlib.ExitStack() as stack:

        def started(name: str, arguments: list[str], said: str) -> ManagedProcess:
            process = _process(name, [launch[0], *arguments], folder)
            stack.callback(process.stop, seconds=15)
            _wait_for(process, said)
            return process

        where = ["--host", "127.0.0.1", "--webui-port", "0"]
        started("master", [f"{launch[1]}.master.Master", "--port", str(port), *where], "New state: ALIVE")
        size = ["--cores", "1", "--memory", "1g"]
        workers = tuple(
            started(
                f"worker-{place}",
                [f"{launch[1]}.worker.Worker", *size, *where, "--work-dir", str(folder / str(place)), master],
                "Successfully registered with master",
            )
            for place in range(2)
        )
        _, connect = stack.enter_context(connect_server(master))
        yield StandaloneCluster(connect, workers)


@pytest.fixture(scope="session")
def spark_port() -> Iterator[int]:
    """The port of a Spark Connect server."""
    with connect_server() as (_, port):
        yield port


@pytest.fixture(scope="session")
def session(spark_port: int) -> Iterator[SparkSession]:
    """A session on it."""
    with connected(spark_port) as opened:
        yield opened


@pytest.fixture
def hasty(session: SparkSession) -> Iterator[SparkSession]:
    """The session, whose VACUUM keeps nothing."""
    session.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    yield session
    session.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")


@pytest.fixture(scope="session")
def standalone() -> Iterator[StandaloneCluster]:
    """A cluster of several processes, as the engine meets it."""
    with standalone_cluster() as started:
        yield started


@pytest.fixture
def by_spark(standalone: StandaloneCluster) -> Iterator[EngineChoice]:
    """The cluster, whatever there is to read; what a test chose is over with it."""
    # Whatever the size, also what no row had to be looked for.
    yield EngineChoice(
        "spark", Cluster(f"sc://127.0.0.1:{standalone.port}", seconds=300), spark_above=0, writes_above=0
    )
    merging.set_engines(lambda _: EngineChoice())
