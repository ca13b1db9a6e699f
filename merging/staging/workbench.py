"""Where one staging works: a session, a folder, and the relations that its stages hand on to each other.

Nothing that is as large as the content is held as a table: those crowd out the sort that comes in the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from merging.sql.parsing import shown
from merging.sql.quoting import any_of, literal
from merging.sql.session import Session
from merging.staging.mapping import Columns
from merging.staging.sources import Problems, Source

_ROWS_PER_GROUP = 50_000
_BYTES_PER_GROUP = 16 << 20
_BYTES_AT_ONCE = 64 << 20
_ROWS_PER_VECTOR = 2_048  # what DuckDB hands from one operator to the next
#: To find the different values of a column costs more than it saves whoever reads them once.
_NO_DICTIONARIES = "DICTIONARY_SIZE_LIMIT 1"


@dataclass(frozen=True)
class Relation:
    """Rows that one stage hands on to the next: ``sql`` stands behind FROM, ``files`` hold them."""

    sql: str
    files: tuple[Path, ...] = ()

    def made_into(self, query: str) -> Relation:
        """Other rows or columns made of the same files."""
        return Relation(f"({query})", self.files)

    @staticmethod
    def of_files(parts: Sequence[Relation]) -> Relation:
        """The rows of several relations, each a file of its own, in their order."""
        files = tuple(path for part in parts for path in part.files)
        return Relation(f"read_parquet([{', '.join(literal(str(path)) for path in files)}])", files)

    def remove(self) -> None:
        """Remove the files: nobody reads the rows again."""
        for path in self.files:
            os.unlink(path)


class Workbench:
    """The session and the folder of one staging, and how wide the rows of its source are."""

    def __init__(self, opened: Session, folder: Path, source: Source) -> None:
        self.session = opened
        self.folder = folder
        self.source = source
        # Freed memory goes back at once: what the allocator keeps counts as the process' too.
        for setting in ("allocator_flush_threshold", "allocator_bulk_deallocation_flush_threshold"):
            opened.execute(f"SET {setting} = '16MB'")
        opened.execute("SET allocator_background_threads = true")

        self._base_width = 0

    def meet_base(self, row_width: int) -> None:
        """Learn how many bytes or so the base image of a row takes."""
        self._base_width = row_width
        if self.rows_at_once is not None:
            self.session.execute("SET threads = 1")  # each holds row groups of its own

    @property
    def row_width(self) -> int:
        """About how many bytes a row takes: it carries its base image beside what came, or beside what stays of it."""
        came = self.source.bytes_read // max(1, self.source.rows_read)
        return 2 * max(came, self._base_width)

    @property
    def rows_at_once(self) -> int | None:
        """How many rows are worked on at a time, where they are wide: DuckDB hands on rows by the thousand, from one
        operator to the next, and tables hold them so; None where that many fit.
        """
        rows = _BYTES_AT_ONCE // max(1, self.row_width)
        return max(1, rows) if rows < _ROWS_PER_VECTOR else None

    def in_any_order(self, name: str, query: str, *, read_often: bool = False) -> Relation:
        """Write what a query finds to a file, in any order, which takes less memory."""
        self.session.execute("SET preserve_insertion_order = false")
        written = self._write(name, query, "" if read_often else f", {_NO_DICTIONARIES}")
        self.session.execute("SET preserve_insertion_order = true")
        return written

    def in_order(self, name: str, query: str) -> Relation:
        """Write what a query finds to a file, in its order."""
        return self._write(name, query, f", {_NO_DICTIONARIES}")

    def _write(self, name: str, query: str, further: str) -> Relation:
        path = self.folder / f"{name}.parquet"
        # DuckDB holds whole row groups in memory. What is read once or twice and then goes is not worth compressing;
        # the encodings of the second version of the format cost less and leave a third more.
        self.session.execute(
            f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, PARQUET_VERSION V2, "
            f"ROW_GROUP_SIZE {_ROWS_PER_GROUP}, ROW_GROUP_SIZE_BYTES {_BYTES_PER_GROUP}, COMPRESSION uncompressed"
            f"{further})"
        )
        return Relation(f"read_parquet({literal(str(path))})", (path,))

    def table(self, name: str, query: str) -> Relation:
        """Hold what a query finds in memory: for what is small, or must be looked up by its rows."""
        self.session.execute(f"CREATE TEMP TABLE {name} AS {query}")
        return Relation(name)


@dataclass(frozen=True)
class Fault:
    """What may be wrong with rows: they fulfil the condition. ``{key}`` and ``{operation}`` in the message stand for
    the row's.
    """

    code: str
    condition: str
    message: str
    column: str | None = None


@dataclass(frozen=True)
class Inspection:
    """Rows of the content under inspection: what is wrong with them becomes problems, each with its row."""

    opened: Session
    rows: Relation
    columns: Columns
    problems: Problems

    def refuse(self, faults: Iterable[Fault]) -> None:
        """List the rows that have faults as problems, one fault after the other, and count those for which there is no
        room. All faults are looked for at once: of many columns there are many, and to plan a statement over the rows
        takes as long as these have columns.
        """
        looked_for = list(faults)
        if not looked_for:
            return
        conditions = [fault.condition for fault in looked_for]
        totals = self.opened.counts(f"FROM {self.rows.sql} WHERE {any_of(conditions)}", conditions)
        there = [place for place, total in enumerate(totals) if total]
        if not there:
            return
        cells = self.columns.key_cells
        listed = ", ".join(f"CASE WHEN {conditions[place]} THEN {place} END" for place in there)
        found = self.opened.rows(
            f"SELECT * FROM (SELECT ordinal, op, {', '.join(cells)}, unnest([{listed}]) AS fault "
            f"FROM {self.rows.sql}) WHERE fault IS NOT NULL ORDER BY fault, ordinal LIMIT {self.problems.room}"
        )
        for row in found:
            fault = looked_for[row["fault"]]
            key = key_in_words(self.columns.keys, [row[cell] for cell in cells])
            told = fault.message.replace("{operation}", shown(row["op"])).replace("{key}", key)
            self.problems.add(fault.code, told, ordinal=row["ordinal"], column=fault.column)
        self.problems.count_only(sum(totals) - len(found))


def key_in_words(names: Sequence[str], values: Sequence[object]) -> str:
    """A row's key as sentences show it: ``id = 3, day = 2024-01-01``."""
    return ", ".join(f"{name} = {shown(str(value))}" for name, value in zip(names, values, strict=True))
