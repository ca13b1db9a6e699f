"""How long texts are."""

from __future__ import annotations

from merging.expectations.expectation import Entry, Expectation, RowPredicate
from merging.expectations.kinds.arguments import COLUMN, COUNT, COUNTS, MOSTLY, STRICT
from merging.expectations.kinds.predicates import between, column_of
from merging.expectations.profile import ColumnFacts, Proposal
from merging.expectations.values import TEXT
from merging.expectations.wording import within
from merging.sql.quoting import column_sql


def _length(expectation: Expectation) -> str:
    name, _ = column_of(expectation)
    return f"length({column_sql(name)})"


def _lengths_now(facts: ColumnFacts) -> Proposal | None:
    if not facts.values or facts.is_key or facts.family != "text" or facts.listed is not None:
        return None
    bounds = {"min_value": facts.low, "max_value": facts.high}
    return Proposal({"column": facts.column.name, **bounds}, "warning")


ENTRIES = (
    Entry(
        "expect_column_value_lengths_to_be_between",
        {**COLUMN, **COUNTS, **STRICT, **MOSTLY},
        RowPredicate(lambda one: f"({between(_length(one), one.arguments, 'long')}) IS NOT TRUE"),
        within("The number of characters of each {column}"),
        TEXT,
        needs_bound=True,
        propose_for_column=_lengths_now,
    ),
    Entry(
        "expect_column_value_lengths_to_equal",
        {**COLUMN, **COUNT, **MOSTLY},
        RowPredicate(lambda one: f"({_length(one)} <> {one.arguments['value']})"),
        "Each {column} has {value} characters",
        TEXT,
    ),
)
