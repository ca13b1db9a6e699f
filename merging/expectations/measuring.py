"""Table-level expectations: one number or one set of the whole merged result, from as few scans as may be.

All simple aggregates of all expectations are one query; quantiles, distinct values and modes are one query each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from merging.expectations.cage import Cage
from merging.expectations.expectation import Aggregate, Expectation, Measured, TableMetric
from merging.expectations.findings import Finding
from merging.expectations.judged_rows import JudgedRows
from merging.sql.quoting import column_sql
from merging.sql.session import Session

Ask = Callable[[Sequence[str], Sequence[str]], tuple[Any, ...]]
"""Aggregates of the relation that is measured, by expressions and the columns that they read."""


def find_all(
    opened: Session, expectations: Sequence[Expectation], relation: JudgedRows, cage: Cage, ask: Ask
) -> Mapping[int, Finding]:
    """The findings of table-level expectations, by their numbers."""
    numbers = _aggregates(expectations, ask)
    return {
        one.number: _metric(one).find(Measured(opened, one, relation, numbers[one.number], cage))
        for one in expectations
    }


def _metric(expectation: Expectation) -> TableMetric:
    judge = expectation.entry.judge
    assert isinstance(judge, TableMetric)  # noqa: S101 - the checker asks for these alone
    return judge


def _aggregates(expectations: Sequence[Expectation], ask: Ask) -> Mapping[int, Mapping[str, Any]]:
    expressions: list[str] = []
    places: dict[str, int] = {}
    wanted: list[tuple[int, Aggregate, int]] = []
    for one in expectations:
        for metric in _metric(one).aggregates:
            expression = _aggregate(one, metric)
            if expression not in places:
                places[expression] = len(expressions)
                expressions.append(expression)
            wanted.append((one.number, metric, places[expression]))
    found: dict[int, dict[str, Any]] = {one.number: {} for one in expectations}
    if expressions:
        columns = dict.fromkeys(name for one in expectations for name in one.read_columns)
        row = ask(expressions, list(columns))
        for number, metric, place in wanted:
            found[number][metric] = row[place]
    return found


def _aggregate(expectation: Expectation, metric: Aggregate) -> str:
    if metric == "rows":
        return f"count(*) FILTER ({expectation.domain})"
    where = expectation.judged
    if metric == "values":
        return f"count(*) FILTER ({where})"
    [name] = expectation.columns
    column, kind = column_sql(name), expectation.families[name]
    if metric in ("min", "max"):
        return f"{metric}({column}) FILTER ({where})"
    number = column if kind == "float" else f"{column}::DOUBLE"
    if metric == "sum":
        # Arrow has no 128-bit integers; no whole number of a table sums to more than these digits.
        total = f"sum({column if kind == 'integer' else number}) FILTER ({where})"
        return f"{total}::DECIMAL(38, 0)" if kind == "integer" else total
    function = {"mean": "avg", "median": "median", "stdev": "stddev_samp"}[metric]
    return f"{function}({number}) FILTER ({where})"
