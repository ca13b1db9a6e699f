"""What reads and writes the data files of a table: callers ask a `TableReader` for rows and hold what it answers, and
give a `TableWriter` to whoever prepares a commit.

An engine finds, reads and writes; deciding, vectors, statistics and the commit are the rest of the library's, whichever
engine it was.
"""

from __future__ import annotations

from merging.engines.choosing import EngineChoice, EngineSetting, choice_for, engines_of, set_engines
from merging.engines.comparing import compare
from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import (
    Aggregated,
    Aggregates,
    Changes,
    Classified,
    Engine,
    EngineName,
    FirstRows,
    Images,
    Keys,
    Rows,
)
from merging.engines.reading import EngineRead, TableReader
from merging.engines.spark import Cluster, require_address
from merging.engines.through_caller import Answers, CallersCluster
from merging.engines.writing import EngineWrite, TableWriter

__all__ = [
    "Aggregated",
    "Aggregates",
    "Answers",
    "CallersCluster",
    "Changes",
    "Classified",
    "Cluster",
    "DuckDBEngine",
    "Engine",
    "EngineChoice",
    "EngineName",
    "EngineRead",
    "EngineSetting",
    "EngineWrite",
    "FirstRows",
    "Images",
    "Keys",
    "Rows",
    "TableReader",
    "TableWriter",
    "choice_for",
    "compare",
    "engines_of",
    "require_address",
    "set_engines",
]
