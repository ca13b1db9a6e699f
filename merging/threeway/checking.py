"""Judging a merge that is planned: its merged result as relations of its own session, never materialised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from merging.delta import Snapshot, scan_sql
from merging.engines import Changes, Keys, TableReader
from merging.expectations.checking import check_expectations
from merging.expectations.report import ExpectationReport
from merging.expectations.rules import ExpectationRules
from merging.expectations.suites import Suite, parse_suite
from merging.model import Column
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import null_of, type_name
from merging.threeway.alignment import Alignment
from merging.threeway.merged import table_columns_sql


def check_merged(
    opened: Session,
    alignment: Alignment,
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
    suite = rules.suite
    if not isinstance(suite, Suite):
        columns = [
            Column(column.name, type_name(column.type), column.nullable) for column in alignment.columns
        ]
        suite = parse_suite(suite, columns)
    table = ", ".join(
        f"{null_of(column.type)} AS {column_sql(column.name)}"
        if column.added
        else f"live.{column_sql(column.name)}"
        for column in alignment.columns
    )
    before = f"SELECT {table} FROM ({scan_sql(opened.connection, snapshot)}) live"
    changed = f"SELECT {table_columns_sql(alignment, 'm')} FROM merged WHERE action <> 'delete'"
    replaced = f"SELECT {table_columns_sql(alignment, 'c')} FROM merged WHERE action <> 'insert'"
    merged = f"{before} UNION ALL {changed}"
    if replaces_rows:
        placed = scan_sql(opened.connection, snapshot, with_positions=True)
        merged = (
            f"SELECT {table} FROM ({placed}) live ANTI JOIN "
            "(SELECT file_index, row_number FROM merged WHERE action <> 'insert') gone "
            "ON live.file_index = gone.file_index AND live.row_number = gone.row_number "
            f"UNION ALL {changed}"
        )
    keys = ", ".join(f"k{place} AS {column_sql(name)}" for place, name in enumerate(alignment.keys))
    gone = f"(SELECT file_index, row_number, {keys} FROM merged WHERE action <> 'insert')"
    changes = Changes(
        Keys(gone, alignment.keys) if replaces_rows else None,
        f"({changed})",
        {column.name: column.type for column in alignment.columns},
    )
    report = check_expectations(
        opened,
        suite,
        merged=merged,
        changed=changed,
        replaced=replaced,
        before=before,
        keys=alignment.keys,
        added_columns=[column.name for column in alignment.columns if column.added],
        rows_only=rows_only,
        block_pre_existing=rules.block_pre_existing,
        overridden=rules.overridden,
        while_waiting=while_waiting,
        reader=TableReader(opened, snapshot, while_waiting),
        changes=changes,
    )
    return replace(report, version=rules.version, table_version=snapshot.version)
