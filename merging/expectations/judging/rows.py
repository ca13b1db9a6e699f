"""Expectations that judge each row by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from merging.expectations.expectation import (
    Expectation,
    RowPredicate,
    TextJudge,
)
from merging.expectations.findings import Counts
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.judging.under_check import (
    CANNOT,
    Checked,
    Failures,
    MergedResult,
    first_line,
    guarded,
)
from merging.expectations.matching import prepare_matching
from merging.sql.failures import raise_unreachable
from merging.sql.quoting import column_sql


def check_rows(on: MergedResult, all_checked: Sequence[Checked]) -> None:
    """Judge each row by itself: one scan of the changed rows, and one of the table for what judges a share of it."""
    fails: dict[int, str] = {}
    for checked in all_checked:
        one = checked.expectation
        checked.scope = on.scope_of(one)
        try:
            fails[one.number] = _predicate(on, checked)
        except CANNOT as error:
            raise_unreachable(error)
            checked.error = first_line(error)
    able = [checked for checked in all_checked if checked.error is None]
    narrow = [checked for checked in able if checked.scope == "changes"]
    wide = [checked for checked in able if checked.scope == "table"]
    for group, relation in ((narrow, on.changed), (wide, on.merged)):
        for checked, counts in _counted(on, group, fails, relation):
            checked.counts = counts
            checked.ok = counts.satisfies(checked.expectation.mostly)
    for checked in able:
        if checked.error is None and not checked.ok:
            guarded(checked, lambda one: _failed_rows(on, one, fails[one.expectation.number]))


def _predicate(on: MergedResult, checked: Checked) -> str:
    one, judge = checked.expectation, checked.expectation.entry.judge
    if isinstance(judge, RowPredicate):
        return judge.fails(one)
    assert isinstance(judge, TextJudge)  # noqa: S101 - the checker brings these two alone
    relations = [on.changed, on.replaced]
    if checked.scope == "table":
        relations += [on.merged, on.before]
    different = {id(one): one for one in relations if one is not None}
    return prepare_matching(on.session, one, judge, different.values(), on.cage)


def _counted(
    on: MergedResult, all_checked: Sequence[Checked], fails: Mapping[int, str], relation: JudgedRows
) -> Iterator[tuple[Checked, Counts]]:
    """Counts of several expectations from one scan; one by one when that fails, so that the culprit is known."""
    if not all_checked:
        return
    try:
        yield from _count(on, all_checked, fails, relation)
    except CANNOT as error:
        raise_unreachable(error)
        if len(all_checked) == 1:
            all_checked[0].error = first_line(error)
            return
        for checked in all_checked:
            yield from _counted(on, [checked], fails, relation)


def _count(
    on: MergedResult, all_checked: Sequence[Checked], fails: Mapping[int, str], relation: JudgedRows
) -> list[tuple[Checked, Counts]]:
    expressions: list[str] = []
    for checked in all_checked:
        one = checked.expectation
        expressions.append(f"count(*) FILTER ({one.domain})")
        expressions.append(f"count(*) FILTER ({one.judged})")
        expressions.append(f"count(*) FILTER ({one.judged} AND {fails[one.number]})")
    columns = dict.fromkeys(name for checked in all_checked for name in checked.expectation.read_columns)
    values = iter(relation.numbers(on.session, expressions, list(columns)))
    found = []
    for checked in all_checked:
        rows, judged_rows, failing = next(values), next(values), next(values)
        absent = None if checked.expectation.entry.judges_missing else rows - judged_rows
        found.append((checked, Counts(rows, failing, absent)))
    return found


def _failed_rows(on: MergedResult, checked: Checked, fails: str) -> None:
    """Which rows fail, and which of them failed with the same values before."""
    one = checked.expectation
    where = f"{one.judged} AND {fails}"
    relation = on.changed if checked.scope == "changes" else on.merged
    checked.failures = _split(on, one, relation, where)
    if checked.scope == "changes":
        checked.new = checked.failures.new > 0
        return
    if on.before is not None:
        [(_, before)] = _count(on, [checked], {one.number: fails}, on.before)
        checked.counts_before = before
        checked.ok_before = before.satisfies(one.mostly)
    checked.new = on.before is None or checked.ok_before or checked.failures.new > 0


def _split(on: MergedResult, one: Expectation, relation: JudgedRows, where: str) -> Failures:
    names = tuple(dict.fromkeys((*on.keys, *one.read_columns)))
    listed = ", ".join(column_sql(name) for name in names)
    # Only changed rows can be new; where a row was replaced it is new unless it failed with the same values.
    was, joins = "false", ""
    if relation != on.changed and on.keys:
        touched = f"SELECT {on.key_list()}, true AS touched FROM {on.changed}"
        was, joins = "c.touched IS NULL", f"LEFT JOIN ({touched}) c ON {on.same('f', 'c')}"
    if on.replaced is not None and on.keys:
        labels = [column_sql(name) for name in names]
        same = " AND ".join(f"f.{label} IS NOT DISTINCT FROM r.{label}" for label in labels)
        joins += (
            f" LEFT JOIN (SELECT DISTINCT {listed}, true AS failed FROM {on.replaced} WHERE {where}) r "
            f"ON {same}"
        )
        was = f"({was} OR r.failed IS NOT NULL)"
    failing = (
        f"SELECT f.*, NOT {was} AS is_new FROM (SELECT {listed} FROM {relation} WHERE {where}) f {joins}"
    )
    return on.failing_rows(failing, one)
