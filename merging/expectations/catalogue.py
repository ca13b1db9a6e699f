"""The expectations that a suite may hold, collected from ``kinds``, and those that are refused.

Names, arguments and defaults are those of Great Expectations 1.24 (``great_expectations/expectations/core/schemas``).
What is not in ``CATALOGUE`` is refused by name when a suite is saved; ``REFUSED`` says why for those that exist.
"""

from __future__ import annotations

from collections.abc import Mapping

from merging.expectations.expectation import Entry
from merging.expectations.kinds import (
    aggregates,
    columns,
    distinct_values,
    distributions,
    formats,
    lengths,
    like_patterns,
    nulls,
    order,
    pairs,
    ranges,
    regular_expressions,
    row_counts,
    sets,
    several_columns,
    types,
    uniqueness,
)

#: In the order in which a first suite holds what is proposed of them.
_KINDS = (
    columns,
    row_counts,
    uniqueness,
    nulls,
    sets,
    lengths,
    ranges,
    like_patterns,
    regular_expressions,
    formats,
    pairs,
    several_columns,
    order,
    aggregates,
    distinct_values,
    distributions,
    types,
)

CATALOGUE: Mapping[str, Entry] = {entry.type: entry for kind in _KINDS for entry in kind.ENTRIES}

_REASONS = {
    "it runs SQL of the suite, which is not taken from a suite": (
        "unexpected_rows_expectation",
        "expect_query_results_to_match_comparison",
    ),
    "it reads another table, and a merge sees one": ("expect_table_row_count_to_equal_other_table",),
    "it compares pandas' types; use expect_column_values_to_be_of_type with a type of the table": (
        "expect_column_type_to_be",
    ),
    "Great Expectations no longer implements it": (
        "expect_column_bootstrapped_ks_test_p_value_to_be_greater_than",
        "expect_column_parameterized_distribution_ks_test_p_value_to_be_greater_than",
        "expect_column_chisquare_test_p_value_to_be_greater_than",
        "expect_column_pair_cramers_phi_value_to_be_less_than",
        "expect_multicolumn_values_to_be_unique",
    ),
}
REFUSED: Mapping[str, str] = {name: reason for reason, names in _REASONS.items() for name in names}
"""Expectations that exist and are not taken, with the reason."""
