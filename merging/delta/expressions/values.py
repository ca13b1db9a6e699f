"""A part of an expression, translated: its SQL, its type, and on which rows it is not proved."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from merging.delta.expressions.nodes import NotUnderstood
from merging.sql.quoting import literal

NULL = pa.null()
BOOLEAN = pa.bool_()

STRING = pa.string()
DATE = pa.date32()

INT = pa.int32()
DOUBLE = pa.float64()

INSTANT = pa.timestamp("us", tz="UTC")
LOCAL = pa.timestamp("us")

INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
LARGEST_PRECISION = 38

DAY_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Value:
    """A translated node: SQL, type, predicates that hold where it is not proved, the value of a constant."""

    sql: str
    type: pa.DataType
    doubts: tuple[str, ...] = ()
    constant: object = None


#: A function or an operator: from its name and the values of its arguments. Raises NotUnderstood.
Function = Callable[[str, Sequence["Value"]], "Value"]


def named(data_type: pa.DataType) -> str:
    if data_type == LOCAL:
        return "timestamp_ntz"
    if data_type == INSTANT:
        return "timestamp"
    return str(data_type)


def doubts_of(values: Sequence[Value]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(doubt for value in values for doubt in value.doubts))


def beyond_years(sql: str) -> str:
    return f"({sql} < DATE '0001-01-01' OR {sql} >= DATE '10000-01-01')"


def require_count(name: str, values: Sequence[Value], count: int) -> None:
    if len(values) != count:
        raise NotUnderstood(f"{name} with {len(values)} values")


def require_boolean(values: Sequence[Value], name: str) -> None:
    for value in values:
        if value.type not in (BOOLEAN, NULL):
            raise NotUnderstood(f"{name.upper()} of a {named(value.type)}")


def require_texts(name: str, values: Sequence[Value], count: int) -> None:
    require_count(name, values, count)
    for value in values:
        if value.type not in (STRING, NULL):
            raise NotUnderstood(f"{name} of a {named(value.type)}")


def matching(sql: str, pattern: str) -> str:
    return f"CASE WHEN regexp_full_match({sql}, {literal(pattern)}) THEN {sql} END"


def typed_null(value: Value) -> Value:
    return Value("CAST(NULL AS VARCHAR)", STRING) if value.type == NULL else value
