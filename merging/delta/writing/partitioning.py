"""Which partitions rows belong to, and how the log spells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.file_names import partition_folder
from merging.errors import MergeFailed
from merging.sql.quoting import column_sql, literal
from merging.sql.types import duckdb_type


@dataclass(frozen=True)
class Partition:
    """Rows of a relation that belong together: how many, the WHERE clause that finds them, their values by stored name,
    the folder that they go to.
    """

    rows: int
    where: str = ""
    values: dict[str, str | None] = field(default_factory=dict)
    folder: str = ""


def partitions_of(builder: CommitBuilder, relation: str) -> Iterator[Partition]:
    """Every partition of which a relation has rows."""
    partitions = builder.snapshot.partition_columns
    if not partitions:
        rows = builder.count_rows(relation)
        if rows:
            yield Partition(rows)
        return
    spelled = ", ".join(
        f"{_partition_text(builder.schema, name)} AS {column_sql(name)}" for name in partitions
    )
    found = builder.connection.execute(
        f"SELECT {spelled}, count(*) FROM {relation} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for *values, rows in found:
        named = dict(zip(partitions, values, strict=True))
        for name, value in named.items():
            if value == "":
                raise MergeFailed(
                    f"Column {name} partitions the table, and Delta stores an empty text there as NULL.",
                    data={"column": name},
                )
        where = " AND ".join(
            f"{_partition_text(builder.schema, name)} IS NOT DISTINCT FROM "
            + ("NULL" if value is None else literal(value))
            for name, value in named.items()
        )
        physical = {builder.snapshot.physical_names[name]: value for name, value in named.items()}
        yield Partition(int(rows), f"WHERE {where}", physical, partition_folder(physical))


def _partition_text(schema: pa.Schema, name: str) -> str:
    """A partition value as the log spells it (PROTOCOL.md, "Partition Value Serialization")."""
    data_type = schema.field(name).type
    if pa.types.is_timestamp(data_type) and data_type.tz:
        # With its zone, as Spark writes it from 4 on: without one it is whatever the reader's session makes of it.
        return f"strftime({column_sql(name)} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if pa.types.is_timestamp(data_type):
        return f"strftime({column_sql(name)}, '%Y-%m-%d %H:%M:%S.%f')"
    if pa.types.is_floating(data_type):
        value = f"CAST({column_sql(name)} AS {duckdb_type(data_type)})"
        spelled = f"CAST({value} AS VARCHAR)"
        # Java reads no other spelling of these.
        infinite = f"if({value} > 0, 'Infinity', '-Infinity')"
        return f"CASE WHEN isinf({value}) THEN {infinite} WHEN isnan({value}) THEN 'NaN' ELSE {spelled} END"
    return f"CAST(CAST({column_sql(name)} AS {duckdb_type(data_type)}) AS VARCHAR)"
