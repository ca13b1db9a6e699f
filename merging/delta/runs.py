"""Numbers as Parquet writes levels and places in dictionaries: runs of one value, or of eights packed bit by bit.

Format: "RLE/Bit-Packing Hybrid Encoding" of parquet-format. Values are taken out of the runs that hold them; all other
runs stay the bytes that they are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from merging.delta.thrift import BadThrift, read_varint, write_varint

#: Packed runs so near to one that loses values are packed anew together with it: a run costs more than they do.
_NEAR = 4_096


_Run = tuple[int, int, bool, int, int, int]
"""A run: the places of its first value and behind its last, whether they are packed, and where in the data it begins,
its values begin, and it ends. (Thousands are looked at for each page: a plain tuple.)"""
_FIRST, _STOP, _PACKED, _BEGIN, _BODY, _END = range(6)


def take_out(data: bytes, width: int, count: int, gone: Sequence[int]) -> tuple[bytes, list[int]]:
    """The runs of `count` values without those at the places `gone` (ascending), and which values those were.

    `width` is the number of bits of a value. Raises BadThrift where the data holds fewer values than it should.
    """
    runs = _runs(data, width, count)
    firsts = [run[_FIRST] for run in runs]
    kept: list[bytes] = []
    values: list[int] = []
    copied = turn = 0
    while turn < len(gone):
        place = last = bisect_right(firsts, gone[turn]) - 1
        first, behind, is_packed, begin, body, end = runs[place]
        stop = bisect_left(gone, behind, turn)
        kept.append(data[copied:begin])
        if is_packed:
            last, stop = _span(runs, firsts, place, gone, stop)
            held = _of_span(data, width, runs[place : last + 1])
            here = np.array(gone[turn:stop]) - first
            values += held[here].tolist()
            kept.append(_packed(np.delete(held, here), width, last=runs[last][_STOP] == count))
        else:
            value = data[body:end]
            values += [int.from_bytes(value, "little")] * (stop - turn)
            if left := behind - first - (stop - turn):
                kept.append(write_varint(left << 1) + value)
        copied, turn = runs[last][_END], stop
    kept.append(data[copied:])
    return b"".join(kept), values


def _span(
    runs: Sequence[_Run], firsts: Sequence[int], place: int, gone: Sequence[int], stop: int
) -> tuple[int, int]:
    """The last of the packed runs that are packed anew with the one at `place`, and how many of `gone` come before what
    is behind it; `stop` come before what is behind that one."""
    last = place
    while stop < len(gone) and gone[stop] - runs[last][_STOP] < _NEAR:
        further = bisect_right(firsts, gone[stop]) - 1
        if not all(run[_PACKED] for run in runs[last + 1 : further + 1]):
            break
        last = further
        stop = bisect_left(gone, runs[last][_STOP], stop)
    return last, stop


def _of_span(data: bytes, width: int, runs: Sequence[_Run]) -> np.ndarray:
    """The values of packed runs, of which none but the last of all is filled up."""
    bodies = b"".join([data[run[_BODY] : run[_END]] for run in runs])
    return _unpacked(bodies, width, sum(run[_STOP] - run[_FIRST] for run in runs))


def holds(data: bytes, width: int, count: int, value: int) -> bool:
    """Whether one of the values is this. Raises BadThrift as `take_out` does."""
    return bool((read_all(data, width, count) == value).any())


def read_all(data: bytes, width: int, count: int) -> np.ndarray:
    """All values. Raises BadThrift as `take_out` does."""
    runs = _runs(data, width, count)
    packed = [run for run in runs if run[_PACKED]]
    unpacked = _of_span(data, width, packed)
    if len(packed) == len(runs):
        return unpacked
    found = np.empty(count, np.uint32)
    at = 0
    for first, stop, is_packed, _, body, end in runs:
        if is_packed:
            found[first:stop] = unpacked[at : at + stop - first]
            at += stop - first
        else:
            found[first:stop] = int.from_bytes(data[body:end], "little")
    return found


def _runs(data: bytes, width: int, count: int) -> list[_Run]:
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


def _unpacked(data: bytes, width: int, number: int) -> np.ndarray:
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


def _packed(values: np.ndarray, width: int, *, last: bool) -> bytes:
    """Runs of the values: eights are packed, and those that are left over are runs of one value, unless nothing comes
    behind them."""
    number = -(-len(values) // 8) if last else len(values) // 8
    written = bytearray()
    if number:
        filled = np.zeros(number * 8, np.uint64)
        whole = values[: number * 8]
        filled[: len(whole)] = whole
        eights = filled.reshape(-1, 8)
        packed = np.zeros((number, width), np.uint8)
        for first, each, begin, end, shift in _words(width):
            word = np.zeros(number, "<u8")
            for place in range(each):
                word |= eights[:, first + place] << np.uint64(shift + place * width)
            packed[:, begin:end] |= word.view(np.uint8).reshape(-1, 8)[:, : end - begin]
        written += write_varint(number << 1 | 1) + packed.tobytes()
    size = (width + 7) // 8
    for value in values[number * 8 :].tolist():
        written += write_varint(1 << 1) + int(value).to_bytes(size, "little")
    return bytes(written)


def run_of(value: int, width: int, count: int) -> bytes:
    """A run of one value."""
    return write_varint(count << 1) + value.to_bytes((width + 7) // 8, "little")
