"""Row groups and column chunks as the footer of a Parquet file describes them (parquet.thrift), read by ourselves.

pyarrow ends the process where the metadata of one column chunk contradicts itself (its size statistics), so that it is
never asked for a chunk: neither of a file that somebody uploads, nor of one that somebody else wrote into a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from merging.delta.thrift import BINARY, FALSE, I64, LIST, STRUCT, BadThrift, Struct, read_struct


@dataclass(frozen=True)
class Chunk:
    """A column chunk as the footer describes it (ColumnMetaData)."""

    described: Struct

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its column, from the outermost."""
        parts: list[bytes] = self.described.get((3, LIST), [])
        return tuple(part.decode("utf-8", "replace") for part in parts if isinstance(part, bytes))

    @cached_property
    def path(self) -> str:
        """The same in one."""
        return ".".join(self.names)

    @property
    def values(self) -> int:
        """How many values it declares, NULLs among them."""
        return int(self.described.get((5, I64), 0))

    @property
    def unpacked(self) -> int:
        """The bytes of all its pages, once they are decompressed."""
        return int(self.described.get((6, I64), 0))

    @property
    def packed(self) -> int:
        """The bytes of all its pages."""
        return int(self.described.get((7, I64), 0))

    @property
    def data_pages(self) -> int:
        """Where the first page with data stands."""
        return int(self.described.get((9, I64), 0))

    @property
    def dictionary(self) -> int | None:
        """Where its dictionary stands, if it has one."""
        place: int | None = self.described.get((11, I64))
        return place

    @property
    def nulls(self) -> int | None:
        """How many of its values are NULL, where that is stated."""
        stated: int | None = self._statistics.get((3, I64))
        return stated

    @property
    def bounds(self) -> tuple[bytes, bytes] | None:
        """Its least and greatest value, encoded plainly, where both are stated."""
        low, high = self._statistics.get((6, BINARY)), self._statistics.get((5, BINARY))
        return None if low is None or high is None else (low, high)

    @property
    def bounds_are_cut(self) -> bool:
        """Whether one of them is stated to be no value of the column, but short of one or beyond it."""
        return (7, FALSE) in self._statistics or (8, FALSE) in self._statistics

    @property
    def _statistics(self) -> Struct:
        stated: Struct = self.described.get((12, STRUCT), {})
        return stated


@dataclass(frozen=True)
class RowGroup:
    """A row group as the footer describes it."""

    described: Struct

    @property
    def rows(self) -> int:
        """How many rows it declares."""
        return int(self.described.get((3, I64), 0))

    @property
    def unpacked(self) -> int:
        """The bytes that it declares for all its columns."""
        return int(self.described.get((2, I64), 0))

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """Its column chunks, in the order of the schema's leaves."""
        return tuple(Chunk(one.get((3, STRUCT), {})) for one in self.described.get((1, LIST), []))


def row_groups_in(footer: bytes) -> list[RowGroup]:
    """The row groups of a footer (FileMetaData alone). Raises BadThrift where it is damaged."""
    try:
        described, _ = read_struct(footer)
        groups = [RowGroup(one) for one in described.get((4, LIST), [])]
        for group in groups:
            group.chunks  # noqa: B018  looked at once, so that nobody later meets what is no column chunk
    except (IndexError, AttributeError) as error:
        raise BadThrift("its footer is damaged") from error
    return groups
