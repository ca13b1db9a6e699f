"""The engine that is always there: DuckDB in this process."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from merging.delta import Snapshot, fetch, locate
from merging.engines.protocol import EngineName, Keys, Rows
from merging.sql.session import Session

_numbers = itertools.count()


def fresh_name() -> str:
    """A name for a relation of a session that nothing else in it has."""
    return f"rows_read_{next(_numbers)}"


class DuckDBEngine:
    """Reads with the session's own connection, so that rows stay where the session works on them.

    Keys are looked for in the key columns alone; then the files with hits are asked for the rest. Raises MergeFailed
    where a file or vector is missing or damaged.
    """

    name: EngineName = "duckdb"

    def __init__(self, opened: Session) -> None:
        self._opened = opened

    def rows_of(
        self, snapshot: Snapshot, keys: Keys, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        """See ``Engine``."""
        into = fresh_name()
        found = locate(self._opened.connection, snapshot, keys.sql, keys.columns, into, files=files)
        if set(columns) <= set(keys.columns):
            return Rows(into, found.rows)
        rows = self.rows_at(snapshot, into, columns)
        self._opened.execute(f"DROP TABLE {into}")
        return rows

    def rows_at(self, snapshot: Snapshot, positions: str, columns: Sequence[str]) -> Rows:
        """See ``Engine``."""
        into = fresh_name()
        fetch(self._opened.connection, snapshot, positions, columns, into)
        return Rows(into, self._opened.number(f"SELECT count(*) FROM {into}"))
