"""Which engine reads a table: as the process that uses the library decides it, by the table's address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from merging.engines.spark import Cluster

EngineSetting = Literal["auto", "duckdb", "spark"]

SPARK_ABOVE = 32 << 30
"""Bytes of data files that ``auto`` leaves to one machine, where nobody says another number."""


@dataclass(frozen=True)
class EngineChoice:
    """``auto`` takes Spark where more than ``spark_above`` bytes of data files can hold what is looked for, and a
    cluster is connected. ``spark`` asks for it whatever there is to read; reading nothing needs no engine.
    """

    engine: EngineSetting = "auto"
    cluster: Cluster | None = None
    spark_above: int = SPARK_ABOVE


def _here(_: str) -> EngineChoice:
    return EngineChoice()


_chooses: Callable[[str], EngineChoice] = _here


def set_engines(chooses: Callable[[str], EngineChoice]) -> None:
    """Say which engine reads a table, by its address. For whoever starts the process; until it is called all are read
    by DuckDB. Asked each time that a table is read for a change; it may raise MergeFailed where a secret is missing.
    """
    global _chooses
    _chooses = chooses


def choice_for(table_uri: str) -> EngineChoice:
    """What holds for a table."""
    return _chooses(table_uri)
