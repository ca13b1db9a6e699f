"""Apache Spark with Delta Lake for the tests of `make test-spark`, in a process of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import ManagedProcess, wait_until
from tests.merging.interoperability.spark_connect import connected
from tests.services import free_port, private_folder

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

INSTALLED = Path(__file__).parents[3] / "var" / "spark"
HOME = INSTALLED / "python" / "pyspark"


@contextlib.contextmanager
def connect_server() -> Iterator[tuple[ManagedProcess, int]]:
    """A Spark Connect server of its own, with what tests/install-spark brought, and the port on which it listens."""
    port = free_port()
    with private_folder("spark") as folder:
        settings = {
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
        }
        jars = sorted(str(path) for path in (INSTALLED / "jars").glob("*.jar"))
        server = ManagedProcess(
            "spark",
            [
                *(str(HOME / "bin" / "spark-submit"), "--master", "local[2]", "--jars", ",".join(jars)),
                *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
                *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
            ],
            environment={**os.environ, "SPARK_HOME": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1"},
            folder=folder,
            log=folder / "spark.log",
        )
        try:
            started = "Spark Connect server started"
            log = folder / "spark.log"
            wait_until(server, lambda: started in log.read_text(errors="replace"), seconds=120)
            yield server, port
        finally:
            server.stop(seconds=15)


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
