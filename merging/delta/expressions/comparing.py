"""Comparisons and choices: values of one type, where Spark's modes agree on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pyarrow as pa

from merging.delta.expressions.literals import day_value, double_value
from merging.delta.expressions.nodes import NotUnderstood
from merging.delta.expressions.values import (
    BOOLEAN,
    DATE,
    DAY_TEXT,
    DOUBLE,
    INSTANT,
    INTEGERS,
    LARGEST_PRECISION,
    LOCAL,
    NULL,
    STRING,
    Function,
    Value,
    doubts_of,
    named,
    require_boolean,
    require_count,
)
from merging.sql.types import duckdb_type

_COMPARISONS = {
    "=": "=",
    "<>": "<>",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "<=>": "IS NOT DISTINCT FROM",
}

_COMPARING = frozenset({*_COMPARISONS, "IN"})
_COMPARABLE = (*INTEGERS, BOOLEAN, STRING, DATE, INSTANT, LOCAL, DOUBLE, pa.float32())

_DIGITS = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 20}
_EXACT_IN_A_SINGLE = 2**24


def compared(sign: str, left: Value, right: Value) -> Value:
    """A comparison, by its sign in Spark."""
    left, right = _alike([left, right], sign)
    return Value(f"({left.sql} {_COMPARISONS[sign]} {right.sql})", BOOLEAN, doubts_of([left, right]))


def chosen(branches: Sequence[tuple[Value, Value]], otherwise: Value) -> Value:
    """CASE; whatever is doubtful in a branch that is not taken counts as doubtful too."""
    require_boolean([test for test, _ in branches], "WHEN")
    results = _alike([*(then for _, then in branches), otherwise], "CASE")
    whens = " ".join(
        f"WHEN {test.sql} THEN {result.sql}" for (test, _), result in zip(branches, results[:-1], strict=True)
    )
    doubts = doubts_of([*(test for test, _ in branches), *results])
    return Value(f"(CASE {whens} ELSE {results[-1].sql} END)", results[0].type, doubts)


def _alike(values: Sequence[Value], where: str) -> list[Value]:
    """The values in their common type, where Spark's modes agree on it and no value changes on the way there."""
    types = {value.type for value in values} - {NULL}
    if not types:
        return list(values)
    target = _common_type(values, types, where)
    return [as_type(value, target) for value in values]


def _common_type(values: Sequence[Value], types: set[pa.DataType], where: str) -> pa.DataType:
    kinds = ", ".join(sorted(named(one) for one in types))
    if len(types) == 1:
        [only] = types
        if only not in _COMPARABLE and not pa.types.is_decimal(only):
            raise NotUnderstood(f"{where} of values of type {kinds}")
        return only
    if all(pa.types.is_integer(one) for one in types):
        return max(types, key=lambda one: one.bit_width)
    if all(pa.types.is_integer(one) or pa.types.is_decimal(one) for one in types):
        shapes = [decimal_shape(value) for value in values if value.type != NULL]
        whole = max(precision - scale for precision, scale in shapes)
        scale = max(scale for _, scale in shapes)
        if whole + scale > LARGEST_PRECISION:
            raise NotUnderstood(f"{where} of {kinds}, which have no common type that holds both")
        return pa.decimal128(whole + scale, scale)
    if any(pa.types.is_floating(one) for one in types) and all(
        _is_exact_double(value, types) for value in values
    ):
        return DOUBLE
    if (
        types == {DATE, STRING}
        and where in _COMPARING
        and all(
            value.type != STRING
            or (isinstance(value.constant, str) and DAY_TEXT.fullmatch(value.constant) is not None)
            for value in values
        )
    ):
        return DATE
    raise NotUnderstood(f"{where} of {kinds}: Spark converts one of them, and its ways to do so differ")


def decimal_shape(value: Value) -> tuple[int, int]:
    """Precision and scale of a decimal, and those that hold a whole number."""
    if pa.types.is_decimal(value.type):
        return value.type.precision, value.type.scale
    if isinstance(value.constant, Decimal):
        return len(value.constant.as_tuple().digits), 0
    return _DIGITS[value.type], 0


def _is_exact_double(value: Value, types: set[pa.DataType]) -> bool:
    """Whether a number becomes the same double in Spark (whatever its mode) and here."""
    if value.type == NULL or pa.types.is_floating(value.type):
        return True
    if isinstance(value.constant, Decimal):
        integral = pa.types.is_integer(value.type)
        return not integral or DOUBLE in types or abs(value.constant) <= _EXACT_IN_A_SINGLE
    if not pa.types.is_integer(value.type):
        return False
    return DOUBLE in types or value.type.bit_width <= 16


def as_type(value: Value, target: pa.DataType) -> Value:
    """A value in a type that holds it."""
    if value.type == target:
        return value
    if value.type == NULL:
        return Value(f"CAST(NULL AS {duckdb_type(target)})", target)
    if target == DATE and isinstance(value.constant, str):
        return day_value(value.constant)
    if target == DOUBLE and isinstance(value.constant, Decimal):
        return double_value(float(value.constant))
    return dataclasses.replace(value, sql=f"CAST({value.sql} AS {duckdb_type(target)})", type=target)


def _joined(name: str, values: Sequence[Value]) -> Value:
    require_count(name, values, 2)
    require_boolean(values, name)
    return Value(f"({values[0].sql} {name.upper()} {values[1].sql})", BOOLEAN, doubts_of(values))


def _not(name: str, values: Sequence[Value]) -> Value:
    require_boolean(values, name)
    return Value(f"(NOT {values[0].sql})", BOOLEAN, doubts_of(values))


def _null_or_not(name: str, values: Sequence[Value]) -> Value:
    require_count(name, values, 1)
    negated = "NOT " if name == "isnotnull" else ""
    return Value(f"({values[0].sql} IS {negated}NULL)", BOOLEAN, doubts_of(values))


def _is_true_or_false(name: str, values: Sequence[Value]) -> Value:
    require_boolean(values, name)
    return Value(f"({values[0].sql} {name.upper()})", BOOLEAN, doubts_of(values))


def _between(name: str, values: Sequence[Value]) -> Value:
    require_count(name, values, 3)
    low, high = compared(">=", values[0], values[1]), compared("<=", values[0], values[2])
    return Value(f"({low.sql} AND {high.sql})", BOOLEAN, doubts_of([low, high]))


def _in(name: str, values: Sequence[Value]) -> Value:
    if len(values) < 2:
        raise NotUnderstood(f"{name} with {len(values)} values")
    first, *others = _alike(values, "IN")
    return Value(f"({first.sql} IN ({', '.join(one.sql for one in others)}))", BOOLEAN, doubts_of(values))


def _first_present(name: str, values: Sequence[Value]) -> Value:
    if not values or (name != "coalesce" and len(values) != 2):
        raise NotUnderstood(f"{name} with {len(values)} values")
    same = _alike(values, name)
    return Value(f"coalesce({', '.join(one.sql for one in same)})", same[0].type, doubts_of(values))


def _if(name: str, values: Sequence[Value]) -> Value:
    require_count(name, values, 3)
    return chosen([(values[0], values[1])], values[2])


OPERATORS: Mapping[str, Function] = {
    **dict.fromkeys(("and", "or"), _joined),
    "not": _not,
    **dict.fromkeys(("is null", "isnull", "isnotnull"), _null_or_not),
    **dict.fromkeys(("is true", "is false"), _is_true_or_false),
    **dict.fromkeys(_COMPARISONS, lambda sign, values: compared(sign, values[0], values[1])),
    "between": _between,
    "in": _in,
    **dict.fromkeys(("coalesce", "nvl", "ifnull"), _first_present),
    "if": _if,
}
