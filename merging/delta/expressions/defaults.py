"""What a new row holds in a column of which it says nothing: the current defaults of a table's columns.

Source: PROTOCOL.md, "Default Columns" (`CURRENT_DEFAULT` in the metadata of a field: an expression of Spark). A default
is computed when the row is written, so the one that the table has then counts.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pyarrow as pa

from merging.delta.expressions.expression import Expression, computed, translate
from merging.delta.expressions.literals import double_value
from merging.delta.expressions.nodes import Call, Name, Node, NotUnderstood
from merging.delta.expressions.parsing import parse
from merging.delta.expressions.values import DATE, INSTANT, Value
from merging.sql.types import duckdb_type

_NO_COLUMNS = pa.schema([])
_MOMENTS = frozenset({"current_timestamp", "now"})
_DAYS = frozenset({"current_date", "curdate"})
#: A decimal of so many digits is the same double by every way of reading it.
_DIGITS_OF_A_DOUBLE = 15


def default_value(text: str, target: pa.DataType, *, zone: str | None) -> Expression:
    """The default of a column of type `target`; `zone` is that of the sessions which write the table, where known.

    Raises NotUnderstood, naming the part that is not proved.
    """
    try:
        clock = _clock(parse(text), target, zone)
    except RecursionError as error:
        raise NotUnderstood("an expression nested too deeply") from error
    if clock is not None:
        return Expression(text, target, (), lambda _: clock)
    if pa.types.is_floating(target):
        constant = _floating(text, target)
        if constant is not None:
            return constant
    return computed(text, target, _NO_COLUMNS, zone=zone)


def _clock(tree: Node, target: pa.DataType, zone: str | None) -> Value | None:
    """The moment, or the day, of writing."""
    match tree:
        case Call(name, ()):
            pass
        case Name((name,)):
            name = name.lower()
        case _:
            return None
    if name in _MOMENTS and target == INSTANT:
        return Value("now()", INSTANT)
    if name in _DAYS and target == DATE:
        if zone != "UTC":
            raise NotUnderstood(f"{name}, which hangs on the time zone of the session that writes")
        return Value("CAST(now() AT TIME ZONE 'UTC' AS DATE)", DATE)
    return None


def _floating(text: str, target: pa.DataType) -> Expression | None:
    """A decimal for a column of floating point numbers."""
    made = translate(text, _NO_COLUMNS)
    value = made._value(str)
    if not isinstance(value.constant, Decimal) or len(value.constant.as_tuple().digits) > _DIGITS_OF_A_DOUBLE:
        return None
    double = double_value(float(value.constant))
    number = Value(f"CAST({double.sql} AS {duckdb_type(target)})", target)
    return dataclasses.replace(made, type=target, _value=lambda _: number)
