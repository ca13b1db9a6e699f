"""Column types under their three names, Delta's, Arrow's and DuckDB's, and which of them can hold which.

Source: PROTOCOL.md, "Schema Serialization Format" and "Primitive Types".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from merging.errors import UnsupportedTable
from merging.sql.quoting import quote

_PRIMITIVES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}
_DECIMAL = re.compile(r"decimal\(\s*([0-9]{1,9})\s*,\s*(-?[0-9]{1,9})\s*\)")
_DUCKDB: dict[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.int16(): "SMALLINT",
    pa.int8(): "TINYINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.timestamp("us"): "TIMESTAMP",
}

_INTEGER_RANKS = {pa.int8(): 1, pa.int16(): 2, pa.int32(): 3, pa.int64(): 4}
_INTEGER_DIGITS = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 20}


def type_name(data_type: pa.DataType) -> str:
    """Delta's name of a type, nested ones written out: ``array<long>``, ``map<string,double>``."""
    return _type_text(delta_type(data_type))


def _type_text(described: object) -> str:
    if isinstance(described, str):
        return described
    if not isinstance(described, dict):
        raise TypeError(f"not a Delta type: {described!r}")
    if described["type"] == "array":
        return f"array<{_type_text(described['elementType'])}>"
    if described["type"] == "map":
        return f"map<{_type_text(described['keyType'])},{_type_text(described['valueType'])}>"
    inner = ",".join(f"{field['name']}:{_type_text(field['type'])}" for field in described["fields"])
    return f"struct<{inner}>"


def is_text(data_type: pa.DataType) -> bool:
    """Whether the column holds character strings."""
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))


def has_width(data_type: pa.DataType) -> bool:
    """Whether every value takes as many bytes."""
    return bool(pa.types.is_primitive(data_type) or pa.types.is_decimal(data_type))


def is_nested(data_type: pa.DataType) -> bool:
    """Whether the column holds structs, lists or maps (merged as whole cells)."""
    return bool(pa.types.is_nested(data_type))


def can_widen(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every value of ``old`` is a value of ``new`` (PROTOCOL.md, "Type Widening", "Supported Type Changes"),
    part by part where they are nested alike.
    """
    if old == new:
        return True
    if is_nested(old) or is_nested(new):
        return _is_nested_alike(old, new) and all(
            can_widen(old.field(place).type, new.field(place).type) for place in range(old.num_fields)
        )
    if old in _INTEGER_RANKS:
        if new in _INTEGER_RANKS:
            return _INTEGER_RANKS[old] <= _INTEGER_RANKS[new]
        if pa.types.is_float64(new):
            return bool(old != pa.int64())
        if pa.types.is_decimal(new):
            return bool(new.precision - new.scale >= _INTEGER_DIGITS[old])
        return False
    if pa.types.is_float32(old):
        return bool(pa.types.is_float64(new))
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)
    return bool(pa.types.is_date(old) and new == pa.timestamp("us"))


def _is_nested_alike(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether two nested types differ in what their parts hold alone."""
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        return [field.name for field in old] == [field.name for field in new]
    return any(alike(old) and alike(new) for alike in (pa.types.is_list, pa.types.is_map))


def cast(expression: str, source: pa.DataType, target: pa.DataType) -> str:
    """SQL of a value of one column type as another; NULL where it does not fit."""
    if source == target:
        return expression
    if not _share_fields(source, target):  # which no cast of DuckDB's takes for NULL
        return null_of(target)
    return f"TRY_CAST({expression} AS {duckdb_type(target)})"


def _share_fields(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether each two structs that stand for one another in two types have a field of one name, at every depth."""
    if pa.types.is_struct(source) and pa.types.is_struct(target):
        held = {field.name.lower(): field.type for field in source}
        both = [(held[field.name.lower()], field.type) for field in target if field.name.lower() in held]
        return bool(both) and all(_share_fields(*one) for one in both)
    if source.num_fields != target.num_fields or pa.types.is_struct(source) or pa.types.is_struct(target):
        return not source.num_fields and not target.num_fields
    parts = range(source.num_fields)
    return all(_share_fields(source.field(part).type, target.field(part).type) for part in parts)


def null_of(data_type: pa.DataType) -> str:
    """SQL of a typed NULL."""
    return f"NULL::{duckdb_type(data_type)}"


def simple_type(name: str) -> pa.DataType:
    """The type that Delta names so; UnsupportedTable for one that we lack."""
    known = _PRIMITIVES.get(name)
    if known is not None:
        return known
    decimal = _DECIMAL.fullmatch(name)
    precision, scale = (int(decimal[1]), int(decimal[2])) if decimal else (10, 0)
    if (decimal is None and name != "decimal") or not (1 <= precision <= 38 and 0 <= scale <= precision):
        raise UnsupportedTable([f"column type {name}"])
    return pa.decimal128(precision, scale)


def delta_type(data_type: pa.DataType) -> Any:
    """The Delta JSON of a pyarrow type (what a new or widened column is written as)."""
    if pa.types.is_decimal(data_type):
        return f"decimal({data_type.precision},{data_type.scale})"
    if pa.types.is_struct(data_type):
        return {"type": "struct", "fields": [delta_field(field) for field in data_type]}
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return {
            "type": "array",
            "elementType": delta_type(data_type.value_type),
            "containsNull": data_type.value_field.nullable,
        }
    if pa.types.is_map(data_type):
        return {
            "type": "map",
            "keyType": delta_type(data_type.key_type),
            "valueType": delta_type(data_type.item_type),
            "valueContainsNull": data_type.item_field.nullable,
        }
    if pa.types.is_large_string(data_type):
        return "string"
    if pa.types.is_large_binary(data_type):
        return "binary"
    for name, known in _PRIMITIVES.items():
        if known == data_type:
            return name
    raise UnsupportedTable([f"column type {data_type}"])


def delta_field(field: pa.Field) -> dict[str, Any]:
    """The Delta JSON of a column that has no metadata."""
    return {"name": field.name, "type": delta_type(field.type), "nullable": field.nullable, "metadata": {}}


def duckdb_type(data_type: pa.DataType) -> str:
    """The DuckDB type that holds a column of a Delta table exactly."""
    known = _DUCKDB.get(data_type)
    if known is not None:
        return known
    if pa.types.is_decimal(data_type):
        return f"DECIMAL({data_type.precision},{data_type.scale})"
    if pa.types.is_struct(data_type):
        inner = ", ".join(f"{quote(field.name)} {duckdb_type(field.type)}" for field in data_type)
        return f"STRUCT({inner})"
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return f"{duckdb_type(data_type.value_type)}[]"
    if pa.types.is_map(data_type):
        return f"MAP({duckdb_type(data_type.key_type)}, {duckdb_type(data_type.item_type)})"
    raise UnsupportedTable([f"column type {data_type}"])


def has_type(schema: pa.Schema, wanted: pa.DataType) -> bool:
    """Whether a column, or a part of a nested one, is of a type."""

    def holds(data_type: pa.DataType) -> bool:
        if data_type == wanted:
            return True
        return any(holds(data_type.field(index).type) for index in range(data_type.num_fields))

    return any(holds(field.type) for field in schema)


def holds_map(data_type: pa.DataType) -> bool:
    """Whether a map is in the type, at any depth."""
    return _holds(data_type, pa.types.is_map)


def holds_floating(data_type: pa.DataType) -> bool:
    """Whether floating numbers are in the type, at any depth."""
    return _holds(data_type, pa.types.is_floating)


def _holds(data_type: pa.DataType, kind: Callable[[pa.DataType], bool]) -> bool:
    inner = (data_type.field(index).type for index in range(data_type.num_fields))
    return kind(data_type) or any(_holds(one, kind) for one in inner)
