"""Whether no two rows have the same values."""

from __future__ import annotations

from merging.expectations.expectation import Entry, Uniqueness
from merging.expectations.kinds.arguments import COLUMN, MOSTLY, SEVERAL
from merging.expectations.profile import Proposal, TableFacts
from merging.expectations.values import COUNTABLE
from merging.expectations.wording import listed, several_rows


def _key_of_one(facts: TableFacts) -> Proposal | None:
    return Proposal({"column": facts.keys[0]}) if len(facts.keys) == 1 else None


def _key_of_several(facts: TableFacts) -> Proposal | None:
    return Proposal({"column_list": list(facts.keys)}) if len(facts.keys) > 1 else None


ENTRIES = (
    Entry(
        "expect_column_values_to_be_unique",
        {**COLUMN, **MOSTLY},
        Uniqueness(),
        "No two rows have the same {column}",
        COUNTABLE,
        propose_for_table=_key_of_one,
    ),
    Entry(
        "expect_compound_columns_to_be_unique",
        {**SEVERAL, **MOSTLY},
        Uniqueness(),
        lambda given: (
            f"No two rows have the same {listed(given['column_list'], 'and')} together{several_rows(given)}"
        ),
        COUNTABLE,
        propose_for_table=_key_of_several,
    ),
)
