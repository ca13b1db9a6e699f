"""Column families of a table and the SQL of values that a suite names.

Everything that a suite says reaches SQL through this module: column names are quoted and known to the table, values are
typed by their column and spelled as literals. No text of a suite is ever SQL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any, Literal

import duckdb
import pyarrow as pa

from merging.model import Column
from merging.sql.moments import FarDate, FarMoment
from merging.sql.parsing import Refused, at_width, cell_value
from merging.sql.quoting import column_named, column_sql, literal
from merging.sql.types import duckdb_type, simple_type
from merging.sql.values import sql_form

Family = Literal[
    "integer", "float", "decimal", "text", "boolean", "date", "timestamp", "timestamp_ntz", "binary", "nested"
]

Sign = Literal["=", "<>", "<", "<=", ">", ">="]

NUMERIC: frozenset[Family] = frozenset({"integer", "float", "decimal"})
TEMPORAL: frozenset[Family] = frozenset({"date", "timestamp", "timestamp_ntz"})
ORDERED: frozenset[Family] = NUMERIC | TEMPORAL
TEXT: frozenset[Family] = frozenset({"text"})
SIMPLE: frozenset[Family] = ORDERED | TEXT | {"boolean"}
COUNTABLE: frozenset[Family] = SIMPLE | {"binary"}
ANY: frozenset[Family] = COUNTABLE | {"nested"}

_FAMILIES: dict[str, Family] = {
    "byte": "integer",
    "short": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "float",
    "double": "float",
    "string": "text",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "timestamp_ntz": "timestamp_ntz",
    "binary": "binary",
}
_DELTA_NAMES = {
    "TINYINT": "byte",
    "SMALLINT": "short",
    "INTEGER": "integer",
    "BIGINT": "long",
    "FLOAT": "float",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "TIMESTAMP": "timestamp_ntz",
    "BLOB": "binary",
}


class WrongValue(Exception):
    """A value of a suite that cannot be compared with its column; the message says why."""


def family(type_name: str) -> Family:
    """The family of a Delta type name."""
    if type_name.startswith("decimal"):
        return "decimal"
    return _FAMILIES.get(type_name, "nested")


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[Column, ...]:
    """The columns of a relation (which has them under their labels), with Delta's names of their types."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return tuple(Column(column_named(label), _delta_name(type_name)) for label, type_name, *_ in described)


def _delta_name(duckdb_name: str) -> str:
    if duckdb_name.startswith("DECIMAL") and not duckdb_name.endswith("]"):
        return duckdb_name.lower().replace(" ", "")
    return _DELTA_NAMES.get(duckdb_name, duckdb_name.lower())


def missing(name: str, kind: Family) -> str:
    """SQL: the cell holds no value. NaN is a missing value, as it is for pandas and so for Great Expectations."""
    column = column_sql(name)
    return f"({column} IS NULL OR isnan({column}))" if kind == "float" else f"({column} IS NULL)"


def plain(name: str, kind: Family) -> str:
    """SQL of the cell with NaN as NULL, so that all missing values are one."""
    column = column_sql(name)
    return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END" if kind == "float" else column


def typed(value: Any, kind: Family) -> Any:
    """A JSON value as a value of the column's family. Raises WrongValue when it is none."""
    if kind in NUMERIC:
        return number(value)
    if kind == "text":
        if not isinstance(value, str):
            raise WrongValue(f"{_shown(value)} is no text")
        return value
    if kind == "boolean":
        if not isinstance(value, bool):
            raise WrongValue(f"{_shown(value)} is neither true nor false")
        return value
    if kind == "date":
        return _date(value)
    if kind in ("timestamp", "timestamp_ntz"):
        return _moment(value, kind)
    raise WrongValue(f"values of a {kind} column cannot be written in a suite")


def number(value: Any) -> int | float:
    """A JSON value as a number that a table could hold. Raises WrongValue."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(f"{_shown(value)} is no number")
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongValue(f"{_shown(value)} is no finite number")
    if isinstance(value, int) and abs(value) >= 10**38:
        raise WrongValue(f"{_shown(value)} is larger than any number of a table")
    return value


_TYPES = {
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}


def _date(value: Any) -> date | FarDate:
    if isinstance(value, datetime):
        raise WrongValue(f"{_shown(value)} is a moment, not a date")
    try:
        day: date | FarDate = cell_value(value, _TYPES["date"])
    except Refused as error:
        raise WrongValue(f"{_shown(value)} is no date like 2013-01-31") from error
    return day


def _moment(value: Any, kind: Family) -> datetime | FarMoment:
    if isinstance(value, date | FarDate) and not isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+-[0-9]{2}-[0-9]{2}", value):
        value = f"{value}T00:00:00"
    try:
        moment: datetime | FarMoment = cell_value(value, _TYPES[kind])
    except Refused as error:
        if kind == "timestamp_ntz" and _fits(value, "timestamp"):
            raise WrongValue(f"{_shown(value)} has a time zone, the column has none") from error
        raise WrongValue(f"{_shown(value)} is no date and time like 2013-01-31T18:05:00") from error
    return moment


def _fits(value: Any, kind: Family) -> bool:
    try:
        cell_value(value, _TYPES[kind])
    except Refused:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def spelled(value: Any, kind: Family) -> str:
    """SQL literal of a typed value, to be compared with a column of the family."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _decimal_literal(value) if kind == "decimal" else f"{literal(repr(value))}::DOUBLE"
    if isinstance(value, datetime | FarMoment):
        zoned = value.zoned if isinstance(value, FarMoment) else value.tzinfo is not None
        return sql_form(value, _TYPES["timestamp" if zoned else "timestamp_ntz"])
    if isinstance(value, date | FarDate):
        return sql_form(value, _TYPES["date"])
    if isinstance(value, str):
        return sql_form(value, pa.string())
    raise WrongValue(f"{_shown(value)} cannot be a value of a column")


def _decimal_literal(value: float) -> str:
    exact = _exact(value)
    digits = format(exact, "f")
    if len(re.sub(r"\D", "", digits)) > 38:
        return f"{literal(repr(value))}::DOUBLE"
    return digits


def compared(subject: str, sign: Sign, value: Any, kind: str) -> str:
    """SQL: a value of a Delta type compares so with a typed value of its family.

    A number beside a decimal is made one of its type: DuckDB looks for a type that holds both, and fails on the first
    row that does not fit.
    """
    if family(kind) != "decimal":
        return f"({subject} {sign} {held(value, kind)})"
    exact = _exact(value)
    below = _on_grid(exact, kind)
    if below is None:
        beyond = "-Infinity" if exact < 0 else "Infinity"
        return f"({subject} {sign} {literal(beyond)}::DOUBLE)"
    if below == exact:
        return f"({subject} {sign} {held(below, kind)})"
    # Between two neighbours of the type: equal to none, above the lower one and all before it.
    if sign in ("=", "<>"):
        return "false" if sign == "=" else "true"
    return f"({subject} {'<=' if sign in ('<', '<=') else '>'} {held(below, kind)})"


def held(value: Any, kind: str) -> str:
    """SQL of a typed value that this Delta type can hold. Digits alone DuckDB takes for a double where they are 39."""
    if family(kind) != "decimal":
        return spelled(as_kept(value, kind), family(kind))
    exact = value if isinstance(value, Decimal) else _exact(value)
    return f"CAST({literal(format(exact, 'f'))} AS {duckdb_type(simple_type(kind))})"


def as_kept(value: Any, kind: str) -> Any:
    """A typed value as a column of this Delta type keeps it: 0.7 means the float that is nearest to it, as for numpy.

    A number that floats keep only as 0 or as infinite stays what it is, so that it is beyond them.
    """
    if kind != "float":
        return value
    nearest = at_width(float(value), pa.float32())
    return nearest if nearest and math.isfinite(nearest) else value


def can_hold(value: Any, kind: str) -> bool:
    """Whether some value of a Delta type may equal a typed value of its family."""
    return family(kind) != "decimal" or _on_grid(_exact(value), kind) == _exact(value)


def _exact(value: int | float) -> Decimal:
    """A number as it was written: 0.1 means one tenth for a decimal column, not its nearest double."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _on_grid(value: Decimal, kind: str) -> Decimal | None:
    """The greatest value of a decimal type up to this one; None where the type has none, or none that is as great."""
    wanted = simple_type(kind)
    room = Decimal(10) ** (wanted.precision - wanted.scale)
    if not -room < value < room:  # abs() would round to the 28 digits of Python's context
        return None
    with localcontext(prec=2 * 38):
        below = value.quantize(Decimal(1).scaleb(-wanted.scale), rounding=ROUND_FLOOR)
    return below if -room < below else None


def comparable(types: Mapping[str, str]) -> dict[str, str]:
    """SQL of the cells of columns of these Delta types, to be compared with each other; missing ones as NULL.

    Decimals for which no one type has digits enough are taken apart, before and after the point.
    """
    numbers = [simple_type(kind) for kind in types.values() if family(kind) in ("decimal", "integer")]
    sizes = [
        (one.precision - one.scale, one.scale) if pa.types.is_decimal(one) else (19, 0) for one in numbers
    ]
    fits = len(sizes) < len(types) or max(whole for whole, _ in sizes) + max(part for _, part in sizes) <= 38
    return {
        name: plain(name, family(kind)) if fits else _apart(column_sql(name)) for name, kind in types.items()
    }


def _apart(column: str) -> str:
    whole = f"trunc({column})::DECIMAL(38, 0)"
    return f"CASE WHEN {column} IS NOT NULL THEN row({whole}, ({column} - {whole})::DECIMAL(38, 38)) END"


def in_list(name: str, kind: str, values: Sequence[Any]) -> str:
    """SQL: the cell, of this Delta type, is one of the values."""
    possible = [held(value, kind) for value in values if can_hold(value, kind)]
    return f"{column_sql(name)} IN ({', '.join(possible)})" if possible else "false"
