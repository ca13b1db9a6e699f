"""Row-level expectations as DuckDB predicates: which rows are looked at, which of them are judged, which fail.

Missing values follow pandas, which Great Expectations runs on: NULL and NaN are one, a missing value equals nothing,
and most expectations do not judge rows without a value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from merging.expectations.suites import Expectation
from merging.expectations.values import Family, in_list, missing, plain, spelled
from merging.sql.quoting import column_sql, literal

_JUDGES_MISSING = ("expect_column_values_to_not_be_null", "expect_column_values_to_be_null")


def domain(expectation: Expectation) -> str:
    """SQL: the expectation looks at the row."""
    return expectation.condition.sql() if expectation.condition is not None else "true"


def considered(expectation: Expectation) -> str:
    """SQL: a row that is looked at is judged, too."""
    names = expectation.columns
    absent = [missing(name, expectation.families[name]) for name in names]
    if expectation.type in _JUDGES_MISSING or not names:
        return "true"
    ignore = expectation.arguments.get("ignore_row_if")
    if ignore in ("neither", "never"):
        return "true"
    if ignore in ("both_values_are_missing", "all_values_are_missing"):
        return f"(NOT ({' AND '.join(absent)}))"
    return f"(NOT ({' OR '.join(absent)}))"


def judges_missing(expectation: Expectation) -> bool:
    """Whether missing values are what is judged, so that there is no count of them beside."""
    return expectation.type in _JUDGES_MISSING


def unexpected(expectation: Expectation) -> str:
    """SQL: a judged row fails. Never NULL. For expectations of the level ``row`` that SQL can judge."""
    return _FAILS[expectation.type](expectation)


def within(subject: str, arguments: Mapping[str, Any], kind: Family) -> str:
    """SQL: a value lies between the bounds; anything does where none are given."""
    low, high = arguments.get("min_value"), arguments.get("max_value")
    parts = []
    if low is not None:
        parts.append(f"{subject} {'>' if arguments.get('strict_min') else '>='} {spelled(low, kind)}")
    if high is not None:
        parts.append(f"{subject} {'<' if arguments.get('strict_max') else '<='} {spelled(high, kind)}")
    return f"({' AND '.join(parts)})" if parts else "true"


def _column(expectation: Expectation) -> tuple[str, Family]:
    name = expectation.columns[0]
    return name, expectation.families[name]


def _cells(expectation: Expectation) -> list[str]:
    return [plain(name, expectation.families[name]) for name in expectation.columns]


def _pair(expectation: Expectation) -> tuple[str, str]:
    left, right = (expectation.arguments[name] for name in ("column_A", "column_B"))
    return plain(left, expectation.families[left]), plain(right, expectation.families[right])


def _not_null(expectation: Expectation) -> str:
    return missing(*_column(expectation))


def _null(expectation: Expectation) -> str:
    return f"(NOT {missing(*_column(expectation))})"


def _between(expectation: Expectation) -> str:
    name, kind = _column(expectation)
    return f"({within(column_sql(name), expectation.arguments, kind)}) IS NOT TRUE"


def _in_set(expectation: Expectation) -> str:
    name, kind = _column(expectation)
    return f"({in_list(name, kind, expectation.arguments['value_set'])}) IS NOT TRUE"


def _not_in_set(expectation: Expectation) -> str:
    name, kind = _column(expectation)
    return f"({in_list(name, kind, expectation.arguments['value_set'])}) IS TRUE"


def _lengths(expectation: Expectation) -> str:
    name, _ = _column(expectation)
    return f"({within(f'length({column_sql(name)})', expectation.arguments, 'integer')}) IS NOT TRUE"


def _length(expectation: Expectation) -> str:
    name, _ = _column(expectation)
    return f"(length({column_sql(name)}) <> {expectation.arguments['value']})"


def _like(expectation: Expectation, pattern: str) -> str:
    name, _ = _column(expectation)
    escape = expectation.arguments.get("escape")
    ending = f" ESCAPE {literal(escape)}" if escape is not None else ""
    return f"{column_sql(name)} LIKE {literal(pattern)}{ending}"


def _like_list(expectation: Expectation) -> str:
    joiner = " AND " if expectation.arguments.get("match_on") == "all" else " OR "
    return joiner.join(_like(expectation, one) for one in expectation.arguments["like_pattern_list"])


def _greater(expectation: Expectation) -> str:
    left, right = _pair(expectation)
    return f"(({left}) {'>=' if expectation.arguments['or_equal'] else '>'} ({right})) IS NOT TRUE"


def _equal(expectation: Expectation) -> str:
    left, right = _pair(expectation)
    return f"(({left}) = ({right})) IS NOT TRUE"


def _pair_in_set(expectation: Expectation) -> str:
    names = (expectation.arguments["column_A"], expectation.arguments["column_B"])
    tests = []
    for pair in expectation.arguments["value_pairs_set"]:
        sides = []
        for name, value in zip(names, pair, strict=True):
            kind = expectation.families[name]
            absent = missing(name, kind)
            sides.append(
                absent if value is None else f"(NOT {absent} AND {column_sql(name)} = {spelled(value, kind)})"
            )
        tests.append(f"({' AND '.join(sides)})")
    return f"({' OR '.join(tests)}) IS NOT TRUE"


def _sum(expectation: Expectation) -> str:
    kinds = {expectation.families[name] for name in expectation.columns}
    total = expectation.arguments["sum_total"]
    if kinds == {"integer"}:
        target, kind = "HUGEINT", "integer"
    elif "float" in kinds:
        target, kind = "DOUBLE", "float"
    else:
        target, kind = "", "decimal"
    cells = [f"CAST({cell} AS {target})" if target else f"({cell})" for cell in _cells(expectation)]
    return f"(({' + '.join(cells)}) = {spelled(total, kind)}) IS NOT TRUE"  # type: ignore[arg-type]  # a literal family


def _all_equal(expectation: Expectation) -> str:
    first, *others = _cells(expectation)
    return f"(NOT ({' AND '.join(f'({first}) IS NOT DISTINCT FROM ({one})' for one in others)}))"


def _unique_within(expectation: Expectation) -> str:
    pairs = itertools.combinations(_cells(expectation), 2)
    return f"({' OR '.join(f'({left}) IS NOT DISTINCT FROM ({right})' for left, right in pairs)})"


_FAILS: Mapping[str, Callable[[Expectation], str]] = {
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _length,
    "expect_column_values_to_match_like_pattern": lambda one: (
        f"({_like(one, one.arguments['like_pattern'])}) IS NOT TRUE"
    ),
    "expect_column_values_to_not_match_like_pattern": lambda one: (
        f"({_like(one, one.arguments['like_pattern'])}) IS TRUE"
    ),
    "expect_column_values_to_match_like_pattern_list": lambda one: f"({_like_list(one)}) IS NOT TRUE",
    "expect_column_values_to_not_match_like_pattern_list": lambda one: f"({_like_list(one)}) IS TRUE",
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": _equal,
    "expect_column_pair_values_to_be_in_set": _pair_in_set,
    "expect_multicolumn_sum_to_equal": _sum,
    "expect_multicolumn_values_to_be_equal": _all_equal,
    "expect_select_column_values_to_be_unique_within_record": _unique_within,
}
