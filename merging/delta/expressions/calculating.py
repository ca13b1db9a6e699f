"""Arithmetic and casts, where no digit is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow as pa

from merging.delta.expressions.comparing import as_type, decimal_shape
from merging.delta.expressions.nodes import NotUnderstood
from merging.delta.expressions.values import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INSTANT,
    LARGEST_PRECISION,
    LOCAL,
    NULL,
    STRING,
    Function,
    Value,
    beyond_years,
    doubts_of,
    matching,
    named,
    require_count,
)
from merging.sql.types import duckdb_type

_PLAIN_SCALE = 6  # beyond it Java may print a decimal with an exponent


def _calculated(sign: str, values: Sequence[Value]) -> Value:
    left, right = values
    doubts = doubts_of([left, right])
    kinds = f"{named(left.type)} {sign} {named(right.type)}"
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        target = max(left.type, right.type, key=lambda one: one.bit_width)
        wide = f"(CAST({left.sql} AS HUGEINT) {sign} CAST({right.sql} AS HUGEINT))"
        sql = f"TRY_CAST({wide} AS {duckdb_type(target)})"
        return Value(sql, target, (*doubts, f"({wide} IS NOT NULL AND {sql} IS NULL)"))
    if not all(pa.types.is_integer(one.type) or pa.types.is_decimal(one.type) for one in (left, right)):
        raise NotUnderstood(f"the arithmetic {kinds}")
    # Spark, "DecimalPrecision": exact as long as the result's digits fit.
    (p1, s1), (p2, s2) = decimal_shape(left), decimal_shape(right)
    if sign == "*":
        precision, scale = p1 + p2 + 1, s1 + s2
    else:
        scale = max(s1, s2)
        precision = max(p1 - s1, p2 - s2) + scale + 1
    if precision > LARGEST_PRECISION:
        raise NotUnderstood(f"the arithmetic {kinds}, whose result may lose digits")
    target = pa.decimal128(precision, scale)
    # DuckDB multiplies decimals of up to 18 digits as 64 bits, whatever the product needs.
    widths = ((max(p1, 19), s1), (p2, s2)) if sign == "*" else ((precision, scale), (precision, scale))
    one, other = (
        f"CAST({side.sql} AS DECIMAL({width},{places}))"
        for side, (width, places) in zip((left, right), widths, strict=True)
    )
    return Value(f"CAST({one} {sign} {other} AS {duckdb_type(target)})", target, doubts)


def cast_to_text(value: Value) -> Value:
    text = f"CAST({value.sql} AS VARCHAR)"
    if value.type in (STRING, NULL, BOOLEAN) or pa.types.is_integer(value.type):
        return Value(text, STRING, value.doubts, value.constant if value.type == STRING else None)
    if value.type == DATE:
        return Value(text, STRING, (*value.doubts, beyond_years(value.sql)))
    if pa.types.is_decimal(value.type) and value.type.scale <= _PLAIN_SCALE:
        return Value(text, STRING, value.doubts)
    raise NotUnderstood(f"CAST of a {named(value.type)} to string")


def cast_to_number(value: Value, target: pa.DataType) -> Value:
    """CAST to a number where no digit is lost; one that does not fit is doubtful (an error, NULL or another)."""
    source = value.type
    if source == NULL:
        return as_type(value, target)
    sql = value.sql
    if source == target:
        return dataclasses.replace(value, constant=None)
    if target == DOUBLE:
        if not pa.types.is_integer(source) and source != pa.float32():
            raise NotUnderstood(f"CAST of a {named(source)} to double")
        return Value(f"CAST({sql} AS DOUBLE)", target, value.doubts)
    exact = pa.types.is_integer(source) or (
        pa.types.is_decimal(source) and pa.types.is_decimal(target) and source.scale <= target.scale
    )
    if exact:
        fitted = f"TRY_CAST({sql} AS {duckdb_type(target)})"
    elif source == STRING and pa.types.is_integer(target):
        fitted = f"TRY_CAST({matching(sql, '-?[0-9]{1,18}')} AS {duckdb_type(target)})"
    else:
        raise NotUnderstood(f"CAST of a {named(source)} to {named(target)}")
    return Value(fitted, target, (*value.doubts, f"({sql} IS NOT NULL AND {fitted} IS NULL)"))


def assigned_to(value: Value, target: pa.DataType) -> Value:
    """A value as a generated column stores it."""
    if value.type in (target, NULL):
        return as_type(value, target)
    if target == STRING or target in (DATE, INSTANT, LOCAL, BOOLEAN) or value.type == STRING:
        raise NotUnderstood(f"a value of type {named(value.type)} for a column of type {named(target)}")
    return cast_to_number(value, target)


def _negative(name: str, values: Sequence[Value]) -> Value:
    require_count(name, values, 1)
    return _calculated("-", [Value("0", values[0].type), values[0]])


OPERATORS: Mapping[str, Function] = {
    **dict.fromkeys(("+", "-", "*"), _calculated),
    "negative": _negative,
}
