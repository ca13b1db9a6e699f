"""Expectations that judge the columns alone."""

from __future__ import annotations

from merging.expectations.expectation import (
    ColumnsJudge,
    TableColumns,
)
from merging.expectations.judging.under_check import (
    Checked,
    MergedResult,
)


def check_columns(on: MergedResult, judge: ColumnsJudge, checked: Checked) -> None:
    """Judge the columns that the table has after the merge, and where they fail those that it has now."""
    one = checked.expectation
    finding = judge.find(TableColumns(on.session, one, on.merged, on.columns))
    checked.finding, checked.counts, checked.ok = finding, finding.counts, finding.ok
    checked.new = not finding.ok
    if finding.ok or on.before is None:
        return
    old = tuple(column for column in on.columns if column.name not in on.added_columns)
    if not on.added_columns.isdisjoint(one.columns):
        return
    checked.finding_before = judge.find(TableColumns(on.session, one, on.before, old))
    checked.ok_before = checked.finding_before.ok
    checked.new = checked.ok_before
