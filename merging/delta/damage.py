"""Reading what others wrote in a log: values of the types that PROTOCOL.md gives them, or a named damage.

Nothing in a log is believed to have a shape. Each function returns the value or raises `Damaged` with what is wrong
in words that fit behind a place ("line 3 of version 7: ").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from merging.errors import TableChanged

_LARGEST = 2**63 - 1
# 0001-01-01 and 9999-12-31 in milliseconds since 1970: what a moment of the log can be shown as.
_FIRST_MOMENT, _LAST_MOMENT = -62_135_596_800_000, 253_402_300_799_999
_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


class Damaged(TableChanged):
    """An action that cannot be what the protocol says; who knows its place in the log says that too."""


class DamagedLine(Damaged):
    """The damage of one line of a file of actions."""

    def __init__(self, number: int, damage: Damaged) -> None:
        super().__init__(f"line {number}: {damage.message}")
        self.number = number
        self.damage = damage


def parse_lines(content: bytes) -> tuple[Sequence[int], Sequence[dict[str, Any]]]:
    """The numbers of the lines that are not blank, and their JSON objects, as ``parse_action`` has them.

    Raises DamagedLine.
    """
    actions = _plain_lines(content)
    if actions is not None:
        return range(1, len(actions) + 1), actions
    actions, numbers = [], []
    for number, line in enumerate(content.splitlines(), 1):
        if not line or line.isspace():
            continue
        try:
            actions.append(parse_action(line))
        except Damaged as damage:
            raise DamagedLine(number, damage) from damage
        numbers.append(number)
    return numbers, actions


def _plain_lines(content: bytes) -> list[dict[str, Any]] | None:
    """The same at a glance, where each line is an object and nothing else: logs have hundreds of thousands of lines."""
    actions = []
    try:
        text = content.decode()
        place, end = 0, len(text)
        while place < end:
            action, place = _decoder.raw_decode(text, place)
            if type(action) is not dict or text[place : place + 1] not in ("\n", ""):
                return None
            actions.append(action)
            place += 1
    except (ValueError, RecursionError):
        return None
    # An object may be written over several lines, which no line by itself would be.
    is_plain = text.count("\n") == len(actions) - (text[-1:] != "\n") and "\r" not in text
    return actions if is_plain and not _may_have_half(text) else None


def parse_action(line: bytes) -> dict[str, Any]:
    """The JSON object of one line. Halves of characters, which nothing can store, become U+FFFD."""
    try:
        text = line.decode()
        action = _loaded(text)
    except RecursionError as error:
        raise Damaged("it is nested too deeply") from error
    except ValueError as error:
        raise Damaged(f"it is no JSON ({error})") from error
    if not isinstance(action, dict):
        raise Damaged("it is no JSON object")
    whole: dict[str, Any] = _whole(action) if _may_have_half(text) else action
    return whole


def _may_have_half(text: str) -> bool:
    return "\\u" in text and _HALF_A_CHARACTER.search(text) is not None


_decoder = json.JSONDecoder()


def _loaded(text: str) -> Any:
    """As ``json.loads``, at a glance where nothing stands round the value: logs have hundreds of thousands of lines."""
    try:
        value, end = _decoder.raw_decode(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def whole_json(text: str) -> str:
    """JSON that stands as a text in an action, without halves of characters; as it is where there are none."""
    if not _HALF_A_CHARACTER.search(text):
        return text
    try:
        loaded = json.loads(text)
        whole = _whole(loaded)
    except (ValueError, RecursionError):
        return text
    return text if whole == loaded else json.dumps(whole, ensure_ascii=False)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_whole(name): _whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return value


def fields_of(value: Any, what: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Damaged(f"{what} is no object but {_shown(value)}")
    return value


def text_of(value: Mapping[str, Any], name: str, what: str) -> str:
    """A text that must be there."""
    found = value.get(name)
    if not isinstance(found, str):
        raise Damaged(f"{what} has no {name}" if found is None else f"{name} of {what} is {_shown(found)}")
    return found


def number_of(value: Mapping[str, Any], name: str, what: str, *, lowest: int = 0) -> int:
    """A whole number that must be there."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not lowest <= found <= _LARGEST:
        raise Damaged(f"{what} has no {name}" if found is None else f"{name} of {what} is {_shown(found)}")
    return found


def texts_of(value: Mapping[str, Any], name: str, what: str) -> tuple[str, ...]:
    """A list of texts, empty where there is none."""
    found = value.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Damaged(f"{name} of {what} is no list of texts but {_shown(found)}")
    return tuple(found)


def pairs_of(value: Mapping[str, Any], name: str, what: str) -> dict[str, str | None]:
    """A map of texts, also as the pairs in which Arrow gives maps; empty where there is none."""
    found = value.get(name)
    if found is None:
        return {}
    if isinstance(found, list) and all(
        isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str) for item in found
    ):
        found = dict(found)
    if not isinstance(found, dict):
        raise Damaged(f"{name} of {what} is no map of texts but {_shown(found)}")
    for key, item in found.items():
        if not isinstance(key, str) or not (item is None or isinstance(item, str)):
            raise Damaged(f"{name} of {what} is no map of texts but {_shown(found)}")
    return found


def optional_number(value: Any) -> int | None:
    """A whole number, None for anything else."""
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST else None
    )


def optional_moment(value: Any) -> int | None:
    """Milliseconds since 1970 of a moment that can be shown, None for anything else."""
    found = optional_number(value)
    return found if found is not None and _FIRST_MOMENT <= found <= _LAST_MOMENT else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
