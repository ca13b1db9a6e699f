"""Rows that were downloaded: in a file, however many they are, until nobody holds them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa


class Download:
    """An Arrow stream in a temporary file, which goes when this is closed or forgotten."""

    def __init__(self, path: Path, version: int | None = None) -> None:
        #: The table's version that the rows are of, where they are of one.
        self.version = version
        self._path = path
        self._remove = weakref.finalize(self, path.unlink, missing_ok=True)
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as stream:
            self.schema: pa.Schema = stream.schema

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """The types of some columns, in their order."""
        return pa.schema([self.schema.field(name) for name in columns])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, from the beginning each time."""
        # Not mapped: what was read of a map counts as memory until it is closed.
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream

    def table(self) -> pa.Table:
        """All rows. They stay when the file goes."""
        with self._path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()

    def close(self) -> None:
        """Remove the file."""
        self._remove()

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
