"""Structs in Thrift's compact protocol ("Thrift Compact protocol encoding"), as Parquet has its metadata.

What is read is written again with every field that it had, those that nobody here knows among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)
_DEEPEST = 16
_NUMBERS = (I16, I32, I64)

Struct = dict[tuple[int, int], Any]
"""Values by the number and the kind of their fields: a field of another kind than the format's is not looked at. Of
booleans the kind itself is the value; doubles are the eight bytes that they are."""


class ListOf(list[Any]):
    """A list that knows the kind of its values."""

    def __init__(self, kind: int, values: Iterable[Any] = ()) -> None:
        super().__init__(values)
        self.kind = kind


class BadThrift(ValueError):
    """Bytes that are no struct."""


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[Struct, int]:
    """A struct, and where it ends. Raises IndexError where the data ends before it does, BadThrift."""
    if depth > _DEEPEST:
        raise BadThrift("it is nested without end")
    found: Struct = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        kind = head & 15
        if kind == STOP:
            return found, at
        if head >> 4:
            field += head >> 4
        else:
            field, at = _integer(data, at)
        # What most fields are is read here: a call for each takes longer than to read it.
        if kind in _NUMBERS:
            number = data[at]
            at += 1
            if number > 127:
                number, at = read_varint(data, at - 1)
            found[field, kind] = (number >> 1) ^ -(number & 1)
        elif kind == BINARY:
            length = data[at]
            at += 1
            if length > 127:
                length, at = read_varint(data, at - 1)
            found[field, kind], at = _bytes(data, at, length)
        elif kind == STRUCT:
            found[field, kind], at = read_struct(data, at, depth + 1)
        elif kind in (TRUE, FALSE):  # the kind itself is the value
            found[field, kind] = kind == TRUE
        else:
            found[field, kind], at = _value(data, at, kind, depth)


def structs_in(struct: Struct, field: int) -> ListOf:
    """The structs of a list. Raises KeyError where there is none, BadThrift for one of something else."""
    found: ListOf = struct[field, LIST]
    if found and found.kind != STRUCT:
        raise BadThrift("it has a list of something else than structs")
    return found


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _NUMBERS:
        return _integer(data, at)
    if kind in (TRUE, FALSE, BYTE):
        return data[at], at + 1
    if kind == DOUBLE:
        return _bytes(data, at, 8)
    if kind == BINARY:
        length, at = read_varint(data, at)
        return _bytes(data, at, length)
    if kind == STRUCT:
        return read_struct(data, at, depth + 1)
    if kind in (LIST, SET):
        head = data[at]
        count, at = read_varint(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
        values = ListOf(head & 15)
        for _ in range(count):
            value, at = _value(data, at, head & 15, depth + 1)
            if at > len(data):
                raise IndexError
            values.append(value)
        return values, at
    raise BadThrift("it holds what no metadata of Parquet does")


def _bytes(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise IndexError
    return data[at : at + length], at + length


def _integer(data: bytes, at: int) -> tuple[int, int]:
    number, at = read_varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of as many bytes as it needs, and where it ends. Raises IndexError, BadThrift."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:
            raise BadThrift("it holds an endless number")


def write_struct(struct: Struct) -> bytes:
    """The bytes of a struct, its fields in the order of their numbers."""
    written = bytearray()
    before = 0
    for (field, kind), value in sorted(struct.items(), key=lambda item: item[0]):
        step = field - before
        before = field
        if 0 < step < 16:
            written.append(step << 4 | kind)
        else:
            written.append(kind)
            written += write_varint(_zigzag(field))
        if kind not in (TRUE, FALSE):
            _write(written, kind, value)
    written.append(STOP)
    return bytes(written)


def _write(written: bytearray, kind: int, value: Any) -> None:
    if kind in _NUMBERS:
        written += write_varint(_zigzag(value))
    elif kind in (TRUE, FALSE, BYTE):
        written.append(value)
    elif kind == DOUBLE:
        written += value
    elif kind == BINARY:
        written += write_varint(len(value)) + value
    elif kind == STRUCT:
        written += write_struct(value)
    else:
        _write_list(written, value.kind, value)


def _write_list(written: bytearray, kind: int, values: Sequence[Any]) -> None:
    if len(values) < 15:
        written.append(len(values) << 4 | kind)
    else:
        written.append(15 << 4 | kind)
        written += write_varint(len(values))
    for value in values:
        _write(written, kind, value)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else ~(number << 1)


def write_varint(number: int) -> bytes:
    """A number of no sign in as many bytes as it needs."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
