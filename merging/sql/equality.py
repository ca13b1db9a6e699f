"""When two cells are equal, in SQL and in Python, and the fingerprints and digests that stand for cells."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from merging.sql.quoting import literal, quote
from merging.sql.types import holds_floating, holds_map, is_nested, is_text


def comparable(expression: str, data_type: pa.DataType, depth: int = 0, *, one_zero: bool = False) -> str:
    """SQL of a value that is equal exactly when the cell is: maps as sorted entries, all else as it is.

    DuckDB's own equality already has NaN = NaN, +0 = −0 and binary text comparison. Texts do not: with ``one_zero``
    equal values have equal texts, too.
    """
    if not (holds_map(data_type) or (one_zero and holds_floating(data_type))):
        return expression
    if pa.types.is_floating(data_type):
        return f"({expression} + 0)"
    item = f"item{depth}"
    if pa.types.is_map(data_type):
        key = comparable(f"{item}.key", data_type.key_type, depth + 1, one_zero=one_zero)
        value = comparable(f"{item}.value", data_type.item_type, depth + 1, one_zero=one_zero)
        entry = f"struct_pack(k := {key}, v := {value})"
        entries = f"list_sort(list_transform(map_entries({expression}), lambda {item}: {entry}))"
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE {entries} END"
    if pa.types.is_struct(data_type):
        parts = ", ".join(
            f"{quote(field.name)} := "
            + comparable(
                f"struct_extract({expression}, {literal(field.name)})",
                field.type,
                depth + 1,
                one_zero=one_zero,
            )
            for field in data_type
        )
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({parts}) END"
    inner = comparable(item, data_type.value_type, depth + 1, one_zero=one_zero)
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
    elif is_nested(data_type):
        nested = f"({comparable(expression, data_type, one_zero=True)})::VARCHAR"
        text = f"concat(strlen({nested}), ':', {nested})"
    else:
        text = f"{comparable(expression, data_type, one_zero=True)}::VARCHAR"
    return f"CASE WHEN {expression} IS NULL THEN '~' ELSE {text} END"


def digest_of(fingerprints: list[str]) -> str:
    """SQL of the SHA-256 (hex) over several fingerprints."""
    return f"sha256(concat_ws('|', {', '.join(fingerprints)}))"


def same_value(left: Any, right: Any) -> bool:
    """Cell equality of plain Python values: NaN equals NaN, +0 equals −0, no type is mixed with another."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (left != left and right != right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            same_value(one, other) for one, other in zip(left, right, strict=True)
        )
    if isinstance(left, tuple) and isinstance(right, tuple):  # an entry of a map with nested keys
        return same_value(list(left), list(right))
    return bool(left == right)
