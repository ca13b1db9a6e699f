"""Every row beside its base image: the row of the base version that has its key, pinned by where it stood."""

from __future__ import annotations

from merging.delta import Snapshot
from merging.engines import Keys, TableReader
from merging.sql.quoting import column_sql
from merging.staging.comparison import Comparison
from merging.staging.mapping import Columns
from merging.staging.pinning import refuse_duplicates
from merging.staging.sources import Problems
from merging.staging.workbench import Relation, Workbench


def pair_with_base(
    bench: Workbench, rows: Relation, snapshot: Snapshot, comparison: Comparison, problems: Problems
) -> Relation:
    """The rows that have a key, with ``effect`` (insert, update, delete as against the base), ``changed``, ``in_base``,
    ``b<i>`` the base image, ``base_file`` and ``base_row`` where it stands.

    Raises DuplicateKeys where the base has several rows of a key, unless the content has problems of its own.
    """
    columns = comparison.columns
    base = _base_of(bench, rows, snapshot, columns, problems)
    on = " AND ".join(
        f"l.{cell} = b.b{columns.schema.names.index(name)}"
        for name, cell in zip(columns.keys, columns.key_cells, strict=True)
    )
    paired = (
        "SELECT l.*, coalesce(b.in_base, false) AS in_base, "
        "CASE WHEN l.op = 'delete' THEN 'delete' WHEN b.in_base THEN 'update' ELSE 'insert' END AS effect, "
        f"b.* EXCLUDE (in_base) FROM {rows.sql} l LEFT JOIN {base.sql} b ON {on} WHERE {columns.key_is_whole}"
    )
    # In any order: what is written in the end is sorted by key.
    return bench.in_any_order(
        "paired", f"SELECT *, in_base AND {comparison.any_changed} AS changed FROM ({paired})"
    )


def _base_of(
    bench: Workbench, rows: Relation, snapshot: Snapshot, columns: Columns, problems: Problems
) -> Relation:
    """The rows of the base version that have a staged key, whole."""
    opened, keys = bench.session, list(columns.keys)
    listed = ", ".join(
        f"{cell} AS {column_sql(name)}" for name, cell in zip(keys, columns.key_cells, strict=True)
    )
    staged = bench.table("staged_keys", f"SELECT {listed} FROM {rows.sql} WHERE {columns.key_is_whole}")
    found = TableReader(opened, snapshot).rows_of(Keys(staged.sql, keys), snapshot.schema.names)
    if not problems.total:
        refuse_duplicates(opened, found.sql, keys)
    opened.execute(f"DROP TABLE {staged.sql}")
    named = ", ".join(f"{column_sql(name)} AS b{index}" for index, name in enumerate(snapshot.schema.names))
    return Relation(
        f"(SELECT true AS in_base, file_index AS base_file, row_number AS base_row, {named} FROM {found.sql})"
    )
