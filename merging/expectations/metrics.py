"""Table-level expectations: one number or one set of the whole merged result, from as few scans as may be.

All simple aggregates of all expectations are one query; quantiles, distinct values and modes are one query each. The
numbers are those of pandas: sample standard deviation, 0 as the sum of nothing, no value as the mean of nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from merging.expectations.predicates import considered, domain
from merging.expectations.report import Counts
from merging.expectations.suites import Expectation
from merging.expectations.values import Family, in_list, spelled
from merging.sql.quoting import column_sql
from merging.sql.session import Session

_LISTED = 20


@dataclass(frozen=True)
class Finding:
    """What a table-level expectation found in one relation."""

    ok: bool
    observed: Any = None
    counts: Counts | None = None
    offending: tuple[Any, ...] = ()


_AGGREGATES: Mapping[str, tuple[str, ...]] = {
    "expect_column_min_to_be_between": ("min",),
    "expect_column_max_to_be_between": ("max",),
    "expect_column_mean_to_be_between": ("mean",),
    "expect_column_median_to_be_between": ("median",),
    "expect_column_sum_to_be_between": ("sum",),
    "expect_column_stdev_to_be_between": ("stdev",),
    "expect_column_quantile_values_to_be_between": ("values",),
    "expect_column_proportion_of_unique_values_to_be_between": ("values",),
    "expect_column_proportion_of_non_null_values_to_be_between": ("rows", "values"),
    "expect_column_value_z_scores_to_be_less_than": ("rows", "values", "mean", "stdev"),
    "expect_table_row_count_to_be_between": ("rows",),
    "expect_table_row_count_to_equal": ("rows",),
}


def find_all(opened: Session, expectations: Sequence[Expectation], relation: str) -> Mapping[int, Finding]:
    """The findings of table-level expectations, by their numbers."""
    numbers = _aggregates(opened, expectations, relation)
    return {one.number: _find(opened, one, relation, numbers[one.number]) for one in expectations}


def _aggregates(
    opened: Session, expectations: Sequence[Expectation], relation: str
) -> Mapping[int, Mapping[str, Any]]:
    expressions: list[str] = []
    places: dict[str, int] = {}
    wanted: list[tuple[int, str, int]] = []
    for one in expectations:
        for metric in _AGGREGATES.get(one.type, ()):
            expression = _aggregate(one, metric)
            if expression not in places:
                places[expression] = len(expressions)
                expressions.append(expression)
            wanted.append((one.number, metric, places[expression]))
    found: dict[int, dict[str, Any]] = {one.number: {} for one in expectations}
    if expressions:
        named = ", ".join(f"{expression} AS a{place}" for place, expression in enumerate(expressions))
        [row] = opened.rows(f"SELECT {named} FROM {relation}")
        for number, metric, place in wanted:
            found[number][metric] = row[f"a{place}"]
    return found


def _aggregate(expectation: Expectation, metric: str) -> str:
    where = domain(expectation)
    if metric == "rows":
        return f"count(*) FILTER ({where})"
    where = f"{where} AND {considered(expectation)}"
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


def _find(opened: Session, expectation: Expectation, relation: str, numbers: Mapping[str, Any]) -> Finding:
    given, name = expectation.arguments, expectation.type
    if name == "expect_table_row_count_to_equal":
        return Finding(numbers["rows"] == given["value"], numbers["rows"])
    if name == "expect_table_row_count_to_be_between":
        return Finding(is_within(numbers["rows"], given), numbers["rows"])
    if name == "expect_column_sum_to_be_between":
        observed = 0 if numbers["sum"] is None else numbers["sum"]
        observed = int(observed) if isinstance(observed, Decimal) else observed
        return _bounded(observed, given)
    for metric in ("min", "max", "mean", "median", "stdev"):
        if name == f"expect_column_{metric}_to_be_between":
            return _bounded(numbers[metric], given)
    if name == "expect_column_proportion_of_non_null_values_to_be_between":
        return _bounded(numbers["values"] / numbers["rows"] if numbers["rows"] else 0, given)
    if name == "expect_column_unique_value_count_to_be_between":
        return _bounded(_distinct_count(opened, expectation, relation), given)
    if name == "expect_column_proportion_of_unique_values_to_be_between":
        values = numbers["values"]
        distinct = _distinct_count(opened, expectation, relation) if values else 0
        return _bounded(distinct / values if values else 0, given)
    if name == "expect_column_quantile_values_to_be_between":
        return _quantiles(opened, expectation, relation, numbers["values"])
    if name == "expect_column_most_common_value_to_be_in_set":
        return _most_common(opened, expectation, relation)
    if name == "expect_column_value_z_scores_to_be_less_than":
        return _z_scores(opened, expectation, relation, numbers)
    if name.startswith("expect_column_distinct_values_to_"):
        return _distinct_set(opened, expectation, relation)
    return _by_great_expectations(opened, expectation, relation)


def is_within(value: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a number or moment lies between the bounds; no value does not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if isinstance(value, Decimal):
        low, high = (Decimal(repr(one)) if isinstance(one, float) else one for one in (low, high))
    above = low is None or (value > low if arguments.get("strict_min") else value >= low)
    below = high is None or (value < high if arguments.get("strict_max") else value <= high)
    return bool(above and below)


def _bounded(value: Any, arguments: Mapping[str, Any]) -> Finding:
    observed = None if isinstance(value, float) and math.isnan(value) else value
    return Finding(is_within(value, arguments), observed)


def _judged(expectation: Expectation) -> str:
    return f"{domain(expectation)} AND {considered(expectation)}"


def _distinct_count(opened: Session, expectation: Expectation, relation: str) -> int:
    [name] = expectation.columns
    return opened.number(
        f"SELECT count(*) FROM (SELECT DISTINCT {column_sql(name)} FROM {relation} WHERE {_judged(expectation)})"
    )


def _quantiles(opened: Session, expectation: Expectation, relation: str, rows: int) -> Finding:
    ranges = expectation.arguments["quantile_ranges"]
    quantiles = [quantile for quantile, _, _ in ranges]
    if not rows:
        values: list[float | None] = [None] * len(quantiles)
    else:
        # numpy's quantile: the value at place q (n - 1), between two rows as the interpolation says.
        places = [quantile * (rows - 1) for quantile in quantiles]
        lows = [math.floor(place) for place in places]
        needed = sorted({*lows, *(min(low + 1, rows - 1) for low in lows)})
        marks = ", ".join(f"{(place + 0.5) / rows!r}" for place in needed)
        [name] = expectation.columns
        [found] = opened.row(
            f"SELECT quantile_disc({column_sql(name)}::DOUBLE, [{marks}]) FROM {relation} WHERE {_judged(expectation)}"
        )
        at = dict(zip(needed, found, strict=True))
        how = expectation.arguments["allow_relative_error"]
        values = [
            _interpolated(at[low], at[min(low + 1, rows - 1)], place - low, low, how)
            for low, place in zip(lows, places, strict=True)
        ]
    within = [
        value is not None and (low is None or value >= low) and (high is None or value <= high)
        for value, (_, low, high) in zip(values, ranges, strict=True)
    ]
    return Finding(all(within), {"quantiles": quantiles, "values": values})


def _interpolated(low: float, high: float, share: float, place: int, how: str) -> float:
    if how == "lower" or share == 0:
        return low
    if how == "higher":
        return high
    if how == "midpoint":
        return (low + high) / 2
    if how == "nearest":
        upward = share > 0.5 or (share == 0.5 and place % 2 == 1)
        return high if upward else low
    return low + (high - low) * share


def _most_common(opened: Session, expectation: Expectation, relation: str) -> Finding:
    [name] = expectation.columns
    column = column_sql(name)
    found = opened.rows(
        f"WITH counted AS (SELECT {column} AS value, count(*) AS rows FROM {relation} "
        f"WHERE {_judged(expectation)} GROUP BY 1) "
        "SELECT value FROM counted WHERE rows = (SELECT max(rows) FROM counted) ORDER BY 1"
    )
    modes = [row["value"] for row in found]
    expected = expectation.arguments["value_set"]
    hits = sum(_is_one_of(mode, expected) for mode in modes)
    ok = hits > 0 if expectation.arguments["ties_okay"] else len(modes) == 1 and hits == 1
    return Finding(ok, modes)


def _is_one_of(value: Any, expected: Sequence[Any]) -> bool:
    if isinstance(value, Decimal):
        return any(value == (Decimal(repr(one)) if isinstance(one, float) else one) for one in expected)
    return value in expected


def _distinct_set(opened: Session, expectation: Expectation, relation: str) -> Finding:
    [name] = expectation.columns
    column, kind = column_sql(name), expectation.families[name]
    expected = expectation.arguments["value_set"]
    offending: list[Any] = []
    observed: dict[str, Any] = {}
    distinct = f"SELECT DISTINCT {column} AS value FROM {relation} WHERE {_judged(expectation)}"
    if not expectation.type.endswith("_contain_set"):
        others = f"{distinct} AND ({in_list(name, kind, expected)}) IS NOT TRUE"
        count = opened.number(f"SELECT count(*) FROM ({others})")
        found = opened.rows(f"{others} ORDER BY 1 LIMIT {_LISTED}") if count else []
        observed["unexpected_count"] = count
        observed["unexpected"] = [row["value"] for row in found]
        offending += [("unexpected", row["value"]) for row in found]
    if not expectation.type.endswith("_be_in_set"):
        absent = _absent(opened, distinct, kind, expected)
        observed["missing_count"] = len(absent)
        observed["missing"] = absent[:_LISTED]
        offending += [("missing", value) for value in absent]
    return Finding(not offending, observed, offending=tuple(offending))


def _absent(opened: Session, distinct: str, kind: Family, expected: Sequence[Any]) -> list[Any]:
    """The expected values that the column lacks."""
    wanted = list(dict.fromkeys(expected))
    if not wanted:
        return []
    listed = ", ".join(f"({place}, {spelled(value, kind)})" for place, value in enumerate(wanted))
    found = opened.connection.execute(
        f"SELECT place FROM (VALUES {listed}) AS wanted(place, value) "
        f"ANTI JOIN ({distinct}) present ON wanted.value = present.value ORDER BY place"
    ).fetchall()
    return [wanted[place] for (place,) in found]


def z_score_fails(expectation: Expectation, numbers: Mapping[str, Any]) -> str:
    """SQL: a judged row's z-score is too large. Where the spread is no number, or none, no row's is."""
    mean, spread = numbers["mean"], numbers["stdev"]
    if spread is None or math.isnan(spread) or spread == 0 or mean is None or math.isnan(mean):
        return "false"
    [name] = expectation.columns
    score = f"(({column_sql(name)}::DOUBLE - {mean!r}::DOUBLE) / {spread!r}::DOUBLE)"
    threshold = float(expectation.arguments["threshold"])
    if expectation.arguments["double_sided"]:
        score, threshold = f"abs({score})", abs(threshold)
    return f"(NOT {score} < {threshold!r}::DOUBLE)"


def _z_scores(
    opened: Session, expectation: Expectation, relation: str, numbers: Mapping[str, Any]
) -> Finding:
    fails = z_score_fails(expectation, numbers)
    failing = 0
    if fails != "false":
        failing = opened.number(f"SELECT count(*) FROM {relation} WHERE {_judged(expectation)} AND {fails}")
    counts = Counts(numbers["rows"], failing, numbers["rows"] - numbers["values"])
    observed = {"mean": numbers["mean"], "standard_deviation": numbers["stdev"]}
    return Finding(counts.satisfies(expectation.mostly), observed, counts)


def _by_great_expectations(opened: Session, expectation: Expectation, relation: str) -> Finding:
    # Imported when needed: the library takes seconds to load.
    from merging.expectations import border

    # It cannot reckon with decimals and floats together.
    listed = ", ".join(
        f"{column_sql(name)}::DOUBLE AS {column_sql(name)}" if kind == "decimal" else column_sql(name)
        for name, kind in expectation.families.items()
    )
    table = opened.table(f"SELECT {listed} FROM {relation} WHERE {domain(expectation)}")
    found = border.validate(expectation, table.rename_columns(list(expectation.families)).to_pandas())
    result = found["result"]
    counts = None
    if "element_count" in result:
        counts = Counts(result["element_count"], result["unexpected_count"], result.get("missing_count"))
    return Finding(found["success"], result.get("observed_value"), counts)
