"""Expectations that judge one number or one set of the whole table."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from merging.expectations.findings import Finding
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.judging.under_check import (
    CANNOT,
    Checked,
    MergedResult,
    first_line,
)
from merging.expectations.measuring import find_all
from merging.sql.failures import raise_unreachable


def check_tables(on: MergedResult, all_checked: Sequence[Checked]) -> None:
    """Judge the table after the merge, and by what fails the table as it is now."""
    for checked, finding in _found(on, all_checked, on.merged):
        checked.finding = finding
        checked.counts = finding.counts
        checked.ok = finding.ok
    failed = [checked for checked in all_checked if checked.error is None and not checked.ok]
    for checked in failed:
        checked.new = True
    if on.before is None:
        return
    # A column that the merge adds had no values that could have failed.
    known = [one for one in failed if on.added_columns.isdisjoint(one.expectation.read_columns)]
    for checked, finding in _found(on, known, on.before):
        checked.finding_before = finding
        checked.counts_before = finding.counts
        checked.ok_before = finding.ok
        if not finding.ok and checked.finding is not None:
            checked.new = _is_worse(checked.finding, finding)


def _found(
    on: MergedResult, all_checked: Sequence[Checked], relation: JudgedRows
) -> Iterator[tuple[Checked, Finding]]:
    if not all_checked:
        return
    try:
        expectations = [checked.expectation for checked in all_checked]
        ask = functools.partial(relation.numbers, on.session)
        found = find_all(on.session, expectations, relation, on.cage, ask)
    except CANNOT as error:
        raise_unreachable(error)
        if len(all_checked) == 1:
            all_checked[0].error = first_line(error)
            return
        for checked in all_checked:
            yield from _found(on, [checked], relation)
        return
    for checked in all_checked:
        yield checked, found[checked.expectation.number]


def _is_worse(now: Finding, before: Finding) -> bool:
    """Whether a failure that was there before got new offenders."""
    if now.offending:
        return bool(set(now.offending) - set(before.offending))
    if now.counts is not None and before.counts is not None:
        return now.counts.unexpected_count > before.counts.unexpected_count
    return False
