"""Partition values as the log spells them (PROTOCOL.md, "Partition Value Serialization"), made fit to be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import pyarrow as pa

from merging.errors import UnsupportedTable

ZONE_PROPERTY = "headgate.partitionTimeZone"
"""The table property that says in which zone partition values without one were written."""

_WITH_ZONE = re.compile(r".*(Z|[+-]\d\d(:?\d\d)?)", re.IGNORECASE)


def is_instant(data_type: pa.DataType) -> bool:
    """Whether a column's values are moments in time, wherever one is."""
    return bool(pa.types.is_timestamp(data_type) and data_type.tz)


def in_zone(properties: Mapping[str, str], name: str, value: str) -> str:
    """An instant as the log spells it, with its zone.

    Without one it is whatever the session of its writer made of it, so the table must say the zone
    (`ZONE_PROPERTY` among its `properties`). Raises UnsupportedTable where it does not.
    """
    return value if _has_zone(value) else _given_zone(properties, name, value)


def _has_zone(value: str) -> bool:
    return _WITH_ZONE.fullmatch(value.strip()[10:]) is not None


def _given_zone(properties: Mapping[str, str], name: str, value: str) -> str:
    zone = properties.get(ZONE_PROPERTY)
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
