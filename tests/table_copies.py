"""Small tables made once a process; each test gets a copy under an identity of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import merging


@dataclass(frozen=True)
class _Pattern:
    folder: Path
    table_id: str


_PATTERNS: dict[str, _Pattern] = {}
_FOLDER = tempfile.TemporaryDirectory(prefix="headgate-tables-")


def create_as_copy(table_uri: Path, data: pa.Table, options: dict[str, Any]) -> None:
    """A table with these rows, as ``merging.create_table`` makes it."""
    pattern = _pattern_of(data, options)
    shutil.copytree(pattern.folder, table_uri)
    first = table_uri / "_delta_log" / f"{0:020d}.json"
    first.write_text(first.read_text().replace(pattern.table_id, str(uuid.uuid4())))


def _pattern_of(data: pa.Table, options: dict[str, Any]) -> _Pattern:
    content = pa.BufferOutputStream()
    with pa.ipc.new_stream(content, data.schema) as stream:
        stream.write_table(data)
    written = hashlib.sha256(content.getvalue())
    written.update(json.dumps(options, sort_keys=True).encode())
    key = written.hexdigest()
    if key not in _PATTERNS:
        folder = Path(_FOLDER.name, key)
        _PATTERNS[key] = _Pattern(folder, merging.create_table(str(folder), data, **options).table_id)
    return _PATTERNS[key]
