"""The different values of a column: which they are, how many, which is the most common."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from merging.expectations.expectation import Argument, Entry, Measured, TableMetric
from merging.expectations.findings import Finding
from merging.expectations.kinds.arguments import COLUMN, COUNTS, NUMBERS, SET, STRICT
from merging.expectations.kinds.predicates import bounded, column_of
from merging.expectations.values import COUNTABLE, SIMPLE, as_kept, can_hold, held, in_list
from merging.expectations.wording import listed, of_set, within
from merging.sql.quoting import column_sql

_LISTED = 20


def _distinct(found: Measured) -> str:
    name, _ = column_of(found.expectation)
    return (
        f"SELECT DISTINCT {column_sql(name)} AS value FROM {found.relation} WHERE {found.expectation.judged}"
    )


def _count_of(found: Measured) -> int:
    return found.opened.number(f"SELECT count(*) FROM ({_distinct(found)})")


def _count(found: Measured) -> Finding:
    return bounded(_count_of(found), found.expectation.arguments)


def _share(found: Measured) -> Finding:
    values = found.numbers["values"]
    return bounded(_count_of(found) / values if values else 0, found.expectation.arguments)


def _set(found: Measured, *, others: bool, absent: bool) -> Finding:
    """The verdict on the set of values: which ``others`` there are, which of the expected ones are ``absent``."""
    offending: list[Any] = []
    observed: dict[str, Any] = {}
    if others:
        name, _ = column_of(found.expectation)
        expected = in_list(name, found.expectation.types[name], found.expectation.arguments["value_set"])
        unexpected = f"{_distinct(found)} AND ({expected}) IS NOT TRUE"
        count = found.opened.number(f"SELECT count(*) FROM ({unexpected})")
        rows = found.opened.rows(f"{unexpected} ORDER BY 1 LIMIT {_LISTED}") if count else []
        observed["unexpected_count"] = count
        observed["unexpected"] = [row["value"] for row in rows]
        offending += [("unexpected", row["value"]) for row in rows]
    if absent:
        missing = _absent(found)
        observed["missing_count"] = len(missing)
        observed["missing"] = missing[:_LISTED]
        offending += [("missing", value) for value in missing]
    return Finding(not offending, observed, offending=tuple(offending))


def _absent(found: Measured) -> list[Any]:
    """The expected values that the column lacks."""
    name, _ = column_of(found.expectation)
    kind = found.expectation.types[name]
    wanted = list(dict.fromkeys(found.expectation.arguments["value_set"]))
    possible = [place for place, value in enumerate(wanted) if can_hold(value, kind)]
    if not possible:
        return wanted
    values = ", ".join(f"({place}, {held(wanted[place], kind)})" for place in possible)
    there = found.opened.connection.execute(
        f"SELECT place FROM (VALUES {values}) AS wanted(place, value) "
        f"SEMI JOIN ({_distinct(found)}) present ON wanted.value = present.value"
    ).fetchall()
    present = {place for (place,) in there}
    return [value for place, value in enumerate(wanted) if place not in present]


def _most_common(found: Measured) -> Finding:
    name, _ = column_of(found.expectation)
    rows = found.opened.rows(
        f"WITH counted AS (SELECT {column_sql(name)} AS value, count(*) AS rows FROM {found.relation} "
        f"WHERE {found.expectation.judged} GROUP BY 1) "
        "SELECT value FROM counted WHERE rows = (SELECT max(rows) FROM counted) ORDER BY 1"
    )
    modes = [row["value"] for row in rows]
    given = found.expectation.arguments
    expected = [as_kept(value, found.expectation.types[name]) for value in given["value_set"]]
    hits = sum(_is_one_of(mode, expected) for mode in modes)
    return Finding(hits > 0 if given["ties_okay"] else len(modes) == 1 and hits == 1, modes)


def _is_one_of(value: Any, expected: Sequence[Any]) -> bool:
    if isinstance(value, Decimal):
        return any(value == (Decimal(repr(one)) if isinstance(one, float) else one) for one in expected)
    return value in expected


ENTRIES = (
    Entry(
        "expect_column_unique_value_count_to_be_between",
        {**COLUMN, **COUNTS, **STRICT},
        TableMetric(_count),
        within("The number of different values of {column}"),
        COUNTABLE,
    ),
    Entry(
        "expect_column_proportion_of_unique_values_to_be_between",
        {**COLUMN, **NUMBERS},
        TableMetric(_share, ("values",)),
        within("The share of different values among the values of {column}"),
        COUNTABLE,
    ),
    Entry(
        "expect_column_distinct_values_to_be_in_set",
        {**COLUMN, **SET},
        TableMetric(lambda found: _set(found, others=True, absent=False)),
        of_set("The table's values of {column} are only", "and"),
        SIMPLE,
    ),
    Entry(
        "expect_column_distinct_values_to_contain_set",
        {**COLUMN, **SET},
        TableMetric(lambda found: _set(found, others=False, absent=True)),
        of_set("The table's values of {column} include", "and"),
        SIMPLE,
    ),
    Entry(
        "expect_column_distinct_values_to_equal_set",
        {**COLUMN, **SET},
        TableMetric(lambda found: _set(found, others=True, absent=True)),
        of_set("The table's values of {column} are exactly", "and"),
        SIMPLE,
    ),
    Entry(
        "expect_column_most_common_value_to_be_in_set",
        {**COLUMN, **SET, "ties_okay": Argument("flag", default=False)},
        TableMetric(_most_common),
        lambda given: (
            f"The most common {given['column']} is {listed(given['value_set'])}"
            f"{', ties included' if given['ties_okay'] else ''}"
        ),
        SIMPLE,
    ),
)
