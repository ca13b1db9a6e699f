"""Judging a merge that is planned: its merged result as relations of its own session, never materialised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from merging.delta import Snapshot
from merging.engines import Changes, Keys, TableReader
from merging.expectations.checking import check_expectations
from merging.expectations.judged_rows import columns_typed, rows_of_table
from merging.expectations.report import ExpectationReport
from merging.expectations.rules import ExpectationRules
from merging.expectations.suites import Suite, parse_suite
from merging.model import Column
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import type_name
from merging.threeway.merged import MergedCells


def check_merged(
    opened: Session,
    cells: MergedCells,
    snapshot: Snapshot,
    rules: ExpectationRules,
    *,
    replaces_rows: bool,
    rows_only: bool = False,
    while_waiting: Callable[[], None] | None = None,
) -> ExpectationReport:
    """Check rules on the table as it would be after the merge whose rows are in ``merged`` of the session.

    ``replaces_rows``: whether the merge updates or deletes any. ``while_waiting`` as in ``check_expectations``.
    Raises SuiteRejected when the suite does not fit the merged table's columns.
    """
    alignment, suite = cells.alignment, rules.suite
    if not isinstance(suite, Suite):
        columns = [
            Column(column.name, type_name(column.type), column.nullable) for column in alignment.columns
        ]
        suite = parse_suite(suite, columns)
    changed = f"SELECT {cells.whole_rows_sql()} FROM merged WHERE action <> 'delete'"
    replaced = f"SELECT {cells.whole_rows_sql(before=True)} FROM merged WHERE action <> 'insert'"
    keys = ", ".join(f"k{place} AS {column_sql(name)}" for place, name in enumerate(alignment.keys))
    gone = f"(SELECT file_index, row_number, {keys} FROM merged WHERE action <> 'insert')"
    types = {column.name: column.type for column in alignment.columns}
    changes = Changes(Keys(gone, alignment.keys) if replaces_rows else None, f"({changed})", types)
    reader = TableReader(opened, snapshot, while_waiting)
    with opened.reading(0 if rows_only else snapshot.row_count):
        report = check_expectations(
            opened,
            suite,
            merged=rows_of_table(reader, types, changes),
            changed=changed,
            replaced=replaced,
            before=rows_of_table(reader, types, changes.of_none()),
            columns=columns_typed(opened, types),
            keys=alignment.keys,
            added_columns=[column.name for column in alignment.columns if column.added],
            rows_only=rows_only,
            block_pre_existing=rules.block_pre_existing,
            overridden=rules.overridden,
            while_waiting=while_waiting,
        )
    return replace(report, version=rules.version, table_version=snapshot.version, reads=tuple(reader.reads))
