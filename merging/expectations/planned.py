"""Checking the plan of a merge: its merged result as relations of its own session, never materialised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from merging.columns import null_of, type_name
from merging.delta import column_sql, scan_sql
from merging.expectations.checking import check_expectations
from merging.expectations.report import ExpectationReport
from merging.expectations.suites import Suite, parse_suite
from merging.model import Column
from merging.threeway import table_columns_sql

if TYPE_CHECKING:
    from merging.planning import MergePlan


@dataclass(frozen=True)
class ExpectationRules:
    """What a dataset demands of a merged result. ``suite`` is a suite in JSON (text or parsed) or one that was read.

    ``block_pre_existing``: failures that the table already had block, too. ``overridden``: the numbers (places in the
    suite, from 0) of expectations that somebody answers for: their failures are reported and do not block.
    ``version``: the caller's own name for this state of the suite, told in the report.
    """

    suite: Suite | Mapping[str, Any] | str
    block_pre_existing: bool = False
    overridden: frozenset[int] = frozenset()
    version: int | None = None


def rules_of(given: ExpectationRules | Suite | Mapping[str, Any] | str) -> ExpectationRules:
    """Rules from what a merge request carries: rules, or a suite alone."""
    return given if isinstance(given, ExpectationRules) else ExpectationRules(given)


def check_plan(plan: MergePlan, rules: ExpectationRules, *, rows_only: bool = False) -> ExpectationReport:
    """Check rules on the table as it would be after a plan's merge.

    Raises SuiteRejected when the suite does not fit the merged table's columns.
    """
    opened, alignment, snapshot = plan.session, plan.alignment, plan.snapshot
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
    if plan.rows_updated or plan.rows_deleted:
        placed = scan_sql(opened.connection, snapshot, with_positions=True)
        merged = (
            f"SELECT {table} FROM ({placed}) live ANTI JOIN "
            "(SELECT file_index, row_number FROM merged WHERE action <> 'insert') gone "
            "ON live.file_index = gone.file_index AND live.row_number = gone.row_number "
            f"UNION ALL {changed}"
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
    )
    return replace(report, version=rules.version, table_version=plan.version)
