"""Decimals of any size beside numbers of a suite, and beside each other: as Python's decimals compare."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.merging.expectations.conftest import Check
from tests.merging.expectations.support import Row, compare, counted, expect

#: What a suite may say: of any size, between the values of any scale.
NUMBERS: list[int | float] = [
    0,
    -0.0,
    0.5,
    -99.5,
    0.1,
    1,
    -1,
    10**30,
    -(10**38 - 1),
    1e30,
    1e-30,
    -1e-30,
    1e300,
    0.12345678123456781,
    1e-38,
]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FEW = settings(max_examples=25)


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """Four cells of a decimal column, or of one of whole numbers."""
    precision = draw(st.sampled_from([1, 2, 18, 19, 38]))
    scale = draw(st.sampled_from(sorted({0, min(precision, 12), precision})))
    most = 10**precision - 1
    with localcontext(prec=400):
        beside = [int(exact(one).scaleb(scale)) + step for one in NUMBERS for step in (-1, 0, 1)]
    ends = [0, 1, -1, 10**scale, most, -most]
    digits = (st.sampled_from(ends) | st.sampled_from(beside)).filter(lambda one: abs(one) <= most)
    cells = draw(st.lists(digits | st.integers(-most, most) | st.none(), min_size=4, max_size=4))
    if scale == 0 and precision == 18 and draw(st.booleans()):
        return pa.array(cells, pa.int64())
    with localcontext(prec=76):
        scaled = [None if cell is None else Decimal(cell).scaleb(-scale) for cell in cells]
    return pa.array(scaled, pa.decimal128(precision, scale))


def exact(value: float) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def neighbours(number: float, precision: int, scale: int) -> pa.Array:
    """A number, the cells on both sides of it, and none."""
    with localcontext(prec=76):
        step = Decimal(1).scaleb(-scale)
        cells = [exact(number) - step, exact(number), exact(number) + step, None]
    return pa.array(cells, pa.decimal128(precision, scale))


#: The last values that a decimal may have, and none.
ENDS = pa.array([-(10**38 - 1), 0, 10**38 - 1, None], pa.decimal128(38, 0))


def table(**given: pa.Array) -> pa.Table:
    return pa.table({"id": pa.array(range(4), pa.int64()), **given})


def failing(check: Check, one: dict[str, Any], merged: pa.Table) -> int:
    [result] = check(one, merged=merged).results
    assert result.error is None
    return counted(result).unexpected_count


@FEW
@example(column=neighbours(0.1, 38, 38), number=0.1, other=0.5)
@example(column=neighbours(-0.1, 38, 38), number=-0.1, other=0.1)
@example(column=neighbours(3e-38, 38, 38), number=3e-38, other=1e-38)
@example(column=neighbours(0.1, 38, 37), number=0.1, other=0.5)
@example(column=neighbours(-99.1, 38, 36), number=-99.1, other=0.5)
@example(column=ENDS, number=10**38 - 1, other=-(10**38 - 1))
@example(column=ENDS, number=-(10**38 - 1), other=0.5)
@given(column=columns(), number=st.sampled_from(NUMBERS), other=st.sampled_from(NUMBERS))
def test_a_number_means_what_is_written_beside_any_decimal(
    check: Check, column: pa.Array, number: float, other: float
) -> None:
    merged = table(d=column)
    values = [value for value in column.to_pylist() if value is not None]
    wanted = [exact(number), exact(other)]
    for sign, strict in {">=": False, ">": True}.items():
        one = expect("column_values_to_be_between", column="d", min_value=number, strict_min=strict)
        assert failing(check, one, merged) == sum(not SIGNS[sign](value, wanted[0]) for value in values)
    for sign, strict in {"<=": False, "<": True}.items():
        one = expect("column_values_to_be_between", column="d", max_value=number, strict_max=strict)
        assert failing(check, one, merged) == sum(not SIGNS[sign](value, wanted[0]) for value in values)
    one = expect("column_values_to_be_in_set", column="d", value_set=[number, other])
    assert failing(check, one, merged) == sum(value not in wanted for value in values)
    for sign, holds in SIGNS.items():
        one = expect("column_values_to_be_null", column="id", row_condition=compare("d", sign, number))
        missing = column.null_count if sign == "!=" else 0
        assert failing(check, one, merged) == sum(holds(value, wanted[0]) for value in values) + missing
    pairs = [[number, 1], [other, 2]]
    one = expect("column_pair_values_to_be_in_set", column_A="d", column_B="id", value_pairs_set=pairs)
    there = {(wanted[0], 1), (wanted[1], 2)}
    assert failing(check, one, merged) == sum(
        (row["d"], row["id"]) not in there for row in merged.to_pylist()
    )
    absent = expect("column_distinct_values_to_contain_set", column="d", value_set=[number, other])
    [result] = check(absent, merged=merged).results
    assert result.error is None
    expected = [one for one in dict.fromkeys([number, other]) if exact(one) not in values]
    assert result.observed["missing"] == expected


@FEW
@given(left=columns(), right=columns())
def test_columns_of_any_two_decimals_compare_exactly(check: Check, left: pa.Array, right: pa.Array) -> None:
    merged = table(d=left, e=right)
    rows: list[Row] = merged.to_pylist()
    both = [row for row in rows if None not in (row["d"], row["e"])]
    one_missing = sum((row["d"] is None) != (row["e"] is None) for row in rows)
    for kind, holds in {
        "column_pair_values_to_be_equal": operator.eq,
        "column_pair_values_a_to_be_greater_than_b": operator.gt,
    }.items():
        broken = sum(not holds(row["d"], row["e"]) for row in both)
        assert failing(check, expect(kind, column_A="d", column_B="e"), merged) == broken + one_missing
    names = ["d", "e"]
    differing = sum(row["d"] != row["e"] for row in both) + one_missing
    assert failing(check, expect("multicolumn_values_to_be_equal", column_list=names), merged) == differing
    same = expect("column_pair_values_to_be_equal", column_A="d", column_B="d")
    assert failing(check, same, merged) == 0
    within = expect("select_column_values_to_be_unique_within_record", column_list=names)
    assert failing(check, within, merged) == sum(row["d"] == row["e"] for row in both)


def alike(one: Any, other: Any) -> bool:
    """Missing values are one; what stands beside a float is compared as a float."""
    if isinstance(one, float) or isinstance(other, float):
        one, other = (None if value is None else float(value) for value in (one, other))
    return bool(one == other)


@FEW
@given(left=columns(), right=columns(), number=st.sampled_from([1.0, -0.5, 0.0]))
def test_a_float_beside_them_changes_nothing_between_decimals(
    check: Check, left: pa.Array, right: pa.Array, number: float
) -> None:
    merged = table(d=left, e=right, f=pa.array([number, None, float("nan"), -number]))
    cells = [[None if row[name] != row[name] else row[name] for name in "def"] for row in merged.to_pylist()]
    for order in itertools.permutations(range(3)):
        rows = [[row[place] for place in order] for row in cells if row != [None] * 3]
        names = ["def"[place] for place in order]
        within = expect("select_column_values_to_be_unique_within_record", column_list=names)
        twice = sum(any(alike(*pair) for pair in itertools.combinations(row, 2)) for row in rows)
        assert failing(check, within, merged) == twice
        equal = expect("multicolumn_values_to_be_equal", column_list=names)
        differing = sum(not (alike(row[0], row[1]) and alike(row[0], row[2])) for row in rows)
        assert failing(check, equal, merged) == differing
