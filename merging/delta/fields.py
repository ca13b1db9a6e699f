"""A table's columns with the names under which files store them, at every depth (PROTOCOL.md, "Column Mapping")."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

MappingMode = Literal["none", "name", "id"]

STORED_NAME = "delta.columnMapping.physicalName"
"""What the metadata of a mapped column calls the name under which files store it: no rename changes it, and no other
column of the table ever has it."""


@dataclass(frozen=True)
class TableField:
    """A column, or a part of a nested one: its logical name, its stored name, its field id, its type.

    `parts` are the fields of a struct, the one element of a list, or the key and the value of a map.
    """

    name: str
    stored_name: str
    field_id: int | None
    type: pa.DataType
    parts: tuple[TableField, ...] = ()


def table_fields(schema_json: str, schema: pa.Schema, mode: MappingMode) -> tuple[TableField, ...]:
    """The columns of a table whose metaData says `schema_json`; `schema` is the same as pyarrow has it."""
    return _fields(json.loads(schema_json)["fields"], schema, mode)


def _fields(stated: Sequence[Mapping[str, Any]], arrow: Any, mode: MappingMode) -> tuple[TableField, ...]:
    found = []
    for place, item in enumerate(stated):
        metadata = item.get("metadata") or {}
        name, data_type = item["name"], arrow.field(place).type
        stored, identity = name, None
        if mode != "none":
            stored = metadata.get(STORED_NAME, name)
            identity = metadata.get("delta.columnMapping.id")
        found.append(TableField(name, stored, identity, data_type, _parts(item["type"], data_type, mode)))
    return tuple(found)


def _parts(stated: Any, arrow: pa.DataType, mode: MappingMode) -> tuple[TableField, ...]:
    if not isinstance(stated, Mapping):
        return ()
    if stated["type"] == "struct":
        return _fields(stated["fields"], arrow, mode)
    if stated["type"] == "array":
        inner = arrow.value_type
        return (TableField("element", "element", None, inner, _parts(stated["elementType"], inner, mode)),)
    key, value = arrow.key_type, arrow.item_type
    return (
        TableField("key", "key", None, key, _parts(stated["keyType"], key, mode)),
        TableField("value", "value", None, value, _parts(stated["valueType"], value, mode)),
    )


def stored_names(schema_json: str) -> dict[str, str]:
    """The names under which files store the columns, by their own, where the table has column mapping; {} where not."""
    found = {}
    for field in json.loads(schema_json)["fields"]:
        stored = (field.get("metadata") or {}).get(STORED_NAME)
        if stored is not None:
            found[field["name"]] = str(stored)
    return found
