"""Content that another Delta table holds: a clone or copy of the dataset's table that somebody edited.

It is compared by key with the version that it was made from: rows that only the clone has are inserts, rows that it
lacks are deletes, rows that differ are updates. What files both hold alike is not read. Staged on that version, the
rows meet the table as it is now like those of any other content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from merging.delta import Snapshot, named_as, open_snapshot, scan_sql, stored_otherwise
from merging.delta.cloning import differing_files, open_clone, origin_of
from merging.delta.keys import check_key_columns
from merging.errors import StagingRejected
from merging.model import StagingProblem
from merging.sql.equality import differs
from merging.sql.parsing import shown
from merging.sql.quoting import any_of, column_sql, literal, quote
from merging.sql.session import Session, limits, session
from merging.sql.types import type_name
from merging.staging.sources.base import BATCH_ROWS, OPERATION_COLUMN


@dataclass(frozen=True)
class CloneChanges:
    """What a clone changed since ``base_version``: keys, values and ``_op``, once."""

    base_version: int
    rows: pa.RecordBatchReader


@contextmanager
def changes_of_clone(
    table_uri: str,
    clone_uri: str,
    primary_keys: Sequence[str],
    *,
    base_version: int | None = None,
    proved_only: bool = True,
    storage_options: Mapping[str, str] | None = None,
) -> Iterator[CloneChanges]:
    """Compare a clone with the version of the table that it was made from.

    ``base_version`` says which that is where the clone's log does not (copies by CREATE TABLE AS SELECT). With
    ``proved_only`` the clone's log must show that it was made from this very table. Columns that the clone lacks stay
    as they are.

    Raises StagingRejected where it is not told what to compare with, or where the clone holds a key twice; as
    ``open_snapshot`` does; FilesElsewhere where files lie in neither table's folder.
    """
    source = open_snapshot(table_uri, storage_options=storage_options)
    clone = open_clone(clone_uri, source, storage_options=storage_options)
    version = _base_version(clone, source, base_version, proved_only=proved_only)
    base = open_snapshot(table_uri, version=version, storage_options=storage_options)
    if (
        clone.mapping_mode != "none" or base.mapping_mode == "none"
    ):  # else only names say which columns are which
        clone = named_as(clone, base)
    with session(memory_limit=limits().staging_memory) as opened:
        opened.expect_columns(len(base.schema) + len(clone.schema))
        alike = not stored_otherwise(base, clone, clone.schema.names)
        comparison = TableComparison(opened, base, clone, primary_keys, files_show_alike=alike)
        found = opened.connection.sql(comparison.query()).to_arrow_reader(BATCH_ROWS)
        try:
            yield CloneChanges(version, found)
        finally:
            found.close()


def _base_version(clone: Snapshot, source: Snapshot, given: int | None, *, proved_only: bool) -> int:
    origin = origin_of(clone, source)
    if proved_only and not origin.proved:
        raise _refused(
            "not_a_clone",
            f"the log of {shown(clone.uri)} does not show that it was made from this dataset's table. Clone the table "
            "itself (CREATE TABLE … SHALLOW CLONE), let an owner of the dataset propose it, or send the changed rows "
            "as a file.",
        )
    version = origin.version if given is None else given
    if version is None:
        raise _refused(
            "unknown_base",
            f"the log of {shown(clone.uri)} does not say which version of this dataset's table it was made from: say "
            "so with base_version.",
        )
    return version


def _require_columns(base: Snapshot, other: Snapshot, primary_keys: Sequence[str]) -> None:
    """Raise StagingRejected unless rows of the other table can be told apart by the keys of this one, and InvalidKeys
    where those of this one cannot.
    """
    check_key_columns(base.schema, [*primary_keys])
    problems, names = [], set(other.schema.names)
    for name in primary_keys:
        if name not in names:
            problems.append(StagingProblem("missing_key_column", "the key column is missing.", None, name))
            continue
        here, there = base.schema.field(name).type, other.schema.field(name).type
        if not _of_one_kind(here, there):
            message = (
                f"the key column is a {type_name(there)} there and a {type_name(here)} in the table, so that no row "
                "is known by it."
            )
            problems.append(StagingProblem("key_type", message, None, name))
    if OPERATION_COLUMN in other.schema.names:
        message = f"{OPERATION_COLUMN} names the operation of a row, so that no column can be called so."
        problems.append(StagingProblem("reserved_column", message, None, OPERATION_COLUMN))
    if problems:
        raise StagingRejected(problems)


def _of_one_kind(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether both compare as they are: the same, or one that is wide enough for the values of the other."""
    kinds = (pa.types.is_integer, pa.types.is_decimal)
    return one == other or any(is_kind(one) and is_kind(other) for is_kind in kinds)


def _refused(code: str, message: str) -> StagingRejected:
    return StagingRejected([StagingProblem(code, message)])


class TableComparison:
    """The rows of both tables in files that differ, and the SELECT of what is different in them.

    ``files_show_alike``: what both hold of a file is the same to both, so that it need not be read.
    Raises StagingRejected where the other table has no such keys, or one twice; InvalidKeys where the table has none.
    """

    def __init__(
        self,
        opened: Session,
        base: Snapshot,
        clone: Snapshot,
        primary_keys: Sequence[str],
        *,
        files_show_alike: bool,
    ) -> None:
        _require_columns(base, clone, primary_keys)
        self._base, self._clone = base, clone
        self._keys = list(primary_keys)
        self._values = [
            name
            for name in clone.schema.names
            if name not in self._keys and name not in base.columns_without_values
        ]
        of_base, of_clone = differing_files(base, clone) if files_show_alike else (None, None)
        held = set(base.schema.names)
        known = [name for name in self._values if name in held]
        self._before = scan_sql(opened.connection, base, [*self._keys, *known], files=of_base)
        self._after = scan_sql(opened.connection, clone, [*self._keys, *self._values], files=of_clone)
        self._refuse_repeated(opened)

    def query(self) -> str:
        """SELECT of keys, the clone's values and the operation of each row that differs."""
        on = " AND ".join(f"b.{column_sql(name)} = c.{column_sql(name)}" for name in self._keys)
        first = column_sql(self._keys[0])
        keys = [
            f"coalesce(c.{column_sql(name)}, b.{column_sql(name)}) AS {quote(name)}" for name in self._keys
        ]
        values = [f"c.{column_sql(name)} AS {quote(name)}" for name in self._values]
        operation = (
            f"CASE WHEN b.{first} IS NULL THEN {literal('insert')} "
            f"WHEN c.{first} IS NULL THEN {literal('delete')} ELSE {literal('update')} END"
        )
        changed = any_of([self._differs(name) for name in self._values])
        return (
            f"SELECT {', '.join([*keys, *values])}, {operation} AS {OPERATION_COLUMN} "
            f"FROM ({self._before}) b FULL OUTER JOIN ({self._after}) c ON {on} "
            f"WHERE b.{first} IS NULL OR c.{first} IS NULL OR {changed}"
        )

    def _differs(self, name: str) -> str:
        after = f"c.{column_sql(name)}"
        if name not in self._base.schema.names:
            return f"{after} IS NOT NULL"
        data_type = self._clone.schema.field(name).type
        if data_type != self._base.schema.field(name).type:
            return "true"  # staging, which knows what fits, tells the rows that differ
        return differs(f"b.{column_sql(name)}", after, data_type)

    def _refuse_repeated(self, opened: Session) -> None:
        listed = ", ".join(column_sql(name) for name in self._keys)
        repeated = opened.number(
            f"SELECT count(*) FROM (SELECT {listed} FROM ({self._after}) GROUP BY ALL HAVING count(*) > 1)"
        )
        if repeated:
            noun = "key stands" if repeated == 1 else "keys stand"
            raise _refused(
                "duplicate_key", f"{repeated:,} {noun} in several rows of the other table; keep one of them."
            )
