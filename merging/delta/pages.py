"""Pages of Parquet files, and how rows are taken out of one while all else in it stays as it was encoded.

Format: parquet.thrift, "Data Pages", "Plain" and "Dictionary Encoding" of parquet-format. What is not understood here
raises NotTaken: whoever asks has another way to write the file.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from merging.delta import runs
from merging.delta.thrift import (
    BINARY,
    FALSE,
    I32,
    I64,
    LIST,
    STRUCT,
    BadThrift,
    ListOf,
    Struct,
    read_struct,
    read_varint,
    write_struct,
)

DATA, DICTIONARY, DATA_V2 = 0, 2, 3  # PageType
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8  # Encoding
_BOOLEAN, _BYTE_ARRAY, _FIXED = 0, 6, 7  # Type
_DEEPEST = 100  # fields within one another
_WIDTHS = {1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
#: Those of which it can be told that a body holds as many bytes as its page states.
_CODECS = {0: None, 1: "snappy", 2: "gzip", 6: "zstd"}
_LARGEST = 16 << 20  # bytes of a page, unpacked; writers end them at one or two million
_MOST_ROWS = 1 << 24  # of a page: more than that are no rows but damage
_COMPARED = 16  # bytes of a value, in all places at once; those that are left are looked at one by one
_LENGTH = 4  # bytes that tell how long a text is
_NUMBERS = {4: "<u4", 8: "<u8"}  # values of so many bytes are compared as one
MAGIC = b"PAR1"
_HEADER_BYTES = (1 << 8, 1 << 14, 1 << 20)

ReadAt = Callable[[int, int], bytes]
"""Bytes of a file: from where, and how many (fewer at its end)."""


class NotTaken(Exception):
    """Rows cannot be taken out of this file page by page."""


class DamagedPage(Exception):
    """A page is not what its checksum says: nothing may be made of it, least of all with a checksum that fits."""


def require_whole(page: StoredPage, body: bytes) -> None:
    """Raises DamagedPage."""
    stated = page.header.get((4, I32))
    if stated is not None and stated != _signed(zlib.crc32(body)):
        raise DamagedPage


@dataclass(frozen=True)
class Leaf:
    """A column as the schema of a file has it, from which rows can be taken: none of its values is a list's."""

    path: tuple[str, ...]
    kind: int
    width: int
    levels: int
    """How many parts of its path may be NULL."""

    @property
    def level_bits(self) -> int:
        """How many bits a definition level takes."""
        return self.levels.bit_length()


def leaves_of(schema: Sequence[Struct]) -> list[Leaf]:
    """The leaves of a file's schema (SchemaElement, depth first). Raises NotTaken for lists, maps and what is nested
    deeper than anybody nests, LookupError where the schema is damaged."""
    found: list[Leaf] = []

    def walk(place: int, path: tuple[str, ...], levels: int) -> int:
        element = schema[place]
        children = element.get((5, I32), 0)
        if path or place:
            path = (*path, element[4, BINARY].decode("utf-8", "replace"))
            repetition = element.get((3, I32), 0)
            if repetition == 2:
                raise NotTaken("it holds lists")
            if len(path) > _DEEPEST:
                raise NotTaken("it is nested too deep")
            levels += repetition == 1
        place += 1
        for _ in range(children):
            place = walk(place, path, levels)
        if not children:
            kind = element[1, I32]
            width = element.get((2, I32), 0) if kind == _FIXED else _WIDTHS.get(kind, 0)
            found.append(Leaf(path, kind, width, levels))
        return place

    walk(0, (), 0)
    return found


@dataclass
class StoredPage:
    """A page where it stands in a file: its header, where that and the body begin, and where it ends; `rows` of data
    pages."""

    header: Struct
    at: int
    body: int
    end: int
    rows: int

    @property
    def kind(self) -> int:
        """Its PageType."""
        return int(self.header[1, I32])

    @property
    def encoding(self) -> int:
        """That of a data page's values."""
        return int(self.header[8, STRUCT][4, I32] if self.kind == DATA_V2 else self.header[5, STRUCT][2, I32])

    @property
    def names_places(self) -> bool:
        """Whether the values of a data page are places in the dictionary."""
        return self.encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY)


def pages_between(read: ReadAt, at: int, end: int) -> Iterator[StoredPage]:
    """The pages of a column chunk. Raises BadThrift where they do not end where it does."""
    while at < end:
        header, size = _header(read, at)
        packed = header.get((3, I32), -1)
        if packed < 0:
            raise BadThrift("a page has no size")
        stated = header.get((8, STRUCT)) or header.get((5, STRUCT)) or {}
        rows = stated.get((3, I32) if (8, STRUCT) in header else (1, I32), 0)
        yield StoredPage(header, at, at + size, at + size + packed, rows)
        at += size + packed
    if at != end:
        raise BadThrift("the pages of a column do not end where it does")


def _header(read: ReadAt, at: int) -> tuple[Struct, int]:
    for number in _HEADER_BYTES:
        data = read(at, number)
        try:
            return read_struct(data)
        except IndexError:
            if len(data) < number:
                break
    raise BadThrift("the header of a page has no end")


@dataclass(frozen=True)
class Plain:
    """Values encoded plainly, one behind the other: a dictionary, or those of a page. Raises BadThrift where the data
    has no room for as many."""

    leaf: Leaf
    data: bytes | memoryview
    count: int

    def __post_init__(self) -> None:
        least = self.head or self.leaf.width
        # Before room is made for what a damaged file states.
        if not 0 <= self.count * least <= len(self.data) or (self.count and not least):
            raise BadThrift("a page holds fewer values than it says")

    @property
    def head(self) -> int:
        """How many bytes tell how long a value is."""
        return _LENGTH if self.leaf.kind == _BYTE_ARRAY else 0

    @cached_property
    def places(self) -> np.ndarray:
        """Where each begins, and where the last one ends."""
        if not self.head:
            return np.arange(self.count + 1, dtype=np.int64) * self.leaf.width
        places = np.zeros(self.count + 1, np.int64)
        if self.count:
            np.cumsum(_lengths(self.data, self.count) + _LENGTH, out=places[1:])
        if places[-1] > len(self.data):
            raise BadThrift("a page holds fewer values than it says")
        return places

    def where(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where those at the places begin, with their lengths, and end. Raises BadThrift."""
        if self.head:
            return self.places[places], self.places[places + 1]
        return places * self.leaf.width, (places + 1) * self.leaf.width

    def find(self, value: bytes) -> list[int]:
        """The places of a value. Raises BadThrift."""
        if self.leaf.width in _NUMBERS and len(value) == self.leaf.width:
            kind = _NUMBERS[self.leaf.width]
            held = np.frombuffer(self.data, kind, self.count)
            return np.flatnonzero(held == np.frombuffer(value, kind)).tolist()
        found = np.flatnonzero(np.diff(self.places) == self.head + len(value))
        held = np.frombuffer(self.data, np.uint8)
        for place, byte in enumerate(value[:_COMPARED]):
            found = found[held[self.places[found] + self.head + place] == byte]
        begins, ends = (some.tolist() for some in self.where(found))
        places = zip(found.tolist(), begins, ends, strict=True)
        return [place for place, begin, end in places if self.data[begin + self.head : end] == value]

    def instead_of(self, gone: np.ndarray) -> bytes:
        """The data of a dictionary with other values at these places, which no row names. Raises BadThrift, NotTaken if
        nothing is left."""
        left = np.ones(self.count, np.bool_)
        left[gone] = False
        if not left.any():
            raise NotTaken("nothing of a dictionary is left")
        kept = []
        copied = 0
        begins, ends = (some.tolist() for some in self.where(gone))
        for begin, end, instead in zip(begins, ends, self._others(left), strict=False):
            kept += [self.data[copied:begin], instead]
            copied = end
        return b"".join([*kept, self.data[copied:]])

    def _others(self, left: np.ndarray) -> Iterator[bytes | memoryview]:
        """Values to stand where none is to be: of numbers one of those that are left; texts that stand nowhere else.

        Who takes a dictionary over as it is (`read_dictionary` of Arrow, for texts alone) has each of its values once,
        and takes a second one for the next.
        """
        if not self.head:
            other = int(left.argmax()) * self.leaf.width
            yield from itertools.repeat(self.data[other : other + self.leaf.width])
        short = np.flatnonzero(np.diff(self.places) <= _LENGTH + len(str(2 * self.count)))
        places = zip(*(some.tolist() for some in self.where(short)), strict=True)
        held = {bytes(self.data[begin + _LENGTH : end]) for begin, end in places}
        for number in itertools.count():
            text = b"%d" % number
            if text not in held:
                yield struct.pack("<I", len(text)) + text


class Values:
    """The values of one column chunk: how they are packed, and the dictionary that its pages name them by."""

    def __init__(self, leaf: Leaf, codec: int, asked: Set[bytes] = frozenset()) -> None:
        if codec not in _CODECS:
            raise NotTaken(f"codec {codec}")
        name = _CODECS[codec]
        self.leaf = leaf
        self.asked = asked
        """Those of which it is to be known whether one goes."""
        self._codec = None if name is None else pa.Codec(name)
        self._dictionary: tuple[StoredPage, Callable[[], bytes]] | None = None
        self.went: list[np.ndarray] = []
        """The places in the dictionary of what was taken out of pages, of each page by itself."""

    def name_dictionary(self, page: StoredPage, body: Callable[[], bytes]) -> None:
        """Say what the dictionary of the chunk is, and how to read it."""
        self._dictionary = page, body

    @cached_property
    def dictionary(self) -> Plain:
        """The values of the dictionary."""
        if self._dictionary is None:
            raise NotTaken("a page without its dictionary")
        page, body = self._dictionary
        stated = page.header.get((7, STRUCT), {})
        if stated.get((2, I32)) not in (_PLAIN, _PLAIN_DICTIONARY):
            raise NotTaken("encoding of the dictionary")
        data = self.unpacked(body(), page.header[2, I32])
        return Plain(self.leaf, data, stated[1, I32])

    @cached_property
    def asked_places(self) -> list[tuple[int, bytes]]:
        """Where the dictionary has those that are asked for."""
        return [(place, value) for value in self.asked for place in self.dictionary.find(value)]

    def unpacked(self, body: bytes, size: int) -> memoryview:
        """The bytes of a body of this size."""
        if not 0 <= size <= _LARGEST:
            raise NotTaken("a page of that size")
        if self._codec is None:
            return memoryview(body)
        if not size:
            return memoryview(b"")
        try:
            # Of what a body lacks of the stated size, pa.Codec gives whatever is in memory.
            if self._codec.name == "gzip":
                data = memoryview(zlib.decompress(body, zlib.MAX_WBITS | 16, size))
            elif self._codec.name == "snappy" and read_varint(body, 0)[0] != size:
                raise NotTaken("a page of another size than it states")
            else:
                data = memoryview(self._codec.decompress(body, size)).cast("B")
        except MemoryError:  # some of Arrow's are, too
            raise
        except (pa.ArrowException, OSError, zlib.error) as error:
            raise NotTaken("a page that cannot be unpacked") from error
        if len(data) != size:
            raise NotTaken("a page of another size than it states")
        return data

    def packed(self, data: bytes) -> bytes:
        """The bytes of a body as the file has them."""
        return data if self._codec is None else bytes(self._codec.compress(data, asbytes=True))


@dataclass(frozen=True)
class Naming:
    """Places in a dictionary, as a page has them in runs."""

    data: bytes | memoryview
    count: int

    def places(self) -> np.ndarray:
        """Those places. Raises BadThrift."""
        return runs.read_all(self.data[1:], self.data[0], self.count)


@dataclass
class Taken:
    """What is left of a page, and what was in the rows that are gone.

    `page` is its header and body, `stored` where these are in it, `unpacked` how many bytes that is before it is
    packed. `nulls` went with the rows; `all_null` tells that nothing else is left. `went` are those of the values asked
    for that were in the rows: it may hold them still. `naming` are the places in the dictionary that it still names, if
    it names any.
    """

    page: bytes
    stored: StoredPage
    unpacked: int
    nulls: int
    all_null: bool
    went: Set[bytes]
    naming: Naming | None

    @property
    def body(self) -> bytes:
        """The page without its header."""
        return self.page[self.stored.body :]


@dataclass(frozen=True)
class _Open:
    """The body of a data page, unpacked: its definition levels and its values."""

    levels: bytes | memoryview
    data: memoryview
    packed: bool


def _open(values: Values, page: StoredPage, body: bytes) -> _Open:
    if not 0 <= page.rows <= _MOST_ROWS:
        raise NotTaken("a page of so many rows")
    if page.kind == DATA_V2:
        stated = page.header[8, STRUCT]
        split = stated.get((5, I32), 0)
        if stated.get((6, I32), 0):
            raise NotTaken("levels of lists")
        packed = (7, FALSE) not in stated
        data = memoryview(body)[split:]
        if packed:
            data = values.unpacked(body[split:], page.header[2, I32] - split)
        return _Open(body[:split], data, packed)
    data = values.unpacked(body, page.header[2, I32])
    if not values.leaf.levels:
        return _Open(b"", data, True)
    if page.header[5, STRUCT][3, I32] != _RLE:
        raise NotTaken("encoding of levels")
    end = 4 + int.from_bytes(data[:4], "little")
    return _Open(data[4:end], data[end:], True)


def take_out(values: Values, page: StoredPage, body: bytes, gone: np.ndarray) -> Taken:
    """A data page without the rows at the places `gone` (ascending, not all of them). Raises NotTaken, BadThrift."""
    was = _open(values, page, body)
    levels, among, present = _without_levels(values.leaf, was.levels, page.rows, gone)
    data, went = _without_values(values, was.data, page.encoding, present, among)
    rows, nulls = page.rows - len(gone), len(gone) - len(among)
    left = Naming(data, present - len(among)) if page.names_places and present > len(among) else None
    header: Struct = dict(page.header)
    place = (8, STRUCT) if page.kind == DATA_V2 else (5, STRUCT)
    stated: Struct = dict(header[place])
    stated[1, I32] = rows
    if page.kind == DATA_V2:
        stated[3, I32] = rows
        stated[2, I32] = stated.get((2, I32), 0) - nulls
        stated[5, I32] = len(levels)
        stated.pop((8, STRUCT), None)
        packed = levels + (values.packed(data) if was.packed else data)
        unpacked = len(levels) + len(data)
    else:
        stated.pop((5, STRUCT), None)
        if values.leaf.levels:
            data = b"".join([len(levels).to_bytes(4, "little"), levels, data])
        packed, unpacked = values.packed(data), len(data)
    header[place] = stated
    header[2, I32], header[3, I32] = unpacked, len(packed)
    if (4, I32) in header:
        header[4, I32] = _signed(zlib.crc32(packed))
    written = write_struct(header)
    return Taken(
        written + packed,
        StoredPage(header, 0, len(written), len(written) + len(packed), rows),
        len(written) + unpacked,
        nulls,
        present == len(among),
        went,
        left,
    )


def naming(values: Values, page: StoredPage, body: bytes) -> Naming | None:
    """How a data page that names places in the dictionary does so, None where it has no values. Raises NotTaken,
    BadThrift."""
    opened = _open(values, page, body)
    count = _present(values.leaf, opened.levels, page.rows)
    return Naming(opened.data, count) if count else None


def without_values(values: Values, page: StoredPage, places: np.ndarray) -> bytes:
    """The dictionary page, header first, with another of its values at those places. NotTaken if it has none."""
    data = values.dictionary.instead_of(places)
    packed = values.packed(data)
    header: Struct = {**page.header, (2, I32): len(data), (3, I32): len(packed)}
    if (7, STRUCT) in header:  # it may have said that it is sorted
        header[7, STRUCT] = {name: one for name, one in header[7, STRUCT].items() if name[0] != 3}
    if (4, I32) in header:
        header[4, I32] = _signed(zlib.crc32(packed))
    return write_struct(header) + packed


def holds(values: Values, page: StoredPage, body: bytes, value: bytes) -> bool:
    """Whether a data page holds a value (encoded plainly). Raises NotTaken, BadThrift."""
    opened, leaf = _open(values, page, body), values.leaf
    count = _present(leaf, opened.levels, page.rows)
    data = opened.data
    if page.names_places:
        found = values.dictionary.find(value)
        return bool(count) and any(runs.holds(data[1:], data[0], count, place) for place in found)
    if page.encoding == _RLE and leaf.kind == _BOOLEAN:
        return runs.holds(data[4:], 1, count, value[0])
    if page.encoding != _PLAIN:
        raise NotTaken(f"encoding {page.encoding}")
    if leaf.kind == _BOOLEAN:
        return value[0] in np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count]
    return bool(Plain(leaf, data, count).find(value))


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _without_levels(
    leaf: Leaf, levels: bytes | memoryview, rows: int, gone: np.ndarray
) -> tuple[bytes, np.ndarray, int]:
    """The definition levels without those rows, the places of their values among those that are there, and how many of
    these there are."""
    if not leaf.levels:
        return bytes(levels), gone, rows
    if _is_whole(levels, leaf, rows):
        return runs.run_of(leaf.levels, leaf.level_bits, rows - len(gone)), gone, rows
    kept, taken = runs.take_out(levels, leaf.level_bits, rows, gone)
    there = runs.read_all(levels, leaf.level_bits, rows) == leaf.levels
    among = (np.cumsum(there) - 1)[gone[taken == leaf.levels]]
    return kept, among, int(there.sum())


def _present(leaf: Leaf, levels: bytes | memoryview, rows: int) -> int:
    """How many of the rows have a value."""
    if not leaf.levels or _is_whole(levels, leaf, rows):
        return rows
    return int((runs.read_all(levels, leaf.level_bits, rows) == leaf.levels).sum())


def _is_whole(levels: bytes | memoryview, leaf: Leaf, rows: int) -> bool:
    """Whether the levels are one run that says that all is there."""
    head = runs.run_of(leaf.levels, leaf.level_bits, rows)
    return levels[: len(head)] == head


def _without_values(
    values: Values, data: memoryview, encoding: int, count: int, gone: np.ndarray
) -> tuple[bytes, Set[bytes]]:
    """The data without the values at those places, and which of those asked for were there."""
    if not len(gone):
        return bytes(data), frozenset()
    leaf, asked = values.leaf, values.asked
    if encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY):
        kept, places = runs.take_out(data[1:], data[0], count, gone)
        values.went.append(places)
        went = {value for place, value in values.asked_places if (places == place).any()}
        return bytes(data[:1]) + kept, went
    if encoding == _RLE and leaf.kind == _BOOLEAN:
        kept, taken = runs.take_out(data[4:], 1, count, gone)
        return len(kept).to_bytes(4, "little") + kept, asked & {bytes([one]) for one in taken.tolist()}
    if encoding != _PLAIN:
        raise NotTaken(f"encoding {encoding}")
    if leaf.kind == _BOOLEAN:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count]
        if len(bits) < count:
            raise BadThrift("a page holds fewer values than it says")
        left = np.packbits(np.delete(bits, gone), bitorder="little").tobytes()
        return left, asked & {bytes([one]) for one in bits[gone].tolist()}
    plain = Plain(leaf, data, count)
    begins, ends = plain.where(gone)
    there = zip((begins + plain.head).tolist(), ends.tolist(), strict=True) if asked else ()
    return runs.without(data, begins, ends), asked & {bytes(data[begin:end]) for begin, end in there}


def _lengths(data: bytes | memoryview, count: int) -> np.ndarray:
    """How long texts are, one behind the other: each says where the next begins, which takes Python long to follow.
    Arrow reads them as the only page of a file.
    """
    page = write_struct(
        {
            (1, I32): DATA,
            (2, I32): len(data),
            (3, I32): len(data),
            (5, STRUCT): {(1, I32): count, (2, I32): _PLAIN, (3, I32): _RLE, (4, I32): _RLE},
        }
    )
    size = len(page) + len(data)
    column = {
        (1, I32): _BYTE_ARRAY,
        (2, LIST): ListOf(I32, [_PLAIN]),
        (3, LIST): ListOf(BINARY, [b"texts"]),
        (4, I32): 0,
        (5, I64): count,
        (6, I64): size,
        (7, I64): size,
        (9, I64): len(MAGIC),
    }
    group = {
        (1, LIST): ListOf(STRUCT, [{(2, I64): 0, (3, STRUCT): column}]),
        (2, I64): size,
        (3, I64): count,
    }
    root = {(4, BINARY): b"root", (5, I32): 1}
    leaf = {(1, I32): _BYTE_ARRAY, (3, I32): 0, (4, BINARY): b"texts"}
    footer = write_struct(
        {
            (1, I32): 1,
            (2, LIST): ListOf(STRUCT, [root, leaf]),
            (3, I64): count,
            (4, LIST): ListOf(STRUCT, [group]),
        }
    )
    whole = b"".join([MAGIC, page, data, footer, len(footer).to_bytes(4, "little"), MAGIC])
    try:
        texts = pq.ParquetFile(pa.BufferReader(whole)).read(use_threads=False).column(0)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise BadThrift("a page holds fewer values than it says") from error
    if len(texts) != count:
        raise BadThrift("a page holds fewer values than it says")
    return np.concatenate([pc.binary_length(part).to_numpy() for part in texts.chunks]).astype(np.int64)
