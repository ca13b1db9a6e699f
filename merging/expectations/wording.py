"""Parts of sentences that expectations of several kinds are said with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

_SHOWN_VALUES = 12


def show(value: Any) -> str:
    """A typed value as people read it."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def listed(values: Sequence[Any], joiner: str = "or") -> str:
    """Values as ``a, b or c``, cut where there are many; a set of missing values alone has none."""
    if not values:
        return "nothing"
    shown = [show(one) if one is not None else "missing" for one in values[:_SHOWN_VALUES]]
    if len(values) > _SHOWN_VALUES:
        return f"{', '.join(shown)} … ({len(values):,} values)"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {joiner} {shown[-1]}"


def limits(arguments: Mapping[str, Any]) -> str:
    """Bounds as words: ``between 1 and 5``, ``at least 1``, ``less than 5``."""
    low, high = arguments.get("min_value"), arguments.get("max_value")
    strict_low, strict_high = bool(arguments.get("strict_min")), bool(arguments.get("strict_max"))
    if low is not None and high is not None and not strict_low and not strict_high:
        return f"exactly {show(low)}" if low == high else f"between {show(low)} and {show(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if strict_low else 'at least'} {show(low)}")
    if high is not None:
        parts.append(f"{'less than' if strict_high else 'at most'} {show(high)}")
    return " and ".join(parts) or "anything"


def within(subject: str) -> Callable[[Mapping[str, Any]], str]:
    """Words for a subject (with arguments in braces) that lies between bounds."""
    return lambda given: f"{subject.format(**given)} is {limits(given)}"


def of_set(beginning: str, joiner: str = "or") -> Callable[[Mapping[str, Any]], str]:
    """Words that end with the values of ``value_set``."""
    return lambda given: f"{beginning.format(**given)} {listed(given['value_set'], joiner)}"


def several_rows(given: Mapping[str, Any]) -> str:
    """Which rows an expectation on several columns looks at, as the end of its sentence."""
    return {
        "all_values_are_missing": "",
        "any_value_is_missing": " wherever all have a value",
        "never": ", rows without any value included",
    }[given["ignore_row_if"]]
