"""Two columns of a row against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from merging.expectations.expectation import Argument, Entry, Expectation, RowPredicate
from merging.expectations.kinds.arguments import MOSTLY
from merging.expectations.values import ORDERED, SIMPLE, TEXT, comparable, compared, missing
from merging.expectations.wording import listed
from merging.sql.quoting import column_sql

_PAIR = {
    "column_A": Argument("column", required=True),
    "column_B": Argument("column", required=True),
    "ignore_row_if": Argument(
        "choice",
        default="both_values_are_missing",
        choices=("both_values_are_missing", "either_value_is_missing", "neither"),
    ),
}


def _cells(expectation: Expectation) -> tuple[str, str]:
    cells = comparable(expectation.types)
    return cells[expectation.arguments["column_A"]], cells[expectation.arguments["column_B"]]


def _not_greater(expectation: Expectation) -> str:
    left, right = _cells(expectation)
    return f"(({left}) {'>=' if expectation.arguments['or_equal'] else '>'} ({right})) IS NOT TRUE"


def _not_equal(expectation: Expectation) -> str:
    left, right = _cells(expectation)
    return f"(({left}) = ({right})) IS NOT TRUE"


def _not_in_set(expectation: Expectation) -> str:
    names = (expectation.arguments["column_A"], expectation.arguments["column_B"])
    tests = []
    for pair in expectation.arguments["value_pairs_set"]:
        sides = []
        for name, value in zip(names, pair, strict=True):
            absent = missing(name, expectation.families[name])
            sides.append(
                absent
                if value is None
                else f"(NOT {absent} AND {compared(column_sql(name), '=', value, expectation.types[name])})"
            )
        tests.append(f"({' AND '.join(sides)})")
    return f"({' OR '.join(tests)}) IS NOT TRUE"


def _where(given: Mapping[str, Any]) -> str:
    return {
        "both_values_are_missing": "",
        "either_value_is_missing": " wherever both have a value",
        "neither": ", and neither is missing",
    }[given["ignore_row_if"]]


def _greater_words(given: Mapping[str, Any]) -> str:
    comparison = "at least" if given["or_equal"] else "greater than"
    return f"{given['column_A']} is {comparison} {given['column_B']}{_where(given)}"


def _set_words(given: Mapping[str, Any]) -> str:
    pairs = [f"({listed([one[0]])}, {listed([one[1]])})" for one in given["value_pairs_set"]]
    return f"{given['column_A']} and {given['column_B']} together are {listed(pairs)}{_where(given)}"


ENTRIES = (
    Entry(
        "expect_column_pair_values_a_to_be_greater_than_b",
        {**_PAIR, "or_equal": Argument("flag", default=False), **MOSTLY},
        RowPredicate(_not_greater),
        _greater_words,
        ORDERED | TEXT,
        same_family=True,
    ),
    Entry(
        "expect_column_pair_values_to_be_equal",
        {**_PAIR, **MOSTLY},
        RowPredicate(_not_equal),
        lambda given: f"{given['column_A']} equals {given['column_B']}{_where(given)}",
        SIMPLE,
        same_family=True,
    ),
    Entry(
        "expect_column_pair_values_to_be_in_set",
        {**_PAIR, "value_pairs_set": Argument("pairs", required=True), **MOSTLY},
        RowPredicate(_not_in_set),
        _set_words,
        SIMPLE,
    ),
)
