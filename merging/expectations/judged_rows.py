"""Rows that are judged: what stands for them in SQL, made when something is first read of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from merging.engines import Aggregated, Aggregates, Changes, TableReader
from merging.expectations.values import columns_of
from merging.model import Column
from merging.sql.quoting import column_sql
from merging.sql.session import Session, tuples
from merging.sql.types import null_of


class JudgedRows:
    """Rows with columns under their labels; as a text it is what stands behind FROM in the session.

    ``relation`` is a name or a SELECT, ``count`` who is asked for numbers of all of them in place of the session.
    """

    def __init__(
        self, relation: str | Callable[[], str], count: Callable[[Aggregates], Aggregated] | None = None
    ) -> None:
        self._relation = relation
        self.count = count

    @functools.cached_property
    def sql(self) -> str:
        """The relation; of a table its data files are opened now."""
        made = self._relation if isinstance(self._relation, str) else self._relation()
        return f"({made})" if made.lstrip()[:7].upper() in ("SELECT ", "SELECT\n") else made

    def __str__(self) -> str:
        return self.sql

    def numbers(self, opened: Session, expressions: Sequence[str], columns: Sequence[str]) -> tuple[Any, ...]:
        """Aggregates of the rows, which read these columns."""
        if self.count is not None:
            query = f"SELECT * FROM {self.count(Aggregates(expressions, columns)).sql}"
        else:
            told = ", ".join(f"{expression} AS a{place}" for place, expression in enumerate(expressions))
            query = f"SELECT {told} FROM {self}"
        [row] = tuples(opened.table(query))
        return row


def rows_of_table(
    reader: TableReader, types: Mapping[str, pa.DataType], changes: Changes | None = None
) -> JudgedRows:
    """All rows of the reader's table after the changes, with these columns; numbers of them its engine tells, so that
    none of its files is opened here for those.
    """
    return JudgedRows(
        lambda: reader.all_rows_sql(list(types), changes),
        functools.partial(reader.aggregate, changes=changes),
    )


def columns_typed(opened: Session, types: Mapping[str, pa.DataType]) -> tuple[Column, ...]:
    """The columns as ``columns_of`` describes rows of these types."""
    cells = ", ".join(f"{null_of(kind)} AS {column_sql(name)}" for name, kind in types.items())
    return columns_of(opened.connection, f"(SELECT {cells})")
