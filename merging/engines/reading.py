"""The rows of a table for one piece of work: each call goes to the engine that suits it, and what was read is told."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from merging.delta import Snapshot
from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import Engine, Keys, Rows
from merging.sql.session import Session


class TableReader:
    """Reads one version of a table into one session."""

    def __init__(self, opened: Session, snapshot: Snapshot) -> None:
        self._opened = opened
        self._snapshot = snapshot
        self._engine: Engine = DuckDBEngine(opened)

    def rows_of(self, keys: Keys, columns: Sequence[str], files: Collection[int] | None = None) -> Rows:
        """The live rows that have one of the keys; see ``Engine``."""
        return self._engine.rows_of(self._snapshot, keys, columns, files)

    def rows_at(self, positions: str, columns: Sequence[str]) -> Rows:
        """The rows at positions; see ``Engine``."""
        return self._engine.rows_at(self._snapshot, positions, columns)
