"""Every entry of the catalogue is whole: arguments, a judge, a sentence; and every kind is collected."""

from __future__ import annotations

import importlib
import pkgutil
import string
from typing import Any, get_args

import pytest

from merging.expectations import CATALOGUE, explain, kinds, parse_suite
from merging.expectations.expectation import Argument, Entry, Judge
from merging.model import Column

#: One column for every family, and a second one to be compared with it.
COLUMNS = (
    Column("n", "long"),
    Column("m", "long"),
    Column("t", "string"),
    Column("u", "string"),
    Column("b", "binary"),
)
#: Something that each kind of argument may hold.
GIVEN: dict[str, Any] = {
    "name": "n",
    "names": ["n", "t"],
    "bound": 3,
    "number": 2,
    "count": 3,
    "share": 0.9,
    "flag": True,
    "text": "long",
    "texts": ["long", "a%"],
    "regex": "a+",
    "regexes": ["a+", "b"],
    "strftime": "%Y-%m-%d",
    "values": [1, 2],
    "pairs": [[1, 2], [None, 3]],
    "quantiles": {"quantiles": [0.5], "value_ranges": [[1, 2]]},
    "object": {"bins": [0, 1], "weights": [1]},
    "schema": {"type": "object"},
    "character": "!",
}
SENTENCES: dict[str, str] = {
    "expect_column_distinct_values_to_be_in_set": "The table's values of n are only 1 and 2.",
    "expect_column_distinct_values_to_contain_set": "The table's values of n include 1 and 2.",
    "expect_column_distinct_values_to_equal_set": "The table's values of n are exactly 1 and 2.",
    "expect_column_kl_divergence_to_be_less_than": (
        "The distribution of n differs from the given one by a Kullback-Leibler divergence of at most 2."
    ),
    "expect_column_max_to_be_between": "The largest n of the table is more than 3 and less than 7.",
    "expect_column_mean_to_be_between": "The mean of n over the table is more than 2 and less than 7.",
    "expect_column_median_to_be_between": "The median of n over the table is more than 2 and less than 7.",
    "expect_column_min_to_be_between": "The smallest n of the table is more than 3 and less than 7.",
    "expect_column_most_common_value_to_be_in_set": "The most common n is 1 or 2, ties included.",
    "expect_column_pair_values_a_to_be_greater_than_b": (
        "In at least 90 % of the rows, n is at least m, and neither is missing."
    ),
    "expect_column_pair_values_to_be_equal": (
        "In at least 90 % of the rows, n equals m, and neither is missing."
    ),
    "expect_column_pair_values_to_be_in_set": (
        "In at least 90 % of the rows, n and m together are (1, 2) or (missing, 3), and neither is missing."
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        "The share of rows with a value in n is more than 2 and less than 7."
    ),
    "expect_column_proportion_of_unique_values_to_be_between": (
        "The share of different values among the values of n is more than 2 and less than 7."
    ),
    "expect_column_quantile_values_to_be_between": "In n, the 50 % quantile is between 1 and 2.",
    "expect_column_stdev_to_be_between": (
        "The standard deviation of n over the table is more than 2 and less than 7."
    ),
    "expect_column_sum_to_be_between": "The sum of n over the table is more than 2 and less than 7.",
    "expect_column_to_exist": "The table has the column n as number 4.",
    "expect_column_unique_value_count_to_be_between": (
        "The number of different values of n is more than 3 and less than 7."
    ),
    "expect_column_value_lengths_to_be_between": (
        "In at least 90 % of the rows, the number of characters of each t is more than 3 and less than 7."
    ),
    "expect_column_value_lengths_to_equal": "In at least 90 % of the rows, each t has 3 characters.",
    "expect_column_value_z_scores_to_be_less_than": (
        "In at least 90 % of the rows, each n is less than 2 standard deviations away from the mean."
    ),
    "expect_column_values_to_be_between": (
        "In at least 90 % of the rows, each n is more than 3 and less than 7."
    ),
    "expect_column_values_to_be_dateutil_parseable": (
        "In at least 90 % of the rows, each t can be read as a date."
    ),
    "expect_column_values_to_be_decreasing": (
        "In at least 90 % of the rows, in the order of the key, n is strictly decreasing."
    ),
    "expect_column_values_to_be_in_set": "In at least 90 % of the rows, each n is 1 or 2.",
    "expect_column_values_to_be_in_type_list": "In at least 90 % of the rows, n is of type long or a%.",
    "expect_column_values_to_be_increasing": (
        "In at least 90 % of the rows, in the order of the key, n is strictly increasing."
    ),
    "expect_column_values_to_be_json_parseable": "In at least 90 % of the rows, each t is valid JSON.",
    "expect_column_values_to_be_null": "In at least 90 % of the rows, no row has a value in n.",
    "expect_column_values_to_be_of_type": "In at least 90 % of the rows, n is of type long.",
    "expect_column_values_to_be_unique": "In at least 90 % of the rows, no two rows have the same n.",
    "expect_column_values_to_match_json_schema": (
        "In at least 90 % of the rows, each t is JSON that fits the schema."
    ),
    "expect_column_values_to_match_like_pattern": "In at least 90 % of the rows, each t is like long.",
    "expect_column_values_to_match_like_pattern_list": (
        "In at least 90 % of the rows, each t is like all of long and a%."
    ),
    "expect_column_values_to_match_regex": (
        "In at least 90 % of the rows, each t matches the regular expression a+."
    ),
    "expect_column_values_to_match_regex_list": (
        "In at least 90 % of the rows, each t matches all of the regular expressions a+ and b."
    ),
    "expect_column_values_to_match_strftime_format": (
        "In at least 90 % of the rows, each t is a date written as %Y-%m-%d."
    ),
    "expect_column_values_to_not_be_in_set": "In at least 90 % of the rows, no n is 1 or 2.",
    "expect_column_values_to_not_be_null": "In at least 90 % of the rows, each row has a value in n.",
    "expect_column_values_to_not_be_outliers": (
        "In at least 90 % of the rows, no n lies more than 2 standard deviations off."
    ),
    "expect_column_values_to_not_match_like_pattern": "In at least 90 % of the rows, no t is like long.",
    "expect_column_values_to_not_match_like_pattern_list": (
        "In at least 90 % of the rows, no t is like any of long and a%."
    ),
    "expect_column_values_to_not_match_regex": (
        "In at least 90 % of the rows, no t matches the regular expression a+."
    ),
    "expect_column_values_to_not_match_regex_list": (
        "In at least 90 % of the rows, no t matches any of the regular expressions a+ and b."
    ),
    "expect_compound_columns_to_be_unique": (
        "In at least 90 % of the rows, no two rows have the same n and m together, rows without any value included."
    ),
    "expect_multicolumn_sum_to_equal": (
        "In at least 90 % of the rows, the sum of n and m is 2, rows without any value included."
    ),
    "expect_multicolumn_values_to_be_equal": (
        "In at least 90 % of the rows, n and m are equal in each row, rows without any value included."
    ),
    "expect_select_column_values_to_be_unique_within_record": (
        "In at least 90 % of the rows, no two of n and m are equal in a row, rows without any value included."
    ),
    "expect_table_column_count_to_be_between": "The number of columns is between 3 and 7.",
    "expect_table_column_count_to_equal": "The table has 3 columns.",
    "expect_table_columns_to_match_ordered_list": "The table's columns are n and t, in this order.",
    "expect_table_columns_to_match_set": "The table has exactly the columns n and t.",
    "expect_table_row_count_to_be_between": "The number of rows is more than 3 and less than 7.",
    "expect_table_row_count_to_equal": "The table has 3 rows.",
}


def given_for(entry: Entry, name: str, argument: Argument) -> Any:
    one, other = ("n", "m") if "integer" in entry.families else ("t", "u")
    if argument.kind == "column":
        return one
    if argument.kind == "columns":
        return [one, other]
    if argument.kind == "choice":
        return argument.choices[-1]
    if name == "max_value":
        return 7
    return 1 if argument.most == 1 and argument.kind == "number" else GIVEN[argument.kind]


def document(entry: Entry) -> dict[str, Any]:
    kwargs = {name: given_for(entry, name, argument) for name, argument in entry.arguments.items()}
    if "column_B" in kwargs:
        kwargs["column_B"] = {"n": "m", "t": "u"}[kwargs["column_A"]]
    return {"name": "s", "expectations": [{"type": entry.type, "kwargs": kwargs}]}


def test_the_catalogue_collects_every_kind() -> None:
    modules = [
        importlib.import_module(f"{kinds.__name__}.{found.name}")
        for found in pkgutil.iter_modules(kinds.__path__)
    ]
    entries = [entry for module in modules for entry in getattr(module, "ENTRIES", ())]
    assert sorted(entry.type for entry in entries) == sorted(CATALOGUE)
    assert len(entries) == 55


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_an_entry_is_whole(entry: Entry) -> None:
    assert entry.type.startswith("expect_")
    assert entry.arguments
    assert isinstance(entry.judge, get_args(Judge))
    assert entry.families
    if isinstance(entry.words, str):
        named = {name for _, name, _, _ in string.Formatter().parse(entry.words) if name is not None}
        assert named <= set(entry.arguments)
    for argument in entry.arguments.values():
        assert not (argument.required and argument.default is not None)
        assert bool(argument.choices) is (argument.kind == "choice")


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_an_entry_is_said_in_one_sentence(entry: Entry) -> None:
    [expectation] = parse_suite(document(entry), COLUMNS).expectations
    assert explain(expectation) == SENTENCES[entry.type]


def test_a_set_of_missing_values_alone_is_said_too() -> None:
    given = {"column": "n", "value_set": [None]}
    document = {
        "name": "s",
        "expectations": [{"type": "expect_column_values_to_be_in_set", "kwargs": given}],
    }
    [one] = parse_suite(document, COLUMNS).expectations
    assert explain(one) == "Each n is nothing."


def test_no_sentence_is_left_of_an_entry_that_went() -> None:
    assert SENTENCES.keys() == CATALOGUE.keys()
