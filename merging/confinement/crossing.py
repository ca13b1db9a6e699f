"""What crosses the border between a process and a confined one: frames of JSON, never pickles.

The confined process has read what strangers sent and may be theirs by now, so what it says is data: an error of the
engine comes as the name of its class, its message and its fields, and is made anew from the classes known here.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from merging import model
from merging.errors import MergeError

_LENGTH = struct.Struct("!Q")
MOST_BYTES = 512 * 1024**2
"""The longest frame that is taken."""


class BadFrame(Exception):
    """What came is no frame of this border."""


def frame(document: Any) -> bytes:
    """A JSON document with its length before it. Raises TypeError or ValueError for what is no JSON."""
    body = json.dumps(document).encode()
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Documents out of bytes that come in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, piece: bytes) -> Iterator[Any]:
        """The documents that are whole with this piece. Raises BadFrame."""
        self._held += piece
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > MOST_BYTES:
                raise BadFrame("it answered with more than is taken")
            end = _LENGTH.size + length
            if len(self._held) < end:
                return
            body = bytes(self._held[_LENGTH.size : end])
            del self._held[:end]
            try:
                document = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise BadFrame("it answered with what is no JSON") from error
            yield document


def error_document(error: MergeError) -> dict[str, Any]:
    """An error of the engine as JSON."""
    return {"class": type(error).__name__, "message": str(error), "fields": _packed(vars(error))}


def error_from(document: Any) -> MergeError:
    """The error that ``error_document`` told of. Raises BadFrame where it is none of the engine's."""
    try:
        kind = _kinds()[document["class"]]
        error = kind.__new__(kind, str(document["message"]))
        vars(error).update(_unpacked(document["fields"]))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as failure:
        raise BadFrame("it told of an error that the engine does not have") from failure
    return error


def _kinds() -> dict[str, type[MergeError]]:
    found: dict[str, type[MergeError]] = {}
    waiting: list[type[MergeError]] = [MergeError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found


def _packed(value: Any) -> Any:
    """A field of an error as JSON; what is no plain value, tuple or value object of the engine becomes its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_packed(one) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_packed(one) for one in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_packed(key), _packed(one)] for key, one in value.items()]}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if dataclasses.is_dataclass(value) and type(value).__module__ == model.__name__:
        fields = {one.name: _packed(getattr(value, one.name)) for one in dataclasses.fields(value)}
        return {"model": [type(value).__name__, fields]}
    return str(value)


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(one) for one in value]
    if not isinstance(value, dict):
        return value
    [(kind, held)] = value.items()
    match kind:
        case "tuple":
            return tuple(_unpacked(one) for one in held)
        case "dict":
            return {_unpacked(key): _unpacked(one) for key, one in held}
        case "decimal":
            return Decimal(held)
        case "datetime":
            return datetime.fromisoformat(held)
        case "date":
            return date.fromisoformat(held)
        case "bytes":
            return base64.b64decode(held)
        case "model":
            return _value_object(*held)
    raise BadFrame("it told of a value that the engine does not have")


def _value_object(name: str, fields: Mapping[str, Any]) -> Any:
    kind = getattr(model, name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise BadFrame("it told of a value that the engine does not have")
    return kind(**{field: _unpacked(value) for field, value in fields.items()})
