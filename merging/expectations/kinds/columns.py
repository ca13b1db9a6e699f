"""Which columns the table has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from merging.expectations.expectation import Argument, ColumnsJudge, Entry, TableColumns
from merging.expectations.findings import Finding
from merging.expectations.kinds.arguments import COUNT, COUNTS
from merging.expectations.profile import Proposal, TableFacts
from merging.expectations.wording import listed, within


def _columns_now(facts: TableFacts) -> Proposal:
    return Proposal({"column_set": list(facts.columns), "exact_match": False})


def _in_set(table: TableColumns) -> Finding:
    names, given = table.names, table.expectation.arguments
    wanted = set(given["column_set"])
    fits = wanted == set(names) if given["exact_match"] else wanted <= set(names)
    return Finding(fits, sorted(names))


def _set_words(given: Mapping[str, Any]) -> str:
    names = listed(given["column_set"], "and")
    return f"The table has {'exactly' if given['exact_match'] else 'at least'} the columns {names}"


def _in_order(table: TableColumns) -> Finding:
    return Finding(table.names == list(table.expectation.arguments["column_list"]), table.names)


def _exists(table: TableColumns) -> Finding:
    names, given = table.names, table.expectation.arguments
    place = given["column_index"]
    if place:
        return Finding(place < len(names) and names[place] == given["column"])
    return Finding(given["column"] in names)


def _exists_words(given: Mapping[str, Any]) -> str:
    place = f" as number {given['column_index'] + 1}" if given["column_index"] is not None else ""
    return f"The table has the column {given['column']}{place}"


def _count(table: TableColumns) -> Finding:
    given, count = table.expectation.arguments, len(table.names)
    low, high = (given.get(name, given.get("value")) for name in ("min_value", "max_value"))
    return Finding((low is None or count >= low) and (high is None or count <= high), count)


ENTRIES = (
    Entry(
        "expect_table_columns_to_match_set",
        {"column_set": Argument("names", required=True), "exact_match": Argument("flag", default=True)},
        ColumnsJudge(_in_set),
        _set_words,
        conditional=False,
        propose_for_table=_columns_now,
    ),
    Entry(
        "expect_table_columns_to_match_ordered_list",
        {"column_list": Argument("names", required=True)},
        ColumnsJudge(_in_order),
        lambda given: f"The table's columns are {listed(given['column_list'], 'and')}, in this order",
        conditional=False,
    ),
    Entry(
        "expect_column_to_exist",
        {"column": Argument("name", required=True), "column_index": Argument("count", least=0)},
        ColumnsJudge(_exists),
        _exists_words,
        conditional=False,
    ),
    Entry(
        "expect_table_column_count_to_be_between",
        COUNTS,
        ColumnsJudge(_count),
        within("The number of columns"),
        conditional=False,
    ),
    Entry(
        "expect_table_column_count_to_equal",
        COUNT,
        ColumnsJudge(_count),
        "The table has {value} columns",
        conditional=False,
    ),
)
