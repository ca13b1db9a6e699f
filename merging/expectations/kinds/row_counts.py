"""How many rows the table has."""

from __future__ import annotations

from merging.expectations.expectation import Entry, TableMetric
from merging.expectations.findings import Finding
from merging.expectations.kinds.arguments import COUNT, COUNTS, STRICT
from merging.expectations.kinds.predicates import is_within
from merging.expectations.profile import Proposal, TableFacts
from merging.expectations.wording import within


def _half_of_now(facts: TableFacts) -> Proposal | None:
    return Proposal({"min_value": facts.rows // 2}, "warning") if facts.rows else None


ENTRIES = (
    Entry(
        "expect_table_row_count_to_be_between",
        {**COUNTS, **STRICT},
        TableMetric(
            lambda found: Finding(
                is_within(found.numbers["rows"], found.expectation.arguments), found.numbers["rows"]
            ),
            ("rows",),
        ),
        within("The number of rows"),
        propose_for_table=_half_of_now,
    ),
    Entry(
        "expect_table_row_count_to_equal",
        COUNT,
        TableMetric(
            lambda found: Finding(
                found.numbers["rows"] == found.expectation.arguments["value"], found.numbers["rows"]
            ),
            ("rows",),
        ),
        "The table has {value:,} rows",
    ),
)
