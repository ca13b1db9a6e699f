"""A file's bytes again without some of its rows: pages that keep all their rows stay as they are.

Nothing of a table is known here, and nothing of the engine is loaded: it is done in this process or in a confined one
beside it (`splicing_apart`), in the same way.

Format: parquet.thrift; "Page Index" and "Bloom Filter" of parquet-format.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from merging.confinement.child import Caller
from merging.delta.pages import (
    DATA,
    DATA_V2,
    DICTIONARY,
    MAGIC,
    Leaf,
    NotTaken,
    StoredPage,
    Taken,
    Values,
    holds,
    leaves_of,
    naming,
    pages_between,
    require_whole,
    take_out,
    without_values,
)
from merging.delta.thrift import (
    BINARY,
    FALSE,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    BadThrift,
    ListOf,
    Struct,
    read_struct,
    structs_in,
    write_struct,
)

_PIECE = 1 << 20
_TRUE = 1  # as a list has it
_UNORDERED = 0  # BoundaryOrder
#: Bytes of the pages of a column that are written anew: they are held until it is known that all can be.
_MOST_HELD = 32 << 20
_ELSEWHERE = {(1, BINARY), (8, STRUCT), (9, BINARY)}
_MAY_BE_CUT = {6, 7}  # BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY
#: By the types of Parquet that have two zeros, as they may stand in bounds and among values.
_ZEROS = {
    4: {struct.pack("<f", 0.0), struct.pack("<f", -0.0)},
    5: {struct.pack("<d", 0.0), struct.pack("<d", -0.0)},
}


@dataclass(frozen=True, eq=False)
class Cut:
    """What is asked of a file: its footer, the numbers of the rows that go (ascending, each once), and the columns that
    the log bounds, by the names that lead to them."""

    footer: bytes
    gone: np.ndarray
    bounded: Collection[tuple[str, ...]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "footer": base64.b64encode(self.footer).decode(),
            "gone": base64.b64encode(self.gone.astype("<i8").tobytes()).decode(),
            "bounded": [*self.bounded],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Cut:
        """The one that was made a document."""
        gone = np.frombuffer(base64.b64decode(document["gone"]), "<i8")
        return cls(base64.b64decode(document["footer"]), gone, {tuple(path) for path in document["bounded"]})


@dataclass(frozen=True)
class Left:
    """How many rows a file has left, how many bytes it is, and how many NULLs went from each of its columns."""

    rows: int
    size: int
    nulls: Mapping[tuple[str, ...], int]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"rows": self.rows, "size": self.size, "nulls": [*self.nulls.items()]}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Left:
        """The one that was made a document."""
        nulls = {tuple(path): count for path, count in document["nulls"]}
        return cls(document["rows"], document["size"], nulls)


def splice_file(source: pa.NativeFile, target: BinaryIO, cut: Cut) -> Left:
    """Write the file again without the rows that go. Where that fails, what was written is of no use.

    Raises NotTaken where it is to be written in another way, and DamagedPage.
    """
    try:
        splicer = _Splicer(source, target, _planned(source, cut))
        return Left(splicer.write(), target.tell(), splicer.nulls)
    except (LookupError, ValueError, TypeError, OverflowError, struct.error) as error:
        # BadThrift, and numpy's of counts that cannot be; the rest is damage, too.
        raise NotTaken("it is damaged, or not understood") from error


def before_confinement() -> None:
    """Have Arrow take memory as it needs it: it asks for a gigabyte of addresses at first, and those are counted."""
    pa.set_memory_pool(pa.system_memory_pool())


def splice_in_child(_: Any, caller: Caller) -> None:
    """What a confined process does: one file after the other, until there is none. It says of each what is left, None
    where the file is to be written in another way: whoever asked removes what there is of it then.
    """
    left: dict[str, Any] | None = None
    while (asked := caller.ask({"left": left})) is not None:
        left = None
        try:
            with pa.OSFile(asked["source"]) as source, open(asked["target"], "xb") as target:
                left = splice_file(source, target, Cut.of(asked["cut"])).document()
        except NotTaken:
            continue


@dataclass
class _Chunk:
    """A column chunk that loses rows: its pages, a dictionary first if it has one, the rows that go of each, by their
    places in it, the values that bound it, and whether these are known to be its own: of texts they may be the
    beginnings."""

    leaf: Leaf
    pages: list[StoredPage]
    gone: list[np.ndarray]
    bounds: set[bytes]
    are_exact: bool


@dataclass
class _Group:
    """A row group: the rows that go, by their places in it, and its chunks where any do."""

    described: Struct
    gone: np.ndarray
    chunks: list[_Chunk] = field(default_factory=list)


@dataclass
class _Plan:
    """What is to be written: of what file, with what footer."""

    metadata: Struct
    leaves: list[Leaf]
    groups: list[_Group]


def _planned(source: pa.NativeFile, cut: Cut) -> _Plan:
    """Raises NotTaken, BadThrift, and LookupError where the footer lacks what every footer has."""
    metadata, _ = read_struct(cut.footer)
    if (8, STRUCT) in metadata:
        raise NotTaken("it is encrypted")
    plan = _Plan(metadata, leaves_of(structs_in(metadata, 2)), [])
    first = 0
    for described in structs_in(metadata, 4):
        rows = described[3, I64]
        here = cut.gone[(cut.gone >= first) & (cut.gone < first + rows)] - first
        first += rows
        if len(here) and len(here) == rows:
            raise NotTaken("a row group loses all its rows")
        columns = structs_in(described, 1)
        if len(columns) != len(plan.leaves):
            raise NotTaken("a row group has not the columns of the file")
        group = _Group(described, here)
        plan.groups.append(group)
        for column, leaf in zip(columns, plan.leaves, strict=True):
            if set(column) & _ELSEWHERE:
                raise NotTaken("a column is encrypted or lies in another file")
            if len(here):
                chunk = _chunk(source, column[3, STRUCT], leaf, rows, here, cut.bounded)
                hit = zip(chunk.pages, chunk.gone, strict=True)
                if sum(page.end - page.at for page, some in hit if len(some)) > _MOST_HELD:
                    raise NotTaken("too much of a column is written anew to hold it at once")
                group.chunks.append(chunk)
    return plan


def _chunk(
    source: pa.NativeFile,
    described: Struct,
    leaf: Leaf,
    rows: int,
    gone: np.ndarray,
    bounded: Collection[tuple[str, ...]],
) -> _Chunk:
    at, end = _range(described)

    def read(place: int, length: int) -> bytes:
        source.seek(place)
        found: bytes = source.read(min(length, end - place))
        return found

    pages = list(pages_between(read, at, end))
    if sum(page.rows for page in pages) != rows or any(page.rows < 0 for page in pages):
        raise BadThrift("the pages of a column have not the rows of their group")
    if {page.kind for page in pages} - {DATA, DATA_V2, DICTIONARY} or (10, I64) in described:
        raise NotTaken("pages of another kind")
    ends = np.cumsum([page.rows for page in pages])
    turns = np.searchsorted(gone, ends[:-1])
    of_pages = [
        some - (end - page.rows) for page, end, some in zip(pages, ends, np.split(gone, turns), strict=True)
    ]
    if any(len(some) == page.rows > 0 for page, some in zip(pages, of_pages, strict=True)):
        raise NotTaken("a page loses all its rows")
    found = described.get((12, STRUCT), {})
    are_exact = leaf.kind not in _MAY_BE_CUT or {(7, TRUE), (8, TRUE)} <= found.keys()
    return _Chunk(leaf, pages, of_pages, _bounds(described, leaf, bounded), are_exact)


def _range(described: Struct) -> tuple[int, int]:
    """Where a column chunk begins and ends."""
    at: int = described[9, I64]
    dictionary = described.get((11, I64))
    if dictionary is not None and 0 < dictionary < at:
        at = dictionary
    return at, at + described[7, I64]


def _bounds(described: Struct, leaf: Leaf, bounded: Collection[tuple[str, ...]]) -> set[bytes]:
    """The least and the greatest value of a chunk. Raises NotTaken where the log bounds a column that its file does
    not: nobody could say whether a value that goes was the least.
    """
    found = described.get((12, STRUCT), {})
    bounds = {found[one, BINARY] for one in (1, 2, 5, 6) if (one, BINARY) in found}
    if bounds and ((7, FALSE) in found or (8, FALSE) in found):
        raise NotTaken("its bounds may be parts of values that go")
    exact = {(5, BINARY), (6, BINARY)} <= found.keys()
    empty = found.get((3, I64)) == described[5, I64]
    if not exact and not empty and leaf.path in bounded:
        raise NotTaken("the log knows more of its values than itself")
    zeros = _ZEROS.get(leaf.kind, set())
    return bounds | zeros if bounds & zeros else bounds


@dataclass
class _Moved:
    """Where a page of a column chunk is now; `nulls` went with its rows, `all_null` tells that nothing else is left."""

    at: int
    size: int
    first: int
    nulls: int = 0
    all_null: bool = False
    touched: bool = False


class _Splicer:
    """Writes a file from pieces of another one."""

    def __init__(self, source: pa.NativeFile, target: BinaryIO, plan: _Plan) -> None:
        self._source = source
        self._size = source.size()
        self._target = target
        self._plan = plan
        self._at = 0
        self.nulls: dict[tuple[str, ...], int] = dict.fromkeys((leaf.path for leaf in plan.leaves), 0)

    def write(self) -> int:
        """Everything, the footer last; how many rows there are."""
        self._put(MAGIC)
        indexes: list[tuple[Struct, bytes, bytes]] = []
        rows = 0
        for group in self._plan.groups:
            indexes += self._group(group)
            rows += group.described[3, I64]
        for column, of_columns, _ in indexes:
            self._index(column, of_columns, (6, I64), (7, I32))
        for column, _, of_offsets in indexes:
            self._index(column, of_offsets, (4, I64), (5, I32))
        metadata = {**self._plan.metadata, (3, I64): rows}
        footer = write_struct(metadata)
        self._put(footer + len(footer).to_bytes(4, "little") + MAGIC)
        return rows

    def _group(self, group: _Group) -> list[tuple[Struct, bytes, bytes]]:
        """A row group, described anew in its place; of each chunk its page indexes, which come behind all groups."""
        described = group.described
        start, unpacked, indexes = self._at, 0, []
        for place, column in enumerate(structs_in(described, 1)):
            described_chunk = column[3, STRUCT]
            begin, end = _range(described_chunk)
            filters = self._filter(described_chunk)
            moved_to = self._at
            if len(group.gone):
                indexes.append((column, *self._spliced(group.chunks[place], column)))
            else:
                offset = self._index_at(column, (4, I64), (5, I32))
                self._copy(begin, end)
                indexes.append(
                    (column, self._index_at(column, (6, I64), (7, I32)), _shifted(offset, moved_to - begin))
                )
                _move(described_chunk, moved_to - begin)
            if column.get((2, I64)):
                column[2, I64] = moved_to
            if filters and not len(group.gone):
                described_chunk[14, I64] = self._at
                described_chunk[15, I32] = len(filters)
                self._put(filters)
            unpacked += described_chunk[6, I64]
        described[2, I64] = unpacked
        described[3, I64] -= len(group.gone)
        if (5, I64) in described:
            described[5, I64] = start
        if (6, I64) in described:
            described[6, I64] = sum(column[3, STRUCT][7, I64] for column in structs_in(described, 1))
        return indexes

    def _filter(self, described: Struct) -> bytes:
        """The Bloom filter of a chunk, which holds for fewer rows too; nothing where its length is not told."""
        at, length = described.pop((14, I64), None), described.pop((15, I32), None)
        return self._read(at, length) if at and length else b""

    def _index_at(self, column: Struct, at: tuple[int, int], length: tuple[int, int]) -> bytes:
        place, size = column.pop(at, None), column.pop(length, None)
        return self._read(place, size) if place and size else b""

    def _index(self, column: Struct, index: bytes, at: tuple[int, int], length: tuple[int, int]) -> None:
        if index:
            column[at], column[length] = self._at, len(index)
            self._put(index)

    def _spliced(self, chunk: _Chunk, column: Struct) -> tuple[bytes, bytes]:
        """A chunk without the rows that go, described anew; its page indexes, where it had any."""
        described = column[3, STRUCT]
        values = Values(chunk.leaf, described[4, I32], chunk.bounds)
        pages, gone = chunk.pages, chunk.gone
        dictionary = pages[0] if pages[0].kind == DICTIONARY else None
        if dictionary is not None:
            pages, gone = pages[1:], gone[1:]
            values.name_dictionary(dictionary, lambda: self._body(dictionary))
        taken = [
            take_out(values, page, self._body(page), some) if len(some) else None
            for page, some in zip(pages, gone, strict=True)
        ]
        self._require_bounds(chunk, values, pages, taken)
        start, unpacked, rows = self._at, 0, 0
        described.pop((11, I64), None)
        if dictionary is not None:
            described[11, I64] = start
            unpacked += self._dictionary(values, dictionary, pages, taken)
        described[9, I64] = self._at
        moved: list[_Moved] = []
        for page, one in zip(pages, taken, strict=True):
            place = self._at
            if one is None:
                self._copy(page.at, page.end)
                unpacked += _unpacked(page)
                moved.append(_Moved(place, page.end - page.at, rows))
                rows += page.rows
                continue
            self._put(one.page)
            unpacked += one.unpacked
            moved.append(_Moved(place, len(one.page), rows, one.nulls, one.all_null, touched=True))
            rows += one.stored.rows
            self.nulls[chunk.leaf.path] += one.nulls
        nulls = sum(one.nulls for one in moved)
        described[5, I64] = rows
        described[6, I64], described[7, I64] = unpacked, self._at - start
        for bounding in (16, 17):  # sizes, and where on Earth its values lie
            described.pop((bounding, STRUCT), None)
        _count_nulls(described, nulls)
        of_columns = self._index_at(column, (6, I64), (7, I32))
        of_offsets = self._index_at(column, (4, I64), (5, I32))
        return _bounds_of(of_columns, moved, described.get((12, STRUCT), {})), _places_of(
            moved
        ) if of_offsets else b""

    def _require_bounds(
        self, chunk: _Chunk, values: Values, pages: Sequence[StoredPage], taken: Sequence[Taken | None]
    ) -> None:
        """Raises NotTaken where a value that bounds the chunk went with none left, and where what bounds it is none of
        its values: it may be the beginning of one that goes."""
        went = set().union(*(one.went for one in taken if one))
        for value in went if chunk.are_exact else chunk.bounds:
            # Rows that hold the same often stand next to one another: pages where it went come first.
            likely = sorted(
                range(len(pages)), key=lambda place: value not in getattr(taken[place], "went", ())
            )
            if not any(holds(values, *self._now(pages[place], taken[place]), value) for place in likely):
                raise NotTaken("a bound may be another now")

    def _now(self, page: StoredPage, taken: Taken | None) -> tuple[StoredPage, bytes]:
        """A page as it will be, and its body."""
        return (page, self._body(page)) if taken is None else (taken.stored, taken.body)

    def _dictionary(
        self, values: Values, page: StoredPage, pages: Sequence[StoredPage], taken: Sequence[Taken | None]
    ) -> int:
        """Write the dictionary of a chunk without what no row has any more: who deletes a value means it to be gone.
        How many bytes it is before it is packed."""
        went = np.unique(np.concatenate(values.went)) if values.went else np.empty(0, np.uint32)
        for one, after in zip(pages, taken, strict=True):
            if not len(went):
                break
            left = None if after is None else after.naming
            if after is None and one.names_places:
                left = naming(values, one, self._body(one))
            if left is not None:
                held = np.zeros(values.dictionary.count, np.bool_)
                held[left.places()] = True
                went = went[~held[went]]
        if not len(went):
            self._copy(page.at, page.end)
            return _unpacked(page)
        written = without_values(values, page, went)
        self._put(written)
        header, at = read_struct(written)
        return at + int(header[2, I32])

    def _body(self, page: StoredPage) -> bytes:
        body = self._read(page.body, page.end - page.body)
        require_whole(page, body)
        return body

    def _read(self, at: int, length: int) -> bytes:
        # Before room is made for what a damaged file states.
        if length < 0 or at + length > self._size:
            raise BadThrift("the file ends before its pages do")
        self._source.seek(at)
        data: bytes = self._source.read(length)
        return data

    def _copy(self, at: int, end: int) -> None:
        while at < end:
            data = self._read(at, min(_PIECE, end - at))
            self._put(data)
            at += len(data)

    def _put(self, data: bytes) -> None:
        self._target.write(data)
        self._at += len(data)


def _unpacked(page: StoredPage) -> int:
    """What a page counts for where nothing is packed: its header, too."""
    return page.body - page.at + int(page.header[2, I32])


def _move(described: Struct, by: int) -> None:
    for one in (9, 10, 11):
        if described.get((one, I64)):
            described[one, I64] += by


def _count_nulls(described: Struct, gone: int) -> None:
    """What is stated of a chunk is as it was, less NULLs; how many different values there are is not known any more."""
    stated = described.get((12, STRUCT))
    if stated is None:
        return
    if (3, I64) in stated:
        stated[3, I64] -= gone
    for name in [name for name in stated if name[0] == 4 or name[0] > 8]:
        del stated[name]


def _shifted(index: bytes, by: int) -> bytes:
    """The index of the places of pages that all moved by as much."""
    if not index:
        return b""
    found, _ = read_struct(index)
    for place in structs_in(found, 1):
        place[1, I64] += by
    return write_struct(found)


def _places_of(moved: Sequence[_Moved]) -> bytes:
    """An index of the places of pages (OffsetIndex)."""
    places = [{(1, I64): one.at, (2, I32): one.size, (3, I64): one.first} for one in moved]
    return write_struct({(1, LIST): ListOf(STRUCT, places)})


def _bounds_of(index: bytes, moved: Sequence[_Moved], stated: Struct) -> bytes:
    """An index of the bounds of pages (ColumnIndex), less the NULLs that went. Those of pages that lost rows are the
    chunk's: what bounded them may be gone. Nothing where the chunk has no bounds."""
    if not index or not {(5, BINARY), (6, BINARY)} <= stated.keys():
        return b""
    found, _ = read_struct(index)
    pages = found[1, LIST]
    if len(pages) != len(moved):
        raise NotTaken("an index of other pages")
    for place, one in enumerate(moved):
        if one.all_null:
            pages[place] = _TRUE
            found[2, LIST][place] = found[3, LIST][place] = b""
        elif one.touched and pages[place] != _TRUE:
            found[2, LIST][place], found[3, LIST][place] = stated[6, BINARY], stated[5, BINARY]
            found[4, I32] = _UNORDERED
    if (5, LIST) in found:
        for place, one in enumerate(moved):
            found[5, LIST][place] -= one.nulls
    return write_struct({name: value for name, value in found.items() if name[0] <= 5})
