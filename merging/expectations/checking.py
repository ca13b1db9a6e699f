"""Checking a suite on the table as it would be after a merge, before anything is written.

Row-level expectations look at changed rows only; those that judge a share of the table, and all others, see the whole
merged result as a relation that is never materialised. A failure is new when the change brings it; failures that the
table had before are reported apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from merging.expectations.expectation import (
    ColumnsJudge,
    Expectation,
    KeyOrder,
    RowPredicate,
    TableColumns,
    TableMetric,
    TextJudge,
    Uniqueness,
)
from merging.expectations.explaining import explain
from merging.expectations.findings import Counts, Finding, NotChecked
from merging.expectations.matching import prepare_matching
from merging.expectations.measuring import find_all
from merging.expectations.report import ExpectationReport, ExpectationResult, FailingRow, Scope, State
from merging.expectations.suites import Suite
from merging.expectations.values import columns_of, plain
from merging.model import Column
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import Session

EXAMPLES = 200
"""Failing rows kept per expectation; totals are exact."""

_CANNOT = (duckdb.Error, NotChecked, OverflowError, MemoryError)


@dataclass(frozen=True)
class _Failures:
    """Rows that fail now: some of them, how many, how many of them new."""

    rows: tuple[FailingRow, ...] = ()
    total: int = 0
    new: int = 0


@dataclass
class _Checked:
    """What is known of one expectation while it is checked."""

    expectation: Expectation
    scope: Scope = "table"
    finding: Finding | None = None
    finding_before: Finding | None = None
    counts: Counts | None = None
    counts_before: Counts | None = None
    ok: bool = True
    ok_before: bool = True
    failures: _Failures = field(default_factory=_Failures)
    new: bool = False
    deferred: bool = False
    error: str | None = None


def check_expectations(
    opened: Session,
    suite: Suite,
    *,
    merged: str,
    changed: str | None = None,
    replaced: str | None = None,
    before: str | None = None,
    keys: Sequence[str] = (),
    added_columns: Sequence[str] = (),
    whole_table: bool = False,
    rows_only: bool = False,
    block_pre_existing: bool = False,
    overridden: Collection[int] = (),
    examples: int = EXAMPLES,
) -> ExpectationReport:
    """Check a suite on a merged result.

    The relations are names or SELECTs of the session, all with the merged table's columns by label
    (``merging.sql.quoting.column_label``): ``merged`` every row after the merge, ``changed`` the rows that it adds or
    updates (as they will be), ``replaced`` the rows that it updates or deletes (as they were), ``before`` every row
    of the table now. Without ``changed`` every row counts as changed,
    without ``before`` every failure is new. ``keys`` name the rows in the report; ``added_columns`` are those that the
    merge adds (all relations have them).

    ``whole_table`` judges every row by row-level expectations too; so does ``block_pre_existing``, with which failures
    that the table already had block like new ones. ``rows_only`` gives a quick answer: what needs a look at the whole
    table or Great Expectations itself is deferred, and says so. An expectation that cannot be checked counts as
    failed. Those whose numbers are ``overridden`` never block. Nothing is written but temporary tables of the session.
    """
    started = time.perf_counter()
    relations = {
        "merged": _source(merged),
        "changed": _source(changed) if changed is not None else None,
        "replaced": _source(replaced) if replaced is not None else None,
        "before": _source(before) if before is not None else None,
    }
    everything = changed is None or ((whole_table or block_pre_existing) and not rows_only)
    scope: Scope = "table" if everything else "changes"
    checker = _Checker(
        opened,
        relations,
        tuple(keys),
        scope,
        added_columns=frozenset(added_columns),
        rows_only=rows_only,
        block_pre_existing=block_pre_existing,
        overridden=frozenset(overridden),
        examples=examples,
    )
    results = checker.run(suite)
    return ExpectationReport(
        suite.name,
        results,
        scope,
        time.perf_counter() - started,
        suite.meta,
        block_pre_existing=block_pre_existing,
    )


def _source(relation: str) -> str:
    """A relation that can stand after FROM."""
    return f"({relation})" if relation.lstrip()[:7].upper() in ("SELECT ", "SELECT\n") else relation


class _Checker:
    def __init__(
        self,
        opened: Session,
        relations: Mapping[str, str | None],
        keys: tuple[str, ...],
        scope: Scope,
        *,
        added_columns: frozenset[str],
        rows_only: bool,
        block_pre_existing: bool,
        overridden: frozenset[int],
        examples: int,
    ) -> None:
        self.session = opened
        merged = relations["merged"]
        assert merged is not None  # noqa: S101 - check_expectations has it from its caller
        self.merged = merged
        self.before = relations["before"]
        # Without a change set every row is a change of the table as it was.
        self.changed = relations["changed"] or merged
        self.replaced = relations["replaced"] if relations["changed"] is not None else self.before
        self.keys = keys
        self.scope = scope
        self.added_columns = added_columns
        self.rows_only = rows_only
        self.block_pre_existing = block_pre_existing
        self.overridden = overridden
        self.examples = examples
        self.columns: tuple[Column, ...] = columns_of(opened.connection, merged)

    def run(self, suite: Suite) -> tuple[ExpectationResult, ...]:
        by_number = {one.number: _Checked(one) for one in suite.expectations}
        waiting: list[_Checked] = []
        for checked in by_number.values():
            checked.deferred = self.rows_only and not _needs_changes_alone(checked.expectation)
            if not checked.deferred:
                waiting.append(checked)

        def judged_by(*judges: type) -> list[_Checked]:
            return [one for one in waiting if isinstance(one.expectation.entry.judge, judges)]

        self._rows(judged_by(RowPredicate, TextJudge))
        for checked in judged_by(Uniqueness):
            self._guarded(checked, self._group)
        for checked in judged_by(KeyOrder):
            self._guarded(checked, self._order)
        self._tables(judged_by(TableMetric))
        for checked in judged_by(ColumnsJudge):
            self._guarded(checked, self._schema)
        return tuple(self._result(by_number[one.number]) for one in suite.expectations)

    def _guarded(self, checked: _Checked, check: Callable[[_Checked], None]) -> None:
        try:
            check(checked)
        except _CANNOT as error:
            checked.error = _first_line(error)

    # rows by themselves

    def _rows(self, all_checked: Sequence[_Checked]) -> None:
        fails: dict[int, str] = {}
        for checked in all_checked:
            one = checked.expectation
            checked.scope = "changes" if self.scope == "changes" and one.mostly == 1 else "table"
            try:
                fails[one.number] = self._predicate(checked)
            except _CANNOT as error:
                checked.error = _first_line(error)
        able = [checked for checked in all_checked if checked.error is None]
        narrow = [checked for checked in able if checked.scope == "changes"]
        wide = [checked for checked in able if checked.scope == "table"]
        for group, relation in ((narrow, self.changed), (wide, self.merged)):
            for checked, counts in self._counted(group, fails, relation):
                checked.counts = counts
                checked.ok = counts.satisfies(checked.expectation.mostly)
        for checked in able:
            if checked.error is None and not checked.ok:
                self._guarded(checked, lambda one: self._failed_rows(one, fails[one.expectation.number]))

    def _predicate(self, checked: _Checked) -> str:
        one, judge = checked.expectation, checked.expectation.entry.judge
        if isinstance(judge, RowPredicate):
            return judge.fails(one)
        assert isinstance(judge, TextJudge)  # noqa: S101 - `run` brings these two alone
        relations = {self.changed, self.replaced}
        if checked.scope == "table":
            relations |= {self.merged, self.before}
        return prepare_matching(
            self.session, one, judge, sorted(relation for relation in relations if relation is not None)
        )

    def _counted(
        self, all_checked: Sequence[_Checked], fails: Mapping[int, str], relation: str
    ) -> Iterator[tuple[_Checked, Counts]]:
        """Counts of several expectations from one scan; one by one when that fails, so that the culprit is known."""
        if not all_checked:
            return
        try:
            yield from self._count(all_checked, fails, relation)
        except _CANNOT as error:
            if len(all_checked) == 1:
                all_checked[0].error = _first_line(error)
                return
            for checked in all_checked:
                yield from self._counted([checked], fails, relation)

    def _count(
        self, all_checked: Sequence[_Checked], fails: Mapping[int, str], relation: str
    ) -> list[tuple[_Checked, Counts]]:
        expressions: list[str] = []
        for checked in all_checked:
            one = checked.expectation
            expressions.append(f"count(*) FILTER ({one.domain})")
            expressions.append(f"count(*) FILTER ({one.judged})")
            expressions.append(f"count(*) FILTER ({one.judged} AND {fails[one.number]})")
        values = iter(self.session.row(f"SELECT {', '.join(expressions)} FROM {relation}"))
        found = []
        for checked in all_checked:
            rows, judged_rows, failing = next(values), next(values), next(values)
            absent = None if checked.expectation.entry.judges_missing else rows - judged_rows
            found.append((checked, Counts(rows, failing, absent)))
        return found

    def _failed_rows(self, checked: _Checked, fails: str) -> None:
        """Which rows fail, and which of them failed with the same values before."""
        one = checked.expectation
        where = f"{one.judged} AND {fails}"
        relation = self.changed if checked.scope == "changes" else self.merged
        checked.failures = self._split(one, relation, where)
        if checked.scope == "changes":
            checked.new = checked.failures.new > 0
            return
        if self.before is not None:
            [(_, before)] = self._count([checked], {one.number: fails}, self.before)
            checked.counts_before = before
            checked.ok_before = before.satisfies(one.mostly)
        checked.new = self.before is None or checked.ok_before or checked.failures.new > 0

    def _split(self, one: Expectation, relation: str, where: str) -> _Failures:
        names = tuple(dict.fromkeys((*self.keys, *one.read_columns)))
        listed = ", ".join(column_sql(name) for name in names)
        # Only changed rows can be new; where a row was replaced it is new unless it failed with the same values.
        was, joins = "false", ""
        if relation != self.changed and self.keys:
            touched = f"SELECT {self._key_list()}, true AS touched FROM {self.changed}"
            was, joins = "c.touched IS NULL", f"LEFT JOIN ({touched}) c ON {self._same('f', 'c')}"
        if self.replaced is not None and self.keys:
            labels = [column_sql(name) for name in names]
            same = " AND ".join(f"f.{label} IS NOT DISTINCT FROM r.{label}" for label in labels)
            joins += (
                f" LEFT JOIN (SELECT DISTINCT {listed}, true AS failed FROM {self.replaced} WHERE {where}) r "
                f"ON {same}"
            )
            was = f"({was} OR r.failed IS NOT NULL)"
        failing = (
            f"SELECT f.*, NOT {was} AS is_new FROM (SELECT {listed} FROM {relation} WHERE {where}) f {joins}"
        )
        return self._listed(failing, one)

    def _key_list(self) -> str:
        return ", ".join(column_sql(name) for name in self.keys)

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{column_sql(name)} = {right}.{column_sql(name)}" for name in self.keys)

    def _listed(self, failing: str, one: Expectation) -> _Failures:
        """Some rows of a query (keys, judged columns, is_new), the new ones first, and its exact counts."""
        total, new = self.session.row(f"SELECT count(*), count(*) FILTER (is_new) FROM ({failing})")
        order = "".join(f", f.{column_sql(name)}" for name in self.keys)
        listed = f"SELECT * FROM ({failing}) f ORDER BY is_new DESC{order} LIMIT {self.examples}"
        was, joins = "false AS was_there", ""
        if self.keys and self.replaced is not None and self.replaced != self.before:
            earlier = "".join(
                f", {column_sql(name)} AS was_{place}" for place, name in enumerate(one.read_columns)
            )
            was = "r.was_there IS NOT NULL AS was_there" + "".join(
                f", r.was_{place}" for place in range(len(one.read_columns))
            )
            joins = (
                f"LEFT JOIN (SELECT {self._key_list()}, true AS was_there{earlier} FROM {self.replaced}) r "
                f"ON {self._same('f', 'r')}"
            )
        found = self.session.rows(
            f"SELECT f.*, {was} FROM ({listed}) f {joins} ORDER BY f.is_new DESC{order}"
        )
        rows = tuple(
            FailingRow(
                key={name: row[column_label(name)] for name in self.keys},
                values={name: row[column_label(name)] for name in one.read_columns},
                new=row["is_new"],
                before={name: row[f"was_{place}"] for place, name in enumerate(one.read_columns)}
                if row["was_there"]
                else None,
            )
            for row in found
        )
        return _Failures(rows, total, new)

    # rows against others of their value

    def _group(self, checked: _Checked) -> None:
        """Uniqueness. Of a change only its own values are looked up in the merged table."""
        one = checked.expectation
        checked.scope = "changes" if self.scope == "changes" and one.mostly == 1 else "table"
        where = one.judged
        parts = [f"{plain(name, one.families[name])} AS v{place}" for place, name in enumerate(one.columns)]
        cells = ", ".join(parts)
        marks = [f"v{place}" for place in range(len(parts))]
        listed = ", ".join(marks)

        def grouped(relation: str) -> str:
            return f"SELECT {listed}, count(*) AS rows FROM (SELECT {cells} FROM {relation} WHERE {where}) GROUP BY ALL"

        table = f"expectation_groups_{one.number}"
        mine = f"expectation_values_{one.number}"
        self.session.execute(f"CREATE OR REPLACE TEMP TABLE {mine} AS {grouped(self.changed)}")
        gaps = self.session.number(
            f"SELECT count(*) FROM {mine} WHERE {' OR '.join(f'{mark} IS NULL' for mark in marks)}"
        )
        # Equality is much faster than its NULL-safe form, and needed where a changed value is missing only.
        equals = "IS NOT DISTINCT FROM" if gaps or checked.scope == "table" else "="

        def same(left: str, right: str) -> str:
            return " AND ".join(f"{left}.{mark} {equals} {right}.{mark}" for mark in marks)

        was = "0"
        joins = f"LEFT JOIN {mine} c ON {same('g', 'c')}"
        if self.replaced is not None:
            joins += f" LEFT JOIN ({grouped(self.replaced)}) r ON {same('g', 'r')}"
            was = "coalesce(r.rows, 0)"
        looked_up = (
            f"SELECT * FROM (SELECT {cells} FROM {self.merged} WHERE {where}) m SEMI JOIN {mine} c ON {same('m', 'c')}"
            if checked.scope == "changes"
            else f"SELECT {cells} FROM {self.merged} WHERE {where}"
        )
        # A group is new where more of its rows come than go.
        self.session.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT g.*, coalesce(c.rows, 0) > {was} AS grown FROM "
            f"(SELECT {listed}, count(*) AS rows FROM ({looked_up}) GROUP BY ALL HAVING count(*) > 1) g {joins}"
        )
        relation = self.changed if checked.scope == "changes" else self.merged
        rows, judged = self.session.row(
            f"SELECT count(*) FILTER ({one.domain}), count(*) FILTER ({where}) FROM {relation}"
        )
        counted = (
            f"{mine} c JOIN {table} g ON {same('c', 'g')}" if checked.scope == "changes" else f"{table} g"
        )
        which = "c.rows" if checked.scope == "changes" else "g.rows"
        failing = self.session.number(f"SELECT coalesce(sum({which}), 0) FROM {counted}")
        checked.counts = Counts(rows, failing, rows - judged)
        checked.ok = checked.counts.satisfies(one.mostly)
        if checked.ok:
            return
        names = ", ".join(column_sql(name) for name in dict.fromkeys((*self.keys, *one.read_columns)))
        checked.failures = self._listed(
            f"SELECT {names}, g.grown AS is_new FROM (SELECT {names}, {cells} FROM {self.merged} WHERE {where}) m "
            f"JOIN {table} g ON {same('m', 'g')}",
            one,
        )
        checked.new = checked.failures.new > 0
        if checked.scope == "table" and one.mostly < 1 and self.before is not None:
            counts = self._group_counts(one, grouped(self.before), self.before, where)
            checked.counts_before = counts
            checked.ok_before = counts.satisfies(one.mostly)
            checked.new = checked.ok_before or checked.new

    def _group_counts(self, one: Expectation, groups: str, relation: str, where: str) -> Counts:
        rows, judged = self.session.row(
            f"SELECT count(*) FILTER ({one.domain}), count(*) FILTER ({where}) FROM {relation}"
        )
        failing = self.session.number(f"SELECT coalesce(sum(rows), 0) FROM ({groups}) WHERE rows > 1")
        return Counts(rows, failing, rows - judged)

    # rows in the order of the key

    def _order(self, checked: _Checked) -> None:
        one = checked.expectation
        checked.counts, failing = self._ordered(one, self.merged)
        checked.ok = checked.counts.satisfies(one.mostly)
        if checked.ok:
            return
        checked.new = True
        if self.before is not None:
            checked.counts_before, _ = self._ordered(one, self.before)
            checked.ok_before = checked.counts_before.satisfies(one.mostly)
            checked.new = (
                checked.ok_before or checked.counts.unexpected_count > checked.counts_before.unexpected_count
            )
        checked.failures = self._listed(
            f"SELECT * EXCLUDE (previous), {checked.new} AS is_new FROM ({failing})", one
        )

    def _ordered(self, one: Expectation, relation: str) -> tuple[Counts, str]:
        if not self.keys:
            raise NotChecked("rows have an order only by a key, and none is known")
        [name] = one.columns
        judge = one.entry.judge
        assert isinstance(judge, KeyOrder)  # noqa: S101 - `run` brings these alone
        sign = judge.sign if one.arguments["strictly"] else f"{judge.sign}="
        names = ", ".join(column_sql(each) for each in dict.fromkeys((*self.keys, *one.read_columns)))
        where = one.judged
        failing = (
            f"SELECT * FROM (SELECT {names}, lag({column_sql(name)}) OVER (ORDER BY {self._key_list()}) AS previous "
            f"FROM {relation} WHERE {where}) WHERE previous IS NOT NULL AND NOT {column_sql(name)} {sign} previous"
        )
        rows, judged = self.session.row(
            f"SELECT count(*) FILTER ({one.domain}), count(*) FILTER ({where}) FROM {relation}"
        )
        return Counts(rows, self.session.number(f"SELECT count(*) FROM ({failing})"), rows - judged), failing

    # numbers and sets of the whole table

    def _tables(self, all_checked: Sequence[_Checked]) -> None:
        for checked, finding in self._found(all_checked, self.merged):
            checked.finding = finding
            checked.counts = finding.counts
            checked.ok = finding.ok
        failed = [checked for checked in all_checked if checked.error is None and not checked.ok]
        for checked in failed:
            checked.new = True
        if self.before is None:
            return
        # A column that the merge adds had no values that could have failed.
        known = [one for one in failed if self.added_columns.isdisjoint(one.expectation.read_columns)]
        for checked, finding in self._found(known, self.before):
            checked.finding_before = finding
            checked.counts_before = finding.counts
            checked.ok_before = finding.ok
            if not finding.ok and checked.finding is not None:
                checked.new = _is_worse(checked.finding, finding)

    def _found(self, all_checked: Sequence[_Checked], relation: str) -> Iterator[tuple[_Checked, Finding]]:
        if not all_checked:
            return
        try:
            found = find_all(self.session, [checked.expectation for checked in all_checked], relation)
        except _CANNOT as error:
            if len(all_checked) == 1:
                all_checked[0].error = _first_line(error)
                return
            for checked in all_checked:
                yield from self._found([checked], relation)
            return
        for checked in all_checked:
            yield checked, found[checked.expectation.number]

    # columns

    def _schema(self, checked: _Checked) -> None:
        one, judge = checked.expectation, checked.expectation.entry.judge
        assert isinstance(judge, ColumnsJudge)  # noqa: S101 - `run` brings these alone
        finding = judge.find(TableColumns(self.session, one, self.merged, self.columns))
        checked.finding, checked.counts, checked.ok = finding, finding.counts, finding.ok
        checked.new = not finding.ok
        if finding.ok or self.before is None:
            return
        old = tuple(column for column in self.columns if column.name not in self.added_columns)
        if not self.added_columns.isdisjoint(one.columns):
            return
        checked.finding_before = judge.find(TableColumns(self.session, one, self.before, old))
        checked.ok_before = checked.finding_before.ok
        checked.new = checked.ok_before

    def _result(self, checked: _Checked) -> ExpectationResult:
        one = checked.expectation
        state: State = "passed"
        if checked.deferred:
            state = "deferred"
        elif checked.error is not None:
            state = "error"
        elif not checked.ok:
            state = "new" if checked.new else "pre_existing"
        stops = one.severity == "critical" and (
            state in ("new", "error") or (state == "pre_existing" and self.block_pre_existing)
        )
        overridden = one.number in self.overridden
        failures = checked.failures
        total = max(
            failures.total, checked.counts.unexpected_count if checked.counts and not checked.ok else 0
        )
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


def _needs_changes_alone(one: Expectation) -> bool:
    if one.entry.route == "great_expectations":
        return False  # seconds to load, and never in a process that serves pages
    return (one.entry.level == "row" and one.mostly == 1) or (one.entry.level == "schema" and not one.columns)


def _is_worse(now: Finding, before: Finding) -> bool:
    """Whether a failure that was there before got new offenders."""
    if now.offending:
        return bool(set(now.offending) - set(before.offending))
    if now.counts is not None and before.counts is not None:
        return now.counts.unexpected_count > before.counts.unexpected_count
    return False


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
