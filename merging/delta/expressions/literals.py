"""Constants, by their text: numbers, texts, days and moments."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from merging.delta.expressions.nodes import NotUnderstood, Number
from merging.delta.expressions.values import (
    DATE,
    DOUBLE,
    INSTANT,
    INT,
    LARGEST_PRECISION,
    LOCAL,
    STRING,
    Value,
)
from merging.sql.quoting import literal
from merging.sql.types import duckdb_type


def text_value(value: str) -> Value:
    if "\0" in value:
        raise NotUnderstood("a text with a zero character")
    return Value(literal(value), STRING, constant=value)


def number_value(number: Number) -> Value:
    value = number.value
    integral = re.fullmatch(r"-?\d+", number.digits) is not None
    if number.suffix in ("D", "") and (number.suffix or "e" in number.digits.lower()):
        return double_value(float(value))
    if number.suffix in ("L", "S", "Y", "") and integral:
        sized = {"Y": pa.int8(), "S": pa.int16(), "L": pa.int64()}.get(number.suffix)
        for fitting in (sized,) if sized is not None else (INT, pa.int64()):
            if _fits(int(value), fitting):
                return Value(f"CAST({int(value)} AS {duckdb_type(fitting)})", fitting, constant=value)
    if number.suffix in ("BD", "") and "e" not in number.digits.lower():
        return _decimal(value)
    raise NotUnderstood(f"the number {number.digits}{number.suffix}")


def _fits(value: int, data_type: pa.DataType) -> bool:
    limit = 1 << (data_type.bit_width - 1)
    return bool(-limit <= value < limit)


def double_value(value: float) -> Value:
    if value in (float("inf"), float("-inf")):
        raise NotUnderstood("a number beyond what a double holds")
    return Value(f"CAST('{value!r}' AS DOUBLE)", DOUBLE, constant=value)


def _decimal(value: Decimal) -> Value:
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale, 1)
    if precision > LARGEST_PRECISION:
        raise NotUnderstood(f"the number {value}")
    data_type = pa.decimal128(precision, scale)
    return Value(f"CAST('{value:f}' AS {duckdb_type(data_type)})", data_type, constant=value)


def day_value(text: str) -> Value:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise NotUnderstood(f"the date {text!r}") from error
    return Value(f"DATE '{day.isoformat()}'", DATE, constant=day)


def moment_value(text: str, data_type: pa.DataType) -> Value:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise NotUnderstood(f"the timestamp {text!r}") from error
    if data_type == INSTANT:
        moment = moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta())
    plain = moment.isoformat(sep=" ", timespec="microseconds")
    sql = f"TIMESTAMP '{plain}'"
    return Value(sql if data_type == LOCAL else f"({sql} AT TIME ZONE 'UTC')", data_type)
