"""The data files of one commit: each call goes to the engine that suits it, and what was written is told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from merging.delta import NewFile, Rewrite, Snapshot, TableField, WrittenFile
from merging.engines.choosing import REWRITES_FROM, choice_for, engine_for
from merging.engines.duckdb import DuckDBEngine
from merging.engines.protocol import Engine, EngineName, NotSaid
from merging.sql.session import Session

EngineWork = Literal["rewrite", "write"]


@dataclass(frozen=True)
class EngineWrite:
    """What an engine wrote: ``files`` of ``rows``, ``bytes`` large. A ``rewrite`` writes rows of the table again, a
    ``write`` those that come.
    """

    engine: EngineName
    work: EngineWork
    files: int
    bytes: int
    rows: int
    seconds: float


class TableWriter:
    """Writes the data files of one commit on top of a version, with rows of one session; see ``FileWriter``.

    ``while_waiting`` is called about twice a second while a cluster works; what it raises ends the work. ``none_moved``
    where no row had to be looked for: then a cluster is needed only for what is too much for one machine.
    """

    def __init__(
        self,
        opened: Session,
        while_waiting: Callable[[], None] | None = None,
        *,
        none_moved: bool = False,
    ) -> None:
        self._opened = opened
        self._none_moved = none_moved
        self._while_waiting = while_waiting
        self.writes: list[EngineWrite] = []
        self._writes_new_rows: Engine = DuckDBEngine(opened)

    def rewrite(
        self, snapshot: Snapshot, fields: Sequence[TableField], rewrites: Sequence[Rewrite]
    ) -> list[WrittenFile]:
        """See ``FileWriter``. What an engine would read otherwise than we do, DuckDB writes again."""
        indexes = [index for one in rewrites for index in one.files]
        size = sum(file.size for file in snapshot.files.at(indexes))
        spark_from = math.inf if self._none_moved else REWRITES_FROM
        engine = engine_for(self._opened, snapshot.uri, size, self._while_waiting, spark_from=spark_from)
        try:
            return self._rewrite(engine, snapshot, fields, rewrites)
        except NotSaid as error:
            left = set(error.places) or {*range(len(rewrites))}
        made: dict[int, WrittenFile] = {}
        for one, places in ((DuckDBEngine(self._opened), left), (engine, {*range(len(rewrites))} - left)):
            if places:
                asked = [rewrites[place] for place in sorted(places)]
                written = self._rewrite(one, snapshot, fields, asked)
                made |= dict(zip(sorted(places), written, strict=True))
        return [made[place] for place in range(len(rewrites))]

    def _rewrite(
        self,
        engine: Engine,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        rewrites: Sequence[Rewrite],
    ) -> list[WrittenFile]:
        began = time.perf_counter()
        made = engine.rewrite(snapshot, fields, rewrites)
        self._writes_new_rows = engine
        self._note(engine, "rewrite", made, began)
        return made

    def write(
        self,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        files: Iterable[NewFile],
        further: Sequence[str] = (),
    ) -> Iterator[WrittenFile]:
        """See ``FileWriter``. The rows are here: a cluster that wrote files of the commit anyway is sent very many."""
        files, engine = [*files], self._writes_new_rows
        if engine.name != "duckdb":
            number = sum(self._opened.number(f"SELECT count(*) FROM ({one.rows})") for one in files)
            if number <= choice_for(snapshot.uri).writes_above:
                engine = DuckDBEngine(self._opened)
        began = time.perf_counter()
        made = []
        for written in engine.write(snapshot, fields, files, further):
            made.append(written)
            yield written
        self._note(engine, "write", made, began)

    def _note(self, engine: Engine, work: EngineWork, made: Sequence[WrittenFile], began: float) -> None:
        if made:
            size, rows = sum(one.size for one in made), sum(one.rows for one in made)
            seconds = round(time.perf_counter() - began, 3)
            self.writes.append(EngineWrite(engine.name, work, len(made), size, rows, seconds))
