"""Every row beside its base image: the row of the base version that has its key, pinned by where it stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from merging.delta import Snapshot
from merging.engines import Keys, Rows, TableReader
from merging.model import Operation
from merging.sql.equality import differs
from merging.sql.quoting import column_sql
from merging.sql.types import is_nested
from merging.staging.comparison import Comparison
from merging.staging.mapping import Columns, InputColumn
from merging.staging.pinning import refuse_duplicates
from merging.staging.sources import Problems
from merging.staging.workbench import Relation, Workbench

KEPT = "(effect <> 'update' OR changed)"
"""SQL: a paired row does something."""

#: Base images may be wide where the table's files take so many bytes a row, and of so many bytes it matters.
_WIDE = 2 << 10
_MUCH = 8 << 20
_SAMPLE = 16
#: As many columns have their bits in one number.
_BITS = 60


@dataclass(frozen=True)
class Marks:
    """Which columns the rows of a content change, as bits of a few numbers: ``m<i>``."""

    comparison: Comparison

    @property
    def _columns(self) -> tuple[InputColumn, ...]:
        return self.comparison.columns.values

    def made(self) -> str:
        """SQL of the numbers, over rows beside their base images: each behind a comma."""
        bits = [
            f"CASE WHEN {differs(column.base, self.comparison.proposed(column), column.type)} "
            f"THEN {1 << place % _BITS}::BIGINT ELSE 0 END"
            for place, column in enumerate(self._columns)
        ]
        starts = range(0, len(bits), _BITS)
        return "".join(
            f", {' + '.join(bits[start : start + _BITS])} AS m{start // _BITS}" for start in starts
        )

    def none(self) -> str:
        """The same where no row has a base."""
        return "".join(f", 0::BIGINT AS m{number}" for number in range(-(-len(self._columns) // _BITS)))

    def conditions(self) -> dict[int, str]:
        """SQL by the column's position: a row that is updated changes it."""
        return {
            column.position: f"effect = 'update' AND m{place // _BITS} & {1 << place % _BITS} <> 0"
            for place, column in enumerate(self._columns)
        }

    def once(self) -> list[InputColumn]:
        """The columns of which an updated row gives the very value of its base where it does not change it."""
        return [
            column
            for column in self._columns
            if not column.new
            and is_one_value(column.type)
            and self.comparison.proposed(column) == column.cell
        ]


def is_one_value(data_type: pa.DataType) -> bool:
    """Whether equal values of a type are the same: there are two zeros, and maps of another order."""
    return not pa.types.is_floating(data_type) and not is_nested(data_type)


@dataclass(frozen=True)
class Effects:
    """What paired rows would do: rows by operation, updated cells by the column's position (those with any), and how
    many rows equal their base.
    """

    operations: Mapping[Operation, int]
    cells_updated: Mapping[int, int]
    noop_rows: int


def effects_of(bench: Workbench, paired: Relation, comparison: Comparison) -> Effects:
    """Count what paired rows would do, in one pass over their marks."""
    changes = Marks(comparison).conditions()
    counted = ", ".join(f"count_if({KEPT} AND {condition})" for condition in changes.values())
    total, inserted, updated, deleted, cells = bench.session.row(
        "SELECT count(*), count(*) FILTER (effect = 'insert'), count(*) FILTER (effect = 'update' AND changed), "
        f"count(*) FILTER (effect = 'delete'), [{counted}]::BIGINT[] FROM {paired.sql}"
    )
    found = zip(changes, cells, strict=True)
    return Effects(
        operations={"insert": inserted, "update": updated, "delete": deleted},
        cells_updated={position: int(number) for position, number in found if number},
        noop_rows=total - inserted - updated - deleted,
    )


def pair_with_base(
    bench: Workbench, rows: Relation, snapshot: Snapshot, comparison: Comparison, problems: Problems
) -> Relation:
    """The rows that have a key, with ``effect`` (insert, update, delete as against the base), ``changed``, ``in_base``,
    ``b<i>`` the base image, ``base_file`` and ``base_row`` where it stands, and their ``Marks``. The files of the given
    rows are taken over.

    Raises DuplicateKeys where the base has several rows of a key, unless the content has problems of its own.
    """
    pairing = _Pairing(bench, rows, snapshot, comparison)
    found, whole = pairing.find()
    if not problems.total:
        refuse_duplicates(bench.session, found.sql, list(comparison.columns.keys))
    bench.meet_base(pairing.width_of(found, whole=whole))
    at_once = bench.rows_at_once
    if at_once is None:
        return pairing.together(found, whole=whole)
    return pairing.in_parts(found, at_once, whole=whole)


@dataclass(frozen=True)
class _Pairing:
    """The rows of one staging, and the version in which their base images are."""

    bench: Workbench
    rows: Relation
    snapshot: Snapshot
    comparison: Comparison

    @property
    def _columns(self) -> Columns:
        return self.comparison.columns

    @property
    def _reader(self) -> TableReader:
        return TableReader(self.bench.session, self.snapshot)

    def _keys_of(self, rows: str) -> str:
        """SQL of the keys of staged rows, under the labels of the table's columns."""
        cells = zip(self._columns.keys, self._columns.key_cells, strict=True)
        listed = ", ".join(f"{cell} AS {column_sql(name)}" for name, cell in cells)
        return f"SELECT {listed} FROM {rows} WHERE {self._columns.key_is_whole}"

    def find(self) -> tuple[Rows, bool]:
        """Where the base version has the staged keys, and whether that is known with their base images."""
        keys = list(self._columns.keys)
        staged = self.bench.table("staged_keys", self._keys_of(self.rows.sql))
        found = self._reader.rows_found(Keys(staged.sql, keys), self.snapshot.schema.names)
        self.bench.session.execute(f"DROP TABLE {staged.sql}")
        return found

    def width_of(self, found: Rows, *, whole: bool) -> int:
        """How many bytes or so a base image takes where that may be many, else 0."""
        stored = self.snapshot.size_bytes // max(1, self.snapshot.stored_row_count)
        if stored < _WIDE or found.number * stored < _MUCH:
            return 0
        opened = self.bench.session
        some = self.bench.table("some_found", f"FROM {found.sql} LIMIT {_SAMPLE}")
        sample = self._held(some, whole=whole)
        size: int = opened.table(f"FROM {sample.sql}").nbytes
        sample.remove(opened)
        return size // max(1, sample.number)

    def _held(self, found: Relation, *, whole: bool) -> Rows:
        """Some of the rows that were found, which are taken over, with their base images."""
        opened = self.bench.session
        if whole:
            return Rows(found.sql, opened.number(f"SELECT count(*) FROM {found.sql}"))
        base = self._reader.rows_at(found.sql, self.snapshot.schema.names)
        opened.execute(f"DROP TABLE {found.sql}")
        return base

    def together(self, found: Rows, *, whole: bool) -> Relation:
        """The rows beside their base images, in any order: what is written in the end is sorted by key. Where no row
        has a base there is nothing to write down.
        """
        base = found
        if not whole:
            base = self._reader.rows_at(found.sql, self.snapshot.schema.names)
            found.remove(self.bench.session)
        if not base.number:
            return self.rows.made_into(self._joined(self.rows.sql, base))
        written = self._written("paired", self.rows.sql, base)
        self.rows.remove()
        return self._whole(written)

    def in_parts(self, found: Rows, at_once: int, *, whole: bool) -> Relation:
        """Wide rows beside their base images, of which a join holds no more than so many."""
        listed = ", ".join(map(column_sql, self._columns.keys))
        parts = []
        for start in range(0, max(1, self.bench.source.rows_read), at_once):
            some = f"(SELECT * FROM {self.rows.sql} WHERE ordinal >= {start} AND ordinal < {start + at_once})"
            theirs = self.bench.table(
                "found_now",
                f"SELECT f.* FROM {found.sql} f SEMI JOIN ({self._keys_of(some)}) USING ({listed})",
            )
            parts.append(self._written(f"paired_{start}", some, self._held(theirs, whole=whole)))
        found.remove(self.bench.session)
        self.rows.remove()
        return self._whole(Relation.of_files(parts))

    def _joined(self, rows: str, base: Rows) -> str:
        """SQL of rows beside their base images."""
        names = self.snapshot.schema.names
        named = ", ".join(f"{column_sql(name)} AS b{index}" for index, name in enumerate(names))
        on = " AND ".join(
            f"l.{cell} = b.b{names.index(name)}"
            for name, cell in zip(self._columns.keys, self._columns.key_cells, strict=True)
        )
        paired = (
            "SELECT l.*, coalesce(b.in_base, false) AS in_base, "
            "CASE WHEN l.op = 'delete' THEN 'delete' WHEN b.in_base THEN 'update' ELSE 'insert' END AS effect, "
            f"b.* EXCLUDE (in_base) FROM {rows} l LEFT JOIN (SELECT true AS in_base, file_index AS base_file, "
            f"row_number AS base_row, {named} FROM {base.sql}) b ON {on} WHERE {self._columns.key_is_whole}"
        )
        changed = f"in_base AND {self.comparison.any_changed}" if base.number else "false"
        marks = self._marks.made() if base.number else self._marks.none()
        return f"SELECT *, {changed} AS changed{marks} FROM ({paired})"

    @property
    def _marks(self) -> Marks:
        return Marks(self.comparison)

    def _written(self, name: str, rows: str, base: Rows) -> Relation:
        """Rows beside their base images, written down: what is in both only once."""
        query = self._where_kept(
            {column.cell: "NULL" for column in self._marks.once()}, f"({self._joined(rows, base)})"
        )
        written = self.bench.in_any_order(name, query)
        base.remove(self.bench.session)
        return written

    def _whole(self, written: Relation) -> Relation:
        """Rows that were written down, as they were."""
        return written.made_into(
            self._where_kept({column.cell: column.base for column in self._marks.once()}, written.sql)
        )

    def _where_kept(self, cells: Mapping[str, str], rows: str) -> str:
        """SQL of rows with other values in the cells of updated rows that keep those of their base."""
        changed = self._marks.conditions()
        kept = {
            column.cell: f"CASE WHEN effect <> 'update' OR {changed[column.position]} THEN {column.cell} "
            f"ELSE {cells[column.cell]} END"
            for column in self._marks.once()
        }
        return self.bench.session.with_cells(rows, kept)
