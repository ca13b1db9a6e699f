"""What the messages of Arrow data declare, read from their metadata alone, before a reader makes room for it.

A reader allocates what each compressed buffer says it holds, and believes a footer in where messages stand (Arrow's
"Serialization and IPC", File.fbs and Message.fbs; "Internals" of FlatBuffers for how tables are laid out).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from merging.staging.sources.base import beyond, content_limits, most, refuse
from merging.staging.sources.content import Unpacked

_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # MessageHeader
_CONTINUED = b"\xff\xff\xff\xff"
_BLOCK = struct.Struct("<qi4xq")
_BUFFER = struct.Struct("<qq")


@dataclass(frozen=True)
class _Table:
    """A table of FlatBuffers: what stands in its slots. Damage shows as struct.error."""

    data: memoryview
    at: int

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        return cls(data, *struct.unpack_from("<I", data, 0))

    def _place(self, slot: int) -> int:
        [back] = struct.unpack_from("<i", self.data, self.at)
        table = self.at - back
        if table < 0:
            raise struct.error("a table begins before its data")
        [size] = struct.unpack_from("<H", self.data, table)
        if 4 + 2 * slot + 2 > size:
            return 0
        [offset] = struct.unpack_from("<H", self.data, table + 4 + 2 * slot)
        return self.at + offset if offset else 0

    def number(self, slot: int, form: str) -> int:
        """The number in a slot, 0 where there is none."""
        place = self._place(slot)
        return int(struct.unpack_from(form, self.data, place)[0]) if place else 0

    def table(self, slot: int) -> _Table | None:
        """The table that a slot refers to."""
        place = self._place(slot)
        return _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0]) if place else None

    def structs(self, slot: int, form: struct.Struct) -> Iterator[tuple[int, ...]]:
        """The structs of the vector that a slot refers to."""
        place = self._place(slot)
        if place:
            start = place + struct.unpack_from("<I", self.data, place)[0]
            [count] = struct.unpack_from("<I", self.data, start)
            for index in range(count):
                yield form.unpack_from(self.data, start + 4 + index * form.size)


class Messages:
    """Keeps the limits over the messages of one file or stream."""

    def __init__(self, data: memoryview, unpacked: Unpacked) -> None:
        self._data = data
        self._unpacked = unpacked
        self._dictionaries = 0
        self._batches = 0

    def check_file(self) -> None:
        """Every message that the footer of an Arrow file refers to."""
        size = len(self._data)
        end = size - 10
        try:
            [length] = struct.unpack_from("<i", self._data, end)
            if not 0 < length <= end:
                raise struct.error("the footer has no length")
            footer = _Table.root(self._data[end - length : end])
            for slot in (2, 3):
                for offset, metadata_length, _ in footer.structs(slot, _BLOCK):
                    if not 0 <= offset <= size or metadata_length < 8:
                        raise struct.error("the footer refers to what is not there")
                    self._check_at(offset)
        except struct.error as error:
            raise _damaged(error) from error

    def check_stream(self) -> None:
        """Every message of a stream, to its end or to where it is damaged, which its reader tells better."""
        at = 0
        try:
            while (following := self._check_at(at)) is not None:
                at = following
        except struct.error:
            return

    def _check_at(self, at: int) -> int | None:
        """Look at the message at a place; where the next one begins, None at the end."""
        begin = at + 4 if self._data[at : at + 4] == _CONTINUED else at
        [length] = struct.unpack_from("<i", self._data, begin)
        if length <= 0:
            return None
        metadata = self._data[begin + 4 : begin + 4 + length]
        if len(metadata) < length:
            raise struct.error("a message has no end")
        message = _Table.root(metadata)
        body = begin + 4 + length
        body_length = message.number(3, "<q")
        if body_length < 0:
            raise struct.error("a message has no length")
        self._check(message, self._data[body : body + body_length])
        return int(body + body_length)

    def _check(self, message: _Table, body: memoryview) -> None:
        kind = message.number(1, "<B")
        header = message.table(2)
        if header is None or kind not in (_DICTIONARY, _BATCH):
            return
        batch = header.table(1) if kind == _DICTIONARY else header
        if batch is None:
            return
        self._batches += kind == _BATCH
        where = f"record batch {self._batches}" if kind == _BATCH else "a dictionary"
        rows = batch.number(0, "<q")
        if rows > content_limits().rows:
            raise beyond("rows", f"{where} declares {rows:,} rows", code="too_many_rows")
        if batch.table(3) is not None:
            self._check_compressed(batch, body, where, kind)

    def _check_compressed(self, batch: _Table, body: memoryview, where: str, kind: int) -> None:
        allowed = content_limits()
        held = 0
        for offset, length in batch.structs(2, _BUFFER):
            if length < 8 or offset < 0:
                continue
            [declared] = struct.unpack_from("<q", body, offset)  # -1: stored as it is
            number = length if declared < 0 else declared
            if number > allowed.page_bytes:
                raise beyond("page_bytes", f"in {where}, a buffer declares {number:,} bytes")
            held += number
            self._unpacked.add(number)
        if kind == _DICTIONARY:
            self._dictionaries += held
            held = 0
        if self._dictionaries + held > allowed.open_page_bytes:
            told = (
                f"{where} and the dictionaries unpack to {self._dictionaries + held:,} bytes that must be held at "
                f"once; write smaller batches, {most('open_page_bytes')} are possible"
            )
            raise beyond("open_page_bytes", told)


def check_messages(mapped: pa.MemoryMappedFile, unpacked: Unpacked, *, is_file: bool) -> None:
    """Refuse messages of a mapped file that no upload needs."""
    data = memoryview(mapped.read_buffer(mapped.size())).cast("B")
    mapped.seek(0)
    messages = Messages(data, unpacked)
    if is_file:
        messages.check_file()
    else:
        messages.check_stream()


def _damaged(error: struct.error) -> Exception:
    return refuse("unreadable", f"the Arrow file is damaged ({error}). Write it again.")
