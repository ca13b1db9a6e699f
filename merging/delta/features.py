"""What a table's protocol asks of readers and writers, and whether we can do it.

Source: PROTOCOL.md, "Table Features" and "Valid Feature Names in Table Features". Protocol versions below
(3, 7) imply features; a feature counts only where the table uses it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from merging.delta.damage import Damaged, number_of
from merging.delta.fields import STORED_NAME
from merging.errors import UnsupportedTable
from merging.sql.types import can_widen, simple_type

_READABLE = frozenset(
    {
        "columnMapping",
        "deletionVectors",
        "timestampNtz",
        "v2Checkpoint",
        "vacuumProtocolCheck",
        "typeWidening",
        "typeWidening-preview",
        "variantType",  # listed by delta-rs in tables without such a column; the schema refuses the column
        "variantType-preview",
    }
)
# Features that ask nothing of a commit like ours, whatever the table's settings.
_HARMLESS = frozenset(
    {
        "allowColumnDefaults",
        "appendOnly",
        "changeDataFeed",
        "checkpointProtection",
        "columnMapping",
        "deletionVectors",
        "checkConstraints",
        "clustering",
        "domainMetadata",
        "generatedColumns",
        "identityColumns",
        "inCommitTimestamp",
        "invariants",
        "rowTracking",
        "timestampNtz",
        "typeWidening",
        "typeWidening-preview",
        "v2Checkpoint",
        "vacuumProtocolCheck",
        "variantType",
        "variantType-preview",
    }
)


@dataclass(frozen=True)
class Requirements:
    """What a writer owes the table. `refused`: what we cannot do, by the names of features and expressions."""

    deletion_vectors: bool
    change_data_feed: bool
    append_only: bool
    in_commit_timestamps: bool
    refused: tuple[str, ...]
    in_use: tuple[str, ...]


def require_readable(protocol: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Raise UnsupportedTable when the table cannot be read right."""
    reader = int(protocol.get("minReaderVersion", 1))
    if reader > 3:
        raise UnsupportedTable([f"reader version {reader}"])
    unknown = set(protocol.get("readerFeatures") or ()) - _READABLE if reader == 3 else set()
    if unknown:
        raise UnsupportedTable(
            sorted(unknown),
            f"Headgate cannot read this table; it uses: {_list(unknown)}.{what_to_do(unknown)}",
        )
    file_format = (metadata.get("format") or {}).get("provider", "parquet")
    if file_format != "parquet":
        raise UnsupportedTable([f"file format {file_format}"])


def what_to_do(refused: Iterable[str]) -> str:
    """What an owner can do about features that are refused, as sentences with a blank in front; nothing for what is no
    feature that can be dropped: that says itself what it wants."""
    advice = []
    for name in sorted(refused):
        if name.startswith(("catalogManaged", "catalogOwned")):
            advice.append(
                f" {name}: only its catalogue may write such a table; copy it to one without the feature."
            )
        elif re.fullmatch(r"[A-Za-z0-9]+(-preview)?", name):
            advice.append(f" Where it can do without: ALTER TABLE … DROP FEATURE `{name}`.")
    return "".join(advice)


def require_partitions(schema: pa.Schema, partition_columns: Sequence[str]) -> None:
    """Raise Damaged where the partition columns are none of the schema's, UnsupportedTable for nested ones."""
    names = set(schema.names)
    for position, name in enumerate(partition_columns):
        if name not in names:
            raise Damaged(f"partitionColumns names {name!r}, which is no column")
        if name in partition_columns[:position]:
            raise Damaged(f"partitionColumns names {name!r} twice")
        if pa.types.is_nested(schema.field(name).type):
            raise UnsupportedTable([f"partition column {name} of a nested type"])


def require_mapping(schema_json: str, mode: str) -> None:
    """Raise Damaged where mapped columns share a stored name or have none, UnsupportedTable for an unknown mode."""
    if mode == "none":
        return
    if mode not in ("name", "id"):
        raise UnsupportedTable([f"column mapping mode {mode}"])
    _require_stored_names(json.loads(schema_json))


def _require_stored_names(node: Any) -> None:
    if not isinstance(node, dict):
        return
    stored: set[str] = set()
    for item in node.get("fields", ()):
        metadata = item.get("metadata") or {}
        name = metadata.get(STORED_NAME, item["name"])
        if not isinstance(name, str) or name in stored:
            raise Damaged(f"column {item['name']} is stored under {name!r}, which is no name of its own")
        if metadata.get("delta.columnMapping.id") is not None:
            number_of(metadata, "delta.columnMapping.id", f"column {item['name']}")
        stored.add(name)
        _require_stored_names(item["type"])
    for part in ("elementType", "keyType", "valueType"):
        _require_stored_names(node.get(part))


def required_by(
    protocol: Mapping[str, Any],
    properties: Mapping[str, str],
    schema_json: str,
    partition_columns: Sequence[str],
    refused_rules: Sequence[str] = (),
) -> Requirements:
    """The requirements of a table with this protocol, properties and schema; `refused_rules` are what it says of its
    rows and files elsewhere (expressions, domains) that cannot be judged."""
    writer = int(protocol.get("minWriterVersion", 1))
    listed = supported_features(protocol)
    fields = list(_walk(json.loads(schema_json)))
    field_metadata = [item.get("metadata") or {} for item in fields]
    vectors = "deletionVectors" in listed and _on(properties, "delta.enableDeletionVectors")

    in_use: set[str] = set()
    refused: list[str] = list(refused_rules)
    if writer > 7:
        refused.append(f"writer version {writer}")
    if any(name.startswith("delta.constraints.") for name in properties):
        in_use.add("checkConstraints")
    if any("delta.invariants" in entry for entry in field_metadata):
        in_use.add("invariants")
    if any("delta.generationExpression" in entry for entry in field_metadata):
        in_use.add("generatedColumns")
    refused += _refused_mapping(mapping_mode(protocol, properties), fields, in_use)
    if any("delta.identity.start" in entry for entry in field_metadata):
        in_use.add("identityColumns")
    if any("CURRENT_DEFAULT" in entry for entry in field_metadata):
        in_use.add("allowColumnDefaults")
    in_use |= listed & {"clustering", "rowTracking"}
    timestamps = "inCommitTimestamp" in listed and _on(properties, "delta.enableInCommitTimestamps")
    if timestamps:
        in_use.add("inCommitTimestamp")
    refused += _refused_changes(fields, in_use)
    if any(item.get("type") == "binary" and item.get("name") in partition_columns for item in fields):
        refused.append("partition column of type binary")
    refused += sorted(listed - _HARMLESS - set(refused))

    in_use |= set(refused)
    if vectors:
        in_use.add("deletionVectors")
    feed = _on(properties, "delta.enableChangeDataFeed")
    if feed:
        in_use.add("changeDataFeed")
    append_only = _on(properties, "delta.appendOnly")
    if append_only:
        in_use.add("appendOnly")
    return Requirements(vectors, feed, append_only, timestamps, tuple(refused), tuple(sorted(in_use)))


def mapping_mode(protocol: Mapping[str, Any], properties: Mapping[str, str]) -> str:
    """The table's column mapping as its property says it: `none`, `name`, `id`, or a word that we do not know.

    "The table property should only be honored if the table's protocol … support[s] the columnMapping table feature"
    (PROTOCOL.md, "Column Mapping"): delta-rs makes tables that have the one without the other.
    """
    reader = int(protocol.get("minReaderVersion", 1))
    if reader < 2 or (reader >= 3 and "columnMapping" not in (protocol.get("readerFeatures") or ())):
        return "none"
    return str(properties.get("delta.columnMapping.mode", "none")).lower()


def _refused_mapping(mode: str, fields: Sequence[Mapping[str, Any]], in_use: set[str]) -> list[str]:
    """What stands in the way of writing under the table's column mapping (PROTOCOL.md, "Column Mapping")."""
    if mode == "none":
        return []
    in_use.add("columnMapping")
    without = [
        item["name"] for item in fields if "delta.columnMapping.id" not in (item.get("metadata") or {})
    ]
    return [f"columnMapping without an id for {name}" for name in without]


def _refused_changes(fields: Sequence[Mapping[str, Any]], in_use: set[str]) -> list[str]:
    """The changes of types after which files cannot be read as the table has its columns now, by name.

    Source: PROTOCOL.md, "Type Widening", "Type Change Metadata" and "Supported Type Changes".
    """
    refused = []
    for item in fields:
        changes = (item.get("metadata") or {}).get("delta.typeChanges")
        if changes is None:
            continue
        in_use.add("typeWidening")
        refused += [
            f"typeWidening of {item['name']} by {json.dumps(change)}"
            for change in (changes if isinstance(changes, list) else [changes])
            if not _is_widening(change)
        ]
    return refused


def _is_widening(change: Any) -> bool:
    try:
        return can_widen(simple_type(change["fromType"]), simple_type(change["toType"]))
    except (UnsupportedTable, LookupError, TypeError):
        return False


def supported_features(protocol: Mapping[str, Any]) -> set[str]:
    """The features that whoever writes the table must support: listed ones, or those that an old version implies."""
    writer = int(protocol.get("minWriterVersion", 1))
    return set(protocol.get("writerFeatures") or ()) if writer >= 7 else _implied(writer)


def _implied(writer: int) -> set[str]:
    implied: set[str] = set()
    for version, names in {
        2: ("appendOnly", "invariants"),
        3: ("checkConstraints",),
        4: ("changeDataFeed", "generatedColumns"),
        5: ("columnMapping",),
        6: ("identityColumns",),
    }.items():
        if writer >= version:
            implied.update(names)
    return implied


def upgraded_protocol(
    protocol: Mapping[str, Any], reader_features: set[str], writer_features: set[str]
) -> dict[str, Any]:
    """The protocol with more features, what its old versions implied listed by name."""
    reader = int(protocol.get("minReaderVersion", 1))
    readers = set(protocol.get("readerFeatures") or ())
    if reader == 2:
        readers.add("columnMapping")
    writers = supported_features(protocol)
    upgraded: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": 7}
    readers |= reader_features
    writers |= writer_features
    if readers:
        upgraded |= {"minReaderVersion": 3, "readerFeatures": sorted(readers)}
    return upgraded | {"writerFeatures": sorted(writers | readers)}


def _on(properties: Mapping[str, str], name: str) -> bool:
    return str(properties.get(name, "false")).lower() == "true"


def _walk(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every field of a Delta schema, nested ones too."""
    if not isinstance(node, dict):
        return
    for item in node.get("fields", ()):
        yield item
        yield from _walk(item["type"])
    for part in ("elementType", "keyType", "valueType"):
        yield from _walk(node.get(part))


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
