"""Partition values as the log spells them (PROTOCOL.md, "Partition Value Serialization"), made fit to be read."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pyarrow as pa

from merging.delta.actions import DataFile
from merging.delta.snapshot import Snapshot
from merging.errors import UnsupportedTable

ZONE_PROPERTY = "headgate.partitionTimeZone"
"""The table property that says in which zone partition values without one were written."""

_WITH_ZONE = re.compile(r".*(Z|[+-]\d\d(:?\d\d)?)", re.IGNORECASE)


def partition_text(snapshot: Snapshot, file: DataFile, name: str) -> str | None:
    """A file's value of a partition column, by its logical name, as DuckDB casts it; None for NULL.

    An instant without a zone is whatever the session of its writer made of it, so the table must say the zone
    (`ZONE_PROPERTY`). Raises UnsupportedTable where it does not.
    """
    value = file.partition_values.get(snapshot.physical_names[name])
    if value is None or value == "":
        return None
    data_type = snapshot.schema.field(name).type
    if not pa.types.is_timestamp(data_type) or data_type.tz is None or _has_zone(value):
        return value
    return _in_zone(snapshot, name, value)


def require_zones(snapshot: Snapshot) -> None:
    """Raise UnsupportedTable where a partition holds instants without a zone and the table does not say which."""
    for name in snapshot.partition_columns:
        data_type = snapshot.schema.field(name).type
        if pa.types.is_timestamp(data_type) and data_type.tz is not None:
            for file in snapshot.files:
                partition_text(snapshot, file, name)


def _has_zone(value: str) -> bool:
    return _WITH_ZONE.fullmatch(value.strip()[10:]) is not None


def _in_zone(snapshot: Snapshot, name: str, value: str) -> str:
    zone = snapshot.properties.get(ZONE_PROPERTY)
    if zone is None:
        raise UnsupportedTable(
            [f"partition values without a time zone ({name})"],
            f"The partition column {name} holds timestamps without a time zone ({value}), so which instants they are "
            "depends on who wrote them. Say so in the table: "
            f"ALTER TABLE … SET TBLPROPERTIES ('{ZONE_PROPERTY}' = 'UTC').",
        )
    try:
        moment = datetime.fromisoformat(value).replace(tzinfo=ZoneInfo(zone))
    except (ValueError, OSError, KeyError) as error:
        raise UnsupportedTable(
            [f"{ZONE_PROPERTY} {zone}"], f"{value} of column {name} is no moment in the zone {zone}: {error}"
        ) from error
    return moment.isoformat(sep=" ")
