"""Texts of which few are ever read, compressed: the statistics of files are most of what a log says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

#: So many bytes are compressed together, and unpacked for any of them.
_TOGETHER = 128 * 1024
#: As many are unpacked at a time of all.
_A_RUN = 4 * 1024 * 1024
_CODEC = pa.Codec("zstd", 1)


class PackedTexts:
    """Texts, or NULLs, in an order that never changes."""

    def __init__(self, texts: pa.Array) -> None:
        """Pack an array of large strings."""
        self._lengths = np.full(len(texts), -1, np.int64)
        self._starts: Sequence[int] = (0,)
        self._packed: Sequence[bytes] = ()
        if texts.null_count == len(texts):
            return
        known = texts.is_valid().to_numpy(zero_copy_only=False)
        if texts.null_count:
            texts = texts.fill_null("")
        _, places, content = texts.buffers()
        content = content or pa.py_buffer(b"")
        offsets = np.frombuffer(places, np.int64, len(texts) + 1, texts.offset * 8)
        self._lengths[known] = np.diff(offsets)[known]
        ends = np.searchsorted(offsets, np.arange(offsets[0] + _TOGETHER, offsets[-1], _TOGETHER))
        self._starts = np.unique([0, *ends, len(texts)]).tolist()
        self._packed = [
            _CODEC.compress(content.slice(offsets[first], offsets[last] - offsets[first]), asbytes=True)
            for first, last in zip(self._starts, self._starts[1:], strict=False)
        ]

    def __len__(self) -> int:
        return len(self._lengths)

    def take(self, rows: np.ndarray) -> list[str | None]:
        """The texts in these rows."""
        found: list[str | None] = [None] * len(rows)
        stated = np.flatnonzero(self._lengths[rows] >= 0)
        numbers = np.searchsorted(self._starts, rows[stated], side="right") - 1
        for number in np.unique(numbers):
            first = self._starts[number]
            content, ends = self._unpacked(number, number + 1)
            for place in stated[numbers == number]:
                row = rows[place] - first
                found[place] = content[ends[row] : ends[row + 1]].decode()
        return found

    def runs(self) -> Iterator[pa.Array]:
        """All texts in their order, as arrays of some megabytes."""
        if not self._packed:
            yield pa.nulls(len(self), pa.large_string())
            return
        first = 0
        for last in range(1, len(self._packed) + 1):
            start, end = self._starts[first], self._starts[last]
            if last < len(self._packed) and np.maximum(self._lengths[start:end], 0).sum() < _A_RUN:
                continue
            content, ends = self._unpacked(first, last)
            missing = np.packbits(self._lengths[start:end] >= 0, bitorder="little")
            buffers = [pa.py_buffer(missing), pa.py_buffer(ends), pa.py_buffer(content)]
            yield pa.Array.from_buffers(pa.large_string(), end - start, buffers)
            first = last

    def _unpacked(self, first: int, last: int) -> tuple[bytes, np.ndarray]:
        """What stands in packages, and where each of its texts begins and the last one ends."""
        content = []
        for number in range(first, last):
            lengths = self._lengths[self._starts[number] : self._starts[number + 1]]
            size = int(np.maximum(lengths, 0).sum())
            content.append(_CODEC.decompress(self._packed[number], size, asbytes=True))
        lengths = np.maximum(self._lengths[self._starts[first] : self._starts[last]], 0)
        return b"".join(content), np.concatenate([[0], np.cumsum(lengths)])

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return int(self._lengths.nbytes + sum(map(len, self._packed)))
