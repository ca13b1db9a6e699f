"""JSON that people send, read strictly: what can be read can also be kept, written as UTF-8 and read by others."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 100
"""Whatever is done with a value afterwards follows it down, in Python, databases and browsers."""
_MOST_DIGITS = 4_300
"""What Python reads and writes (``sys.set_int_max_str_digits``)."""


class WrittenNumber(float):
    """A JSON number with a fraction or an exponent that remembers its digits: a decimal cell may need all of them."""

    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        number = super().__new__(cls, text)
        number.text = str(text)
        return number


def write_json(value: Any) -> str:
    """The text of what ``read_json`` gave, numbers by the digits that they were written with."""
    if isinstance(value, WrittenNumber):
        return value.text
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{json.dumps(name)}: {write_json(inner)}" for name, inner in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(write_json, value)) + "]"
    return json.dumps(value)


def read_json(text: str, *, cells: bool = False) -> Any:
    """The value of a JSON text. Raises ValueError with a sentence for people.

    Refused beside what is no JSON by RFC 8259 (NaN and Infinity among it): half of a surrogate pair (RFC 7493, 2.1),
    which UTF-8 cannot hold, numbers beyond those of a double or of thousands of digits, and deep nesting. The character
    U+0000, which PostgreSQL cannot hold, is refused too, unless the text carries ``cells``, which may hold it; and an
    object that gives a name twice (RFC 7493, 2.3).
    Numbers with a fraction or an exponent are WrittenNumbers.
    """
    try:
        value = json.loads(
            text,
            parse_float=_number,
            parse_int=_whole_number,
            parse_constant=_no_constant,
            object_pairs_hook=_object,
        )
        _refuse_unstorable(value, _DEEPEST, cells=cells)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error
    return value


def _number(text: str) -> float:
    number = WrittenNumber(text)
    if math.isinf(number):
        raise ValueError(f"The number {text[:40]} is larger than any that can be kept.")
    return number


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"The number {text[:40]}… has {len(text):,} digits; {_MOST_DIGITS:,} are possible.")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"An object gives the name {twice[:40]!a} twice.")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"This is no JSON: {name} is no JSON number")


def _refuse_unstorable(value: Any, deeper: int, *, cells: bool) -> None:
    if deeper <= 0 and isinstance(value, Mapping | list):
        raise ValueError(f"The JSON is nested too deeply: {_DEEPEST} levels are possible.")
    if isinstance(value, str):
        halved = any("\ud800" <= character <= "\udfff" for character in value)
        if halved or ("\x00" in value and not cells):
            raise ValueError(f"The text {value[:40]!a} holds a character that cannot be stored.")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_unstorable(name, deeper, cells=cells)
            _refuse_unstorable(inner, deeper - 1, cells=cells)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unstorable(inner, deeper - 1, cells=cells)
