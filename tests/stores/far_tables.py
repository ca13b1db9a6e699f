"""Tables on stores, made in a folder and put there file by file; and what a table holds, as delta-rs reads it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa

from merging.store.stores import open_store

FILES, ROWS = 12, 3_000
SCHEMA = pa.schema([("id", pa.int64()), ("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])
Row = dict[str, Any]


def row(number: int) -> Row:
    return {"id": number, "a": number * 7919 % 10_007, "b": f"text {number * 31 % 9_973}", "c": number / 7}


def rows_from(start: int, number: int) -> list[Row]:
    return [row(one) for one in range(start, start + number)]


@dataclass(frozen=True)
class FarTable:
    """A table on a store: ``options`` open it where it is, ``rows`` is what it was made of."""

    uri: str
    options: Mapping[str, str]
    rows: tuple[Row, ...]

    def now(self) -> list[Row]:
        """All of its rows as delta-rs reads them, by key."""
        opened = deltalake.DeltaTable(self.uri, storage_options=dict(self.options))
        found = deltalake.QueryBuilder().register("t", opened).execute("SELECT * FROM t ORDER BY id")
        return list(pa.table(found.read_all()).to_pylist())

    def after(self, changed: Iterable[Row] = (), gone: Iterable[int] = ()) -> list[Row]:
        """The rows as they are once some were laid over them, and some went."""
        merged = {one["id"]: dict(one) for one in self.rows}
        for one in changed:
            merged[one["id"]] = {**merged.get(one["id"], dict.fromkeys(SCHEMA.names)), **one}
        return [merged[key] for key in sorted(merged) if key not in set(gone)]


def make_in_folder(
    folder: Path, *, vectors: bool, files: int = FILES, rows: int = ROWS, feed: bool = False, behind: int = 10
) -> tuple[Path, list[Row]]:
    """A table of ``files`` files of three row groups each, its checkpoint ``behind`` versions back (-1: none)."""
    path = folder / f"table-{uuid.uuid4().hex}"
    made: list[Row] = []
    properties = {
        "delta.enableDeletionVectors": str(vectors).lower(),
        "delta.enableChangeDataFeed": str(feed).lower(),
    }
    writing = deltalake.WriterProperties(max_row_group_size=max(rows // 3, 1))
    for number in range(files):
        part = rows_from(number * rows, rows)
        made += part
        deltalake.write_deltalake(
            str(path),
            pa.Table.from_pylist(part, schema=SCHEMA),
            mode="append",
            configuration=properties if number == 0 else None,
            writer_properties=writing,
        )
    opened = deltalake.DeltaTable(str(path))
    if behind >= 0:
        opened.create_checkpoint()
    for number in range(behind):
        opened.alter.set_table_properties({"delta.checkpointInterval": str(100 + number)})
    return path, made


def put_in_store(folder: Path, options: Mapping[str, str], address: str = "s3://tables") -> str:
    """The files of a folder in a store, below an address there; the table's address."""
    uri = f"{address}/{uuid.uuid4().hex}"
    store = open_store(uri, options)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            store.write(str(path.relative_to(folder)), path.read_bytes())
    return uri


def in_store(folder: Path, options: Mapping[str, str], address: str = "s3://tables", **how: Any) -> FarTable:
    """A table as ``make_in_folder`` makes it, in a store."""
    path, rows = make_in_folder(folder, **how)
    return FarTable(put_in_store(path, options, address), options, tuple(rows))
