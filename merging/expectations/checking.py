"""Checking a suite on the table as it would be after a merge, before anything is written.

Row-level expectations look at changed rows only; those that judge a share of the table, and all others, see the whole
merged result as a relation that is never materialised. A failure is new when the change brings it; failures that the
table had before are reported apart.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence

from merging.expectations.cage import Cage
from merging.expectations.expectation import (
    ColumnsJudge,
    Expectation,
    KeyOrder,
    RowPredicate,
    TableMetric,
    TextJudge,
    Uniqueness,
)
from merging.expectations.explaining import explain
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.judging.columns import check_columns
from merging.expectations.judging.groups import check_uniqueness
from merging.expectations.judging.order import check_order
from merging.expectations.judging.rows import check_rows
from merging.expectations.judging.tables import check_tables
from merging.expectations.judging.under_check import Checked, MergedResult, guarded
from merging.expectations.report import ExpectationReport, ExpectationResult, State
from merging.expectations.suites import Suite
from merging.expectations.values import columns_of
from merging.model import Column
from merging.sql.session import Session

EXAMPLES = 200
"""Failing rows kept per expectation; totals are exact."""


def check_expectations(
    opened: Session,
    suite: Suite,
    *,
    merged: JudgedRows | str,
    changed: str | None = None,
    replaced: str | None = None,
    before: JudgedRows | str | None = None,
    columns: Sequence[Column] | None = None,
    keys: Sequence[str] = (),
    added_columns: Sequence[str] = (),
    whole_table: bool = False,
    rows_only: bool = False,
    block_pre_existing: bool = False,
    overridden: Collection[int] = (),
    examples: int = EXAMPLES,
    while_waiting: Callable[[], None] | None = None,
) -> ExpectationReport:
    """Check a suite on a merged result.

    The relations are names or SELECTs of the session, all with the merged table's columns by label
    (``merging.sql.quoting.column_label``): ``merged`` every row after the merge, ``changed`` the rows that it adds or
    updates (as they will be), ``replaced`` the rows that it updates or deletes (as they were), ``before`` every row
    of the table now. Without ``changed`` every row counts as changed, without ``before`` every failure is new.
    ``columns`` are those of ``merged``, where they are known without a look at it. ``keys`` name the rows in the
    report; ``added_columns`` are those that the merge adds (all relations have them).

    ``whole_table`` judges every row by row-level expectations too; so does ``block_pre_existing``, with which failures
    that the table already had block like new ones. ``rows_only`` gives a quick answer: what needs a look at the whole
    table or Great Expectations itself is deferred, and says so. An expectation that cannot be checked counts as
    failed. Those whose numbers are ``overridden`` never block. Nothing is written but temporary tables of the session.
    ``while_waiting`` is called about once a second while a confined process judges; what it raises ends the check.
    """
    started = time.perf_counter()
    source = _rows(merged)
    old = _rows(before) if before is not None else None
    everything = changed is None or ((whole_table or block_pre_existing) and not rows_only)
    on = MergedResult(
        opened,
        merged=source,
        # Without a change set every row is a change of the table as it was.
        changed=_rows(changed) if changed is not None else source,
        replaced=old if changed is None else _rows(replaced) if replaced is not None else None,
        before=old,
        keys=tuple(keys),
        columns=tuple(columns) if columns is not None else columns_of(opened.connection, source.sql),
        added_columns=frozenset(added_columns),
        scope="table" if everything else "changes",
        examples=examples,
        cage=Cage(while_waiting, quick=rows_only),
    )
    all_checked = [Checked(one) for one in suite.expectations]
    for checked in all_checked:
        checked.deferred = rows_only and not _needs_changes_alone(checked.expectation)
    _judge(on, [checked for checked in all_checked if not checked.deferred])
    return ExpectationReport(
        suite.name,
        tuple(_result(checked, block_pre_existing, overridden) for checked in all_checked),
        on.scope,
        time.perf_counter() - started,
        suite.meta,
        block_pre_existing=block_pre_existing,
    )


def _rows(relation: JudgedRows | str) -> JudgedRows:
    return relation if isinstance(relation, JudgedRows) else JudgedRows(relation)


def _judge(on: MergedResult, all_checked: Sequence[Checked]) -> None:
    """Check each expectation by its kind of judge; those that one scan can answer, together."""

    def judged_by(*judges: type) -> list[Checked]:
        return [one for one in all_checked if isinstance(one.expectation.entry.judge, judges)]

    check_rows(on, judged_by(RowPredicate, TextJudge))
    check_tables(on, judged_by(TableMetric))
    for checked in all_checked:
        check: Callable[[Checked], None]
        match checked.expectation.entry.judge:
            case Uniqueness():
                check = functools.partial(check_uniqueness, on)
            case KeyOrder() as order:
                check = functools.partial(check_order, on, order)
            case ColumnsJudge() as judge:
                check = functools.partial(check_columns, on, judge)
            case _:
                continue
        guarded(checked, check)


def _needs_changes_alone(one: Expectation) -> bool:
    if one.entry.route == "great_expectations":
        return False  # seconds to load, and never in a process that serves pages
    return (one.entry.level == "row" and one.mostly == 1) or (one.entry.level == "schema" and not one.columns)


def _result(
    checked: Checked, block_pre_existing: bool, overridden_numbers: Collection[int]
) -> ExpectationResult:
    one = checked.expectation
    state: State = "passed"
    if checked.deferred:
        state = "deferred"
    elif checked.error is not None:
        state = "error"
    elif not checked.ok:
        state = "new" if checked.new else "pre_existing"
    stops = one.severity == "critical" and (
        state in ("new", "error") or (state == "pre_existing" and block_pre_existing)
    )
    overridden = one.number in overridden_numbers
    failures = checked.failures
    total = max(failures.total, checked.counts.unexpected_count if checked.counts and not checked.ok else 0)
    return ExpectationResult(
        number=one.number,
        type=one.type,
        kwargs=one.kwargs,
        columns=one.columns,
        explanation=explain(one),
        severity=one.severity,
        scope=checked.scope,
        state=state,
        blocking=stops and not overridden,
        ok=checked.ok and checked.error is None,
        observed=checked.finding.observed if checked.finding else None,
        before=checked.finding_before.observed if checked.finding_before else None,
        counts=checked.counts,
        counts_before=checked.counts_before,
        failing_rows=failures.rows,
        failing_rows_total=total,
        new_failures=failures.new,
        pre_existing_failures=total - failures.new if failures.total else 0,
        checked_by=one.entry.route,
        error=checked.error,
        overridden=stops and overridden,
    )
