"""Rows as dictionaries in the form that the API takes: JSON in which no value loses a digit (docs/api.md, "Values")."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from headgate.errors import ContentUnusable


def json_line(row: Any, number: int) -> str:
    """One row as one line. Raises ``ContentUnusable``, naming the row and the member."""
    if not isinstance(row, Mapping):
        raise ContentUnusable(f"Row {number} is no dictionary but {type(row).__name__}.")
    fields = {}
    for name, value in row.items():
        if not isinstance(name, str):
            raise ContentUnusable(f"Row {number} names a column by {name!r}, which is no text.")
        fields[name] = _json_value(value, f"Row {number}, {name}")
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"


def json_value(value: Any) -> Any:
    """A value in the API's form: decimals, dates, timestamps and bytes as text. Raises ``ContentUnusable``."""
    return _json_value(value, "The value")


def _json_value(value: Any, place: str) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return _timestamp(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "0x" + bytes(value).hex()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _json_value(inner, f"{place}.{name}") for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner, place) for inner in value]
    if hasattr(value, "item"):  # a scalar of numpy
        return _json_value(value.item(), place)
    raise ContentUnusable(f"{place} is {type(value).__name__}, which no column can hold.")


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _timestamp(value: datetime) -> str:
    """With its offset turned to UTC; a naive one is left as it is."""
    if value.tzinfo is not None:
        value = value.astimezone(timezone.utc)
    return value.isoformat()
