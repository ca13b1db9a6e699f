"""JSON that people send, read strictly: what can be read can also be kept, written as UTF-8 and read by others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError with a sentence for people.

    Refused beside what is no JSON by RFC 8259 (NaN and Infinity among it): half of a surrogate pair (RFC 7493, 2.1) and
    the character U+0000, which UTF-8 and PostgreSQL cannot hold, and nesting deeper than Python follows.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
        _refuse_unstorable(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"This is no JSON: {name} is no JSON number")


def _refuse_unstorable(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"The text {value[:40]!a} holds a character that cannot be stored.")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_unstorable(name)
            _refuse_unstorable(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unstorable(inner)
