"""Expectations that judge rows in the order of the key."""

from __future__ import annotations

from merging.expectations.expectation import (
    Expectation,
    KeyOrder,
)
from merging.expectations.findings import Counts, NotChecked
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.judging.under_check import (
    Checked,
    MergedResult,
)
from merging.sql.quoting import column_sql


def check_order(on: MergedResult, order: KeyOrder, checked: Checked) -> None:
    """Judge all rows in the order of their keys."""
    one = checked.expectation
    checked.counts, failing = _ordered(on, order, one, on.merged)
    checked.ok = checked.counts.satisfies(one.mostly)
    if checked.ok:
        return
    checked.new = True
    if on.before is not None:
        checked.counts_before, _ = _ordered(on, order, one, on.before)
        checked.ok_before = checked.counts_before.satisfies(one.mostly)
        checked.new = (
            checked.ok_before or checked.counts.unexpected_count > checked.counts_before.unexpected_count
        )
    checked.failures = on.failing_rows(
        f"SELECT * EXCLUDE (previous), {checked.new} AS is_new FROM ({failing})", one
    )


def _ordered(on: MergedResult, order: KeyOrder, one: Expectation, relation: JudgedRows) -> tuple[Counts, str]:
    if not on.keys:
        raise NotChecked("rows have an order only by a key, and none is known")
    [name] = one.columns
    sign = order.sign if one.arguments["strictly"] else f"{order.sign}="
    names = ", ".join(column_sql(each) for each in dict.fromkeys((*on.keys, *one.read_columns)))
    where = one.judged
    failing = (
        f"SELECT * FROM (SELECT {names}, lag({column_sql(name)}) OVER (ORDER BY {on.key_list()}) AS previous "
        f"FROM {relation} WHERE {where}) WHERE previous IS NOT NULL AND NOT {column_sql(name)} {sign} previous"
    )
    rows, judged = on.session.row(
        f"SELECT count(*) FILTER ({one.domain}), count(*) FILTER ({where}) FROM {relation}"
    )
    return Counts(rows, on.session.number(f"SELECT count(*) FROM ({failing})"), rows - judged), failing
