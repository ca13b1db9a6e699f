"""Expressions that are proved, as the rest of the engine uses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from merging.delta.expressions.calculating import assigned_to
from merging.delta.expressions.nodes import NotUnderstood
from merging.delta.expressions.parsing import parse
from merging.delta.expressions.translating import ColumnSql, Translator
from merging.delta.expressions.values import BOOLEAN, NULL, Value, named

_ALL_PROVED: Mapping[str, str] = {}


@dataclass(frozen=True)
class Expression:
    """An expression of Spark that is proved: its SQL over given columns, its type, the columns it looks at."""

    text: str
    type: pa.DataType
    columns: tuple[str, ...]
    _value: Callable[[ColumnSql], Value] = dataclasses.field(repr=False, compare=False)

    def sql(self, column: ColumnSql) -> str:
        """DuckDB's SQL of the value; only for rows that are not `doubtful`."""
        return self._value(column).sql

    def doubtful(self, column: ColumnSql) -> str:
        """SQL that is true for rows on which the value is not proved to be Spark's, and never NULL."""
        doubts = self._value(column).doubts
        return " OR ".join(f"coalesce({doubt}, false)" for doubt in doubts) or "false"


def translate(
    text: str, schema: pa.Schema, *, unproved: Mapping[str, str] = _ALL_PROVED, zone: str | None = None
) -> Expression:
    """An expression over the columns of a table. `unproved`: columns of which Spark makes something else than what is
    stored, and why (char(n) is padded); `zone`: that of the sessions which write the table, where it is known.

    Raises NotUnderstood, naming the part that is not proved.
    """
    try:
        tree = parse(text)
        seen: dict[str, None] = {}

        def value(column: ColumnSql) -> Value:
            return Translator(schema, unproved, zone, column, seen).value(tree)

        made = value(_any_column)
    except RecursionError as error:
        raise NotUnderstood("an expression nested too deeply") from error
    return Expression(text, made.type, tuple(seen), value)


def condition(
    text: str, schema: pa.Schema, *, unproved: Mapping[str, str] = _ALL_PROVED, zone: str | None = None
) -> Expression:
    """The same for an expression that must be true of every row; also raises NotUnderstood where it is no condition."""
    expression = translate(text, schema, unproved=unproved, zone=zone)
    if expression.type not in (BOOLEAN, NULL):
        raise NotUnderstood(f"a condition of type {named(expression.type)}")
    return expression


def computed(
    text: str,
    target: pa.DataType,
    schema: pa.Schema,
    *,
    unproved: Mapping[str, str] = _ALL_PROVED,
    zone: str | None = None,
) -> Expression:
    """The same for what a generated column of type `target` holds."""
    expression = translate(text, schema, unproved=unproved, zone=zone)

    def assigned(column: ColumnSql) -> Value:
        return assigned_to(expression._value(column), target)

    assigned(_any_column)
    return dataclasses.replace(expression, type=target, _value=assigned)


def _any_column(name: str) -> str:
    return "x"
