"""Column mapping on the way out: stored names and field ids at every depth, and those of columns that are new.

Source: PROTOCOL.md, "Column Mapping", "Writer Requirements for Column Mapping". Without mapping the stored names are
the logical ones and files carry no ids, so everything that writes goes through here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from merging.delta.fields import STORED_NAME, TableField
from merging.delta.rules import parts_within
from merging.delta.snapshot import Snapshot
from merging.errors import UnsupportedTable
from merging.sql.quoting import column_sql, literal, quote
from merging.sql.types import delta_field, delta_type

_ID = "delta.columnMapping.id"
_LARGEST_ID = "delta.columnMapping.maxColumnId"


def stored_sql(rows: str, fields: Sequence[TableField], *further: str) -> str:
    """The query that gives a data file its content: labels become the names that stand in the file, fields within
    nested columns get theirs."""
    named = [f"{_stored_value(column_sql(one.name), one)} AS {quote(one.stored_name)}" for one in fields]
    return f"SELECT {', '.join([*named, *further])} FROM ({rows})"


def _stored_value(sql: str, field: TableField, depth: int = 0) -> str:
    if not _renames(field):
        return sql
    if pa.types.is_struct(field.type):
        parts = ", ".join(
            f"{quote(part.stored_name)} := "
            + _stored_value(f"struct_extract({sql}, {literal(part.name)})", part, depth)
            for part in field.parts
        )
        # A cast between structs goes by name, and fills with NULL what it does not find.
        return f"CASE WHEN {sql} IS NULL THEN NULL ELSE struct_pack({parts}) END"
    item = f"item{depth}"
    if pa.types.is_map(field.type):
        key, value = field.parts
        pair = (
            f"struct_pack(k := {_stored_value(f'{item}.key', key, depth + 1)}, "
            f"v := {_stored_value(f'{item}.value', value, depth + 1)})"
        )
        entries = f"map_from_entries(list_transform(map_entries({sql}), lambda {item}: {pair}))"
        return f"CASE WHEN {sql} IS NULL THEN NULL ELSE {entries} END"
    [element] = field.parts
    return f"list_transform({sql}, lambda {item}: {_stored_value(item, element, depth + 1)})"


def _renames(field: TableField) -> bool:
    """Whether something within a column is stored under another name."""
    return any(part.name != part.stored_name or _renames(part) for part in field.parts)


def field_ids_sql(fields: Sequence[TableField]) -> str:
    """The option FIELD_IDS of DuckDB's COPY, with a comma in front; nothing where the table has no ids."""
    ids = _ids(fields)
    return f", FIELD_IDS {ids}" if ids else ""


def _ids(fields: Sequence[TableField]) -> str:
    entries = []
    for one in fields:
        inner = _ids(one.parts)
        if one.field_id is not None:
            within = f", {inner[1:-1]}" if inner else ""
            given = f"{{'__duckdb_field_id': {one.field_id}{within}}}" if inner else str(one.field_id)
            entries.append(f"{literal(one.stored_name)}: {given}")
        elif inner:
            entries.append(f"{literal(one.stored_name)}: {inner}")
    return f"{{{', '.join(entries)}}}" if entries else ""


def changed_metadata(snapshot: Snapshot, new_schema: pa.Schema) -> dict[str, Any]:
    """The metaData that gives the table `new_schema`.

    Existing columns keep their metadata, at every depth, and take the new type; new columns come last, are nullable,
    and get stored names and ids of their own where the table maps its columns.
    """
    root = json.loads(snapshot.schema_json)
    known = {item["name"]: item for item in root["fields"]}
    fields = [
        _changed_field(known[column.name], column.type)
        if column.name in known
        else delta_field(column.with_nullable(True))
        for column in new_schema
    ]
    properties = dict(snapshot.properties)
    if snapshot.mapping_mode != "none":
        _give_ids(fields, properties)
    return {
        **snapshot.metadata,
        "schemaString": json.dumps({**root, "fields": fields}, ensure_ascii=False),
        "configuration": properties,
    }


def _changed_field(item: Mapping[str, Any], data_type: pa.DataType) -> dict[str, Any]:
    return {**item, "type": _changed_type(item["type"], data_type)}


def _changed_type(stated: Any, data_type: pa.DataType) -> Any:
    """The type in Delta's JSON, with what is stated of parts that stay."""
    wanted = delta_type(data_type)
    if not isinstance(stated, Mapping) or not isinstance(wanted, Mapping) or stated["type"] != wanted["type"]:
        return wanted
    if stated["type"] == "struct":
        known = {item["name"]: item for item in stated["fields"]}
        return {
            **stated,
            "fields": [
                _changed_field(known[part.name], part.type) if part.name in known else delta_field(part)
                for part in data_type
            ],
        }
    if stated["type"] == "array":
        return {**stated, "elementType": _changed_type(stated["elementType"], data_type.value_type)}
    return {
        **stated,
        "keyType": _changed_type(stated["keyType"], data_type.key_type),
        "valueType": _changed_type(stated["valueType"], data_type.item_type),
    }


def _give_ids(fields: Sequence[dict[str, Any]], properties: dict[str, str]) -> None:
    """Give stored names and ids to the fields that have none, and state the largest id, all in place.

    Raises UnsupportedTable where the table does not state its largest id: a dropped column's could be given again,
    and files still hold it.
    """
    everything: list[Any] = [
        part for item in fields for part in [item, *(inner for _, inner in parts_within(item))]
    ]
    new = [item for item in everything if _ID not in (item.get("metadata") or {})]
    if not new:
        return
    stated = properties.get(_LARGEST_ID, "")
    if not (stated.isdecimal() and len(stated) < 20 and int(stated) + len(new) < 2**31):
        raise UnsupportedTable(
            [f"columnMapping without {_LARGEST_ID}"],
            f"The table maps its columns and does not say which id is its largest ({_LARGEST_ID}), or one after which "
            "there are none, so no column can be added to it.",
        )
    largest = max([int(stated), *(int(item["metadata"][_ID]) for item in everything if item not in new)])
    for item in new:
        largest += 1
        identity = {_ID: largest, STORED_NAME: f"col-{uuid.uuid4()}"}
        item["metadata"] = {**(item.get("metadata") or {}), **identity}
    properties[_LARGEST_ID] = str(largest)
