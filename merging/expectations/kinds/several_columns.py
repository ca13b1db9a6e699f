"""Several columns of a row together."""

from __future__ import annotations

import itertools

from merging.expectations.expectation import Argument, Entry, Expectation, RowPredicate
from merging.expectations.kinds.arguments import MOSTLY, SEVERAL
from merging.expectations.values import NUMERIC, SIMPLE, Family, comparable, plain, spelled
from merging.expectations.wording import listed, several_rows, show


def _other_sum(expectation: Expectation) -> str:
    kinds = {expectation.families[name] for name in expectation.columns}
    target, kind = _sum_type(kinds)
    cells = [f"({plain(name, kind)})" for name, kind in expectation.families.items()]
    if target:
        cells = [f"CAST({cell} AS {target})" for cell in cells]
    return f"(({' + '.join(cells)}) = {spelled(expectation.arguments['sum_total'], kind)}) IS NOT TRUE"


def _sum_type(kinds: set[Family]) -> tuple[str, Family]:
    """What cells become before they are added ("" for what they are), and the family of their sum."""
    if kinds == {"integer"}:
        return "HUGEINT", "integer"
    return ("DOUBLE", "float") if "float" in kinds else ("", "decimal")


def _alike(expectation: Expectation, left: str, right: str) -> str:
    """SQL: two of its columns have one value. What makes two types comparable depends on these two alone."""
    cells = comparable({name: expectation.types[name] for name in (left, right)})
    return f"({cells[left]}) IS NOT DISTINCT FROM ({cells[right]})"


def _some_differ(expectation: Expectation) -> str:
    first, *others = expectation.columns
    return f"(NOT ({' AND '.join(_alike(expectation, first, one) for one in others)}))"


def _some_equal(expectation: Expectation) -> str:
    pairs = itertools.combinations(expectation.columns, 2)
    return f"({' OR '.join(_alike(expectation, *pair) for pair in pairs)})"


ENTRIES = (
    Entry(
        "expect_multicolumn_sum_to_equal",
        {**SEVERAL, "sum_total": Argument("number", required=True), **MOSTLY},
        RowPredicate(_other_sum),
        lambda given: (
            f"The sum of {listed(given['column_list'], 'and')} is {show(given['sum_total'])}{several_rows(given)}"
        ),
        NUMERIC,
        same_family=True,
    ),
    Entry(
        "expect_multicolumn_values_to_be_equal",
        {**SEVERAL, **MOSTLY},
        RowPredicate(_some_differ),
        lambda given: f"{listed(given['column_list'], 'and')} are equal in each row{several_rows(given)}",
        SIMPLE,
        same_family=True,
    ),
    Entry(
        "expect_select_column_values_to_be_unique_within_record",
        {**SEVERAL, **MOSTLY},
        RowPredicate(_some_equal),
        lambda given: (
            f"No two of {listed(given['column_list'], 'and')} are equal in a row{several_rows(given)}"
        ),
        SIMPLE,
        same_family=True,
    ),
)
