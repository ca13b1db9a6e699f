"""What the engine knows of column types: cell equality, cell fingerprints, keys, allowed widenings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from merging.delta import duckdb_type, literal, quote
from merging.delta.schema import delta_type
from merging.errors import InvalidKeys

LARGEST_DECIMAL = 38
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


def is_nested(data_type: pa.DataType) -> bool:
    """Whether the column holds structs, lists or maps (merged as whole cells)."""
    return bool(pa.types.is_nested(data_type))


def check_key_columns(
    schema: pa.Schema, primary_keys: list[str], compared_otherwise: Mapping[str, str] | None = None
) -> None:
    """Raise InvalidKeys unless the named columns exist and can identify rows.

    ``compared_otherwise``: columns whose values the table's other writers do not compare as they are stored, and why:
    two keys that differ here may be one key there.
    """
    if not primary_keys:
        raise InvalidKeys("No key columns were named: a merge needs at least one.")
    if len(set(primary_keys)) != len(primary_keys):
        raise InvalidKeys("A key column is named twice.", data={"columns": primary_keys})
    missing = [name for name in primary_keys if name not in schema.names]
    if missing:
        raise InvalidKeys(
            f"The table has no column {', '.join(missing)}; its columns are {', '.join(schema.names)}.",
            data={"missing": missing},
        )
    for name in primary_keys:
        data_type = schema.field(name).type
        if pa.types.is_floating(data_type):
            raise InvalidKeys(
                f"Column {name} is a {type_name(data_type)}: floating point numbers cannot be keys, since values "
                "that print alike may differ. Use a whole number, decimal, text, date or timestamp column.",
                data={"columns": [name]},
            )
        if is_nested(data_type):
            raise InvalidKeys(
                f"Column {name} is a {type_name(data_type)}: structs, arrays and maps cannot be keys.",
                data={"columns": [name]},
            )
        if compared_otherwise and name in compared_otherwise:
            raise InvalidKeys(
                f"Column {name} cannot be a key: it is a column {compared_otherwise[name]}, so keys that differ in the "
                "table's files are one key to Spark. Use another column, or one of type string.",
                data={"columns": [name]},
            )


def _holds_map(data_type: pa.DataType) -> bool:
    if pa.types.is_map(data_type):
        return True
    return any(_holds_map(data_type.field(index).type) for index in range(data_type.num_fields))


def comparable(expression: str, data_type: pa.DataType, depth: int = 0) -> str:
    """SQL of a value that is equal exactly when the cell is: maps as sorted entries, all else as it is.

    DuckDB's own equality already has NaN = NaN, +0 = −0 and binary text comparison.
    """
    if not _holds_map(data_type):
        return expression
    item = f"item{depth}"
    if pa.types.is_map(data_type):
        value = comparable(f"{item}.value", data_type.item_type, depth + 1)
        entry = f"struct_pack(k := {item}.key, v := {value})"
        entries = f"list_sort(list_transform(map_entries({expression}), lambda {item}: {entry}))"
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE {entries} END"
    if pa.types.is_struct(data_type):
        parts = ", ".join(
            f"{quote(field.name)} := "
            + comparable(f"struct_extract({expression}, {literal(field.name)})", field.type, depth + 1)
            for field in data_type
        )
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({parts}) END"
    inner = comparable(item, data_type.value_type, depth + 1)
    return f"list_transform({expression}, lambda {item}: {inner})"


def differs(left: str, right: str, data_type: pa.DataType) -> str:
    """SQL predicate: the two cells hold different values (NULL is a value here)."""
    return f"({comparable(left, data_type)} IS DISTINCT FROM {comparable(right, data_type)})"


def fingerprint(expression: str, data_type: pa.DataType) -> str:
    """SQL text that stands for a cell's value: equal cells have equal texts and no two values share one."""
    if is_text(data_type):
        text = f"concat(strlen({expression}), ':', {expression})"
    elif pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type):
        text = f"hex({expression})"
    elif pa.types.is_timestamp(data_type):
        # The last microsecond of all is infinite to DuckDB, and has no number there.
        text = f"coalesce(epoch_us({expression})::VARCHAR, {expression}::VARCHAR)"
    elif pa.types.is_floating(data_type):
        text = f"({expression} + 0)::VARCHAR"
    elif is_nested(data_type):
        nested = f"({comparable(expression, data_type)})::VARCHAR"
        text = f"concat(strlen({nested}), ':', {nested})"
    else:
        text = f"{expression}::VARCHAR"
    return f"CASE WHEN {expression} IS NULL THEN '~' ELSE {text} END"


def digest_of(fingerprints: list[str]) -> str:
    """SQL of the SHA-256 (hex) over several fingerprints."""
    return f"sha256(concat_ws('|', {', '.join(fingerprints)}))"


def can_widen(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every value of ``old`` is a value of ``new`` (PROTOCOL.md, "Type Widening", type changes)."""
    if old == new:
        return True
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


def cast(expression: str, source: pa.DataType, target: pa.DataType) -> str:
    """SQL of a value of one column type as another; NULL where it does not fit."""
    if source == target:
        return expression
    return f"TRY_CAST({expression} AS {duckdb_type(target)})"


def null_of(data_type: pa.DataType) -> str:
    """SQL of a typed NULL."""
    return f"NULL::{duckdb_type(data_type)}"


def any_of(conditions: Sequence[str]) -> str:
    """SQL predicate: one of the conditions holds."""
    return f"({' OR '.join(conditions)})" if conditions else "false"
