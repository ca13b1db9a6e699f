"""What the pages of a Parquet file declare, read from their headers alone, before a reader makes room for it.

A footer says what it likes of sizes; a reader allocates what each page header says ("Data Pages" and parquet.thrift of
parquet-format, in Thrift's compact protocol).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow.parquet as arrow_parquet

from merging.sql.parsing import shown
from merging.staging.sources.base import beyond, content_limits, most, refuse
from merging.staging.sources.content import Unpacked

_HEADER_BYTES = (1 << 9, 1 << 14, 16 << 20)
"""How much is read in search of the end of one header: statistics in it may be long."""
_DEEPEST = 16
_TYPE, _UNPACKED, _PACKED = 1, 2, 3  # fields of PageHeader
_DICTIONARY = 2  # of PageType


class _Damaged(ValueError):
    """Bytes that are no header of a page."""


@dataclass(frozen=True)
class _Page:
    """One page: whether it is a dictionary, and its bytes unpacked."""

    dictionary: bool
    unpacked: int


def check_pages(file: BinaryIO, metadata: arrow_parquet.FileMetaData, unpacked: Unpacked) -> None:
    """Refuse pages that no upload needs, by row group and column. ``unpacked`` counts what comes out of all."""
    allowed = content_limits()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        held = 0
        for place in range(group.num_columns):
            chunk = group.column(place)
            name = str(chunk.path_in_schema)
            where = f"row group {number + 1}, column {shown(name)}"
            largest = {True: 0, False: 0}
            try:
                for page in _pages(file, chunk):
                    if page.unpacked > allowed.page_bytes:
                        told = f"in {where}, a page declares {page.unpacked:,} bytes"
                        raise beyond("page_bytes", told, column=name.split(".")[0])
                    largest[page.dictionary] = max(largest[page.dictionary], page.unpacked)
                    unpacked.add(page.unpacked)
            except _Damaged as error:
                raise refuse(
                    "unreadable",
                    f"{where}: {error}: the file is damaged. Write it again.",
                    column=name.split(".")[0],
                ) from error
            held += sum(largest.values())
        if held > allowed.open_page_bytes:
            told = f"row group {number + 1} has pages of {held:,} bytes that must be held at once; write smaller pages"
            raise beyond("open_page_bytes", f"{told}, {most('open_page_bytes')} are possible")


def _pages(file: BinaryIO, chunk: Any) -> Iterator[_Page]:
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    if at < 0:
        raise _Damaged(f"its pages begin at byte {at}")
    while at < end:
        header, size = _header(file, at)
        packed = header.get(_PACKED, -1)
        unpacked = header.get(_UNPACKED, -1)
        if packed < 0 or unpacked < 0:
            raise _Damaged(f"the page at byte {at:,} has no size")
        yield _Page(header.get(_TYPE) == _DICTIONARY, unpacked)
        at += size + packed


def _header(file: BinaryIO, at: int) -> tuple[dict[int, int], int]:
    """The numbers of the page header at a place of the file, and how many bytes it takes."""
    for number in _HEADER_BYTES:
        file.seek(at)
        data = file.read(number)
        try:
            return _numbers(data, 0, 0)
        except IndexError:
            if len(data) < number:
                break
    raise _Damaged(f"the header of the page at byte {at:,} has no end")


# Thrift's compact protocol ("Thrift Compact protocol encoding")

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)


def _numbers(data: bytes, at: int, depth: int) -> tuple[dict[int, int], int]:
    """The integers of a struct by the numbers of their fields, and where it ends. IndexError where the data does."""
    found: dict[int, int] = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        kind = head & 15
        if kind == _STOP:
            return found, at
        if head >> 4:
            field += head >> 4
        else:
            field, at = _integer(data, at)
        if kind in _INTEGERS:
            found[field], at = _integer(data, at)
        elif kind not in (_TRUE, _FALSE):  # a truth value is the kind itself
            at = _behind(data, at, kind, depth)


def _behind(data: bytes, at: int, kind: int, depth: int) -> int:
    """Where a value ends that nobody wants to know."""
    if depth > _DEEPEST:
        raise _Damaged("the header of a page is nested without end")
    if kind in _INTEGERS:
        return _varint(data, at)[1]
    if kind in (_TRUE, _FALSE, _BYTE):
        return at + 1
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise IndexError
        return at + length
    if kind == _STRUCT:
        return _numbers(data, at, depth + 1)[1]
    if kind in (_LIST, _SET):
        head = data[at]
        count, at = _varint(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
        for _ in range(count):
            at = _behind(data, at, head & 15, depth + 1)
            if at > len(data):
                raise IndexError
        return at
    raise _Damaged("the header of a page holds what none does")


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
            raise _Damaged("the header of a page holds an endless number")
