"""Whether texts are like patterns of SQL."""

from __future__ import annotations

from merging.expectations.expectation import Argument, Entry, Expectation, RowPredicate
from merging.expectations.kinds.arguments import ANY_OR_ALL, COLUMN, MOSTLY
from merging.expectations.kinds.predicates import column_of
from merging.expectations.values import TEXT
from merging.expectations.wording import listed
from merging.sql.quoting import column_sql, literal

_PATTERN = {"like_pattern": Argument("text", required=True), "escape": Argument("character")}
_PATTERNS = {"like_pattern_list": Argument("texts", required=True)}
_ESCAPE = {"escape": Argument("character")}


def _like(expectation: Expectation, pattern: str) -> str:
    name, _ = column_of(expectation)
    escape = expectation.arguments.get("escape")
    ending = f" ESCAPE {literal(escape)}" if escape is not None else ""
    return f"{column_sql(name)} LIKE {literal(pattern)}{ending}"


def _like_one(expectation: Expectation) -> str:
    return f"({_like(expectation, expectation.arguments['like_pattern'])})"


def _like_list(expectation: Expectation) -> str:
    joiner = " AND " if expectation.arguments.get("match_on") == "all" else " OR "
    return f"({joiner.join(_like(expectation, one) for one in expectation.arguments['like_pattern_list'])})"


ENTRIES = (
    Entry(
        "expect_column_values_to_match_like_pattern",
        {**COLUMN, **_PATTERN, **MOSTLY},
        RowPredicate(lambda one: f"{_like_one(one)} IS NOT TRUE"),
        "Each {column} is like {like_pattern}",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_not_match_like_pattern",
        {**COLUMN, **_PATTERN, **MOSTLY},
        RowPredicate(lambda one: f"{_like_one(one)} IS TRUE"),
        "No {column} is like {like_pattern}",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_match_like_pattern_list",
        {**COLUMN, **_PATTERNS, **ANY_OR_ALL, **_ESCAPE, **MOSTLY},
        RowPredicate(lambda one: f"{_like_list(one)} IS NOT TRUE"),
        lambda given: (
            f"Each {given['column']} is like {given['match_on']} of {listed(given['like_pattern_list'], 'and')}"
        ),
        TEXT,
    ),
    Entry(
        "expect_column_values_to_not_match_like_pattern_list",
        {**COLUMN, **_PATTERNS, **_ESCAPE, **MOSTLY},
        RowPredicate(lambda one: f"{_like_list(one)} IS TRUE"),
        lambda given: f"No {given['column']} is like any of {listed(given['like_pattern_list'], 'and')}",
        TEXT,
    ),
)
