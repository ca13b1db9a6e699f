"""A first suite for a table, from its own data: missing values, ranges, sets of values, the key.

It holds for the table as it is, so that an owner starts from what is true and says what must stay true. Two scans at
most: one of aggregates over all columns, one for the texts with few different values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from merging.expectations.values import ORDERED, columns_of, family, missing
from merging.model import Column
from merging.sql.moments import FarDate, FarMoment
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import Session
from merging.sql.types import simple_type

_FEW_VALUES = 25
_ROWS_PER_VALUE = 20
_LONGEST_VALUE = 100
_MOSTLY_PRESENT = 0.9


def propose_suite(
    opened: Session, relation: str, *, keys: Sequence[str] = (), name: str = ""
) -> dict[str, Any]:
    """A Great Expectations suite (JSON) that the relation's rows satisfy, to be edited by an owner.

    ``relation`` is a name or a SELECT. Ranges and shares are warnings, since tomorrow's data may rightly leave them;
    the key, columns without missing values and sets of values are critical.
    """
    source = f"({relation})" if relation.lstrip()[:7].upper() == "SELECT " else relation
    columns = columns_of(opened.connection, source)
    facts = _facts(opened, source, columns)
    proposed = [*_of_table(columns, facts, keys)]
    few = [column.name for column in columns if _has_few_values(column, facts)]
    sets = _sets(opened, source, few)
    for place, column in enumerate(columns):
        proposed += _of_column(column, place, facts, sets, keys)
    return {
        "name": name or "proposed",
        "expectations": proposed,
        "meta": {"proposed_from_rows": facts["rows"]},
    }


def _expectation(kind: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": severity}


def _facts(opened: Session, source: str, columns: Sequence[Column]) -> Mapping[str, Any]:
    parts = ["count(*) AS rows"]
    for place, column in enumerate(columns):
        kind = family(column.type)
        present = f"NOT {missing(column.name, kind)}"
        name = column_sql(column.name)
        parts.append(f"count(*) FILTER ({present}) AS values_{place}")
        if kind in ORDERED:
            parts.append(f"min({name}) FILTER ({present}) AS low_{place}")
            parts.append(f"max({name}) FILTER ({present}) AS high_{place}")
        if kind == "text":
            parts.append(f"approx_count_distinct({name}) AS different_{place}")
            parts.append(f"min(length({name})) AS low_{place}")
            parts.append(f"max(length({name})) AS high_{place}")
    [row] = opened.rows(f"SELECT {', '.join(parts)} FROM {source}")
    return {**row, "places": {column.name: place for place, column in enumerate(columns)}}


def _of_table(
    columns: Sequence[Column], facts: Mapping[str, Any], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    yield _expectation(
        "expect_table_columns_to_match_set", column_set=[one.name for one in columns], exact_match=False
    )
    if facts["rows"]:
        yield _expectation("expect_table_row_count_to_be_between", "warning", min_value=facts["rows"] // 2)
    if len(keys) == 1:
        yield _expectation("expect_column_values_to_be_unique", column=keys[0])
    elif keys:
        yield _expectation("expect_compound_columns_to_be_unique", column_list=list(keys))


def _of_column(
    column: Column,
    place: int,
    facts: Mapping[str, Any],
    sets: Mapping[str, Sequence[str]],
    keys: Sequence[str],
) -> Iterator[dict[str, Any]]:
    rows, values, kind = facts["rows"], facts[f"values_{place}"], family(column.type)
    if not rows:
        return
    share = values / rows
    if share == 1:
        yield _expectation("expect_column_values_to_not_be_null", column=column.name)
    elif share >= _MOSTLY_PRESENT:
        mostly = math.floor(share * 100) / 100
        yield _expectation(
            "expect_column_values_to_not_be_null", "warning", column=column.name, mostly=mostly
        )
    if not values or column.name in keys:
        return
    low, high = facts.get(f"low_{place}"), facts.get(f"high_{place}")
    if column.name in sets:
        yield _expectation(
            "expect_column_values_to_be_in_set", column=column.name, value_set=list(sets[column.name])
        )
    elif kind == "text":
        yield _expectation(
            "expect_column_value_lengths_to_be_between",
            "warning",
            column=column.name,
            min_value=low,
            max_value=high,
        )
    elif kind in ORDERED and _is_bound(low) and _is_bound(high):
        bounds = {
            "min_value": _written(low, column.type, downward=True),
            "max_value": _written(high, column.type, downward=False),
        }
        stated = {name: bound for name, bound in bounds.items() if bound is not None}
        if stated:
            yield _expectation("expect_column_values_to_be_between", "warning", column=column.name, **stated)


def _is_bound(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


#: Decimals of so many digits compare with any double's digits; wider ones only with whole numbers.
_NARROW_DECIMAL = 18


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


def _has_few_values(column: Column, facts: Mapping[str, Any]) -> bool:
    place = facts["places"][column.name]
    different = facts.get(f"different_{place}")
    if different is None or not facts[f"values_{place}"]:
        return False
    enough_rows = facts[f"values_{place}"] >= _ROWS_PER_VALUE * different
    return bool(different <= _FEW_VALUES and enough_rows and facts[f"high_{place}"] <= _LONGEST_VALUE)


def _sets(opened: Session, source: str, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    if not names:
        return {}
    listed = ", ".join(
        f"list_sort(list(DISTINCT {column_sql(name)}) FILTER ({column_sql(name)} IS NOT NULL)) AS {column_sql(name)}"
        for name in names
    )
    [row] = opened.rows(f"SELECT {listed} FROM {source}")
    return {name: row[column_label(name)] for name in names}
