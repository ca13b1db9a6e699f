"""One data file: its rows as Parquet, its statistics, how large it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from merging.delta.fields import TableField
from merging.delta.mapping import field_ids_sql, stored_sql
from merging.delta.snapshot import Snapshot
from merging.delta.statistics import written_stats
from merging.sql.quoting import literal

_INDEXED_COLUMNS = 32
ROWS_PER_GROUP = 122_880
"""Rows of a row group, where nothing speaks for fewer."""
_BYTES_PER_GROUP = 32 << 20  # whoever reads a row of texts holds the group that it is in


@dataclass(frozen=True)
class WrittenFile:
    """A Parquet file that was written; `column_statistics` are DuckDB's, by the names that stand in the file.

    `stated` is what the log is to state instead, where that is known from what the file was made of.
    """

    path: str
    rows: int
    size: int
    fields: Sequence[TableField]
    column_statistics: Mapping[str, Mapping[str, str]]
    stated: str | None = None

    def stats(self, snapshot: Snapshot) -> str:
        """What the log states of it, under the names that stand in it."""
        if self.stated is not None:
            return self.stated
        return written_stats(_indexed(snapshot, self.fields), self.column_statistics, self.rows)


def copy_to(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    rows: str,
    fields: Sequence[TableField],
    path: str,
    *,
    further: Sequence[str] = (),
    rows_per_group: int = ROWS_PER_GROUP,
    in_order: bool = True,
) -> WrittenFile:
    """Write the rows of a query to a new Parquet file of the table; its row groups are bounded in rows and in bytes.

    `fields` are the columns, as files hold them; `further` are columns of the query that are none of the table's.
    Without `in_order` row groups may stand in any order: DuckDB holds back whole row groups of what it reads otherwise.
    """
    with snapshot.store.writing(path) as target:
        [(_, written, size, _, returned, *_)] = connection.execute(
            f"COPY ({stored_sql(rows, fields, *further)}) TO {literal(str(target))} (FORMAT parquet, "
            f"COMPRESSION snappy, ROW_GROUP_SIZE {rows_per_group}, ROW_GROUP_SIZE_BYTES {_BYTES_PER_GROUP}, "
            f"PRESERVE_ORDER {in_order}, RETURN_STATS{field_ids_sql(fields)})"
        ).fetchall()
    return WrittenFile(path, int(written), int(size), fields, returned or {})


def target_file_size(snapshot: Snapshot) -> int:
    """Bytes of a data file that the table wants (`delta.targetFileSize`), 128 MB where it says nothing."""
    stated = re.fullmatch(
        r"\s*(\d+)\s*([kmg]?)b?\s*", snapshot.properties.get("delta.targetFileSize", "").lower()
    )
    if not stated:
        return 128 * 1024 * 1024
    return int(stated[1]) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[stated[2]]


def _indexed(snapshot: Snapshot, fields: Sequence[TableField]) -> dict[tuple[str, ...], pa.DataType]:
    """The columns whose statistics are written: the first 32, or as `delta.dataSkippingNumIndexedCols` says, and those
    that the table is clustered by, wherever they stand."""
    stated = snapshot.properties.get("delta.dataSkippingNumIndexedCols", "")
    limit = int(stated) if re.fullmatch(r"-?\d+", stated) else _INDEXED_COLUMNS
    first = fields if limit < 0 else fields[:limit]
    found: dict[tuple[str, ...], pa.DataType] = {(one.stored_name,): one.type for one in first}
    for path in snapshot.clustering_columns:
        inner = _at(fields, path)
        if inner is not None:
            found[path] = inner.type
    return found


def _at(fields: Sequence[TableField], path: Sequence[str]) -> TableField | None:
    """The field at the end of a path through structs; None where the file has none there (it partitions the table)."""
    for depth, name in enumerate(path, 1):
        found = next((one for one in fields if one.stored_name == name), None)
        if found is None or depth == len(path):
            return found
        fields = found.parts if pa.types.is_struct(found.type) else ()
    return None
