"""Every row beside its base image: the row of the base version that has its key, pinned by where it stood."""

from __future__ import annotations

from dataclasses import dataclass

from merging.delta import Snapshot
from merging.engines import Keys, Rows, TableReader
from merging.sql.quoting import column_sql
from merging.staging.comparison import Comparison
from merging.staging.mapping import Columns
from merging.staging.pinning import refuse_duplicates
from merging.staging.sources import Problems
from merging.staging.workbench import Relation, Workbench

#: Base images may be wide where the table's files take so many bytes a row, and of so many bytes it matters.
_WIDE = 2 << 10
_MUCH = 8 << 20
_SAMPLE = 16


def pair_with_base(
    bench: Workbench, rows: Relation, snapshot: Snapshot, comparison: Comparison, problems: Problems
) -> Relation:
    """The rows that have a key, with ``effect`` (insert, update, delete as against the base), ``changed``, ``in_base``,
    ``b<i>`` the base image, ``base_file`` and ``base_row`` where it stands.

    Raises DuplicateKeys where the base has several rows of a key, unless the content has problems of its own.
    """
    pairing = _Pairing(bench, rows, snapshot, comparison)
    found = pairing.find()
    if not problems.total:
        refuse_duplicates(bench.session, found.sql, list(comparison.columns.keys))
    bench.meet_base(pairing.width_of(found))
    if bench.rows_at_once is None:
        paired = pairing.write("paired", rows.sql, found.sql)
    else:
        paired = pairing.write_in_parts(found, bench.rows_at_once)
    bench.session.execute(f"DROP TABLE {found.sql}")
    return paired


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

    def find(self) -> Rows:
        """Where the base version has the staged keys."""
        keys = list(self._columns.keys)
        staged = self.bench.table("staged_keys", self._keys_of(self.rows.sql))
        found = self._reader.rows_of(Keys(staged.sql, keys), keys)
        self.bench.session.execute(f"DROP TABLE {staged.sql}")
        return found

    def width_of(self, found: Rows) -> int:
        """How many bytes or so a base image takes where that may be many, else 0."""
        stored = self.snapshot.size_bytes // max(1, self.snapshot.stored_row_count)
        if stored < _WIDE or found.number * stored < _MUCH:
            return 0
        opened = self.bench.session
        some = self.bench.table("some_found", f"FROM {found.sql} LIMIT {_SAMPLE}")
        sample = self._reader.rows_at(some.sql, self.snapshot.schema.names)
        size: int = opened.table(f"FROM {sample.sql}").nbytes
        for name in (some.sql, sample.sql):
            opened.execute(f"DROP TABLE {name}")
        return size // max(1, sample.number)

    def write(self, name: str, rows: str, found: str) -> Relation:
        """Rows beside their base images, in any order: what is written in the end is sorted by key."""
        names = self.snapshot.schema.names
        base = self._reader.rows_at(found, names)
        named = ", ".join(f"{column_sql(name)} AS b{index}" for index, name in enumerate(names))
        on = " AND ".join(
            f"l.{cell} = b.b{self._columns.schema.names.index(name)}"
            for name, cell in zip(self._columns.keys, self._columns.key_cells, strict=True)
        )
        paired = (
            "SELECT l.*, coalesce(b.in_base, false) AS in_base, "
            "CASE WHEN l.op = 'delete' THEN 'delete' WHEN b.in_base THEN 'update' ELSE 'insert' END AS effect, "
            f"b.* EXCLUDE (in_base) FROM {rows} l LEFT JOIN (SELECT true AS in_base, file_index AS base_file, "
            f"row_number AS base_row, {named} FROM {base.sql}) b ON {on} WHERE {self._columns.key_is_whole}"
        )
        written = self.bench.in_any_order(
            name, f"SELECT *, in_base AND {self.comparison.any_changed} AS changed FROM ({paired})"
        )
        self.bench.session.execute(f"DROP TABLE {base.sql}")
        return written

    def write_in_parts(self, found: Rows, at_once: int) -> Relation:
        """The same of wide rows, of which a join holds no more than so many."""
        listed = ", ".join(map(column_sql, self._columns.keys))
        parts = []
        for start in range(0, max(1, self.bench.source.rows_read), at_once):
            some = f"(SELECT * FROM {self.rows.sql} WHERE ordinal >= {start} AND ordinal < {start + at_once})"
            theirs = self.bench.table(
                "found_now",
                f"SELECT f.* FROM {found.sql} f SEMI JOIN ({self._keys_of(some)}) USING ({listed})",
            )
            parts.append(self.write(f"paired_{start}", some, theirs.sql))
            self.bench.session.execute(f"DROP TABLE {theirs.sql}")
        return Relation.of_files(parts)
