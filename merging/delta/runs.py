"""Numbers as Parquet writes levels and places in dictionaries: runs of one value, or of eights packed bit by bit.

Format: "RLE/Bit-Packing Hybrid Encoding" of parquet-format. Values are taken out of the runs that hold them; all other
runs stay the bytes that they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from merging.delta.thrift import BadThrift, read_varint, write_varint

#: Runs so near to one that loses values are written anew together with it: a run costs more than they do.
_NEAR = 4_096


_Run = tuple[int, int, bool, int, int, int]
"""A run: the places of its first value and behind its last, whether they are packed, and where in the data it begins,
its values begin, and it ends. (Thousands are looked at for each page: a plain tuple.)"""
_FIRST, _STOP, _PACKED, _BEGIN, _BODY, _END = range(6)


def take_out(data: bytes | memoryview, width: int, count: int, gone: np.ndarray) -> tuple[bytes, np.ndarray]:
    """The runs of `count` values without those at the places `gone` (ascending), and which values those were.

    `width` is the number of bits of a value. Raises BadThrift where the data holds fewer values than it should.
    """
    runs = _runs(data, width, count)
    hit = np.searchsorted([run[_FIRST] for run in runs], gone, "right") - 1
    kept: list[bytes | memoryview] = []
    values = [np.empty(0, np.uint32)]
    copied = turn = 0
    for stop in _spans(runs, hit, gone):
        span = runs[hit[turn] : hit[stop - 1] + 1]
        kept.append(data[copied : span[0][_BEGIN]])
        cut = _cut if all(run[_PACKED] for run in span) else _cut_mixed
        left, went = cut(data, width, span, gone[turn:stop] - span[0][_FIRST], last=span[-1][_STOP] == count)
        kept.append(left)
        values.append(went)
        copied, turn = span[-1][_END], stop
    kept.append(data[copied:])
    return b"".join(kept), np.concatenate(values)


def _spans(runs: Sequence[_Run], hit: np.ndarray, gone: np.ndarray) -> list[int]:
    """Which of `gone` are taken out together, by the place behind the last of each: those of one run (`hit` has the
    place of each one's), and of runs near to one another."""
    if not len(gone):
        return []
    behind = np.array([run[_STOP] for run in runs])
    apart = (hit[:-1] != hit[1:]) & (gone[1:] - behind[hit[:-1]] >= _NEAR)
    return [*(np.flatnonzero(apart) + 1).tolist(), len(gone)]


def _cut(
    data: bytes | memoryview, width: int, span: Sequence[_Run], here: np.ndarray, *, last: bool
) -> tuple[bytes, np.ndarray]:
    """Packed runs without the values at those places, and these: as bits, which are not made numbers of."""
    bodies = b"".join([data[run[_BODY] : run[_END]] for run in span])
    bits = np.unpackbits(np.frombuffer(bodies, np.uint8), bitorder="little")
    number = span[-1][_STOP] - span[0][_FIRST]
    left = without(bits.data[: number * width], here * width, (here + 1) * width)
    return _packed(left, width, number - len(here), last=last), _numbers(bits, width, here)


def _cut_mixed(
    data: bytes | memoryview, width: int, span: Sequence[_Run], here: np.ndarray, *, last: bool
) -> tuple[bytes, np.ndarray]:
    """The same of runs of both kinds: hundreds stand in a page where few values take turns, and to go from one to the
    next takes longer than to write all of them anew."""
    held = _of_span(data, width, span)
    return _encoded(np.delete(held, here), width, last=last), held[here]


def without(data: bytes | memoryview, begins: np.ndarray, ends: np.ndarray) -> bytes:
    """The data without what lies from each of the places to the one that belongs to it; they ascend."""
    kept = []
    copied = 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        kept.append(data[copied:begin])
        copied = end
    return b"".join([*kept, data[copied:]])


def holds(data: bytes | memoryview, width: int, count: int, value: int) -> bool:
    """Whether one of the values is this. Raises BadThrift as `take_out` does."""
    return bool((read_all(data, width, count) == value).any())


def read_all(data: bytes | memoryview, width: int, count: int) -> np.ndarray:
    """All values. Raises BadThrift as `take_out` does."""
    return _of_span(data, width, _runs(data, width, count))


def _of_span(data: bytes | memoryview, width: int, runs: Sequence[_Run]) -> np.ndarray:
    """The values of runs that follow one another."""
    packed = [run for run in runs if run[_PACKED]]
    bodies = b"".join([data[run[_BODY] : run[_END]] for run in packed])
    # None but the last run of all is filled up.
    unpacked = _unpacked(bodies, width, sum([run[_STOP] - run[_FIRST] for run in packed]))
    if len(packed) == len(runs):
        return unpacked
    lengths = [run[_STOP] - run[_FIRST] for run in runs]
    alike = [0 if run[_PACKED] else int.from_bytes(data[run[_BODY] : run[_END]], "little") for run in runs]
    found = np.repeat(np.array(alike, np.uint32), lengths)
    if packed:
        found[np.repeat([run[_PACKED] for run in runs], lengths)] = unpacked
    return found


def _runs(data: bytes | memoryview, width: int, count: int) -> list[_Run]:
    if width > 32:
        raise BadThrift("a page has numbers of more bits than any")
    size = (width + 7) // 8
    first = at = 0
    ends = len(data)
    found = []
    while first < count:
        begin = at
        if at >= ends:
            raise BadThrift("a page holds fewer values than it says")
        header = data[at]
        at += 1
        if header > 127:
            try:
                header, at = read_varint(data, begin)
            except IndexError as error:
                raise BadThrift("a page holds fewer values than it says") from error
        number = header >> 1
        if header & 1:
            end = at + number * width
            number *= 8
        else:
            end = at + size
        if not number or end > ends:
            raise BadThrift("a page holds fewer values than it says")
        stop = first + number
        found.append((first, stop if stop < count else count, header & 1 == 1, begin, at, end))
        first, at = stop, end
    return found


def _words(width: int) -> Iterator[tuple[int, int, int, int, int]]:
    """How eight values of `width` bits lie in as many bytes, in words of eight bytes at most: of each word the place
    of its first value and how many it has, its first byte and the one behind its last, and by how many bits the first
    value is shifted in it."""
    each = 8 if width <= 8 else 4 if width <= 16 else 2 if width <= 28 else 1
    for first in range(0, 8, each):
        at, shift = divmod(first * width, 8)
        yield first, each, at, at + (shift + each * width + 7) // 8, shift


def _unpacked(data: bytes | memoryview, width: int, number: int) -> np.ndarray:
    if not width:
        return np.zeros(number, np.uint32)
    eights = np.frombuffer(data, np.uint8).reshape(-1, width)
    found = np.empty((len(eights), 8), np.uint32)
    mask = np.uint64((1 << width) - 1)
    for first, each, begin, end, shift in _words(width):
        held = np.zeros((len(eights), 8), np.uint8)
        held[:, : end - begin] = eights[:, begin:end]
        word = held.view("<u8")[:, 0]
        for place in range(each):
            value = word >> np.uint64(shift + place * width)
            np.bitwise_and(value, mask, out=found[:, first + place], casting="same_kind")
    return found.reshape(-1)[:number]


def _encoded(values: np.ndarray, width: int, *, last: bool) -> bytes:
    """Runs of the values: of one value where it stands so often that they take less room, of eights of others between
    them. What is left over at the end are runs of one value, unless nothing comes behind them (`last`)."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    begins, ends = np.append(0, edges), np.append(edges, len(values))
    long = ends - begins >= 8 + 64 // max(width, 1)
    begins, ends = begins[long], ends[long]
    firsts = np.append(0, ends)
    begins += (firsts[:-1] - begins) % 8  # what the eights before it lack
    over = (len(values) - firsts[-1]) % 8
    alone = values[len(values) - (0 if last else over) :].tolist()
    stops = np.append(begins, len(values) - len(alone))
    bounds = [*zip(firsts.tolist(), stops.tolist(), strict=True)]
    filled = np.zeros(-over % 8 if last else 0, np.uint32)
    packed = _eights(np.concatenate([*(values[first:stop] for first, stop in bounds), filled]), width)
    written = bytearray()
    repeated = [
        run_of(*one)
        for one in zip(values[begins].tolist(), itertools.repeat(width), (ends - begins).tolist())
    ]
    at = 0
    for (first, stop), run in zip(bounds, [*repeated, b""], strict=True):
        if eights := -(-(stop - first) // 8):
            written += write_varint(eights << 1 | 1) + packed[at : at + eights * width]
            at += eights * width
        written += run
    for value in alone:
        written += run_of(value, width, 1)
    return bytes(written)


def _eights(values: np.ndarray, width: int) -> bytes:
    """Eights of values, bit by bit."""
    eights = values.reshape(-1, 8)
    found = np.zeros((len(eights), width), np.uint8)
    for first, each, begin, end, shift in _words(width) if width else ():
        word = np.zeros(len(eights), "<u8")
        for place in range(each):
            word |= eights[:, first + place].astype(np.uint64) << np.uint64(shift + place * width)
        found[:, begin:end] |= word.view(np.uint8).reshape(-1, 8)[:, : end - begin]
    return found.tobytes()


def _numbers(bits: np.ndarray, width: int, places: np.ndarray) -> np.ndarray:
    """The values at these places of a row of bits."""
    filled = np.zeros((len(places), 32), np.uint8)
    if width:
        whole = bits[: len(bits) // width * width]
        filled[:, :width] = whole.reshape(-1, width)[places]
    return np.packbits(filled, bitorder="little").view("<u4")


def _packed(bits: bytes, width: int, count: int, *, last: bool) -> bytes:
    """Runs of so many values: eights are packed, and those that are left over are runs of one value, unless nothing
    comes behind them."""
    number = -(-count // 8) if last else count // 8
    held = np.frombuffer(bits, np.uint8)
    written = bytearray()
    if number:
        packed = np.packbits(held[: number * 8 * width], bitorder="little").tobytes()
        written += write_varint(number << 1 | 1) + packed.ljust(number * width, b"\0")
    for value in _numbers(held, width, np.arange(number * 8, count)).tolist():
        written += run_of(value, width, 1)
    return bytes(written)


def run_of(value: int, width: int, count: int) -> bytes:
    """A run of one value."""
    return write_varint(count << 1) + value.to_bytes((width + 7) // 8, "little")
