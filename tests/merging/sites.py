"""Where the tables of a test lie: in a folder or in a store that others serve, dealt by the run's seed (tests.dealing).

The tests of files marked ``any_store`` that take a ``site``, or a fixture that does, find the same wherever tables
lie. Among them, what looks into a table's folder with the operating system's calls or breaks what it finds there is
about folders: it is marked ``in_folder`` and stays there. So do the files that are not marked: they are about uploads,
checks and values, for which it makes no difference where a table lies, or about logs and files that they make by hand.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from merging.delta.reach import open_table
from merging.store.stores import TableStore, open_store
from tests.stores.servers import server

FOLDER = "folder"


@dataclass(frozen=True)
class Site:
    """Tables lie below ``address``, and ``options`` open them; ``folder`` is local, for what is uploaded and staged."""

    folder: Path
    address: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether tables lie in a folder."""
        return "://" not in self.address

    def new_table(self) -> str:
        """The address of a table that can be made."""
        return f"{self.address}/table-{uuid.uuid4().hex}"

    def store(self, table_uri: str) -> TableStore:
        """The files of a table here."""
        return open_store(table_uri, self.options)

    def put(self, folder: Path, table_uri: str) -> None:
        """Put the files of a local folder at an address."""
        store = self.store(table_uri)
        for path in sorted(folder.rglob("*"), key=lambda one: (one.parent.name == "_delta_log", one)):
            if path.is_file():
                store.write(str(path.relative_to(folder)), path.read_bytes())


def paths_below(table_uri: str) -> set[str]:
    """The files of a table, and whatever else lies below its address."""
    return {item.path for item in open_table(table_uri).walk()}


def site_in(kind: str, folder: Path) -> Site:
    """A site of a kind, with a local folder."""
    if kind == FOLDER:
        return Site(folder, str(folder))
    store = server(kind)
    return Site(folder, f"{store.address}/{uuid.uuid4().hex}", store.options)
