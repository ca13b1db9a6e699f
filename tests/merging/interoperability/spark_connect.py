"""Readers that speak Spark Connect: Sail within this process, Apache Spark in one of its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tests.merging.delta.delta_tables import sorted_rows
from tests.merging.interoperability.chains import sorted_changes

with warnings.catch_warnings():
    # The client warns about every pandas from 3 on; nothing here goes through pandas.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    from pyspark.sql.connect.session import SparkSession


@contextlib.contextmanager
def connected(port: int) -> Iterator[SparkSession]:
    """A session in UTC on the server that listens on this port of the loopback address."""
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    try:
        session.conf.set("spark.sql.session.timeZone", "UTC")
        yield session
    finally:
        session.stop()


@contextlib.contextmanager
def sail_server() -> Iterator[int]:
    """The port of a Sail server within this process."""
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    try:
        yield server.listening_address[1]
    finally:
        server.stop()


@contextlib.contextmanager
def sail() -> Iterator[SparkSession]:
    """A session on a Sail server within this process."""
    with sail_server() as port, connected(port) as session:
        yield session


def spark_rows(session: SparkSession, uri: str, names: list[str]) -> list[tuple[Any, ...]]:
    """All rows as the server reads them, in the order of ``sorted_rows``."""
    table: pa.Table = session.read.format("delta").load(uri).toArrow()
    assert table.column_names == names
    return sorted_rows(table, names)


def spark_changes(session: SparkSession, uri: str) -> list[tuple[Any, ...]]:
    """The change data feed as the server reads it."""
    reader = session.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 1)
    return sorted_changes(reader.load(uri).toArrow())
