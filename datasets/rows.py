"""Cell values between Python and JSON, exactly: what the database, the API and forms exchange.

Whole numbers, text, booleans and NULL are themselves. Decimals, dates, timestamps and bytes become text (bytes as
base64), floats that JSON cannot say become ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import merging
from datasets.errors import InvalidInput


def json_value(value: Any) -> Any:
    """A cell as a JSON value; nothing is rounded."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return str(value)


def json_row(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A row as JSON values by column name; None stays None."""
    return None if row is None else {name: json_value(value) for name, value in row.items()}


def storable(value: Any) -> Any:
    """JSON values with the character U+0000, which a cell may hold and PostgreSQL may not, shown as U+2400."""
    if isinstance(value, str):
        return value.replace("\x00", "\u2400")
    if isinstance(value, Mapping):
        return {storable(name): storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value


def parse_json(text: str, field: str) -> Any:
    """What people send as JSON in one field. Raises ``InvalidInput``."""
    try:
        return merging.read_json(text)
    except ValueError as error:
        raise InvalidInput(str(error), errors={field: [str(error)]}) from error


def key_digest(key: Mapping[str, Any]) -> str:
    """A short, exact name for a key, whatever its columns hold."""
    text = json.dumps(json_row(key), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def column_types(schema_json: Mapping[str, Any]) -> dict[str, str]:
    """Column name -> Delta type name, from a table's schema; nested types by their kind."""
    return {
        field["name"]: field["type"] if isinstance(field["type"], str) else field["type"]["type"]
        for field in schema_json["fields"]
    }


def typed_key(key: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """A key from JSON as Python values of the table's column types.

    Raises ``InvalidInput`` naming the column whose value does not fit.
    """
    typed = {}
    for name, value in key.items():
        if name not in types:
            raise InvalidInput(f"The table has no column {name}.")
        try:
            typed[name] = _typed(value, types[name])
        except (ValueError, ArithmeticError, TypeError):
            raise InvalidInput(f"{value!r} is no {types[name]} for the key column {name}.") from None
    return typed


def _typed(value: Any, type_name: str) -> Any:
    if not isinstance(value, str) or type_name == "string":
        return value
    if type_name in ("byte", "short", "integer", "long"):
        return int(value)
    if type_name.startswith("decimal"):
        return Decimal(value)
    if type_name == "date":
        return date.fromisoformat(value)
    if type_name == "timestamp":
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if type_name == "timestamp_ntz":
        return datetime.fromisoformat(value)
    if type_name == "binary":
        return base64.b64decode(value, validate=True)
    if type_name == "boolean":
        words = {"true": True, "false": False}
        if value.lower() not in words:
            raise ValueError(value)
        return words[value.lower()]
    return value
