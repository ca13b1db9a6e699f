"""Which engine reads a table: as the process that uses the library decides it, by the table's address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import Engine
from merging.engines.spark import Cluster
from merging.engines.through_caller import CallersCluster
from merging.errors import ClusterFailed
from merging.sql.session import Session

EngineSetting = Literal["auto", "duckdb", "spark"]

SPARK_ABOVE = 32 << 30
"""Bytes of data files that ``auto`` leaves to one machine, where nobody says another number."""

CLASSIFIES_ABOVE = 50_000_000
"""Staged rows that a worker tells apart by itself, where nobody says another number."""

REWRITES_FROM = 1 << 30
"""Bytes of data files from which a dataset of ``spark`` has a cluster write them again: fewer a worker of two cores
writes in five seconds, for which a cluster of ten takes as long."""

WRITES_ABOVE = 10_000_000
"""Rows that come and that a worker writes by itself, where nobody says another number: it takes seconds for them, and a
cluster would have to be sent them."""


@dataclass(frozen=True)
class EngineChoice:
    """``auto`` takes Spark where more than ``spark_above`` bytes of data files can hold what is looked for, or are to
    be written again, and a cluster is connected. ``spark`` asks for it whatever there is to look for, and writes files
    again with it where they are 1 GiB together; where nothing is looked for, since no row moved, as with ``auto``. Of
    more than ``classifies_above`` staged rows the engine tells which of those that it looks for changed. More than
    ``writes_above`` rows that come are written by what wrote files of the same commit again.
    """

    engine: EngineSetting = "auto"
    cluster: Cluster | CallersCluster | None = None
    spark_above: int = SPARK_ABOVE
    classifies_above: int = CLASSIFIES_ABOVE
    writes_above: int = WRITES_ABOVE


def _here(_: str) -> EngineChoice:
    return EngineChoice()


_chooses: Callable[[str], EngineChoice] = _here


def set_engines(chooses: Callable[[str], EngineChoice]) -> None:
    """Say which engine reads a table, by its address. For whoever starts the process; until it is called all are read
    by DuckDB. Asked each time that a table is read for a change; it may raise MergeFailed where a secret is missing.
    """
    global _chooses
    _chooses = chooses


@contextmanager
def engines_of(choice: EngineChoice) -> Iterator[None]:
    """What holds for all tables meanwhile: for a confined process, which was told and cannot ask."""
    before = _chooses
    set_engines(lambda _: choice)
    try:
        yield
    finally:
        set_engines(before)


def choice_for(table_uri: str) -> EngineChoice:
    """What holds for a table."""
    return _chooses(table_uri)


def engine_for(
    opened: Session,
    table_uri: str,
    size: int,
    while_waiting: Callable[[], None] | None = None,
    *,
    spark_from: float = 0,
) -> Engine:
    """What reads so many bytes of a table's files for a session, or writes them again: Spark from ``spark_from`` on
    where the dataset asks for it. Raises ClusterFailed where that is to be Spark, and no cluster is known.
    """
    choice = choice_for(table_uri)
    if choice.engine == "duckdb":
        return DuckDBEngine(opened)
    always = choice.engine == "spark" and size >= spark_from
    if choice.cluster is None:
        if always:
            raise ClusterFailed(
                "", "The dataset is to be read by Spark, and its connection has no cluster.", retriable=False
            )
        return DuckDBEngine(opened)
    if always or size > choice.spark_above:
        return choice.cluster.engine(opened, while_waiting)
    return DuckDBEngine(opened)
