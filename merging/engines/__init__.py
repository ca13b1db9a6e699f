"""What reads the data files of a table: callers ask a `TableReader` for rows and hold what it answers.

An engine finds and reads; deciding, vectors, statistics and the commit are the rest of the library's, whichever engine
it was.
"""

from __future__ import annotations

from merging.engines.choosing import EngineChoice, EngineSetting, choice_for, set_engines
from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import Aggregated, Aggregates, Changes, Engine, EngineName, Keys, Rows
from merging.engines.reading import EngineRead, TableReader
from merging.engines.spark import Cluster, require_address

__all__ = [
    "Aggregated",
    "Aggregates",
    "Changes",
    "Cluster",
    "DuckDBEngine",
    "Engine",
    "EngineChoice",
    "EngineName",
    "EngineRead",
    "EngineSetting",
    "Keys",
    "Rows",
    "TableReader",
    "choice_for",
    "require_address",
    "set_engines",
]
