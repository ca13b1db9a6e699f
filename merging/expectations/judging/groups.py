"""Expectations that judge rows against others of their value."""

from __future__ import annotations

from merging.expectations.expectation import (
    Expectation,
)
from merging.expectations.findings import Counts
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.judging.under_check import (
    Checked,
    MergedResult,
)
from merging.expectations.values import plain
from merging.sql.quoting import column_sql


def check_uniqueness(on: MergedResult, checked: Checked) -> None:
    """Uniqueness. Of a change only its own values are looked up in the merged table."""
    one = checked.expectation
    checked.scope = on.scope_of(one)
    where = one.judged
    parts = [f"{plain(name, one.families[name])} AS v{place}" for place, name in enumerate(one.columns)]
    cells = ", ".join(parts)
    marks = [f"v{place}" for place in range(len(parts))]
    listed = ", ".join(marks)

    def grouped(relation: JudgedRows) -> str:
        return f"SELECT {listed}, count(*) AS rows FROM (SELECT {cells} FROM {relation} WHERE {where}) GROUP BY ALL"

    table = f"expectation_groups_{one.number}"
    mine = f"expectation_values_{one.number}"
    on.session.execute(f"CREATE OR REPLACE TEMP TABLE {mine} AS {grouped(on.changed)}")
    gaps = on.session.number(
        f"SELECT count(*) FROM {mine} WHERE {' OR '.join(f'{mark} IS NULL' for mark in marks)}"
    )
    # Equality is much faster than its NULL-safe form, and needed where a changed value is missing only.
    equals = "IS NOT DISTINCT FROM" if gaps or checked.scope == "table" else "="

    def same(left: str, right: str) -> str:
        return " AND ".join(f"{left}.{mark} {equals} {right}.{mark}" for mark in marks)

    was = "0"
    joins = f"LEFT JOIN {mine} c ON {same('g', 'c')}"
    if on.replaced is not None:
        joins += f" LEFT JOIN ({grouped(on.replaced)}) r ON {same('g', 'r')}"
        was = "coalesce(r.rows, 0)"
    looked_up = (
        f"SELECT * FROM (SELECT {cells} FROM {on.merged} WHERE {where}) m SEMI JOIN {mine} c ON {same('m', 'c')}"
        if checked.scope == "changes"
        else f"SELECT {cells} FROM {on.merged} WHERE {where}"
    )
    # A group is new where more of its rows come than go.
    on.session.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT g.*, coalesce(c.rows, 0) > {was} AS grown FROM "
        f"(SELECT {listed}, count(*) AS rows FROM ({looked_up}) GROUP BY ALL HAVING count(*) > 1) g {joins}"
    )
    relation = on.changed if checked.scope == "changes" else on.merged
    rows, judged = on.session.row(
        f"SELECT count(*) FILTER ({one.domain}), count(*) FILTER ({where}) FROM {relation}"
    )
    counted = f"{mine} c JOIN {table} g ON {same('c', 'g')}" if checked.scope == "changes" else f"{table} g"
    which = "c.rows" if checked.scope == "changes" else "g.rows"
    failing = on.session.number(f"SELECT coalesce(sum({which}), 0) FROM {counted}")
    checked.counts = Counts(rows, failing, rows - judged)
    checked.ok = checked.counts.satisfies(one.mostly)
    if checked.ok:
        return
    names = ", ".join(column_sql(name) for name in dict.fromkeys((*on.keys, *one.read_columns)))
    checked.failures = on.failing_rows(
        f"SELECT {names}, g.grown AS is_new FROM (SELECT {names}, {cells} FROM {on.merged} WHERE {where}) m "
        f"JOIN {table} g ON {same('m', 'g')}",
        one,
    )
    checked.new = checked.failures.new > 0
    if checked.scope == "table" and one.mostly < 1 and on.before is not None:
        counts = _group_counts(on, one, grouped(on.before), on.before, where)
        checked.counts_before = counts
        checked.ok_before = counts.satisfies(one.mostly)
        checked.new = checked.ok_before or checked.new


def _group_counts(
    on: MergedResult, one: Expectation, groups: str, relation: JudgedRows, where: str
) -> Counts:
    rows, judged = on.session.row(
        f"SELECT count(*) FILTER ({one.domain}), count(*) FILTER ({where}) FROM {relation}"
    )
    failing = on.session.number(f"SELECT coalesce(sum(rows), 0) FROM ({groups}) WHERE rows > 1")
    return Counts(rows, failing, rows - judged)
