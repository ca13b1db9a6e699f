"""Structs in Thrift's compact protocol ("Thrift Compact protocol encoding"), as Parquet has its metadata."""

from __future__ import annotations

from typing import Any

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)
_DEEPEST = 16

Struct = dict[tuple[int, int], Any]
"""Values by the number and the kind of their fields: a field of another kind than the format's is not looked at."""


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
        if kind in (TRUE, FALSE):  # the kind itself is the value
            found[field, kind] = kind == TRUE
            continue
        found[field, kind], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        return _integer(data, at)
    if kind in (TRUE, FALSE, BYTE):
        return data[at], at + 1
    if kind == DOUBLE:
        return None, at + 8
    if kind == BINARY:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise IndexError
        return data[at : at + length], at + length
    if kind == STRUCT:
        return read_struct(data, at, depth + 1)
    if kind in (LIST, SET):
        head = data[at]
        count, at = _varint(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
        values = []
        for _ in range(count):
            value, at = _value(data, at, head & 15, depth + 1)
            if at > len(data):
                raise IndexError
            values.append(value)
        return values, at
    raise BadThrift("it holds what no metadata of Parquet does")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
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
