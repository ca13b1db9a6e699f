"""The rows of a table for one piece of work: each call goes to the engine that suits it, and what was read is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from merging.delta import Snapshot, candidate_files, no_rows_sql, read_at_one_look
from merging.engines.choosing import choice_for, engine_for
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
    NotSaid,
    Rows,
)
from merging.sql.quoting import column_sql
from merging.sql.session import Session


@dataclass(frozen=True)
class EngineRead:
    """What an engine looked into: ``files`` of the table, ``bytes`` as their whole size (of which it reads the columns
    that it needs), and the ``rows`` that it found.
    """

    engine: EngineName
    files: int
    bytes: int
    rows: int
    seconds: float


class TableReader:
    """Reads one version of a table into one session. ``while_waiting`` is called about twice a second while a cluster
    works; what it raises ends the work.
    """

    def __init__(
        self, opened: Session, snapshot: Snapshot, while_waiting: Callable[[], None] | None = None
    ) -> None:
        self._opened = opened
        self.snapshot = snapshot
        self._while_waiting = while_waiting
        self.reads: list[EngineRead] = []

    def rows_of(self, keys: Keys, columns: Sequence[str], files: Collection[int] | None = None) -> Rows:
        """The live rows that have one of the keys; see ``Engine``."""
        return self._rows_in(self._possible(keys, files), keys, columns)

    def rows_found(self, keys: Keys, columns: Sequence[str]) -> tuple[Rows, bool]:
        """The live rows that have one of the keys, with these columns where they are read at one look, which is said
        too, else with the keys alone. A cluster, which would read all of them twice, is asked once.
        """
        possible = self._possible(keys, None)
        engine = self._engine_for(possible)
        whole = engine.name != "duckdb" or read_at_one_look(self.snapshot, possible)
        return self._rows_in(possible, keys, columns if whole else keys.columns), whole

    def _possible(self, keys: Keys, files: Collection[int] | None) -> list[int]:
        return candidate_files(self._opened.connection, self.snapshot, keys.sql, keys.columns, files)

    def _rows_in(self, possible: Sequence[int], keys: Keys, columns: Sequence[str]) -> Rows:
        engine = self._engine_for(possible)
        began = time.perf_counter()
        with self._opened.reading(self._rows_stored_in(possible)):
            rows = engine.rows_of(self.snapshot, keys, columns, possible)
        self._note(engine, possible if rows.looked is None else rows.looked, rows.number, began)
        return rows

    def classified(self, images: Images, files: Collection[int]) -> Classified | None:
        """The live rows in these files that have a key of the images, told apart by the engine that reads them. None
        where the session tells them apart, of what ``rows_of`` finds: there are few enough, or the engine cannot.
        """
        if images.number <= choice_for(self.snapshot.uri).classifies_above:
            return None
        possible = self._possible(images.sought, files)
        engine = self._engine_for(possible)
        began = time.perf_counter()
        try:
            found = engine.classify(self.snapshot, images, possible)
        except NotSaid:
            return None
        same = self._opened.number(f"SELECT count(*) FROM {found.same}")
        looked = possible if found.others.looked is None else found.others.looked
        self._note(engine, looked, found.others.number + same, began)
        return found

    def no_rows(self, columns: Sequence[str]) -> Rows:
        """What ``rows_of`` finds in no files, which nobody need be asked for."""
        return Rows(f"({no_rows_sql(self.snapshot, columns)})", 0)

    def rows_at(self, positions: str, columns: Sequence[str]) -> Rows:
        """The rows at positions; see ``Engine``."""
        hit = self._opened.connection.execute(f"SELECT DISTINCT file_index FROM {positions}").fetchnumpy()
        files: list[int] = hit["file_index"].tolist()
        engine = self._engine_for(files)
        began = time.perf_counter()
        with self._opened.reading(self._rows_stored_in(files)):
            rows = engine.rows_at(self.snapshot, positions, columns)
        self._note(engine, files if rows.looked is None else rows.looked, rows.number, began)
        return rows

    def first_rows(self, asked: FirstRows, files: Sequence[int] | None = None) -> Rows:
        """The first live rows; see ``Engine``. DuckDB reads files that are named, which are few, and what an engine
        cannot be told so that it means the same.
        """
        looked = range(len(self.snapshot.files)) if files is None else files
        engine: Engine = DuckDBEngine(self._opened) if files is not None else self._engine_for(looked)
        began = time.perf_counter()
        try:
            rows = engine.first_rows(self.snapshot, asked, files)
        except NotSaid:
            engine = DuckDBEngine(self._opened)
            rows = engine.first_rows(self.snapshot, asked, files)
        self._note(engine, looked, rows.number, began)
        return rows

    def all_rows_sql(self, columns: Sequence[str], changes: Changes | None = None) -> str:
        """A SELECT of all rows with these columns, read by DuckDB where it is executed."""
        return DuckDBEngine(self._opened).all_rows_sql(self.snapshot, changes, columns)

    def aggregate(self, asked: Aggregates, changes: Changes | None = None) -> Aggregated:
        """Numbers of all rows; see ``Engine``. What an engine cannot be told so that it means the same, DuckDB
        computes.
        """
        here = DuckDBEngine(self._opened)
        engine = self._engine_for(range(len(self.snapshot.files)))
        try:
            return self._aggregate(engine, asked, changes)
        except NotSaid as error:
            left = set(error.places)
        if not left or asked.by or len(left) == len(asked.expressions):
            return self._aggregate(here, asked, changes)
        told = [place for place in range(len(asked.expressions)) if place not in left]
        there = self._aggregate(engine, _some_of(asked, told), changes)
        rest = self._aggregate(here, _some_of(asked, sorted(left)), changes)
        named = [f"there.a{at} AS a{place}" for at, place in enumerate(told)]
        named += [f"rest.a{at} AS a{place}" for at, place in enumerate(sorted(left))]
        ordered = ", ".join(f"a{place}" for place in range(len(asked.expressions)))
        both = f"SELECT {', '.join(named)} FROM {there.sql} there, {rest.sql} rest"
        return Aggregated(f"(SELECT {ordered} FROM ({both}))", 1)

    def _aggregate(self, engine: Engine, asked: Aggregates, changes: Changes | None) -> Aggregated:
        began = time.perf_counter()
        found = engine.aggregate(self.snapshot, changes, asked)
        self._note(engine, range(len(self.snapshot.files)), found.number, began)
        return found

    def _engine_for(self, files: Collection[int]) -> Engine:
        if not files:
            return DuckDBEngine(self._opened)
        return engine_for(self._opened, self.snapshot.uri, self._bytes_of(files), self._while_waiting)

    def _bytes_of(self, files: Collection[int]) -> int:
        return int(self.snapshot.files.numbers("size")[np.fromiter(files, np.int64)].sum())

    def _rows_stored_in(self, files: Collection[int]) -> int:
        """About how many; a file of which the log does not say it may hold any number."""
        return int(self.snapshot.files.numbers("records", 1 << 32)[np.fromiter(files, np.int64)].sum())

    def _note(self, engine: Engine, files: Collection[int], rows: int, began: float) -> None:
        if files:
            seconds = round(time.perf_counter() - began, 3)
            read = EngineRead(engine.name, len(files), self._bytes_of(files), rows, seconds)
            self.reads.append(read)


def _some_of(asked: Aggregates, places: Sequence[int]) -> Aggregates:
    """The same for some of the expressions, with the columns that these may read."""
    expressions = [asked.expressions[place] for place in places]
    text = " ".join([*expressions, asked.where])
    columns = [name for name in asked.columns if column_sql(name) in text]
    return replace(asked, expressions=expressions, columns=columns)
