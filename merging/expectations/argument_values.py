"""Arguments of a suite as typed values, by what an argument holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from merging.expectations.cage import Cage
from merging.expectations.expectation import Argument
from merging.expectations.findings import NotChecked
from merging.expectations.schemas import what_leaves
from merging.expectations.values import Family, WrongValue, number, typed

MAX_VALUES = 10_000
MAX_PATTERN = 1_000


def argument_value(name: str, argument: Argument, given: Any, families: Mapping[str, Family]) -> Any:
    """A given argument as a typed value. Raises WrongValue."""
    kind = argument.kind
    if kind in ("column", "name", "text"):
        return _text(name, given)
    if kind in ("columns", "names", "texts"):
        return tuple(_text(name, one) for one in _list(name, given, least=0 if kind == "names" else 1))
    if kind == "flag":
        if not isinstance(given, bool):
            raise WrongValue(f"{name} is true or false")
        return given
    if kind in ("number", "count", "share"):
        return _limited(name, argument, given)
    if kind == "bound":
        return typed(given, next(iter(families.values())))
    if kind == "values":
        column = next(iter(families.values()))
        return tuple(typed(one, column) for one in _list(name, given, least=1) if one is not None)
    if kind == "pairs":
        return _pairs(name, given, tuple(families.values()))
    if kind == "choice":
        return _choice(name, argument, given)
    if kind == "regex":
        return _regexes(name, [given])[0]
    if kind == "regexes":
        return _regexes(name, _list(name, given, least=1))
    if kind == "strftime":
        return _strftime(name, given)
    if kind == "quantiles":
        return _quantiles(name, given)
    if kind == "character":
        if len(_text(name, given)) != 1:
            raise WrongValue(f"{name} is one character")
        return given
    if kind == "schema":
        return _json_schema(name, given)
    if not isinstance(given, Mapping):
        raise WrongValue(f"{name} is an object")
    return given


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise WrongValue(f"{name} is text")
    if "\x00" in given:
        raise WrongValue(f"{name} holds a NUL character")
    return given


def _list(name: str, given: Any, *, least: int) -> list[Any]:
    if not isinstance(given, list) or len(given) < least:
        raise WrongValue(f"{name} is a list{' with at least one value' if least else ''}")
    if len(given) > MAX_VALUES:
        raise WrongValue(f"{name} holds {MAX_VALUES:,} values at most")
    return given


def _limited(name: str, argument: Argument, given: Any) -> int | float:
    given = number(given)
    if argument.kind == "count" and (given != int(given)):
        raise WrongValue(f"{name} is a whole number")
    if argument.least is not None and given < argument.least:
        raise WrongValue(f"{name} is {argument.least:g} or more")
    if argument.most is not None and given > argument.most:
        raise WrongValue(f"{name} is {argument.most:g} or less")
    return int(given) if argument.kind == "count" else given


def _choice(name: str, argument: Argument, given: Any) -> str:
    if name == "allow_relative_error" and given is False:
        return str(argument.default)
    if given not in argument.choices:
        raise WrongValue(f"{name} is one of {', '.join(argument.choices)}")
    return str(given)


def _pairs(name: str, given: Any, families: Sequence[Family]) -> tuple[tuple[Any, Any], ...]:
    first, second = families[0], families[-1]
    pairs: list[tuple[Any, Any]] = []
    for one in _list(name, given, least=1):
        if not isinstance(one, list) or len(one) != 2:
            raise WrongValue(f"{name} is a list of pairs")
        left, right = one
        pairs.append(
            (
                None if left is None else typed(left, first),
                None if right is None else typed(right, second),
            )
        )
    return tuple(pairs)


def _regexes(name: str, given: Sequence[Any]) -> tuple[str, ...]:
    patterns = tuple(_pattern(name, one) for one in given)
    try:
        faults = _faults(patterns)
    except NotChecked as error:
        raise WrongValue(f"{name} cannot be read as a regular expression: {error}") from error
    for fault in faults:
        if fault is not None:
            raise WrongValue(f"{name} is no regular expression of Python: {fault}")
    return patterns


def _pattern(name: str, given: Any) -> str:
    pattern = _text(name, given)
    if len(pattern) > MAX_PATTERN:
        raise WrongValue(f"{name} has {MAX_PATTERN:,} characters at most")
    return pattern


@lru_cache(maxsize=1000)
def _faults(patterns: tuple[str, ...]) -> tuple[str | None, ...]:
    """What is wrong with each; compiled in a confined process, since some take Python long. Raises NotChecked."""
    told = Cage(quick=True).ask(0, "merging.expectations.confined:faults", {"patterns": list(patterns)})
    return tuple(told)


def _strftime(name: str, given: Any) -> str:
    pattern = _pattern(name, given)
    try:
        datetime.strptime(datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(pattern), pattern)  # noqa: DTZ007 - the pattern decides
    except (ValueError, re.error) as error:
        raise WrongValue(f"{name} cannot be used to read a date: {error}") from error
    return pattern


def _quantiles(name: str, given: Any) -> tuple[tuple[float, float | None, float | None], ...]:
    if not isinstance(given, Mapping) or set(given) != {"quantiles", "value_ranges"}:
        raise WrongValue(f"{name} has quantiles and value_ranges")
    quantiles = _list("quantiles", given["quantiles"], least=1)
    ranges = _list("value_ranges", given["value_ranges"], least=1)
    if len(quantiles) != len(ranges):
        raise WrongValue("quantiles and value_ranges are lists of the same length")
    found = []
    share = Argument("share", least=0, most=1)
    for quantile, limits in zip(quantiles, ranges, strict=True):
        if not isinstance(limits, list) or len(limits) != 2:
            raise WrongValue("value_ranges is a list of [lowest, highest]")
        low, high = (None if one is None else _limited("a limit", Argument("number"), one) for one in limits)
        if low is not None and high is not None and low > high:
            raise WrongValue(f"the range {low} to {high} is empty")
        found.append((float(_limited("a quantile", share, quantile)), low, high))
    return tuple(found)


def _json_schema(name: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise WrongValue(f"{name} is a JSON Schema")
    leaving = what_leaves(given)
    if leaving is not None:
        raise WrongValue(f"{name}: {leaving}; references may lead to another place in it alone (#/...)")
    return given
