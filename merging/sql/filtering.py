"""Which changed rows a filter lets through, as SQL over any relation of changes: staged rows, merges, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from merging.errors import InvalidFilter
from merging.model import CellText, ChangesFilter
from merging.sql.equality import comparable, differs
from merging.sql.parsing import Refused
from merging.sql.quoting import any_of, literal
from merging.sql.types import is_nested, null_of
from merging.sql.values import read_text, sql_form

NONE = "false"
"""The filter that lets nothing through."""


@dataclass(frozen=True)
class ChangedCells:
    """How the rows of a relation of changes are read: ``op``, ``k<j>``, and by positions in the schema SQL of a value
    column's cell ``before`` and ``after``. A column that is not in ``after`` is changed by deleted rows alone.
    ``ranges`` are the least and greatest value of columns at the base, where they are known.
    """

    keys: tuple[str, ...]
    schema: pa.Schema
    before: Mapping[int, str]
    after: Mapping[int, str]
    ranges: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def condition(self, wanted: ChangesFilter) -> str:
        """SQL predicate of the rows that the filter lets through.

        Raises InvalidFilter for a column that is not there and for a value that is none of its type.
        """
        conditions = [] if wanted.operation is None else [f"op = {literal(wanted.operation)}"]
        if wanted.key is not None:
            part = sql_form(wanted.key, pa.string())
            conditions.append(
                any_of(
                    [f"contains(lower(k{place}::VARCHAR), lower({part}))" for place in range(len(self.keys))]
                )
            )
        if wanted.is_of_cells:
            conditions.append(self._of_cells(wanted))
        elif wanted.column is not None:
            conditions.append(self.changes(self._position(wanted.column)))
        return " AND ".join(conditions) or "true"

    def changes(self, position: int) -> str:
        """SQL: the row changes a column. A deleted row changes all."""
        return f"(op = 'delete' OR {self._differs(position)})" if position in self.after else "op = 'delete'"

    def _position(self, name: str) -> int:
        if name not in self.schema.names:
            raise InvalidFilter(f"The changes have no column {name}.", data={"column": name})
        position: int = self.schema.names.index(name)
        return position

    def _differs(self, position: int) -> str:
        return differs(self._before(position), self._after(position), self.schema.field(position).type)

    def _before(self, position: int) -> str:
        return self.before.get(position) or null_of(self.schema.field(position).type)

    def _after(self, position: int) -> str:
        return self.after.get(position) or null_of(self.schema.field(position).type)

    def _of_cells(self, wanted: ChangesFilter) -> str:
        if wanted.column is not None:
            return self._cell(wanted, self._position(wanted.column))
        found = []
        for position in sorted({*self.before, *self.after}):
            try:
                found.append(self._cell(wanted, position))
            except Refused:
                continue  # the text is no value of this column's type
        return any_of([one for one in found if one != NONE]) if found else NONE

    def _cell(self, wanted: ChangesFilter, position: int) -> str:
        """SQL: the row changes this cell as is wanted. Raises Refused for a value of another type, as InvalidFilter
        where the column was named.
        """
        column = self.schema.field(position)
        parts = []
        try:
            if wanted.old is not None:
                parts.append(f"op <> 'insert' AND {_is(self._before(position), wanted.old, column.type)}")
            if wanted.new is not None:
                parts.append(f"op <> 'delete' AND {_is(self._after(position), wanted.new, column.type)}")
        except Refused as refusal:
            if wanted.column is None:
                raise
            raise InvalidFilter(f"Column {column.name}: {refusal}", data={"column": column.name}) from refusal
        if position not in self.after:
            if wanted.became_null or wanted.unusual:
                return NONE
            parts.append("op = 'delete'")
            return f"({' AND '.join(parts)})"
        if wanted.became_null:
            parts.append(f"op = 'update' AND {self._after(position)} IS NULL")
        if wanted.unusual:
            outside = self._outside(position)
            if outside is None:
                return NONE
            parts.append(f"op <> 'delete' AND {outside}")
        return f"({' AND '.join([*parts, self._differs(position)])})"

    def _outside(self, position: int) -> str | None:
        """SQL: the new value is beyond the range that the column had; None where that is not known."""
        column = self.schema.field(position)
        if column.name not in self.ranges:
            return None
        low, high = (sql_form(bound, column.type) for bound in self.ranges[column.name])
        return f"({self._after(position)} < {low} OR {self._after(position)} > {high})"


def _is(cell: str, wanted: CellText, data_type: pa.DataType) -> str:
    if wanted.text is None:
        return f"{cell} IS NULL"
    if is_nested(data_type) and not wanted.text.lstrip().startswith(("{", "[")):
        raise Refused("write the value as JSON.")
    value = sql_form(read_text(wanted.text, data_type), data_type)
    return f"{comparable(cell, data_type)} IS NOT DISTINCT FROM {comparable(value, data_type)}"
