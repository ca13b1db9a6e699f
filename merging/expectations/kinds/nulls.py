"""Whether rows have a value."""

from __future__ import annotations

import math

from merging.expectations.expectation import Entry, Expectation, RowPredicate, TableMetric
from merging.expectations.kinds.arguments import COLUMN, MOSTLY, NUMBERS
from merging.expectations.kinds.predicates import bounded, column_of
from merging.expectations.profile import ColumnFacts, Proposal
from merging.expectations.values import missing
from merging.expectations.wording import within

_MOSTLY_PRESENT = 0.9


def _is_null(expectation: Expectation) -> str:
    return missing(*column_of(expectation))


def _not_null_now(facts: ColumnFacts) -> Proposal | None:
    if not facts.rows:
        return None
    share = facts.values / facts.rows
    if share == 1:
        return Proposal({"column": facts.column.name})
    if share < _MOSTLY_PRESENT:
        return None
    return Proposal({"column": facts.column.name, "mostly": math.floor(share * 100) / 100}, "warning")


ENTRIES = (
    Entry(
        "expect_column_values_to_not_be_null",
        {**COLUMN, **MOSTLY},
        RowPredicate(_is_null),
        "Each row has a value in {column}",
        judges_missing=True,
        propose_for_column=_not_null_now,
    ),
    Entry(
        "expect_column_values_to_be_null",
        {**COLUMN, **MOSTLY},
        RowPredicate(lambda one: f"(NOT {_is_null(one)})"),
        "No row has a value in {column}",
        judges_missing=True,
    ),
    Entry(
        "expect_column_proportion_of_non_null_values_to_be_between",
        {**COLUMN, **NUMBERS},
        TableMetric(
            lambda found: bounded(
                found.numbers["values"] / found.numbers["rows"] if found.numbers["rows"] else 0,
                found.expectation.arguments,
            ),
            ("rows", "values"),
        ),
        within("The share of rows with a value in {column}"),
    ),
)
