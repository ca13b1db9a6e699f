"""New tables without rows, from a description of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from merging.delta.keys import check_key_columns
from merging.delta.naming import folded, name_problem, spelled
from merging.errors import InvalidKeys, UnsupportedTable
from merging.model import Column, TableInfo
from merging.sql.types import simple_type
from merging.tables.looking import create_table


@dataclass(frozen=True)
class TableProblem:
    """What is wrong with the description of a table, and where: ``columns[2].type``, ``primary_keys``."""

    place: str
    message: str


def new_table_problems(
    columns: Sequence[Column], primary_keys: Sequence[str], partition_by: Sequence[str] = ()
) -> tuple[TableProblem, ...]:
    """Everything that keeps a table of these columns from being made; none where it can be."""
    found = [*_of_columns(columns)]
    if not found:
        found += _of_keys(columns, primary_keys)
        found += _of_partitions(columns, partition_by)
    return tuple(found)


def create_empty_table(
    table_uri: str,
    columns: Sequence[Column],
    primary_keys: Sequence[str],
    *,
    partition_by: Sequence[str] = (),
    deletion_vectors: bool = True,
    change_data_feed: bool = False,
    name: str = "",
    storage_options: Mapping[str, str] | None = None,
) -> TableInfo:
    """Create a table without rows. Key columns take no NULL, whatever their description says.

    Raises UnsupportedTable with the first of ``new_table_problems``, and as ``create_table`` does.
    """
    problems = new_table_problems(columns, primary_keys, partition_by)
    if problems:
        raise UnsupportedTable([problems[0].place], f"{problems[0].place}: {problems[0].message}")
    fields = [
        pa.field(one.name, simple_type(one.type), nullable=one.nullable and one.name not in primary_keys)
        for one in columns
    ]
    return create_table(
        table_uri,
        pa.schema(fields).empty_table(),
        partition_by=partition_by,
        deletion_vectors=deletion_vectors,
        change_data_feed=change_data_feed,
        name=name,
        storage_options=storage_options,
    )


def _of_columns(columns: Sequence[Column]) -> Iterator[TableProblem]:
    if not columns:
        yield TableProblem("columns", "A table needs at least one column.")
    seen: dict[str, str] = {}
    for place, column in enumerate(columns):
        problem = name_problem(column.name, blanks=False)
        if problem is not None:
            yield TableProblem(f"columns[{place}].name", f"A column cannot be named so: the name {problem}.")
        key = folded(column.name)
        first = seen.get(key)
        seen.setdefault(key, column.name)
        if first is not None:
            sentence = f"It differs from the name of {spelled(first)} in case or form at most."
            yield TableProblem(f"columns[{place}].name", sentence)
        try:
            simple_type(column.type)
        except UnsupportedTable:
            sentence = (
                "Possible are string, long, integer, short, byte, float, double, boolean, binary, date, timestamp, "
                "timestamp_ntz and decimal(precision,scale)."
            )
            yield TableProblem(f"columns[{place}].type", sentence)


def _of_keys(columns: Sequence[Column], primary_keys: Sequence[str]) -> Iterator[TableProblem]:
    schema = pa.schema([pa.field(one.name, simple_type(one.type)) for one in columns])
    try:
        check_key_columns(schema, list(primary_keys))
    except InvalidKeys as error:
        yield TableProblem("primary_keys", error.message)


def _of_partitions(columns: Sequence[Column], partition_by: Sequence[str]) -> Iterator[TableProblem]:
    types = {one.name: one.type for one in columns}
    for place, name in enumerate(partition_by):
        if name not in types:
            yield TableProblem(f"partition_by[{place}]", f"There is no column {spelled(name)}.")
        elif types[name] == "binary":
            yield TableProblem(f"partition_by[{place}]", "A binary column cannot partition a table.")
    if len(set(partition_by)) != len(partition_by):
        yield TableProblem("partition_by", "A column is named twice.")
    elif types.keys() <= set(partition_by):
        yield TableProblem("partition_by", "At least one column must stay outside of the partitions.")
