"""What differs from the table is found exactly, whatever the types; in doubt it differs."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import headgate
import pyarrow as pa
import pytest
from headgate.comparing import Comparison, columns_to_compare, key_range
from hypothesis import given, settings
from hypothesis import strategies as st

NAN = float("nan")


def differing(
    proposed: pa.Table, current: pa.Table, keys: tuple[str, ...] = ("id",), size: int = 2
) -> list[bool]:
    names = columns_to_compare(proposed.schema, current.schema.names, keys)
    table = current.select(names)
    kept = Comparison(table.schema, keys).differing(
        lambda: proposed.to_batches(max_chunksize=size), table.to_batches(max_chunksize=3)
    )
    return [bool(one) for one in kept]


def of(values: list[Any], kind: pa.DataType, name: str = "v") -> pa.Table:
    return pa.table({"id": list(range(len(values))), name: pa.array(values, kind)})


@pytest.mark.parametrize(
    ("kind", "values", "others"),
    [
        (pa.int64(), [1, None, -(2**62)], [2, 0, 2**62]),
        (pa.int8(), [1, None, -3], [2, 0, 3]),
        (pa.float64(), [1.5, None, NAN, 0.0, math.inf], [1.25, NAN, None, -0.0, -math.inf]),
        (pa.float32(), [1.5, None, NAN], [1.25, 0.0, 1.0]),
        (pa.bool_(), [True, None, False], [False, False, None]),
        (pa.string(), ["a", None, "", "x" * 300, "12345678"], ["b", "", None, "x" * 301, "123456789"]),
        (pa.binary(), [b"\0", None, b""], [b"\0\0", b"", None]),
        (pa.decimal128(30, 2), [Decimal("0.10"), None], [Decimal("0.11"), Decimal("0.00")]),
        (pa.decimal256(60, 2), [Decimal("1E+40"), None], [Decimal("2E+40"), Decimal(0)]),
        (pa.date32(), [1, None], [2, 0]),
        (pa.timestamp("us", "UTC"), [1, None], [2, 0]),
        (pa.list_(pa.int32()), [[1, None], None, []], [[1], [], None]),
        (pa.struct({"a": pa.string()}), [{"a": "x"}, None], [{"a": None}, {"a": None}]),
    ],
)
def test_equal_values_are_dropped_and_others_kept(
    kind: pa.DataType, values: list[Any], others: list[Any]
) -> None:
    current = of(values, kind)
    assert differing(current, current) == [False] * len(values)
    assert differing(of(others, kind), current) == [True] * len(values)


@pytest.mark.parametrize(
    ("proposed", "current", "expected"),
    [
        (pa.array([7.0, 7.5, None]), pa.array([7, 7, None], pa.int64()), [True, True, False]),
        (pa.array([7, None]), pa.array([7, None], pa.int32()), [False, False]),
        (pa.array([0.1, 0.5]), pa.array([0.1, 0.5], pa.float32()), [True, False]),
        (pa.array([Decimal("0.1"), Decimal("0.5")]), pa.array([0.1, 0.5]), [False, False]),
        (pa.array([Decimal("0.10000000000000000555"), None]), pa.array([0.1, None]), [True, False]),
        (pa.array([Decimal("9007199254740993.00")]), pa.array([2.0**53]), [True]),
        (pa.array([Decimal("0.1000000015")]), pa.array([0.1], pa.float32()), [True]),
        (pa.array([2**53 + 1]), pa.array([2.0**53]), [True]),
        (pa.array([2**24 + 1]), pa.array([2.0**24], pa.float32()), [True]),
        (pa.array(["7"]), pa.array([7]), [True]),
        (pa.array([Decimal("1.50")]), pa.array([Decimal("1.5")], pa.decimal128(5, 1)), [False]),
        (pa.array(["x", None]).dictionary_encode(), pa.array(["x", None]), [False, False]),
        (pa.array(["x"], pa.large_string()), pa.array(["x"]), [False]),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC")), [True]),
        (pa.array([1000], pa.timestamp("ns", "UTC")), pa.array([1], pa.timestamp("us", "UTC")), [False]),
        (pa.array([1001], pa.timestamp("ns", "UTC")), pa.array([1], pa.timestamp("us", "UTC")), [True]),
        (pa.nulls(1), pa.array([None], pa.string()), [False]),
    ],
)
def test_other_types_are_compared_where_that_is_exact(
    proposed: pa.Array, current: pa.Array, expected: list[bool]
) -> None:
    ids = list(range(len(proposed)))
    assert differing(pa.table({"id": ids, "v": proposed}), pa.table({"id": ids, "v": current})) == expected


def test_rows_that_do_more_than_update_are_kept() -> None:
    current = of([1, 2, 3, 4, 5], pa.int64())
    operations = ["upsert", "insert", "delete", None, "Upsert"]
    proposed = current.append_column("_op", pa.array(operations))
    assert differing(proposed, current) == [False, True, True, False, True]


def test_new_columns_and_new_rows_are_kept() -> None:
    current = of([1, 2], pa.int64())
    proposed = pa.table({"id": [0, 1, 9], "v": [1, 2, 3], "new": [None, "x", None]})
    assert differing(proposed, current) == [False, True, True]


def test_a_contradiction_stays_one() -> None:
    current = of([1, 2], pa.int64())
    proposed = pa.table({"id": [0, 0, 1], "v": [1, 7, 2]})
    assert differing(proposed, current) == [True, True, False]


def test_a_key_must_be_there() -> None:
    with pytest.raises(headgate.ContentUnusable, match="key column id is missing"):
        differing(pa.table({"v": [1]}), of([1], pa.int64()))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30), st.one_of(st.none(), st.text(max_size=20)), st.one_of(st.none(), st.floats())
        ),
        max_size=40,
        unique_by=lambda row: row[0],
    ),
    st.lists(
        st.tuples(
            st.integers(0, 30), st.one_of(st.none(), st.text(max_size=20)), st.one_of(st.none(), st.floats())
        ),
        max_size=40,
        unique_by=lambda row: row[0],
    ),
)
def test_as_python_compares(proposed: list[Any], current: list[Any]) -> None:
    def table(rows: list[Any]) -> pa.Table:
        kinds = {"id": pa.int64(), "s": pa.string(), "f": pa.float64()}
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        return pa.table(
            {name: pa.array(list(c), kinds[name]) for name, c in zip(kinds, columns, strict=True)}
        )

    there = {repr(row) for row in current}
    assert differing(table(proposed), table(current), size=7) == [repr(row) not in there for row in proposed]


def test_only_rows_that_can_be_equal_are_asked_for() -> None:
    assert key_range(of([1, 2, 3], pa.int64()).to_batches(max_chunksize=1), ["id"]) == ["id:>=:0", "id:<=:2"]
    days = pa.table({"id": pa.array([19000, 19001], pa.date32())})
    assert key_range(days.to_batches(), ["id"]) == ["id:>=:2022-01-08", "id:<=:2022-01-09"]
    moments = pa.table({"id": pa.array([datetime(2024, 1, 1, tzinfo=UTC)])})
    assert key_range(moments.to_batches(), ["id"]) == []
    assert key_range(of([1], pa.int64()).to_batches(), ["id", "v"]) == []
