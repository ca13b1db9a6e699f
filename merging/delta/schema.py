"""Delta schemas (PROTOCOL.md, "Schema Serialization Format") as exact pyarrow schemas and DuckDB types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from merging.delta.damage import Damaged, fields_of, text_of
from merging.errors import UnsupportedTable

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

_UNSAFE_IN_LABELS = re.compile(r"[^a-z0-9_]+")

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


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column_label(name: str) -> str:
    """What a column of the user's is called in every relation of the engine: ``u_`` and the name, all but small
    letters, digits and underscores spelled as ``~`` and hexadecimal bytes.

    No two names share a label, whatever their case, and no label is a name that the engine or DuckDB uses itself: a
    user's column can neither shadow one of theirs nor be shadowed. Only the SELECT right above a data file and the
    one that writes a file know stored names.
    """
    return "u_" + _UNSAFE_IN_LABELS.sub(
        lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode("utf-8", "surrogatepass")), name
    )


def column_named(label: str) -> str:
    """The name that a label stands for."""
    spelled = re.sub(r"~([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), label.removeprefix("u_"))
    return spelled.encode("latin-1").decode("utf-8", "surrogatepass")


def column_sql(name: str) -> str:
    """SQL of a column of the user's, in every relation of the engine."""
    return quote(column_label(name))


def literal(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def delta_schema(schema_json: str) -> pa.Schema:
    """The logical schema of a table from metaData.schemaString.

    Raises UnsupportedTable for a type we lack, Damaged (a TableChanged) for what is no schema.
    """
    try:
        root = fields_of(json.loads(schema_json), "the schema")
        return pa.schema(_fields(root, ""))
    except RecursionError as error:
        raise Damaged("the schema is nested too deeply") from error
    except ValueError as error:
        raise Damaged(f"the schema is no JSON ({error})") from error


def _fields(struct: Mapping[str, Any], inside: str) -> list[pa.Field]:
    what = f"struct {inside}" if inside else "the schema"
    stated = struct.get("fields")
    if not isinstance(stated, list):
        raise Damaged(f"{what} has no list of fields")
    fields = [_field(field, what, inside) for field in stated]
    names = [field.name.lower() for field in fields]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Damaged(f"{what} has two fields called {twice!r} (without regard to case)")
    if inside and not fields:
        raise UnsupportedTable([f"column type struct without fields ({inside})"])
    return fields


def _field(field: Any, what: str, inside: str) -> pa.Field:
    stated = fields_of(field, f"a field of {what}")
    name = text_of(stated, "name", f"a field of {what}")
    if "\0" in name or name != name.encode("utf-8", "replace").decode():
        raise Damaged(f"a field of {what} has the name {name!r}, which is no text that can be stored")
    column = f"{inside}.{name}" if inside else name
    if stated.get("metadata") is not None:
        fields_of(stated["metadata"], f"metadata of column {column}")
    return pa.field(name, _type(stated.get("type"), column), nullable=_flag(stated, "nullable", column))


def _flag(stated: Mapping[str, Any], name: str, column: str) -> bool:
    """Whether NULLs may be there, which they may where it is not said."""
    value = stated.get(name, True)
    if not isinstance(value, bool):
        raise Damaged(f"{name} of column {column} is neither true nor false")
    return value


def _type(delta: Any, column: str) -> pa.DataType:
    if isinstance(delta, str):
        return simple_type(delta)
    if not isinstance(delta, dict):
        raise Damaged(f"column {column} has no type")
    kind = delta.get("type")
    if kind == "struct":
        return pa.struct(_fields(delta, column))
    if kind == "array":
        inner = _type(delta.get("elementType"), f"{column}.element")
        return pa.list_(pa.field("element", inner, nullable=_flag(delta, "containsNull", column)))
    if kind == "map":
        key = _type(delta.get("keyType"), f"{column}.key")
        inner = _type(delta.get("valueType"), f"{column}.value")
        return pa.map_(key, pa.field("value", inner, nullable=_flag(delta, "valueContainsNull", column)))
    raise UnsupportedTable([f"column type {kind}"])


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
