"""A file as it is sent: where it lies, what it is, and the digest by which the same content is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

#: Bytes that are read, hashed and sent at once.
PIECE = 1 << 20

#: Media type by format, as ``POST /datasets/{dataset}/proposals`` takes them.
MEDIA_TYPES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@dataclass(frozen=True)
class Content:
    """A file with what is proposed; one that was written for the purpose goes when the content is closed."""

    path: Path
    name: str
    file_format: str
    digest: str
    size: int
    is_temporary: bool = False
    #: ``gzip`` where the file is packed so, and is to be unpacked by the server.
    encoding: str | None = None

    @classmethod
    def of_file(
        cls,
        path: Path,
        file_format: str,
        *,
        name: str = "",
        is_temporary: bool = False,
        encoding: str | None = None,
    ) -> Content:
        """What lies in a file, read once for its digest."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
        return cls(path, name or path.name, file_format, digest.hexdigest(), size, is_temporary, encoding)

    @property
    def media_type(self) -> str:
        """What it is."""
        return MEDIA_TYPES[self.file_format]

    def pieces(self) -> Iterator[bytes]:
        """The bytes in their order, from the beginning each time."""
        with self.path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def close(self) -> None:
        """Remove the file where it was only written to be sent."""
        if self.is_temporary:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Content:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
