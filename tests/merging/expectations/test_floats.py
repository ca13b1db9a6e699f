"""Numbers of a suite beside columns of single precision floats: each means the float nearest to it, as for numpy."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.merging.expectations.conftest import Check
from tests.merging.expectations.support import compare, counted, expect

CELLS = [0.7, 0.1, 2.3, -1 / 3, 16777216.0, 3.4e38]
NUMBERS: list[int | float] = [0.7, 0.1, -1 / 3, -0.33333334, 2.3, 16777217, 0, 1]
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def floats(*cells: float) -> pa.Table:
    return pa.table({"id": pa.array(range(len(cells)), pa.int64()), "f": pa.array(cells, pa.float32())})


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_means_the_nearest_float(check: Check, number: float) -> None:
    merged = floats(*CELLS)
    cells, wanted = np.array(CELLS, np.float32), np.float32(number)
    for end, strict, sign in (
        ("min_value", {"strict_min": True}, ">"),
        ("min_value", {}, ">="),
        ("max_value", {"strict_max": True}, "<"),
        ("max_value", {}, "<="),
    ):
        bound: dict[str, Any] = {"column": "f", end: number, **strict}
        [rows, smallest, largest] = check(
            expect("column_values_to_be_between", **bound),
            expect("column_min_to_be_between", **bound),
            expect("column_max_to_be_between", **bound),
            merged=merged,
        ).results
        holds = SIGNS[sign](cells, wanted)
        assert counted(rows).unexpected_count == (~holds).sum()
        assert smallest.ok == holds[cells.argmin()]
        assert largest.ok == holds[cells.argmax()]
    for sign, holds in SIGNS.items():
        one = expect("column_values_to_be_null", column="id", row_condition=compare("f", sign, number))
        [result] = check(one, merged=merged).results
        assert counted(result).unexpected_count == holds(cells, wanted).sum()
    there = bool((cells == wanted).any())
    [within, without, lacking, pairs] = check(
        expect("column_values_to_be_in_set", column="f", value_set=[number]),
        expect("column_values_to_not_be_in_set", column="f", value_set=[number]),
        expect("column_distinct_values_to_contain_set", column="f", value_set=[number]),
        expect("column_pair_values_to_be_in_set", column_A="f", column_B="id", value_pairs_set=[[number, 0]]),
        merged=merged,
    ).results
    assert counted(within).unexpected_count == len(CELLS) - there
    assert counted(without).unexpected_count == there
    assert lacking.ok == there
    assert counted(pairs).unexpected_count == len(CELLS) - (number == CELLS[0])


def test_the_most_common_float_is_found_as_it_is_written(check: Check) -> None:
    one = expect("column_most_common_value_to_be_in_set", column="f", value_set=[0.7], ties_okay=False)
    [result] = check(one, merged=floats(0.7, 0.7, 0.1)).results
    assert result.ok


@pytest.mark.parametrize("number", [1e-60, 1e300])
def test_what_floats_keep_as_0_or_infinite_is_none_of_them(check: Check, number: float) -> None:
    [above, below, among] = check(
        expect("column_values_to_be_between", column="f", min_value=number),
        expect("column_values_to_be_between", column="f", max_value=number),
        expect("column_values_to_be_in_set", column="f", value_set=[number]),
        merged=floats(0.0, float("inf")),
    ).results
    assert [counted(one).unexpected_count for one in (above, below, among)] == [1, 1, 2]
