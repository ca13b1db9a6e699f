"""One value, one form: how each value that a Delta table may hold leaves and comes back, exactly.

| type | Python | JSON and text |
|---|---|---|
| byte, short, integer, long | int | a whole number |
| float, double | float | a number; ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` |
| decimal | Decimal | text with all its decimals and no exponent: ``"0.50"`` |
| boolean | bool | ``true``, ``false`` |
| string | str | text |
| binary | bytes | text: ``0x`` and two hexadecimal digits a byte |
| date | date or FarDate | ISO 8601: ``"2024-02-01"``, ``"+12000-01-01"``, ``"-0005-03-01"`` |
| timestamp | datetime in UTC or FarMoment | ``"2024-02-01T13:45:00.250000+00:00"`` |
| timestamp_ntz | naive datetime or FarMoment | ``"2024-02-01T13:45:00.250000"`` |
| struct | dict | an object |
| array | list | an array |
| map | dict; pairs where keys are nested | an object by the keys' text; ``[[key, value], …]`` where keys are nested |

What goes out (``json_form``, ``text_form``) comes back through ``parsing.cell_value`` or, where all is text,
``read_text``: in uploads, filters, choices, keys and cursors alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from merging.sql.moments import (
    FIRST_DAY,
    FIRST_MOMENT,
    LAST_DAY,
    LAST_MOMENT,
    FarDate,
    FarMoment,
    date_of,
    days_of,
    microseconds_of,
    moment_of,
)
from merging.sql.parsing import NumberText, Refused, cell_value
from merging.sql.quoting import literal, quote
from merging.sql.types import duckdb_type, is_nested, is_text, simple_type

# ---- out --------------------------------------------------------------------------------------------------------


def json_form(value: Any) -> Any:
    """A cell as a JSON value; nothing is rounded."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _float_name(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date | FarDate | FarMoment):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return f"0x{bytes(value).hex()}"
    if isinstance(value, Mapping):
        return {text_form(key): json_form(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_form(item) for item in value]
    return str(value)


def text_form(value: Any) -> str:
    """A cell as text: what a CSV cell, a form, a filter and a map's key hold for it. NULL has none: empty text."""
    form = json_form(value)
    if form is None:
        return ""
    if isinstance(form, str):
        return form
    return json.dumps(form, ensure_ascii=False, separators=(",", ":"))


def _float_name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# ---- in ---------------------------------------------------------------------------------------------------------


def read_text(text: str, data_type: pa.DataType) -> Any:
    """The value of a cell's text. Raises Refused with a full sentence."""
    if not is_nested(data_type):
        return cell_value(text, data_type)
    try:
        return cell_value(
            json.loads(text, parse_int=NumberText, parse_float=NumberText, parse_constant=_no_constant),
            data_type,
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused("the cell is not valid JSON.") from error


def typed_value(value: Any, type_name: str) -> Any:
    """A JSON value, or the text of a cell, as a value of a simple Delta type by its name (``decimal(38,12)``).

    Raises Refused with a full sentence.
    """
    return cell_value(value, simple_type(type_name))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


# ---- Arrow ------------------------------------------------------------------------------------------------------


def python_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The cells of an Arrow column as plain Python values, whatever they hold."""
    data_type = column.type
    numbered = _by_number(data_type)
    if numbered == data_type and not _holds_map(data_type):
        return list(column.to_pylist())
    if not is_nested(data_type) and fits_python(column):
        return list(column.to_pylist())
    return [_from_numbers(value, data_type) for value in column.cast(numbered).to_pylist()]


def arrow_values(values: Iterable[Any], data_type: pa.DataType) -> pa.Array:
    """Values typed by ``cell_value`` as an Arrow array of the column's type."""
    numbered = _by_number(data_type)
    if numbered == data_type:
        return pa.array(values, data_type)
    return pa.array([_to_numbers(value, data_type) for value in values], numbered).cast(data_type)


def stored_value(value: Any, data_type: pa.DataType) -> Any:
    """A value typed by ``cell_value`` as it comes back from a column of the type."""
    [stored] = python_values(arrow_values([value], data_type))
    return stored


def _by_number(data_type: pa.DataType) -> pa.DataType:
    """The type with days and moments as the numbers that they are."""
    if pa.types.is_date32(data_type):
        return pa.int32()
    if pa.types.is_timestamp(data_type):
        return pa.int64()
    if pa.types.is_struct(data_type):
        return pa.struct([field.with_type(_by_number(field.type)) for field in data_type])
    if pa.types.is_map(data_type):
        return pa.map_(_by_number(data_type.key_type), _by_number(data_type.item_type))
    if pa.types.is_list(data_type):
        return pa.list_(data_type.value_field.with_type(_by_number(data_type.value_type)))
    if pa.types.is_large_list(data_type):
        return pa.large_list(data_type.value_field.with_type(_by_number(data_type.value_type)))
    return data_type


def _holds_map(data_type: pa.DataType) -> bool:
    if pa.types.is_map(data_type):
        return True
    return any(_holds_map(data_type.field(index).type) for index in range(data_type.num_fields))


def fits_python(column: pa.ChunkedArray | pa.Array) -> bool:
    """Whether all days or moments of the column lie in Python's calendar."""
    data_type = column.type
    bounds = pc.min_max(column.cast(_by_number(data_type))).as_py()
    if bounds["min"] is None:
        return True
    first, last = (FIRST_DAY, LAST_DAY) if pa.types.is_date32(data_type) else (FIRST_MOMENT, LAST_MOMENT)
    return bool(first <= bounds["min"] and bounds["max"] <= last)


def _from_numbers(value: Any, data_type: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_date32(data_type):
        return date_of(value)
    if pa.types.is_timestamp(data_type):
        return moment_of(value, zoned=data_type.tz is not None)
    if pa.types.is_map(data_type):
        pairs = [
            (_from_numbers(key, data_type.key_type), _from_numbers(item, data_type.item_type))
            for key, item in value
        ]
        if is_nested(data_type.key_type):
            return pairs
        found = dict(pairs)
        return found if len(found) == len(pairs) else pairs
    if pa.types.is_struct(data_type):
        return {field.name: _from_numbers(value[field.name], field.type) for field in data_type}
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return [_from_numbers(item, data_type.value_type) for item in value]
    return value


def _to_numbers(value: Any, data_type: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_date32(data_type):
        return days_of(value)
    if pa.types.is_timestamp(data_type):
        return microseconds_of(value)
    if pa.types.is_map(data_type):
        pairs = value.items() if isinstance(value, Mapping) else value
        return [
            (_to_numbers(key, data_type.key_type), _to_numbers(item, data_type.item_type))
            for key, item in pairs
        ]
    if pa.types.is_struct(data_type):
        return {field.name: _to_numbers(value[field.name], field.type) for field in data_type}
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return [_to_numbers(item, data_type.value_type) for item in value]
    return value


# ---- SQL --------------------------------------------------------------------------------------------------------


def sql_form(value: Any, data_type: pa.DataType) -> str:
    """A value typed by ``cell_value`` as an SQL constant of the column's type."""
    kind = duckdb_type(data_type)
    if value is None:
        return f"NULL::{kind}"
    if is_text(data_type):
        # DuckDB's parser ends at U+0000.
        return "(" + " || chr(0) || ".join(literal(part) for part in value.split("\x00")) + ")"
    if isinstance(value, bytes):
        return f"unhex('{value.hex()}')"
    if pa.types.is_date32(data_type):
        return f"make_date({days_of(value)})"
    if pa.types.is_timestamp(data_type):
        return _moment_sql(microseconds_of(value), kind)
    if pa.types.is_map(data_type):
        pairs = list(value.items() if isinstance(value, Mapping) else value)
        keys = ", ".join(sql_form(key, data_type.key_type) for key, _ in pairs)
        items = ", ".join(sql_form(item, data_type.item_type) for _, item in pairs)
        key_list, item_list = duckdb_type(data_type.key_type), duckdb_type(data_type.item_type)
        return f"MAP([{keys}]::{key_list}[], [{items}]::{item_list}[])"
    if pa.types.is_struct(data_type):
        fields = ", ".join(
            f"{quote(field.name)} := {sql_form(value[field.name], field.type)}" for field in data_type
        )
        return f"struct_pack({fields})::{kind}"
    if is_nested(data_type):
        return f"[{', '.join(sql_form(item, data_type.value_type) for item in value)}]::{kind}"
    return f"{literal(text_form(value))}::{kind}"


def _moment_sql(microseconds: int, kind: str) -> str:
    if abs(microseconds) == 2**63 - 1:  # which DuckDB takes for its infinities
        return f"'{'-' if microseconds < 0 else ''}infinity'::{kind}"
    function = "make_timestamptz" if kind == "TIMESTAMP WITH TIME ZONE" else "make_timestamp"
    return f"{function}({microseconds})"
