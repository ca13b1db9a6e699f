"""Readers that speak Spark Connect: Sail within this process, Apache Spark in one of its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from merging.engines import spark_exchange
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


def held_up(rows: Any, seconds: int) -> Any:
    """The same rows, after four tasks that sleep so long each."""
    from pyspark.sql.connect import functions

    slept = functions.expr(f"reflect('java.lang.Thread', 'sleep', {seconds * 1000}L) = 'x'")
    return rows.join(rows.sparkSession.range(0, 4, 1, 4).filter(slept), functions.lit(True), "left_anti")


def hold_up_questions(
    patch: pytest.MonkeyPatch, seconds: int, first: Callable[[Any], object] = lambda _: None
) -> None:
    """Let the rows that the engine asks for be held up so; something is done with the session ``first``."""
    told = spark_exchange._told

    def tell(session: Any, rows: Any) -> Iterator[pa.Table]:
        first(session)
        return told(session, held_up(rows, seconds))

    patch.setattr(spark_exchange, "_told", tell)
