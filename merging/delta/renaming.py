"""Versions of a table beside one another, whose columns were renamed, dropped or given again between them.

Source: PROTOCOL.md, "Column Mapping": no rename changes the name under which files store a column, or a field within
one, and no other of the table ever has it. So a column of one version is that of another which is stored alike. Letters
in which a name is written do not tell columns apart ("Schema Serialization Format" leaves it open, every writer holds
to it): an overwrite may have them written otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from merging.delta.fields import STORED_NAME, TableField
from merging.delta.schema import delta_schema
from merging.delta.snapshot import Snapshot


def named_as(mine: Snapshot, other: Snapshot) -> Snapshot:
    """A version whose columns, and the fields within them, are called what another version calls those that files store
    alike. Others keep their names, in the letters that the other version has of them; where such a name is that of
    another column there, the column is left out.
    """
    if mine.schema_json == other.schema_json:
        return mine
    is_mapped = mine.mapping_mode != "none"
    root = json.loads(mine.schema_json)
    fields = root["fields"]
    root["fields"] = [*_renamed(fields, json.loads(other.schema_json)["fields"], is_mapped=is_mapped)]
    if [*map(_names, root["fields"])] == [*map(_names, fields)]:
        return mine
    called = {_stored(one): one["name"] for one in root["fields"]}
    stated = json.dumps(root)
    return replace(
        mine if is_mapped else _as_mapped(mine),
        schema=delta_schema(stated),
        schema_json=stated,
        partition_columns=tuple(
            called[stored]
            for stored in (mine.physical_names[name].lower() for name in mine.partition_columns)
            if stored in called
        ),
    )


def _as_mapped(mine: Snapshot) -> Snapshot:
    """A version without column mapping as one that has it, whose files store columns under its own names."""
    reader = max(2, int(mine.protocol.get("minReaderVersion", 1)))
    protocol: dict[str, Any] = {**mine.protocol, "minReaderVersion": reader}
    if reader > 2:
        protocol["readerFeatures"] = [*(mine.protocol.get("readerFeatures") or ()), "columnMapping"]
    return replace(
        mine, protocol=protocol, properties={**mine.properties, "delta.columnMapping.mode": "name"}
    )


def _renamed(
    fields: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], *, is_mapped: bool
) -> Iterator[dict[str, Any]]:
    twins = {_stored(one): one for one in others}
    spelled = {one["name"].lower(): one["name"] for one in others}
    taken = {twins[_stored(one)]["name"].lower() for one in fields if _stored(one) in twins}
    for one in fields:
        twin, name = twins.get(_stored(one)), one["name"].lower()
        if twin is None and name in taken:
            continue
        metadata = one.get("metadata") or {}
        if not is_mapped:
            metadata = {**metadata, STORED_NAME: one["name"]}
        found = {**one, "name": spelled.get(name, one["name"]), "metadata": metadata}
        if twin is not None:
            found["name"] = twin["name"]
            found["type"] = _renamed_within(one["type"], twin["type"], is_mapped=is_mapped)
        yield found


def _renamed_within(mine: Any, other: Any, *, is_mapped: bool) -> Any:
    """The type of a column with the names that its fields have in another version."""
    if not isinstance(mine, Mapping) or not isinstance(other, Mapping) or mine["type"] != other["type"]:
        return mine
    if mine["type"] == "struct":
        return {**mine, "fields": [*_renamed(mine["fields"], other["fields"], is_mapped=is_mapped)]}
    inner = ("elementType",) if mine["type"] == "array" else ("keyType", "valueType")
    return {**mine, **{one: _renamed_within(mine[one], other[one], is_mapped=is_mapped) for one in inner}}


def _stored(field: Mapping[str, Any]) -> str:
    return str((field.get("metadata") or {}).get(STORED_NAME, field["name"])).lower()


def _names(field: Mapping[str, Any]) -> Any:
    """What a column and the fields within it are called."""

    def within(kind: Any) -> Any:
        if not isinstance(kind, Mapping):
            return None
        if kind["type"] == "struct":
            return [*map(_names, kind["fields"])]
        return [within(kind.get(one)) for one in ("elementType", "keyType", "valueType")]

    return field["name"], within(field["type"])


def stored_otherwise(older: Snapshot, newer: Snapshot, names: Collection[str]) -> bool:
    """Whether one of these columns of a version, or a field within one, is another one in a newer version, or none:
    then what both show of the same file differs.
    """
    others = {one.name: one for one in newer.fields}
    return any(_is_another(one, others.get(one.name)) for one in older.fields if one.name in names)


def _is_another(older: TableField, newer: TableField | None) -> bool:
    if newer is None or newer.stored_name != older.stored_name:
        return True
    parts = {one.name: one for one in newer.parts}
    return any(_is_another(one, parts.get(one.name)) for one in older.parts)
