"""SQL that judges of several kinds are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from merging.expectations.expectation import Expectation
from merging.expectations.findings import Finding
from merging.expectations.values import Family, compared


def column_of(expectation: Expectation) -> tuple[str, Family]:
    """The one column of an expectation, and its family."""
    [name] = expectation.columns
    return name, expectation.families[name]


def between(subject: str, arguments: Mapping[str, Any], kind: str) -> str:
    """SQL: a value of a Delta type lies between the bounds; anything does where none are given."""
    low, high = arguments.get("min_value"), arguments.get("max_value")
    parts = []
    if low is not None:
        parts.append(compared(subject, ">" if arguments.get("strict_min") else ">=", low, kind))
    if high is not None:
        parts.append(compared(subject, "<" if arguments.get("strict_max") else "<=", high, kind))
    return f"({' AND '.join(parts)})" if parts else "true"


def is_within(value: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a number or moment lies between the bounds; no value does not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if isinstance(value, Decimal):
        low, high = (Decimal(repr(one)) if isinstance(one, float) else one for one in (low, high))
    above = low is None or (value > low if arguments.get("strict_min") else value >= low)
    below = high is None or (value < high if arguments.get("strict_max") else value <= high)
    return bool(above and below)


def bounded(value: Any, arguments: Mapping[str, Any]) -> Finding:
    """The verdict on a number that must lie between bounds."""
    observed = None if isinstance(value, float) and math.isnan(value) else value
    return Finding(is_within(value, arguments), observed)
