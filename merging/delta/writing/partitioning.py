"""Which partitions rows belong to, and how the log spells them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.file_names import partition_folder
from merging.errors import MergeFailed
from merging.sql.quoting import column_sql
from merging.sql.types import duckdb_type

_NUMBERED = "headgate_numbered"


@dataclass(frozen=True)
class Partition:
    """Rows that belong together: how many of which relation, their values by stored name, the folder that they go to.

    They are all rows of ``source``, or those that it numbers (``nth``) from ``first`` on.
    """

    rows: int
    source: str
    first: int | None = None
    values: dict[str, str | None] = field(default_factory=dict)
    folder: str = ""

    def cut(self, share: int) -> Iterator[tuple[str, int]]:
        """FROM clauses that have so many of the rows each, the last one the rest, and how many those are. Raises
        ValueError where they are not numbered, so that they would not be cut alike each time.
        """
        if self.first is None:
            if share < self.rows:
                raise ValueError("rows without numbers cannot be cut")
            yield f"FROM {self.source}", self.rows
            return
        end = self.first + self.rows
        for start in range(self.first, end, share):
            behind = min(start + share, end)
            yield f"FROM {self.source} WHERE nth >= {start} AND nth < {behind}", behind - start


@contextmanager
def partitions_of(
    builder: CommitBuilder, relation: str, number: int | None = None, most: int | None = None
) -> Iterator[list[Partition]]:
    """Every partition of which a relation has rows; `number` is how many it has where that is known. Rows that are to
    be cut, as they are more than `most`, are numbered.

    Rows of several partitions are laid down once in the order of these, which finds those of each without looking at
    all others. They lie there, the same for whoever reads them in whatever order, until the context ends.
    """
    partitions = builder.snapshot.partition_columns
    rows = builder.count_rows(relation) if number is None else number
    spelled = [_partition_text(builder.schema, name) for name in partitions]
    found: list[tuple[Any, ...]] = [(rows,)] if rows else []
    if rows and partitions:
        found = builder.connection.execute(
            f"SELECT {', '.join(spelled)}, count(*) FROM {relation} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    if len(found) <= 1 and (most is None or rows <= most):
        yield [_partition(builder, values, rows, relation, None) for *values, rows in found]
        return
    numbered, rows_sql = "row_number() OVER ()", relation
    if len(found) > 1:
        # Within a partition as they were given; that they lie in the order of their numbers is quick, no more.
        numbered = f"row_number() OVER (ORDER BY {', '.join(spelled)}, given)"
        rows_sql = f"(SELECT *, row_number() OVER () AS given FROM {relation})"
    builder.connection.execute(
        f"CREATE TEMP TABLE {_NUMBERED} AS SELECT *, {numbered} - 1 AS nth FROM {rows_sql}"
    )
    try:
        ends = itertools.accumulate(rows for *_, rows in found)
        yield [
            _partition(builder, values, rows, _NUMBERED, end - rows)
            for (*values, rows), end in zip(found, ends, strict=True)
        ]
    finally:
        builder.connection.execute(f"DROP TABLE {_NUMBERED}")


def _partition(
    builder: CommitBuilder, values: Sequence[str | None], rows: int, source: str, first: int | None
) -> Partition:
    named = dict(zip(builder.snapshot.partition_columns, values, strict=True))
    for name, value in named.items():
        if value == "" and not _has_empty(builder, name):
            raise MergeFailed(
                f"Column {name} partitions the table, and Delta stores an empty text there as NULL.",
                data={"column": name},
            )
    physical = {builder.snapshot.physical_names[name]: value for name, value in named.items()}
    return Partition(rows, source, first, physical, partition_folder(physical))


def _has_empty(builder: CommitBuilder, name: str) -> bool:
    """Whether somebody else gave the table a partition of an empty text, which its rows keep."""
    texts = builder.snapshot.files.partition_texts(builder.snapshot.physical_names[name])
    return "" in pc.unique(texts).to_pylist()


def _partition_text(schema: pa.Schema, name: str) -> str:
    """A partition value as the log spells it (PROTOCOL.md, "Partition Value Serialization")."""
    data_type = schema.field(name).type
    value = f"CAST({column_sql(name)} AS {duckdb_type(data_type)})"
    if pa.types.is_timestamp(data_type):
        # With its zone, as Spark writes it from 4 on: without one it is whatever the reader's session makes of it.
        between, behind = ("T", "Z") if data_type.tz else (" ", "")
        plain = f"({value} AT TIME ZONE 'UTC')" if data_type.tz else value
        first, last = (f"{day}{between}{time}{behind}" for day, time in _MOMENTS)
        return _calendar_text(plain, f"{between}%H:%M:%S.%f{behind}", first, last)
    if pa.types.is_date(data_type):
        return _calendar_text(value, "", *_DAYS)
    spelled = f"CAST({value} AS VARCHAR)"
    if pa.types.is_floating(data_type):
        # Java reads no other spelling of these.
        infinite = f"if({value} > 0, 'Infinity', '-Infinity')"
        return f"CASE WHEN isinf({value}) THEN {infinite} WHEN isnan({value}) THEN 'NaN' ELSE {spelled} END"
    return spelled


#: The last days and moments on both sides that there are, for which DuckDB has infinities.
_DAYS = "-5877641-06-24", "+5881580-07-11"
_MOMENTS = ("-290308-12-21", "19:59:05.224193"), ("+294247-01-10", "04:00:54.775807")


def _calendar_text(value: str, time_of_day: str, first: str, last: str) -> str:
    """A day or a moment, with a sign before years that have none of four digits: as Spark writes and reads them, where
    DuckDB's own spelling of those before Christ (`0045-03-15 (BC)`) and of those that it takes for infinite is NULL to
    it."""
    year = f"year({value})"
    sign = f"CASE WHEN {year} < 0 THEN '-' WHEN {year} > 9999 THEN '+' ELSE '' END"
    spelled = f"{sign} || format('{{:04d}}', abs({year})) || strftime({value}, '-%m-%d{time_of_day}')"
    infinite = f"if({value} > '2000-01-01', '{last}', '{first}')"
    return f"CASE WHEN isinf({value}) THEN {infinite} ELSE {spelled} END"
