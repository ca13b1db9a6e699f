"""The expectations that a suite may hold: their arguments, the columns they suit, how they are checked.

Names, arguments and defaults are those of Great Expectations 1.24 (``great_expectations/expectations/core/schemas``).
What is not in ``CATALOGUE`` is refused by name when a suite is saved; ``REFUSED`` says why for those that exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from merging.expectations.values import ANY, COUNTABLE, NUMERIC, ORDERED, SIMPLE, Family

Kind = Literal[
    "column",
    "columns",
    "name",
    "names",
    "bound",
    "number",
    "count",
    "share",
    "flag",
    "text",
    "texts",
    "regex",
    "regexes",
    "strftime",
    "choice",
    "values",
    "pairs",
    "quantiles",
    "object",
    "schema",
    "character",
]
"""What an argument holds; ``bound`` and ``values`` are typed by the column they are compared with."""

Level = Literal["row", "group", "table", "schema", "order"]
"""``row``: each row by itself; ``group``: rows against others of their value; ``order``: rows in key order;
``table``: one number or set of the whole table; ``schema``: the columns alone."""

Route = Literal["sql", "python", "great_expectations"]


@dataclass(frozen=True)
class Argument:
    """One keyword argument of an expectation."""

    kind: Kind
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Entry:
    """One supported expectation."""

    type: str
    level: Level
    arguments: Mapping[str, Argument]
    families: frozenset[Family] = ANY
    route: Route = "sql"
    needs_bound: bool = False
    conditional: bool = True
    same_family: bool = False


_COLUMN = {"column": Argument("column", required=True)}
_MOSTLY = {"mostly": Argument("share", default=1, least=0, most=1)}
_STRICT = {"strict_min": Argument("flag", default=False), "strict_max": Argument("flag", default=False)}
_BOUNDS = {"min_value": Argument("bound"), "max_value": Argument("bound"), **_STRICT}
_NUMBERS = {"min_value": Argument("number"), "max_value": Argument("number"), **_STRICT}
_COUNTS = {"min_value": Argument("count", least=0), "max_value": Argument("count", least=0)}
_SET = {"value_set": Argument("values", required=True)}
_PAIR = {
    "column_A": Argument("column", required=True),
    "column_B": Argument("column", required=True),
    "ignore_row_if": Argument(
        "choice",
        default="both_values_are_missing",
        choices=("both_values_are_missing", "either_value_is_missing", "neither"),
    ),
}
_SEVERAL = {
    "column_list": Argument("columns", required=True),
    "ignore_row_if": Argument(
        "choice",
        default="all_values_are_missing",
        choices=("all_values_are_missing", "any_value_is_missing", "never"),
    ),
}
_TEXT: frozenset[Family] = frozenset({"text"})
_ANY_OR_ALL = Argument("choice", default="any", choices=("any", "all"))


def _row(
    name: str,
    arguments: Mapping[str, Argument],
    families: frozenset[Family] = ANY,
    *,
    route: Route = "sql",
    level: Level = "row",
    needs_bound: bool = False,
    same_family: bool = False,
) -> Entry:
    return Entry(
        name,
        level,
        {**arguments, **_MOSTLY},
        families,
        route,
        needs_bound=needs_bound,
        same_family=same_family,
    )


def _table(
    name: str, arguments: Mapping[str, Argument], families: frozenset[Family] = ANY, *, route: Route = "sql"
) -> Entry:
    return Entry(name, "table", arguments, families, route)


def _schema(name: str, arguments: Mapping[str, Argument], *, conditional: bool = False) -> Entry:
    return Entry(name, "schema", arguments, ANY, "sql", conditional=conditional)


_ENTRIES = (
    _row("expect_column_values_to_not_be_null", _COLUMN),
    _row("expect_column_values_to_be_null", _COLUMN),
    _row("expect_column_values_to_be_between", {**_COLUMN, **_BOUNDS}, ORDERED, needs_bound=True),
    _row("expect_column_values_to_be_in_set", {**_COLUMN, **_SET}, SIMPLE),
    _row("expect_column_values_to_not_be_in_set", {**_COLUMN, **_SET}, SIMPLE),
    _row(
        "expect_column_value_lengths_to_be_between",
        {**_COLUMN, **_COUNTS, **_STRICT},
        _TEXT,
        needs_bound=True,
    ),
    _row(
        "expect_column_value_lengths_to_equal",
        {**_COLUMN, "value": Argument("count", required=True, least=0)},
        _TEXT,
    ),
    _row(
        "expect_column_values_to_match_regex",
        {**_COLUMN, "regex": Argument("regex", default="(?s).*")},
        _TEXT,
        route="python",
    ),
    _row(
        "expect_column_values_to_not_match_regex",
        {**_COLUMN, "regex": Argument("regex", required=True)},
        _TEXT,
        route="python",
    ),
    _row(
        "expect_column_values_to_match_regex_list",
        {**_COLUMN, "regex_list": Argument("regexes", required=True), "match_on": _ANY_OR_ALL},
        _TEXT,
        route="python",
    ),
    _row(
        "expect_column_values_to_not_match_regex_list",
        {**_COLUMN, "regex_list": Argument("regexes", required=True)},
        _TEXT,
        route="python",
    ),
    _row(
        "expect_column_values_to_match_like_pattern",
        {**_COLUMN, "like_pattern": Argument("text", required=True), "escape": Argument("character")},
        _TEXT,
    ),
    _row(
        "expect_column_values_to_not_match_like_pattern",
        {**_COLUMN, "like_pattern": Argument("text", required=True), "escape": Argument("character")},
        _TEXT,
    ),
    _row(
        "expect_column_values_to_match_like_pattern_list",
        {
            **_COLUMN,
            "like_pattern_list": Argument("texts", required=True),
            "match_on": _ANY_OR_ALL,
            "escape": Argument("character"),
        },
        _TEXT,
    ),
    _row(
        "expect_column_values_to_not_match_like_pattern_list",
        {
            **_COLUMN,
            "like_pattern_list": Argument("texts", required=True),
            "escape": Argument("character"),
        },
        _TEXT,
    ),
    _row(
        "expect_column_values_to_match_strftime_format",
        {**_COLUMN, "strftime_format": Argument("strftime", required=True)},
        _TEXT,
        route="python",
    ),
    _row("expect_column_values_to_be_json_parseable", _COLUMN, _TEXT, route="python"),
    _row("expect_column_values_to_be_dateutil_parseable", _COLUMN, _TEXT, route="great_expectations"),
    _row(
        "expect_column_values_to_match_json_schema",
        {**_COLUMN, "json_schema": Argument("schema", required=True)},
        _TEXT,
        route="great_expectations",
    ),
    _row(
        "expect_column_pair_values_a_to_be_greater_than_b",
        {**_PAIR, "or_equal": Argument("flag", default=False)},
        ORDERED | _TEXT,
        same_family=True,
    ),
    _row("expect_column_pair_values_to_be_equal", _PAIR, SIMPLE, same_family=True),
    _row(
        "expect_column_pair_values_to_be_in_set",
        {**_PAIR, "value_pairs_set": Argument("pairs", required=True)},
        SIMPLE,
    ),
    _row(
        "expect_multicolumn_sum_to_equal",
        {**_SEVERAL, "sum_total": Argument("number", required=True)},
        NUMERIC,
        same_family=True,
    ),
    _row("expect_multicolumn_values_to_be_equal", _SEVERAL, SIMPLE, same_family=True),
    _row("expect_select_column_values_to_be_unique_within_record", _SEVERAL, SIMPLE, same_family=True),
    _row("expect_column_values_to_be_unique", _COLUMN, COUNTABLE, level="group"),
    _row("expect_compound_columns_to_be_unique", _SEVERAL, COUNTABLE, level="group"),
    _row(
        "expect_column_values_to_be_increasing",
        {**_COLUMN, "strictly": Argument("flag", default=False)},
        ORDERED,
        level="order",
    ),
    _row(
        "expect_column_values_to_be_decreasing",
        {**_COLUMN, "strictly": Argument("flag", default=False)},
        ORDERED,
        level="order",
    ),
    _table(
        "expect_column_value_z_scores_to_be_less_than",
        {
            **_COLUMN,
            "threshold": Argument("number", required=True),
            "double_sided": Argument("flag", required=True),
            **_MOSTLY,
        },
        NUMERIC,
    ),
    _table("expect_column_min_to_be_between", {**_COLUMN, **_BOUNDS}, ORDERED),
    _table("expect_column_max_to_be_between", {**_COLUMN, **_BOUNDS}, ORDERED),
    _table("expect_column_mean_to_be_between", {**_COLUMN, **_NUMBERS}, NUMERIC),
    _table("expect_column_median_to_be_between", {**_COLUMN, **_NUMBERS}, NUMERIC),
    _table("expect_column_sum_to_be_between", {**_COLUMN, **_NUMBERS}, NUMERIC),
    _table("expect_column_stdev_to_be_between", {**_COLUMN, **_NUMBERS}, NUMERIC),
    _table(
        "expect_column_quantile_values_to_be_between",
        {
            **_COLUMN,
            "quantile_ranges": Argument("quantiles", required=True),
            "allow_relative_error": Argument(
                "choice", default="nearest", choices=("linear", "lower", "higher", "midpoint", "nearest")
            ),
        },
        NUMERIC,
    ),
    _table("expect_column_unique_value_count_to_be_between", {**_COLUMN, **_COUNTS, **_STRICT}, COUNTABLE),
    _table("expect_column_proportion_of_unique_values_to_be_between", {**_COLUMN, **_NUMBERS}, COUNTABLE),
    _table("expect_column_proportion_of_non_null_values_to_be_between", {**_COLUMN, **_NUMBERS}),
    _table("expect_column_distinct_values_to_be_in_set", {**_COLUMN, **_SET}, SIMPLE),
    _table("expect_column_distinct_values_to_contain_set", {**_COLUMN, **_SET}, SIMPLE),
    _table("expect_column_distinct_values_to_equal_set", {**_COLUMN, **_SET}, SIMPLE),
    _table(
        "expect_column_most_common_value_to_be_in_set",
        {**_COLUMN, **_SET, "ties_okay": Argument("flag", default=False)},
        SIMPLE,
    ),
    _table(
        "expect_column_kl_divergence_to_be_less_than",
        {
            **_COLUMN,
            "partition_object": Argument("object", required=True),
            "threshold": Argument("number", required=True, least=0),
            "internal_weight_holdout": Argument("number", default=0, least=0, most=1),
            "tail_weight_holdout": Argument("number", default=0, least=0, most=1),
            "bucketize_data": Argument("flag", default=True),
        },
        NUMERIC | _TEXT,
        route="great_expectations",
    ),
    _table(
        "expect_column_values_to_not_be_outliers",
        {
            **_COLUMN,
            "method": Argument("choice", default="iqr", choices=("iqr", "std")),
            "multiplier": Argument("number", default=1.5, least=0),
            **_MOSTLY,
        },
        NUMERIC,
        route="great_expectations",
    ),
    _table("expect_table_row_count_to_be_between", {**_COUNTS, **_STRICT}),
    _table("expect_table_row_count_to_equal", {"value": Argument("count", required=True, least=0)}),
    _schema("expect_table_column_count_to_be_between", _COUNTS),
    _schema("expect_table_column_count_to_equal", {"value": Argument("count", required=True, least=0)}),
    _schema("expect_table_columns_to_match_ordered_list", {"column_list": Argument("names", required=True)}),
    _schema(
        "expect_table_columns_to_match_set",
        {"column_set": Argument("names", required=True), "exact_match": Argument("flag", default=True)},
    ),
    _schema(
        "expect_column_to_exist",
        {"column": Argument("name", required=True), "column_index": Argument("count", least=0)},
    ),
    _schema(
        "expect_column_values_to_be_of_type",
        {**_COLUMN, "type_": Argument("text", required=True), **_MOSTLY},
        conditional=True,
    ),
    _schema(
        "expect_column_values_to_be_in_type_list",
        {**_COLUMN, "type_list": Argument("texts", required=True), **_MOSTLY},
        conditional=True,
    ),
)

CATALOGUE: Mapping[str, Entry] = {entry.type: entry for entry in _ENTRIES}


@dataclass(frozen=True)
class _Reason:
    types: tuple[str, ...]
    reason: str = field(default="")


_REASONS = (
    _Reason(
        ("unexpected_rows_expectation", "expect_query_results_to_match_comparison"),
        "it runs SQL of the suite, which is not taken from a suite",
    ),
    _Reason(
        ("expect_table_row_count_to_equal_other_table",),
        "it reads another table, and a merge sees one",
    ),
    _Reason(
        ("expect_column_type_to_be",),
        "it compares pandas' types; use expect_column_values_to_be_of_type with a type of the table",
    ),
    _Reason(
        (
            "expect_column_bootstrapped_ks_test_p_value_to_be_greater_than",
            "expect_column_parameterized_distribution_ks_test_p_value_to_be_greater_than",
            "expect_column_chisquare_test_p_value_to_be_greater_than",
            "expect_column_pair_cramers_phi_value_to_be_less_than",
            "expect_multicolumn_values_to_be_unique",
        ),
        "Great Expectations no longer implements it",
    ),
)
REFUSED: Mapping[str, str] = {name: one.reason for one in _REASONS for name in one.types}
"""Expectations that exist and are not taken, with the reason."""
