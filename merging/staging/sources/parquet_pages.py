"""What a Parquet file declares, read from its footer and the headers of its pages, before a reader makes room for it.

A footer says what it likes of sizes; a reader allocates what each page header says. Format: parquet.thrift and "Data
Pages" of parquet-format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from merging.delta.column_chunks import Chunk, RowGroup, row_groups_in
from merging.delta.thrift import I32, BadThrift, Struct, read_struct
from merging.sql.parsing import shown
from merging.staging.sources.base import beyond, content_limits, most, refuse
from merging.staging.sources.content import Unpacked

_HEADER_BYTES = (1 << 9, 1 << 14, 16 << 20)
"""How much is read in search of the end of one header: statistics in it may be long."""
_TYPE, _UNPACKED, _PACKED = (1, I32), (2, I32), (3, I32)  # of PageHeader
_DICTIONARY = 2  # of PageType


def row_groups_of(path: Path) -> list[RowGroup]:
    """The row groups of a file that a reader has opened. Raises StagingRejected where its footer is damaged."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        try:
            file.seek(-8 - length, 2)
            return row_groups_in(file.read(length))
        except (BadThrift, OSError) as error:
            raise refuse(
                "unreadable", "the footer of the Parquet file is damaged. Write it again."
            ) from error


@dataclass(frozen=True)
class _Page:
    """One page: whether it is a dictionary, and its bytes unpacked."""

    dictionary: bool
    unpacked: int


def check_pages(file: BinaryIO, groups: list[RowGroup], unpacked: Unpacked) -> None:
    """Refuse pages that no upload needs, by row group and column. ``unpacked`` counts what comes out of all."""
    allowed = content_limits()
    for number, group in enumerate(groups, start=1):
        held = 0
        for chunk in group.chunks:
            where = f"row group {number}, column {shown(chunk.path)}"
            name = chunk.path.split(".")[0]
            largest = {True: 0, False: 0}
            try:
                for page in _pages(file, chunk):
                    if page.unpacked > allowed.page_bytes:
                        raise beyond(
                            "page_bytes", f"in {where}, a page declares {page.unpacked:,} bytes", column=name
                        )
                    largest[page.dictionary] = max(largest[page.dictionary], page.unpacked)
                    unpacked.add(page.unpacked)
            except BadThrift as error:
                told = f"{where}: the header of a page is damaged ({error}). Write the file again."
                raise refuse("unreadable", told, column=name) from error
            held += sum(largest.values())
        if held > allowed.open_page_bytes:
            told = f"row group {number} has pages of {held:,} bytes that must be held at once; write smaller pages"
            raise beyond("open_page_bytes", f"{told}, {most('open_page_bytes')} are possible")


def _pages(file: BinaryIO, chunk: Chunk) -> Iterator[_Page]:
    at = chunk.data_pages
    if chunk.dictionary is not None and 0 < chunk.dictionary < at:
        at = chunk.dictionary
    end = at + chunk.packed
    if at < 0:
        raise BadThrift(f"its pages begin at byte {at}")
    while at < end:
        header, size = _header(file, at)
        packed, unpacked = header.get(_PACKED, -1), header.get(_UNPACKED, -1)
        if packed < 0 or unpacked < 0:
            raise BadThrift(f"the page at byte {at:,} has no size")
        yield _Page(header.get(_TYPE) == _DICTIONARY, unpacked)
        at += size + packed


def _header(file: BinaryIO, at: int) -> tuple[Struct, int]:
    """The page header at a place of the file, and how many bytes it takes."""
    for number in _HEADER_BYTES:
        file.seek(at)
        data = file.read(number)
        try:
            return read_struct(data)
        except IndexError:
            if len(data) < number:
                break
    raise BadThrift(f"the one at byte {at:,} has no end")
