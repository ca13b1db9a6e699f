"""The metaData (and protocol) actions of a commit that changes the table's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from merging.delta.features import upgraded_protocol
from merging.delta.identity import with_marks
from merging.delta.mapping import changed_metadata
from merging.delta.naming import folded, spelled
from merging.delta.schema import delta_schema
from merging.delta.snapshot import Snapshot
from merging.errors import MergeFailed
from merging.sql.types import delta_field, has_type


def schema_actions(
    snapshot: Snapshot, new_schema: pa.Schema, numbers_given: Mapping[str, int]
) -> list[dict[str, Any]]:
    """metaData (and protocol where a type asks for it) that give the table `new_schema`; `numbers_given` are the last
    numbers of columns that it numbers."""
    metadata = changed_metadata(snapshot, new_schema)
    metadata["schemaString"] = with_marks(metadata["schemaString"], numbers_given)
    _read_back(metadata["schemaString"], snapshot, new_schema)
    actions: list[dict[str, Any]] = [{"metaData": metadata}]
    if has_type(new_schema, pa.timestamp("us")):
        protocol = upgraded_protocol(snapshot.protocol, {"timestampNtz"}, {"timestampNtz"})
        if "timestampNtz" not in (snapshot.protocol.get("readerFeatures") or ()):
            actions.insert(0, {"protocol": protocol})
    return actions


def _read_back(written: str, snapshot: Snapshot, planned: pa.Schema) -> None:
    """Raise MergeFailed unless a schema that is about to be committed reads as the planned one, by names all can tell
    apart: afterwards nobody could read the table to mend it."""
    before = {field.name: field for field in snapshot.schema}
    expected = [
        delta_field(field.with_nullable(before[field.name].nullable if field.name in before else True))
        for field in planned
    ]
    read = delta_schema(written)
    names = Counter(folded(name) for name in read.names)
    unclear = [name for name in read.names if name not in before and names[folded(name)] > 1]
    if unclear or [delta_field(field) for field in read] != expected:
        raise MergeFailed(
            "The schema that the merge would write is not the one that was planned; nothing was committed.",
            data={"columns": [spelled(name) for name in unclear]},
        )
