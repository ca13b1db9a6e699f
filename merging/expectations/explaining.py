"""Expectations in plain English, for owners who do not read JSON and for the reports of failed merges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from merging.expectations.suites import Expectation, show

_SHOWN_VALUES = 12
_Words = Callable[[Mapping[str, Any]], str]


def explain(expectation: Expectation) -> str:
    """The expectation as one sentence."""
    said = _WORDS[expectation.type](expectation.arguments)
    if expectation.mostly < 1:
        said = f"In at least {expectation.mostly * 100:g} % of the rows, {said[0].lower()}{said[1:]}"
    if expectation.condition is not None:
        said = f"{said}, looking only at rows where {expectation.condition.words()}"
    return f"{said}."


def listed(values: Sequence[Any], joiner: str = "or") -> str:
    """Values as ``a, b or c``, cut where there are many."""
    shown = [show(one) if one is not None else "missing" for one in values[:_SHOWN_VALUES]]
    if len(values) > _SHOWN_VALUES:
        return f"{', '.join(shown)} … ({len(values):,} values)"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {joiner} {shown[-1]}"


def limits(arguments: Mapping[str, Any], low_name: str = "min_value", high_name: str = "max_value") -> str:
    """Bounds as words: ``between 1 and 5``, ``at least 1``, ``less than 5``."""
    low, high = arguments.get(low_name), arguments.get(high_name)
    strict_low, strict_high = bool(arguments.get("strict_min")), bool(arguments.get("strict_max"))
    if low is not None and high is not None and not strict_low and not strict_high:
        return f"exactly {show(low)}" if low == high else f"between {show(low)} and {show(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if strict_low else 'at least'} {show(low)}")
    if high is not None:
        parts.append(f"{'less than' if strict_high else 'at most'} {show(high)}")
    return " and ".join(parts) or "anything"


def _between(subject: str) -> _Words:
    return lambda given: f"{subject.format(**given)} is {limits(given)}"


def _pair_domain(given: Mapping[str, Any]) -> str:
    return {
        "both_values_are_missing": "",
        "either_value_is_missing": " wherever both have a value",
        "neither": ", and neither is missing",
    }[given["ignore_row_if"]]


def _several_domain(given: Mapping[str, Any]) -> str:
    return {
        "all_values_are_missing": "",
        "any_value_is_missing": " wherever all have a value",
        "never": ", rows without any value included",
    }[given["ignore_row_if"]]


def _several(given: Mapping[str, Any], joiner: str = "and") -> str:
    return listed(given["column_list"], joiner)


def _greater(given: Mapping[str, Any]) -> str:
    comparison = "at least" if given["or_equal"] else "greater than"
    return f"{given['column_A']} is {comparison} {given['column_B']}{_pair_domain(given)}"


def _pairs(given: Mapping[str, Any]) -> str:
    pairs = [f"({listed([one[0]])}, {listed([one[1]])})" for one in given["value_pairs_set"]]
    return f"{given['column_A']} and {given['column_B']} together are {listed(pairs)}{_pair_domain(given)}"


def _quantiles(given: Mapping[str, Any]) -> str:
    parts = [
        f"the {quantile * 100:g} % quantile is {limits({'min_value': low, 'max_value': high})}"
        for quantile, low, high in given["quantile_ranges"]
    ]
    return f"In {given['column']}, {', '.join(parts)}"


def _exists(given: Mapping[str, Any]) -> str:
    place = f" as number {given['column_index'] + 1}" if given["column_index"] is not None else ""
    return f"The table has the column {given['column']}{place}"


def _column_set(given: Mapping[str, Any]) -> str:
    names = listed(given["column_set"], "and")
    return f"The table has {'exactly' if given['exact_match'] else 'at least'} the columns {names}"


def _order(word: str) -> _Words:
    def say(given: Mapping[str, Any]) -> str:
        strictly = "strictly " if given["strictly"] else ""
        return f"In the order of the key, {given['column']} is {strictly}{word}"

    return say


def _z_scores(given: Mapping[str, Any]) -> str:
    side = "away from" if given["double_sided"] else "above"
    return f"Each {given['column']} is less than {given['threshold']:g} standard deviations {side} the mean"


_WORDS: Mapping[str, _Words] = {
    "expect_column_values_to_not_be_null": lambda given: f"Each row has a value in {given['column']}",
    "expect_column_values_to_be_null": lambda given: f"No row has a value in {given['column']}",
    "expect_column_values_to_be_between": _between("Each {column}"),
    "expect_column_values_to_be_in_set": lambda given: (
        f"Each {given['column']} is {listed(given['value_set'])}"
    ),
    "expect_column_values_to_not_be_in_set": lambda given: (
        f"No {given['column']} is {listed(given['value_set'])}"
    ),
    "expect_column_value_lengths_to_be_between": _between("The number of characters of each {column}"),
    "expect_column_value_lengths_to_equal": lambda given: (
        f"Each {given['column']} has {given['value']} characters"
    ),
    "expect_column_values_to_match_regex": lambda given: (
        f"Each {given['column']} matches the regular expression {given['regex']}"
    ),
    "expect_column_values_to_not_match_regex": lambda given: (
        f"No {given['column']} matches the regular expression {given['regex']}"
    ),
    "expect_column_values_to_match_regex_list": lambda given: (
        f"Each {given['column']} matches {given['match_on']} of the regular expressions "
        f"{listed(given['regex_list'], 'and')}"
    ),
    "expect_column_values_to_not_match_regex_list": lambda given: (
        f"No {given['column']} matches any of the regular expressions {listed(given['regex_list'], 'and')}"
    ),
    "expect_column_values_to_match_like_pattern": lambda given: (
        f"Each {given['column']} is like {given['like_pattern']}"
    ),
    "expect_column_values_to_not_match_like_pattern": lambda given: (
        f"No {given['column']} is like {given['like_pattern']}"
    ),
    "expect_column_values_to_match_like_pattern_list": lambda given: (
        f"Each {given['column']} is like {given['match_on']} of {listed(given['like_pattern_list'], 'and')}"
    ),
    "expect_column_values_to_not_match_like_pattern_list": lambda given: (
        f"No {given['column']} is like any of {listed(given['like_pattern_list'], 'and')}"
    ),
    "expect_column_values_to_match_strftime_format": lambda given: (
        f"Each {given['column']} is a date written as {given['strftime_format']}"
    ),
    "expect_column_values_to_be_json_parseable": lambda given: f"Each {given['column']} is valid JSON",
    "expect_column_values_to_be_dateutil_parseable": lambda given: (
        f"Each {given['column']} can be read as a date"
    ),
    "expect_column_values_to_match_json_schema": lambda given: (
        f"Each {given['column']} is JSON that fits the schema"
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": lambda given: (
        f"{given['column_A']} equals {given['column_B']}{_pair_domain(given)}"
    ),
    "expect_column_pair_values_to_be_in_set": _pairs,
    "expect_multicolumn_sum_to_equal": lambda given: (
        f"The sum of {_several(given)} is {show(given['sum_total'])}{_several_domain(given)}"
    ),
    "expect_multicolumn_values_to_be_equal": lambda given: (
        f"{_several(given)} are equal in each row{_several_domain(given)}"
    ),
    "expect_select_column_values_to_be_unique_within_record": lambda given: (
        f"No two of {_several(given)} are equal in a row{_several_domain(given)}"
    ),
    "expect_column_values_to_be_unique": lambda given: f"No two rows have the same {given['column']}",
    "expect_compound_columns_to_be_unique": lambda given: (
        f"No two rows have the same {_several(given)} together{_several_domain(given)}"
    ),
    "expect_column_values_to_be_increasing": _order("increasing"),
    "expect_column_values_to_be_decreasing": _order("decreasing"),
    "expect_column_value_z_scores_to_be_less_than": _z_scores,
    "expect_column_min_to_be_between": _between("The smallest {column} of the table"),
    "expect_column_max_to_be_between": _between("The largest {column} of the table"),
    "expect_column_mean_to_be_between": _between("The mean of {column} over the table"),
    "expect_column_median_to_be_between": _between("The median of {column} over the table"),
    "expect_column_sum_to_be_between": _between("The sum of {column} over the table"),
    "expect_column_stdev_to_be_between": _between("The standard deviation of {column} over the table"),
    "expect_column_quantile_values_to_be_between": _quantiles,
    "expect_column_unique_value_count_to_be_between": _between("The number of different values of {column}"),
    "expect_column_proportion_of_unique_values_to_be_between": _between(
        "The share of different values among the values of {column}"
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": _between(
        "The share of rows with a value in {column}"
    ),
    "expect_column_distinct_values_to_be_in_set": lambda given: (
        f"The table's values of {given['column']} are only {listed(given['value_set'], 'and')}"
    ),
    "expect_column_distinct_values_to_contain_set": lambda given: (
        f"The table's values of {given['column']} include {listed(given['value_set'], 'and')}"
    ),
    "expect_column_distinct_values_to_equal_set": lambda given: (
        f"The table's values of {given['column']} are exactly {listed(given['value_set'], 'and')}"
    ),
    "expect_column_most_common_value_to_be_in_set": lambda given: (
        f"The most common {given['column']} is {listed(given['value_set'])}"
        f"{', ties included' if given['ties_okay'] else ''}"
    ),
    "expect_column_kl_divergence_to_be_less_than": lambda given: (
        f"The distribution of {given['column']} differs from the given one by a Kullback-Leibler divergence of at "
        f"most {given['threshold']:g}"
    ),
    "expect_column_values_to_not_be_outliers": lambda given: (
        f"No {given['column']} lies more than {given['multiplier']:g} "
        f"{'interquartile ranges outside the quartiles' if given['method'] == 'iqr' else 'standard deviations off'}"
    ),
    "expect_table_row_count_to_be_between": _between("The number of rows"),
    "expect_table_row_count_to_equal": lambda given: f"The table has {given['value']:,} rows",
    "expect_table_column_count_to_be_between": _between("The number of columns"),
    "expect_table_column_count_to_equal": lambda given: f"The table has {given['value']} columns",
    "expect_table_columns_to_match_ordered_list": lambda given: (
        f"The table's columns are {listed(given['column_list'], 'and')}, in this order"
    ),
    "expect_table_columns_to_match_set": _column_set,
    "expect_column_to_exist": _exists,
    "expect_column_values_to_be_of_type": lambda given: f"{given['column']} is of type {given['type_']}",
    "expect_column_values_to_be_in_type_list": lambda given: (
        f"{given['column']} is of type {listed(given['type_list'])}"
    ),
}
