"""How DuckDB reads an object store: a file system that opens ranged readers on the table's own client.

DuckDB's httpfs extension cannot be downloaded everywhere, and would need the credentials a second time in
another form; this way there is one client and one set of options.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import obstore
from fsspec import AbstractFileSystem


class StoreFileSystem(AbstractFileSystem):
    """Read-only view of one table's store, under a protocol name that only this table uses."""

    cachable = False

    def __init__(self, client: Any, protocol: str) -> None:
        super().__init__()
        self.client = client
        self.protocol = protocol

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://").lstrip("/")

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """A seekable reader; FileNotFoundError when there is no such object."""
        if mode != "rb":
            raise PermissionError(f"{path}: this file system only reads")
        return obstore.open_reader(self.client, self._key(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and kind, as fsspec says it."""
        meta = obstore.head(self.client, self._key(path))
        return {
            "name": path,
            "size": meta["size"],
            "type": "file",
            "mtime": meta["last_modified"].timestamp(),
        }

    def modified(self, path: str) -> datetime:
        """When the object was written."""
        written: datetime = obstore.head(self.client, self._key(path))["last_modified"]
        return written

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: DuckDB is always given literal paths."""
        return [path]
