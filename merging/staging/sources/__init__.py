"""Proposed changes of any kind as one stream of record batches, with the lines they came from.

Every batch has ``ordinal`` (0, 1, ... in file order), ``absent`` (positions of the columns that a JSON row left out,
or NULL), ``refused`` (cells that the reader itself could not make into a value, or NULL) and ``f0`` … ``fn`` in the
order of ``columns``. Text kinds (CSV, JSON lines, XLSX) deliver cells as text, with nested ones already typed; typed
kinds (Arrow, Parquet, DuckDB) deliver their own types.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.errors import StagingRejected
from merging.staging.sources.base import (
    BATCH_ROWS,
    OPERATION_COLUMN,
    Blanks,
    Problems,
    Source,
    Targets,
    refuse,
)
from merging.staging.sources.columnar import named_failures, open_arrow, open_parquet, open_stream, open_table
from merging.staging.sources.content import HEAD_BYTES, described_content
from merging.staging.sources.csv_files import open_csv
from merging.staging.sources.json_lines import open_json_lines
from merging.staging.sources.workbooks import open_workbook

__all__ = ["OPERATION_COLUMN", "Blanks", "Problems", "Source", "format_of", "open_source"]

#: An empty cell without quotes is NULL.
NO_CHOICE = Blanks()
_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
_SYNONYMS = {"jsonlines": "jsonl", "json": "jsonl", "ndjson": "jsonl", "tsv": "csv", "feather": "arrow"}
_COMPRESSED = {".gz", ".bz2", ".zst"}


def open_source(
    changes: Any,
    targets: Targets,
    problems: Problems,
    *,
    blanks: Blanks = NO_CHOICE,
    file_format: str | None = None,
    file_name: str = "",
) -> Source:
    """Open ``changes`` for reading. ``targets`` are the types of the table's columns, by their names in the content;
    ``file_name`` is what people call the file, where that is not how it is kept.

    Raises StagingRejected at once where nothing at all can be read (no header, unknown format, broken file).
    """
    if isinstance(changes, str | os.PathLike):
        return _open_file(Path(os.fspath(changes)), targets, problems, blanks, file_format, file_name)
    if hasattr(changes, "to_arrow_reader"):
        with named_failures("the relation"):
            return open_stream(changes.to_arrow_reader(BATCH_ROWS), targets)
    if isinstance(changes, pa.RecordBatch):
        return open_table(pa.Table.from_batches([changes]), targets)
    if isinstance(changes, pa.Table):
        return open_table(changes, targets)
    if isinstance(changes, pa.RecordBatchReader):
        return open_stream(changes, targets)
    if hasattr(changes, "__arrow_c_stream__"):
        with named_failures("the stream of Arrow data"):
            return open_stream(pa.RecordBatchReader.from_stream(changes), targets)
    raise TypeError(f"changes must be Arrow data, a DuckDB relation or a file, not {type(changes).__name__}")


def _open_file(
    path: Path,
    targets: Targets,
    problems: Problems,
    blanks: Blanks,
    file_format: str | None,
    file_name: str,
) -> Source:
    name = file_name or path.name
    kind = (file_format or format_of(path.name) or "").lower()
    kind = _SYNONYMS.get(kind, kind)
    if not path.is_file():
        raise refuse("no_file", f"there is no file {name}.")
    try:
        if kind == "csv":
            return open_csv(path, targets, problems, blanks)
        if kind == "jsonl":
            return open_json_lines(path, targets, problems)
        if kind == "xlsx":
            return open_workbook(path, targets, problems, blanks)
        if kind == "parquet":
            return open_parquet(path, targets)
        if kind == "arrow":
            return open_arrow(path, targets)
    except pa.ArrowInvalid as error:
        raise refuse("unreadable", f"the file is not readable as {kind}: {error}.") from error
    except StagingRejected as refusal:
        raise _by_content(path, kind, refusal) from refusal
    known = ", ".join(sorted(set(_EXTENSIONS)))
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    found = described_content(path, head)
    reason = f"; it is {found}" if found is not None else ""
    raise refuse(
        "unknown_format", f"the ending of {name} names no format{reason}. Known endings are {known}."
    )


def _by_content(path: Path, kind: str, refusal: StagingRejected) -> StagingRejected:
    """The refusal of a Parquet or Arrow file, or a better one where the file is something else by its first bytes."""
    if kind not in ("parquet", "arrow") or [one.code for one in refusal.problems] != ["unreadable"]:
        return refusal
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    found = described_content(path, head)
    wanted = {"parquet": "a Parquet file", "arrow": "an Arrow file"}[kind]
    if found is None or found == wanted or (wanted == "an Arrow file" and found == "a stream of Arrow data"):
        return refusal
    return refuse(
        "wrong_format", f"the file is {found}, not {wanted}; give its name the ending of what it is."
    )


def format_of(file_name: str) -> str | None:
    """The format that a file's name tells by its ending, one of a compression left aside; None for an unknown one."""
    stem, ending = os.path.splitext(file_name.lower())
    if ending in _COMPRESSED:
        ending = os.path.splitext(stem)[1]
    return _EXTENSIONS.get(ending)
