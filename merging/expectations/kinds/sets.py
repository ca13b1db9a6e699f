"""Whether each value is one of a set."""

from __future__ import annotations

from merging.expectations.expectation import Entry, Expectation, RowPredicate
from merging.expectations.kinds.arguments import COLUMN, MOSTLY, SET
from merging.expectations.kinds.predicates import column_of
from merging.expectations.profile import ColumnFacts, Proposal
from merging.expectations.values import SIMPLE, in_list
from merging.expectations.wording import of_set


def _is_listed(expectation: Expectation) -> str:
    name, _ = column_of(expectation)
    return f"({in_list(name, expectation.types[name], expectation.arguments['value_set'])})"


def _in_set_now(facts: ColumnFacts) -> Proposal | None:
    if facts.is_key or not facts.listed:
        return None
    return Proposal({"column": facts.column.name, "value_set": list(facts.listed)})


ENTRIES = (
    Entry(
        "expect_column_values_to_be_in_set",
        {**COLUMN, **SET, **MOSTLY},
        RowPredicate(lambda one: f"{_is_listed(one)} IS NOT TRUE"),
        of_set("Each {column} is"),
        SIMPLE,
        propose_for_column=_in_set_now,
    ),
    Entry(
        "expect_column_values_to_not_be_in_set",
        {**COLUMN, **SET, **MOSTLY},
        RowPredicate(lambda one: f"{_is_listed(one)} IS TRUE"),
        of_set("No {column} is"),
        SIMPLE,
    ),
)
