"""CSV cut into whole records, strictly by RFC 4180, with the lines they stand on.

A cell is either without any double quote, or wholly in double quotes with those inside doubled. Then a byte is inside
quotes exactly where the quotes before it are odd in number, which is counted for millions of bytes at once. Whatever
else is done with quotes is refused by line and column, since readers differ over it: text behind a closing quote,
quotes escaped by a backslash, a quote in a bare cell, a quote that is never closed.

Records end with LF, CR LF or CR outside quotes; lines end with them anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from merging.staging.sources.base import content_limits, most
from merging.staging.sources.content import BLOCK_BYTES, encoding_problem

_QUOTE, _LF, _CR, _BACKSLASH = b'"'[0], b"\n"[0], b"\r"[0], b"\\"[0]
_DOUBLED = "a cell with quotes in it stands in double quotes, and those inside are doubled"
_NEVER_CLOSED = f"the cell begins with a quote that is never closed; {_DOUBLED}."
_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"')

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


def _too_long() -> str:
    return f"the row is longer than {most('line_bytes')} (limit line_bytes: {most('line_bytes')})."


class BadRecord(ValueError):
    """A record that cannot be read: a stable ``code``, a sentence, and the byte where its cell begins."""

    def __init__(self, code: str, message: str, at: int) -> None:
        super().__init__(message)
        self.code = code
        self.at = at


@dataclass(frozen=True)
class Block:
    """Whole records: their bytes with the last line end, and the line on which they begin.

    Where ``fault`` says that the last record has no end, only ``check`` may be asked.
    """

    data: bytes
    first_line: int
    line_ends: Positions
    """The last byte of every line end, those inside quotes too."""
    quotes: Positions
    fault: tuple[str, str] | None = None

    @cached_property
    def bytes(self) -> Bytes:
        """The data as numbers."""
        return np.frombuffer(self.data, np.uint8)

    @cached_property
    def ends(self) -> Positions:
        """The last byte of every record, empty lines among them."""
        return self.line_ends[_outside(self.line_ends, self.quotes)]

    @cached_property
    def starts(self) -> Positions:
        """The first byte of every record."""
        return np.concatenate((np.zeros(1, np.int64), self.ends[:-1] + 1))[: len(self.ends)]

    @cached_property
    def filled(self) -> Flags:
        """Which records are more than an empty line."""
        first = self.bytes[self.starts]
        filled: Flags = (first != _LF) & (first != _CR)
        return filled

    def line_of(self, position: int) -> int:
        """The line on which a byte stands."""
        return self.first_line + int(np.searchsorted(self.line_ends, position))

    def lines(self) -> Positions:
        """The line on which each record begins."""
        return self.first_line + np.searchsorted(self.line_ends, self.starts)

    def widths(self, delimiter: str) -> Positions:
        """How many cells each record has."""
        found = self._delimiters(delimiter)
        return np.searchsorted(found, self.ends) - np.searchsorted(found, self.starts) + 1

    def place_of(self, position: int, delimiter: str) -> int:
        """In which cell of its record a byte stands, from 0."""
        before = self.ends[self.ends < position]
        start = int(before[-1]) + 1 if len(before) else 0
        found = self._delimiters(delimiter)
        return int(np.searchsorted(found, position) - np.searchsorted(found, start))

    def _delimiters(self, delimiter: str) -> Positions:
        found = np.flatnonzero(self.bytes == ord(delimiter))
        return found[_outside(found, self.quotes)]

    def first_record(self) -> Block | None:
        """A block of the first record alone that is no empty line; None where there is none."""
        if not self.filled.any():
            return None if self.fault is None else self
        index = int(np.argmax(self.filled))
        start, end = int(self.starts[index]), int(self.ends[index]) + 1
        inside = slice(*np.searchsorted(self.quotes, (start, end)))
        lines = slice(*np.searchsorted(self.line_ends, (start, end)))
        return Block(
            self.data[start:end],
            self.line_of(start),
            self.line_ends[lines] - start,
            self.quotes[inside] - start,
        )

    def after_first_record(self) -> Block:
        """What stands behind it."""
        end = int(self.ends[int(np.argmax(self.filled))]) + 1
        return Block(
            self.data[end:],
            self.line_of(end),
            self.line_ends[np.searchsorted(self.line_ends, end) :] - end,
            self.quotes[np.searchsorted(self.quotes, end) :] - end,
            self.fault,
        )

    def check(self, delimiter: str) -> None:
        """Raise BadRecord for the first quote that stands where RFC 4180 has none, or for the fault at the end."""
        self._check_lengths()
        opening, closing = self.quotes[0::2], self.quotes[1::2]
        # There is a line end at the end of the data: behind every closing quote, and as the byte "before" the first.
        before = _stands_beside_quotes(self.bytes[opening - 1], delimiter)
        behind = _stands_beside_quotes(self.bytes[closing + 1], delimiter)
        first_before = int(opening[np.argmin(before)]) if not before.all() else None
        first_behind = int(closing[np.argmin(behind)]) if not behind.all() else None
        if first_before is not None and (first_behind is None or first_before < first_behind):
            raise BadRecord(
                "misplaced_quote",
                f"there is a quote in a cell that does not begin with one; {_DOUBLED}.",
                first_before,
            )
        if first_behind is not None:
            raise self._text_behind_quote(first_behind)
        if self.fault is not None:
            last = self._cell_start(len(opening) - 1) if len(opening) > len(closing) else len(self.data) - 1
            raise BadRecord(*self.fault, last)

    def _check_lengths(self) -> None:
        longest = content_limits().line_bytes
        if self.fault is not None or len(self.data) <= longest:
            return
        too_long = self.ends - self.starts >= longest
        if too_long.any():
            raise BadRecord("too_long", _too_long(), int(self.starts[np.argmax(too_long)]))

    def _cell_start(self, index: int) -> int:
        """Where the cell begins that holds the opening quote of this number: doubled quotes inside open again."""
        opening, closing = self.quotes[0::2], self.quotes[1::2]
        while index and closing[index - 1] == opening[index] - 1:
            index -= 1
        return int(opening[index])

    def _text_behind_quote(self, at: int) -> BadRecord:
        opened = self._cell_start(int(np.searchsorted(self.quotes, at)) // 2)
        first, last = self.line_of(opened), self.line_of(at)
        if self.bytes[at - 1] == _BACKSLASH:
            message = 'a quote is escaped by a backslash; write it doubled instead: "".'
        elif first != last:
            message = (
                f"the cell in quotes that begins here ends on line {last}, where text follows its closing quote; "
                f"is a quote missing on line {first}? Mind that {_DOUBLED}."
            )
        else:
            message = f"text follows the closing quote of the cell; {_DOUBLED}."
        return BadRecord("misplaced_quote", message, opened)


def _outside(positions: Positions, quotes: Positions) -> Flags:
    if not len(quotes):
        return np.ones(len(positions), np.bool_)
    outside: Flags = np.searchsorted(quotes, positions) & 1 == 0
    return outside


def _stands_beside_quotes(neighbours: Bytes, delimiter: str) -> Flags:
    """Whether these bytes may: borders of a cell, and the other half of a doubled quote."""
    fits: Flags = (neighbours == ord(delimiter)) | (neighbours == _QUOTE)
    fits |= (neighbours == _LF) | (neighbours == _CR)
    return fits


def read_blocks(read: Callable[[int], bytes]) -> Iterator[Block]:
    """What ``read`` gives, in blocks of whole records; the last may have a fault.

    Raises StagingRejected where the text is no UTF-8.
    """
    rest = b""
    line = 1
    while True:
        # Twice as much each time, so that a long record is not looked through again and again.
        block = read(max(BLOCK_BYTES, len(rest)))
        text = rest + block
        if not text:
            return
        if not block and text[-1] not in (_LF, _CR):
            text += b"\n"
        found = _whole_records(text, line, ended=not block)
        if found is None and block and len(text) <= content_limits().line_bytes:
            rest = text
            continue
        found = found or _unfinished(text, line, ended=not block)
        _check_utf8(found)
        yield found
        if found.fault is not None:
            return
        line = found.first_line + len(found.line_ends)
        rest = text[len(found.data) :]


def _whole_records(text: bytes, line: int, *, ended: bool) -> Block | None:
    """As many whole records as there are."""
    data = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    line_ends = _line_ends(data, ended=ended)
    outside = line_ends[_outside(line_ends, quotes)]
    if not len(outside) or (ended and len(quotes) % 2):
        return None
    size = int(outside[-1]) + 1
    return Block(
        text[:size],
        line,
        line_ends[: np.searchsorted(line_ends, size)],
        quotes[: np.searchsorted(quotes, size)],
    )


def _unfinished(text: bytes, line: int, *, ended: bool) -> Block:
    fault = ("unclosed_quote", _NEVER_CLOSED) if ended else ("too_long", _too_long())
    whole = text if ended else text.decode("utf-8", "ignore").encode() + b"\n"
    data = np.frombuffer(whole, np.uint8)
    return Block(whole, line, _line_ends(data, ended=True), np.flatnonzero(data == _QUOTE), fault)


def _line_ends(data: Bytes, *, ended: bool) -> Positions:
    """The last byte of every line end. Whether a CR is one is known with the byte behind it, or at the end."""
    feeds = np.flatnonzero(data == _LF)
    returns = np.flatnonzero(data == _CR)
    if not len(returns):
        return feeds
    if not ended and returns[-1] == len(data) - 1:
        returns = returns[:-1]
    behind = data[np.minimum(returns + 1, len(data) - 1)]
    alone = returns[behind != _LF]
    return np.sort(np.concatenate((feeds, alone))) if len(alone) else feeds


def _check_utf8(block: Block) -> None:
    offsets = pa.array([0, len(block.data)], pa.int32()).buffers()[1]
    whole = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(block.data)])
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        try:
            block.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise encoding_problem(block.line_of(error.start)) from None


def split(record: Block, delimiter: str) -> list[str]:
    """The cells of one record that ``check`` has passed, as texts."""
    text = record.data.decode("utf-8").rstrip("\r\n")
    cells = []
    at = 0
    while True:
        quoted = _QUOTED.match(text, at)
        if quoted is not None:
            cells.append(quoted.group(1).replace('""', '"'))
            at = quoted.end()
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            cells.append(text[at:end])
            at = end
        if at == len(text):
            return cells
        at += 1
