"""Row tracking: the ids and commit versions that a table's rows have (PROTOCOL.md, "Row Tracking").

The log gives every file the id of its first row and the version that brought its rows; those of a row are counted from
there, unless columns of the file that are none of the table's say others: the ones that the row had before it was
written again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from merging.delta.active_files import ActiveFiles
from merging.delta.damage import Damaged, number_of
from merging.delta.domains import domain_fields
from merging.delta.fields import TableField

DOMAIN = "delta.rowTracking"
ROW_ID = "row_id"
"""What the id of a row is called in relations of the engine, where it is asked for; beside it its commit version."""
ROW_COMMIT_VERSION = "row_commit_version"
HIGHEST_ID = "rowIdHighWaterMark"
LARGEST_ID = 2**63 - 1
"""The last that there is of 64 bits."""
_COLUMNS = (
    "delta.rowTracking.materializedRowIdColumnName",
    "delta.rowTracking.materializedRowCommitVersionColumnName",
)


@dataclass(frozen=True)
class RowTracking:
    """What a table asks of those who write rows: `highest_id` is the largest row id that was ever given, -1 for none.

    `kept` are the columns that hold the ids and commit versions of rows that were written again; there are none where
    the table numbers its rows without asking that they keep their numbers.
    """

    highest_id: int
    kept: tuple[TableField, ...]


def row_tracking_of(
    features: Collection[str],
    properties: Mapping[str, str],
    domains: Mapping[str, str],
    fields: Iterable[TableField],
    files: ActiveFiles,
) -> RowTracking | None:
    """How the table tracks its rows; None where it does not. Raises Damaged where that cannot be told."""
    on = {
        name
        for name in ("delta.enableRowTracking", "delta.rowTrackingSuspended")
        if str(properties.get(name, "false")).lower() == "true"
    }
    if "rowTracking" not in features or on == {"delta.rowTrackingSuspended"}:
        return None
    if len(on) > 1:
        raise Damaged("it is enabled and suspended at once")
    if "domainMetadata" not in features:
        raise Damaged("it needs the feature domainMetadata, which the table does not list")
    kept = tuple(_kept(name, properties, fields) for name in _COLUMNS) if on else ()
    return RowTracking(_highest_id(domains, files), kept)


def _kept(name: str, properties: Mapping[str, str], fields: Iterable[TableField]) -> TableField:
    column = properties.get(name)
    if not column:
        raise Damaged(f"the table does not state {name}")
    if any(column in (one.name, one.stored_name) for one in fields):
        raise Damaged(f"{name} is {column!r}, which is a column of the table")
    return TableField(column, column, None, pa.int64())


def _highest_id(domains: Mapping[str, str], files: ActiveFiles) -> int:
    if DOMAIN in domains:
        return number_of(domain_fields(domains, DOMAIN), HIGHEST_ID, f"the domain {DOMAIN}", lowest=-1)
    firsts, counts = files.numbers("first_row_id", -1), files.numbers("records")
    numbered = firsts >= 0
    # A log may state any number of 64 bits: signed ones would begin again below none.
    ends = firsts[numbered].astype(np.uint64) + counts[numbered].astype(np.uint64)
    return min(int(ends.max(initial=0)) - 1, LARGEST_ID)
