"""Rows that are read more than once: to be compared, and then to be sent without those that are equal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headgate.comparing import kept_rows, key_range
from headgate.content.sent import Content
from headgate.content.sources import (
    BATCH_ROWS,
    format_of,
    is_dictionaries,
    peeked,
    record_batches,
    write_batches,
)
from headgate.errors import ContentUnusable


@dataclass(frozen=True)
class Rereadable:
    """Rows in a file of Parquet or Arrow."""

    path: Path
    file_format: str
    schema: pa.Schema
    is_temporary: bool

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, from the beginning each time."""
        if self.file_format == "parquet":
            with pq.ParquetFile(self.path) as file:
                yield from file.iter_batches(BATCH_ROWS)
        else:
            with pa.memory_map(str(self.path)) as mapped:
                yield from _arrow_batches(mapped)

    def key_range(self, keys: Sequence[str]) -> list[str]:
        """Filters that let every row of the table through that one of these may equal."""
        return key_range(self.batches(), keys)

    def content_of(self, kept: npt.NDArray[Any]) -> Content | None:
        """The rows of a mask as a file to be sent; None where there are none."""
        if not kept.any():
            return None
        rows = kept_rows(self.batches(), kept)
        return write_batches(pa.RecordBatchReader.from_batches(self.schema, rows))

    def __enter__(self) -> Rereadable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_temporary:
            self.path.unlink(missing_ok=True)


def rereadable(rows: Any, file_format: str | None = None) -> Rereadable:
    """Anything with typed rows, in a file. Raises ``ContentUnusable`` for text files, which the server reads."""
    if isinstance(rows, (str, os.PathLike)):
        path = Path(rows)
        kind = file_format or format_of(path)
        if kind not in ("parquet", "arrow"):
            raise ContentUnusable(
                f"{path.name} is {kind}, whose values have no types yet. Read it into a frame, or leave only_changes "
                f"out: the server drops what equals the table in any case."
            )
        return Rereadable(path, kind, _schema_of(path, kind), is_temporary=False)
    first, several = (rows[0], rows) if is_dictionaries(rows) and len(rows) else peeked(rows)
    if isinstance(first, dict):
        batches = _of_dictionaries(iter(several))
    else:
        batches = record_batches(several if first is not None else rows)
    content = write_batches(batches)
    return Rereadable(content.path, "parquet", _schema_of(content.path, "parquet"), is_temporary=True)


def _of_dictionaries(rows: Iterator[dict[str, Any]]) -> pa.RecordBatchReader:
    """Dictionaries that all have the same members, under the types of the first ones."""

    def pieces() -> Iterator[list[dict[str, Any]]]:
        while piece := [row for _, row in zip(range(BATCH_ROWS), rows, strict=False)]:
            yield piece

    remaining = pieces()
    first = next(remaining)
    names = list(first[0])
    try:
        schema = pa.Table.from_pylist(first).schema

        def batches() -> Iterator[pa.RecordBatch]:
            for piece in chain([first], remaining):
                if any(list(row) != names for row in piece):
                    raise ContentUnusable(
                        "Rows have different members: what one leaves out would turn into NULL. Leave only_changes "
                        "out, or give every row all of them, in one order."
                    )
                yield from pa.Table.from_pylist(piece, schema=schema).to_batches()

        return pa.RecordBatchReader.from_batches(schema, batches())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ContentUnusable(f"The rows have no common types: {error}.") from error


def _schema_of(path: Path, file_format: str) -> pa.Schema:
    try:
        if file_format == "parquet":
            return pq.read_schema(path).remove_metadata()
        with pa.memory_map(str(path)) as mapped:
            return _opened(mapped).schema.remove_metadata()
    except (OSError, pa.ArrowInvalid) as error:
        raise ContentUnusable(f"{path.name} cannot be read as {file_format}: {error}.") from error


def _opened(mapped: pa.MemoryMappedFile) -> Any:
    """A reader of either of Arrow's two formats."""
    is_file = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)


def _arrow_batches(mapped: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
    reader = _opened(mapped)
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(place) for place in range(reader.num_record_batches))
    else:
        yield from reader
