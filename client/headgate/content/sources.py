"""Whatever rows come as: paths, pandas, Polars and pyarrow, lists of dictionaries, readers and generators.

Nothing here holds all rows at once that the caller does not hold: what is not a file yet is written to one batch by
batch (Parquet for what has types, JSON lines for dictionaries, whose values stay as exact as Python has them).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headgate.content.rows import json_line
from headgate.content.sent import Content
from headgate.errors import ContentUnusable

#: Rows that are turned over at once.
BATCH_ROWS = 65_536
#: Format by a file's suffix, as the server knows them; text formats may be packed besides.
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "xlsx",
}
PACKED = (".gz", ".bz2", ".zst")


def content_of(rows: Any, file_format: str | None = None) -> Content:
    """Anything that holds rows as a file that can be sent. Raises ``ContentUnusable``; then nothing is left behind.

    A path stays where it is. The content of others is in the temporary folder until it is closed.
    """
    if isinstance(rows, (str, os.PathLike)):
        return _of_path(Path(rows), file_format)
    if is_dictionaries(rows):
        return write_dictionaries(rows)
    first, batches = peeked(rows)
    if isinstance(first, Mapping):
        return write_dictionaries(batches)
    return write_batches(record_batches(batches if first is not None else rows))


def _of_path(path: Path, file_format: str | None) -> Content:
    try:
        return Content.of_file(path, file_format or format_of(path))
    except OSError as error:
        raise ContentUnusable(f"{path} cannot be read: {error.strerror}.") from error


def format_of(path: Path) -> str:
    """The format of a file by its name. Raises ``ContentUnusable``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    kind = FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise ContentUnusable(
            f"The format of {path.name} is not known by its name. Say file_format=, one of "
            f"{', '.join(sorted(set(FORMATS.values())))}."
        )
    return kind


def is_dictionaries(rows: Any) -> bool:
    """Whether it is a list of dictionaries (an empty list is one, too)."""
    return isinstance(rows, (list, tuple)) and all(isinstance(row, Mapping) for row in rows[:1])


def peeked(rows: Any) -> tuple[Any, Iterable[Any]]:
    """The first of what a generator gives, and all of it; None for what is rows as a whole."""
    if is_frame(rows) or not isinstance(rows, Iterable):
        return None, ()
    several = iter(rows)
    first = next(several, None)
    if first is None:
        raise ContentUnusable("There is nothing in what was handed over, not even columns.")
    return first, chain([first], several)


def is_frame(rows: Any) -> bool:
    """Whether it holds rows by itself, with the types of its columns."""
    return (
        hasattr(rows, "__arrow_c_stream__")
        or hasattr(rows, "__arrow_c_array__")
        or _is_lazy(rows)
        or _is_pandas(rows)
    )


def _is_pandas(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns")


def _is_lazy(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "polars" and hasattr(rows, "collect")


def record_batches(rows: Any) -> pa.RecordBatchReader:
    """Frames, tables, readers, or several of them one after another, as one stream of batches.

    Raises ``ContentUnusable`` for what holds no rows, or where later ones have other columns.
    """
    if isinstance(rows, pa.RecordBatchReader):
        return rows
    if _is_pandas(rows):
        return _of_pandas(rows)
    if _is_lazy(rows):
        return record_batches(rows.collect(engine="streaming"))
    if isinstance(rows, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(rows.schema, [rows])
    if isinstance(rows, pa.Table):
        return pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(max_chunksize=BATCH_ROWS))
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(rows)
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, Mapping)):
        return _of_several(iter(rows))
    raise ContentUnusable(
        f"{type(rows).__name__} holds no rows. Hand over a path, a frame of pandas or Polars, what pyarrow has, a list "
        f"of dictionaries, or a generator of any of them."
    )


def _of_several(several: Iterator[Any]) -> pa.RecordBatchReader:
    first = record_batches(next(several))

    def batches() -> Iterator[pa.RecordBatch]:
        yield from first
        for more in several:
            for batch in record_batches(more):
                yield _fitted(batch, first.schema)

    return pa.RecordBatchReader.from_batches(first.schema, batches())


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A later batch in the columns of the first."""
    if batch.schema.equals(schema):
        return batch
    if set(batch.schema.names) != set(schema.names):
        raise ContentUnusable(f"Later rows have the columns {batch.schema.names}, the first {schema.names}.")
    try:
        return pa.RecordBatch.from_arrays(
            [batch.column(name).cast(schema.field(name).type) for name in schema.names], schema=schema
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContentUnusable(f"Later rows do not fit the columns of the first: {error}.") from error


def _of_pandas(frame: Any) -> pa.RecordBatchReader:
    """A frame of pandas in slices. Named levels of the index are columns, others are left out; NaN and NaT are NULL."""
    named = [name for name in frame.index.names if name is not None]
    if named:
        frame = frame.reset_index(level=named)
    if not all(isinstance(name, str) for name in frame.columns):
        raise ContentUnusable(f"Columns are named by texts; these are {list(frame.columns)}.")
    try:
        schema = pa.Schema.from_pandas(frame, preserve_index=False).remove_metadata()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ContentUnusable(_of_column(frame, error)) from error

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(frame), BATCH_ROWS):
            piece = frame.iloc[start : start + BATCH_ROWS]
            yield pa.RecordBatch.from_pandas(piece, schema=schema, preserve_index=False)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _of_column(frame: Any, error: Exception) -> str:
    """What is wrong, and with which column."""
    name = next((name for name in frame.columns if not _has_one_type(frame[name])), None)
    return _sentence(error) if name is None else f"The column {name} has no one type: {_sentence(error)}"


def _has_one_type(column: Any) -> bool:
    try:
        pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return False
    return True


def _sentence(error: Exception) -> str:
    return "; ".join(str(part) for part in error.args) + "."


# --- Writing ---------------------------------------------------------------------------------------------------


def temporary_file(suffix: str) -> Path:
    """An empty file of one's own in the temporary folder."""
    handle, name = tempfile.mkstemp(prefix="headgate-", suffix=suffix)
    os.close(handle)
    return Path(name)


def write_batches(batches: pa.RecordBatchReader) -> Content:
    """Batches as a Parquet file, one after another. Raises ``ContentUnusable``."""
    path = temporary_file(".parquet")
    try:
        # The same rows give the same bytes, and with them the same key: nothing of the moment is in the file.
        with pq.ParquetWriter(path, batches.schema, compression="zstd") as writer:
            for batch in batches:
                if batch.num_rows:
                    writer.write_batch(batch)
        return Content.of_file(path, "parquet", name="rows.parquet", is_temporary=True)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)):
            raise ContentUnusable(_sentence(error)) from error
        raise


def write_dictionaries(rows: Iterable[Mapping[str, Any]]) -> Content:
    """Dictionaries as JSON lines, every value as exact as it is. Raises ``ContentUnusable``."""
    path = temporary_file(".jsonl")
    try:
        with path.open("w", encoding="utf-8") as file:
            for number, row in enumerate(rows, start=1):
                file.write(json_line(row, number))
        return Content.of_file(path, "jsonl", name="rows.jsonl", is_temporary=True)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
