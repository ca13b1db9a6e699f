"""Whether values lie between bounds."""

from __future__ import annotations

from merging.expectations.expectation import Entry, Expectation, RowPredicate
from merging.expectations.kinds.arguments import BOUNDS, COLUMN, MOSTLY
from merging.expectations.kinds.predicates import between, column_of
from merging.expectations.profile import ColumnFacts, Proposal
from merging.expectations.values import ORDERED
from merging.expectations.wording import within
from merging.sql.quoting import column_sql


def _outside(expectation: Expectation) -> str:
    name, _ = column_of(expectation)
    return f"({between(column_sql(name), expectation.arguments, expectation.types[name])}) IS NOT TRUE"


def _between_now(facts: ColumnFacts) -> Proposal | None:
    if not facts.values or facts.is_key or facts.family not in ORDERED:
        return None
    bounds = facts.bounds()
    return Proposal({"column": facts.column.name, **bounds}, "warning") if bounds else None


ENTRIES = (
    Entry(
        "expect_column_values_to_be_between",
        {**COLUMN, **BOUNDS, **MOSTLY},
        RowPredicate(_outside),
        within("Each {column}"),
        ORDERED,
        needs_bound=True,
        propose_for_column=_between_now,
    ),
)
