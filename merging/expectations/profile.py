"""What a first suite is proposed from: facts of a table and of its columns, and what is proposed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from merging.expectations.values import Family
from merging.model import Column
from merging.sql.moments import FarDate, FarMoment
from merging.sql.types import simple_type

#: Decimals of so many digits compare with any double's digits; wider ones only with whole numbers.
_NARROW_DECIMAL = 18


@dataclass(frozen=True)
class Proposal:
    """Arguments, in JSON, that the table satisfies as it is.

    Ranges and shares are warnings, since tomorrow's data may rightly leave them; the key, columns without missing
    values and sets of values are critical.
    """

    kwargs: Mapping[str, Any]
    severity: Literal["critical", "warning"] = "critical"


@dataclass(frozen=True)
class TableFacts:
    """A table: its columns, its number of rows, its key."""

    columns: tuple[str, ...]
    rows: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class ColumnFacts:
    """A column: its rows, those with a value, the least and greatest value (of a text: length).

    ``listed``: all its values, where they are few texts.
    """

    column: Column
    family: Family
    rows: int
    values: int
    is_key: bool
    low: Any = None
    high: Any = None
    listed: Sequence[str] | None = None

    def bounds(self) -> dict[str, Any]:
        """The least and greatest value as arguments in JSON, those that JSON can state; {} where there are none."""
        if not (_is_bound(self.low) and _is_bound(self.high)):
            return {}
        stated = {
            "min_value": _written(self.low, self.column.type, downward=True),
            "max_value": _written(self.high, self.column.type, downward=False),
        }
        return {name: bound for name, bound in stated.items() if bound is not None}


def _is_bound(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _written(value: Any, type_name: str, *, downward: bool) -> Any:
    """A bound in JSON that does not cut the value off; None where the column's type has no room for one."""
    if isinstance(value, datetime | date | FarDate | FarMoment):
        return value.isoformat()
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        decimal = simple_type(type_name)
        if decimal.precision > _NARROW_DECIMAL:
            whole = math.floor(value) if downward else math.ceil(value)
            return whole if abs(whole) < 10 ** (decimal.precision - decimal.scale) else None
        number = float(value)
        short = Decimal(repr(number))
        if short > value if downward else short < value:
            number = math.nextafter(number, -math.inf if downward else math.inf)
        return number
    return value
