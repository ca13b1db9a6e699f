"""Regular expressions of Python as RE2, where both agree; else not at all.

Great Expectations means Python's ``re``; DuckDB has RE2. A pattern is parsed with Python's own parser and written anew
for RE2 from its tree. Patterns with look-around, back-references, possessive or conditional parts have no counterpart
and are matched by Python itself (on distinct values). Classes (``\\d``, ``\\w``, ``\\s``, ``\\b``) and case folding
differ outside ASCII, so values that are not ASCII always go to Python too.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

# typeshed leaves the parser's modules out.
codes: Any = importlib.import_module("re._constants")
_parser: Any = importlib.import_module("re._parser")

_CLASSES = {
    codes.CATEGORY_DIGIT: "0-9",
    codes.CATEGORY_WORD: "0-9A-Za-z_",
    codes.CATEGORY_SPACE: r"\x09-\x0d\x1c-\x20",
}
_NEGATED = {
    codes.CATEGORY_NOT_DIGIT: r"\x00-/:-\x{10ffff}",
    codes.CATEGORY_NOT_WORD: r"\x00-/:-@\[-\^`\{-\x{10ffff}",
    codes.CATEGORY_NOT_SPACE: r"\x00-\x08\x0e-\x1b!-\x{10ffff}",
}
_MOST_REPEATS = 1000
"""RE2 refuses counted repetition above this."""


class _NoCounterpart(Exception):
    """The pattern cannot be written for RE2."""


def for_re2(pattern: str) -> str | None:
    """The pattern for RE2, equal to Python's on ASCII text; None when there is none.

    Raises re.error when the pattern is none of Python's.
    """
    if not pattern.isascii():
        return None
    try:
        # Parsed only: what a pattern compiles to may take long, and is made in a confined process (``cage``).
        tree = _parser.parse(pattern)
    except (RecursionError, OverflowError):
        return None
    flags = tree.state.flags
    if flags & (re.MULTILINE | re.LOCALE):
        return None
    try:
        written = _sequence(list(tree), dotall=bool(flags & re.DOTALL), last=True)
    except (_NoCounterpart, RecursionError):
        return None
    return f"(?i:{written})" if flags & re.IGNORECASE else written


def _sequence(nodes: list[Any], *, dotall: bool, last: bool) -> str:
    parts = []
    for place, (code, argument) in enumerate(nodes):
        parts.append(_node(code, argument, dotall=dotall, last=last and place == len(nodes) - 1))
    return "".join(parts)


def _node(code: Any, argument: Any, *, dotall: bool, last: bool) -> str:
    if code is codes.LITERAL:
        return _character(argument)
    if code is codes.NOT_LITERAL:
        return f"[^{_character(argument)}]"
    if code is codes.ANY:
        return r"[\x00-\x{10ffff}]" if dotall else r"[^\n]"
    if code is codes.IN:
        return _set(argument)
    if code is codes.BRANCH:
        return f"(?:{'|'.join(_sequence(list(one), dotall=dotall, last=last) for one in argument[1])})"
    if code is codes.SUBPATTERN:
        _, added, removed, inner = argument
        if added or removed:
            raise _NoCounterpart
        return f"(?:{_sequence(list(inner), dotall=dotall, last=last)})"
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, most, inner = argument
        if least > _MOST_REPEATS or (most is not codes.MAXREPEAT and most > _MOST_REPEATS):
            raise _NoCounterpart
        upper = "" if most is codes.MAXREPEAT else str(int(most))
        return f"(?:{_sequence(list(inner), dotall=dotall, last=False)}){{{least},{upper}}}"
    if code is codes.AT:
        return _anchor(argument, last=last)
    raise _NoCounterpart


def _anchor(argument: Any, *, last: bool) -> str:
    if argument in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING):
        return r"\A"
    if argument is codes.AT_END_STRING:
        return r"\z"
    if argument is codes.AT_END and last:
        return r"\n?\z"  # Python's $ also matches before a line feed that ends the text
    if argument is codes.AT_BOUNDARY:
        return r"\b"
    if argument is codes.AT_NON_BOUNDARY:
        return r"\B"
    raise _NoCounterpart


def _character(number: int) -> str:
    character = chr(number)
    return character if character.isalnum() else f"\\x{number:02x}"


def _set(members: list[Any]) -> str:
    parts = []
    for code, argument in members:
        if code is codes.NEGATE:
            parts.append("^")
        elif code is codes.LITERAL:
            parts.append(_character(argument))
        elif code is codes.RANGE:
            low, high = argument
            parts.append(f"{_character(low)}-{_character(high)}")
        elif code is codes.CATEGORY and argument in _CLASSES:
            parts.append(_CLASSES[argument])
        elif code is codes.CATEGORY and argument in _NEGATED:
            parts.append(_NEGATED[argument])
        else:
            raise _NoCounterpart
    return f"[{''.join(parts)}]"
