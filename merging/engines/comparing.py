"""Two versions of a table beside each other, by the engine that suits what has to be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from merging.delta import Snapshot, pair, schema_of_both, standing_apart
from merging.engines.choosing import engine_for
from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import Engine, NotSaid
from merging.engines.reading import EngineRead
from merging.sql.session import Session


def compare(
    opened: Session,
    before: Snapshot,
    after: Snapshot,
    key_columns: Sequence[str],
    into: str,
    while_waiting: Callable[[], None] | None = None,
) -> EngineRead | None:
    """Create the temporary table ``into`` of the rows that two versions have otherwise, see ``pair``, in the columns of
    ``schema_of_both``. What was read for it; None where nothing had to be.

    ``while_waiting`` is called about twice a second while a cluster works; what it raises ends the work. Raises
    TableChanged when the versions belong to different tables.
    """
    gone, come = standing_apart(before, after)
    schema = schema_of_both(before, after)
    files, size = len(gone.files) + len(come.files), gone.bytes + come.bytes
    here = DuckDBEngine(opened)
    engine: Engine = engine_for(opened, after.uri, size, while_waiting) if files else here
    began = time.perf_counter()
    try:
        sides = engine.apart(gone, come, schema)
    except NotSaid:
        engine = here
        sides = engine.apart(gone, come, schema)
    pair(opened.connection, *sides, schema, key_columns, into)
    rows = opened.number(f"SELECT count(*) FROM {into}")
    seconds = round(time.perf_counter() - began, 3)
    return EngineRead(engine.name, files, size, rows, seconds) if files else None
