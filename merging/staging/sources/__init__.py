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

from merging.staging.sources.base import BATCH_ROWS, OPERATION_COLUMN, Problems, Source, Targets, refuse
from merging.staging.sources.columnar import open_arrow, open_parquet, open_stream
from merging.staging.sources.csv_files import open_csv
from merging.staging.sources.json_lines import open_json_lines
from merging.staging.sources.workbooks import open_workbook

__all__ = ["OPERATION_COLUMN", "Problems", "Source", "open_source"]

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
}


def open_source(
    changes: Any,
    targets: Targets,
    problems: Problems,
    *,
    null_token: str = "",
    file_format: str | None = None,
) -> Source:
    """Open ``changes`` for reading. ``targets`` are the types of the table's columns, by name.

    Raises StagingRejected at once where nothing at all can be read (no header, unknown format, broken file).
    """
    if isinstance(changes, str | os.PathLike):
        return _open_file(Path(os.fspath(changes)), targets, problems, null_token, file_format)
    if hasattr(changes, "to_arrow_reader"):
        return open_stream(changes.to_arrow_reader(BATCH_ROWS))
    if isinstance(changes, pa.RecordBatch):
        return open_stream(pa.Table.from_batches([changes]).to_reader(BATCH_ROWS))
    if isinstance(changes, pa.Table):
        return open_stream(changes.to_reader(BATCH_ROWS))
    if isinstance(changes, pa.RecordBatchReader):
        return open_stream(changes)
    if hasattr(changes, "__arrow_c_stream__"):
        return open_stream(pa.RecordBatchReader.from_stream(changes))
    raise TypeError(f"changes must be Arrow data, a DuckDB relation or a file, not {type(changes).__name__}")


def _open_file(
    path: Path, targets: Targets, problems: Problems, null_token: str, file_format: str | None
) -> Source:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in {".gz", ".bz2", ".zst"}
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    kind = (file_format or _EXTENSIONS.get(suffix, "")).lower()
    kind = {"jsonlines": "jsonl", "json": "jsonl", "ndjson": "jsonl", "tsv": "csv", "feather": "arrow"}.get(
        kind, kind
    )
    if not path.is_file():
        raise refuse("no_file", f"there is no file {path.name}.")
    try:
        if kind == "csv":
            return open_csv(path, targets, problems, null_token)
        if kind == "jsonl":
            return open_json_lines(path, targets, problems)
        if kind == "xlsx":
            return open_workbook(path, targets, problems)
        if kind == "parquet":
            return open_parquet(path)
        if kind == "arrow":
            return open_arrow(path)
    except pa.ArrowInvalid as error:
        raise refuse("unreadable", f"the file is not readable as {kind}: {error}.") from error
    known = ", ".join(sorted(set(_EXTENSIONS)))
    raise refuse("unknown_format", f"the format of {path.name} is not known; known endings are {known}.")
