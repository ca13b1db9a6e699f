"""A cluster for a confined process, which has no way to it and no token: whoever started the process asks in its place.

The two hand each other files in the folder that the process works in: the keys that are looked for, and the rows that
were found. The process may be anybody's by now, since it read what strangers sent: what it says is looked
at, and it hears nothing that it could not read from the table by itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from merging.delta import Snapshot, open_snapshot
from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import EngineName, Keys, Rows
from merging.engines.spark import Cluster
from merging.errors import StagedCorrupt
from merging.scratch import scratch_place
from merging.sql.quoting import column_sql, literal
from merging.sql.session import Session, session
from merging.sql.types import duckdb_type

Ask = Callable[[Mapping[str, Any]], Any]
WhileWaiting = Callable[[], None]

#: Rows that are wide come by a few at a time, of which whoever reads them holds few.
_AS_FILE = (
    "(FORMAT parquet, ROW_GROUP_SIZE_BYTES 16000000, COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1)"
)


class CallersCluster:
    """The cluster of whoever started this confined process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def engine(self, opened: Session, _: WhileWaiting | None) -> DuckDBEngine:
        """What asks it for one session. It is the caller that waits."""
        return _CallersEngine(opened, self._ask)


class _CallersEngine(DuckDBEngine):
    """Finds rows by their keys by asking the caller; what it found lies in files. All else is read here."""

    name: EngineName = "spark"

    def __init__(self, opened: Session, ask: Ask) -> None:
        super().__init__(opened)
        self._ask = ask

    def rows_of(
        self, snapshot: Snapshot, keys: Keys, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        """See ``Engine``."""
        cells = ", ".join(f"{column_sql(name)} AS k{place}" for place, name in enumerate(keys.columns))
        sought = scratch_place("sought")
        _lay(self._opened, f"SELECT DISTINCT {cells} FROM {keys.sql}", sought)
        asked = {
            "version": snapshot.version,
            "keys": [*keys.columns],
            "columns": [*columns],
            "files": None if files is None else [*files],
            "sought": str(sought),
        }
        told = self._ask(asked)
        os.unlink(sought)
        return Rows(f"read_parquet({literal(told['file'])})", told["rows"], told["file"])


class Answers:
    """Asks a table's cluster in the place of a confined process that works in a folder, once: for the rows that the
    content's keys have.

    ``while_waiting`` is called about twice a second meanwhile; what it raises ends the work. Raises ClusterFailed as
    the cluster's engine does, and StagedCorrupt for what staging does not ask.
    """

    def __init__(
        self, table_uri: str, cluster: Cluster, folder: str, while_waiting: WhileWaiting | None
    ) -> None:
        self._table_uri = table_uri
        self._cluster = cluster
        self._folder = os.path.realpath(folder)
        self._while_waiting = while_waiting
        self._asked = False

    def __call__(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Where the rows that were asked for lie, and how many they are."""
        if self._asked:
            raise _strange()
        self._asked = True
        try:
            snapshot = open_snapshot(self._table_uri, version=int(question["version"]))
            columns = [str(name) for name in question["columns"]]
            keys = {str(name): duckdb_type(snapshot.schema.field(name).type) for name in question["keys"]}
            named = question["files"]
            files = None if named is None else [range(len(snapshot.files))[place] for place in named]
            sought = self._inside(str(question["sought"]))
            if not keys or not {*columns} <= {*snapshot.schema.names}:
                raise _strange()
        except (LookupError, TypeError, ValueError) as error:
            raise _strange() from error
        with session() as opened:
            engine = self._cluster.engine(opened, self._while_waiting)
            cells = ", ".join(
                f"CAST(k{place} AS {kind}) AS {column_sql(name)}"
                for place, (name, kind) in enumerate(keys.items())
            )
            wanted = Keys(f"(SELECT {cells} FROM read_parquet({literal(sought)}))", [*keys])
            found = engine.rows_of(snapshot, wanted, columns, files)
            # A folder that the process cannot have foreseen.
            path = Path(tempfile.mkdtemp(dir=self._folder), "found.parquet")
            _lay(opened, f"FROM {found.sql}", path)
        return {"file": str(path), "rows": found.number}

    def _inside(self, path: str) -> str:
        """A file of the folder, which is no link to another place."""
        led_to = os.path.realpath(path)
        if os.path.commonpath([led_to, self._folder]) != self._folder or not os.path.isfile(led_to):
            raise _strange()
        return led_to


def _strange() -> StagedCorrupt:
    return StagedCorrupt("The process that staged the content asked for what staging does not.")


def _lay(opened: Session, query: str, path: Path) -> None:
    """Write rows to a file, in any order, which takes less memory."""
    opened.execute("SET preserve_insertion_order = false")
    opened.execute(f"COPY ({query}) TO {literal(str(path))} {_AS_FILE}")
    opened.execute("SET preserve_insertion_order = true")
