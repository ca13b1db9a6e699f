"""How a folder of files comes into being at once: staged content, and what a merge leaves beside the table.

A folder is made under a hidden name, every file in it flushed to the disk, and then renamed: who sees it sees it
whole, after a power cut too. What its files must be (size, SHA-256) stands in one JSON file that is written last, in
staged content with a checksum of that file itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from merging.errors import MergeFailed

_CHECKSUM = "checksum"


@dataclass(frozen=True)
class NewFolder:
    """A folder that is being made: files are written to ``path``, and will be found under ``final``."""

    path: Path
    final: Path


@contextmanager
def new_folder(root: Path, prefix: str) -> Iterator[NewFolder]:
    """Make a folder with a name of its own under ``root``, and publish it where the block ends well.

    Where the block raises nothing is left. The files in it are flushed by whoever writes them.
    """
    name = f"{prefix}-{uuid.uuid4().hex}"
    folder = NewFolder(root / f".{name}", root / name)
    folder.path.mkdir(parents=True)
    try:
        yield folder
        flush_folder(folder.path)
        os.rename(folder.path, folder.final)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    flush_folder(root)


def local_folder(place: str, what: str) -> Path:
    """The folder that a path or a ``file://`` address names. Raises MergeFailed for a place in an object store;
    ``what`` is what would be written there.
    """
    parts = urlsplit(place)
    if len(parts.scheme) > 1 and parts.scheme != "file":
        raise MergeFailed(
            f"{what} written to a local or mounted folder; name one as destination.",
            data={"destination": place},
        )
    return Path(unquote(parts.path) if parts.scheme == "file" else place)


def flush_file(path: str | os.PathLike[str]) -> None:
    """Have the content of a file that somebody else wrote on the disk."""
    _flush(path, os.O_RDONLY)


def flush_folder(path: str | os.PathLike[str]) -> None:
    """Have the names in a folder on the disk."""
    _flush(path, os.O_RDONLY | os.O_DIRECTORY)


def _flush(path: str | os.PathLike[str], flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file for people and programs, a line for each of its names, flushed to the disk."""
    # What describes thousands of columns takes a second with a line for each of its parts.
    lines = (
        f" {json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in content.items()
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}")
        file.flush()
        os.fsync(file.fileno())


def file_facts(path: Path) -> dict[str, Any]:
    """What tells a file from any other: its size and the SHA-256 of its content, which is read whole."""
    with open(path, "rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with a checksum of itself."""
    return {**content, _CHECKSUM: _checksum(content)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether the content is what its checksum says."""
    return content.get(_CHECKSUM) == _checksum(content)


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
