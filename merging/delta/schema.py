"""Delta schemas (PROTOCOL.md, "Schema Serialization Format") as exact pyarrow schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from merging.delta.damage import Damaged, fields_of, text_of
from merging.errors import UnsupportedTable
from merging.sql.types import simple_type


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
