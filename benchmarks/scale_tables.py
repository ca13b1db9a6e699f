"""Tables with what grows: files, vectors, versions, columns, and large texts. Every file and every commit is real.

Each is made once and kept; who measures works on a copy (``linked``). delta-rs reads them and writes their checkpoints.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap64

import merging
from merging.delta.committing import log_lines
from merging.delta.log import commit_path
from merging.delta.vectors import VectorFile

ROWS_A_FILE = 10
_FIRST_DAY = datetime.date(2013, 1, 1)
_MADE = 1_700_000_000_000
#: Texts of one file; as far as one row group goes.
_TEXT = 2_048


@dataclass(frozen=True)
class Shape:
    """How a table of many files came into being.

    Files come by ``adds`` in a commit; then ``vectors`` of them get one, a row gone in each, ``marked`` in a commit.
    ``checkpoint``: when delta-rs writes one, once the files are there or at the end.
    """

    files: int
    adds: int
    vectors: int = 0
    marked: int = 1
    checkpoint: str = "end"

    @property
    def rows(self) -> int:
        """How many rows it shows."""
        return self.files * ROWS_A_FILE - self.vectors


SHAPES: dict[str, Shape] = {
    # 100,000 files by a hundred commits and a checkpoint, behind which 10,000 commits write vectors for half of them.
    "many": Shape(100_000, 1_000, 50_000, 5, "files"),
    "versions": Shape(10_000, 1),
    "page": Shape(20_000, 1_000),
    "small": Shape(5_000, 500),
}


def make_table(folder: Path, shape: Shape) -> Path:
    """A table of many small files."""
    merging.create_table(str(folder), rows_of(0).slice(0, 0))
    version = 0
    for start in range(0, shape.files, shape.adds):
        version += 1
        commit(
            folder,
            version,
            [_added(folder, number) for number in range(start, min(start + shape.adds, shape.files))],
        )
    if shape.checkpoint == "files":
        _write_checkpoint(folder)
    step = max(1, shape.files // max(1, shape.vectors))
    chosen = range(0, shape.files, step)[: shape.vectors]
    for start in range(0, len(chosen), shape.marked):
        version += 1
        commit(folder, version, _marked(folder, chosen[start : start + shape.marked]))
    if shape.checkpoint == "end":
        _write_checkpoint(folder)
    return folder


def _write_checkpoint(folder: Path) -> None:
    import deltalake  # here, so that what is measured on its tables does not hold it

    deltalake.DeltaTable(folder).create_checkpoint()


def rows_of(number: int) -> pa.Table:
    """The rows of a file: their keys are those of no other."""
    keys = range(number * ROWS_A_FILE, (number + 1) * ROWS_A_FILE)
    return pa.table(
        {
            "id": pa.array(keys, pa.int64()),
            "name": pa.array([f"row {key:09d}" for key in keys], pa.string()),
            "amount": pa.array([key / 7 for key in keys], pa.float64()),
            "day": pa.array([_FIRST_DAY + datetime.timedelta(days=key % 4_000) for key in keys], pa.date32()),
            "note": pa.array([f"note {key % 13}" for key in keys], pa.string()),
        }
    )


def _name(number: int) -> str:
    return f"part-{number:06d}-{uuid.uuid5(uuid.NAMESPACE_URL, str(number))}.parquet"


def _added(folder: Path, number: int) -> dict[str, Any]:
    rows, path = rows_of(number), folder / _name(number)
    pq.write_table(rows, path)
    return {"add": _add(number, path.stat().st_size, rows)}


def _add(number: int, size: int, rows: pa.Table) -> dict[str, Any]:
    texts = {
        name: [str(value) for value in rows.column(name).to_pylist()] for name in ("name", "day", "note")
    }
    values = {**texts, **{name: rows.column(name).to_pylist() for name in ("id", "amount")}}
    stats = {
        "numRecords": len(rows),
        "minValues": {name: min(values[name]) for name in rows.column_names},
        "maxValues": {name: max(values[name]) for name in rows.column_names},
        "nullCount": dict.fromkeys(rows.column_names, 0),
    }
    return {
        "path": _name(number),
        "partitionValues": {},
        "size": size,
        "modificationTime": _MADE,
        "dataChange": True,
        "stats": json.dumps(stats, separators=(",", ":")),
    }


def _marked(folder: Path, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The actions that take the last row of each of the files."""
    vectors = VectorFile(uuid.uuid5(uuid.NAMESPACE_DNS, str(numbers[0])))
    actions: list[dict[str, Any]] = []
    for number in numbers:
        size = (folder / _name(number)).stat().st_size
        add = _add(number, size, rows_of(number))
        stats = {**json.loads(add["stats"]), "tightBounds": False}
        vector = vectors.append(BitMap64([ROWS_A_FILE - 1])).to_log()
        remove = {"path": add["path"], "deletionTimestamp": _MADE, "dataChange": True, "size": size}
        actions += [
            {"remove": {**remove, "extendedFileMetadata": True, "partitionValues": {}}},
            {"add": {**add, "stats": json.dumps(stats, separators=(",", ":")), "deletionVector": vector}},
        ]
    (folder / vectors.path).write_bytes(vectors.content)
    return actions


def commit(folder: Path, version: int, actions: Sequence[Mapping[str, Any]]) -> None:
    """Another version, as merges write it: with what it says of itself and a marker."""
    info = {
        "timestamp": _MADE + version * 1_000,
        "operation": "MERGE",
        "operationParameters": {"predicate": "target.id = source.id"},
        "operationMetrics": {"numTargetRowsInserted": "10", "numTargetRowsDeleted": "0"},
        "engineInfo": "headgate",
        "readVersion": version - 1,
        "userName": "somebody",
        "txnId": str(uuid.uuid5(uuid.NAMESPACE_OID, str(version))),
    }
    marker = {"appId": f"here/CR-{version}", "version": 1, "lastUpdated": _MADE}
    lines = log_lines([{"commitInfo": info}, {"txn": marker}, *actions])
    (folder / commit_path(version)).write_bytes(lines)


def make_wide(folder: Path, columns: int) -> Path:
    """A table of a thousand rows and many columns of numbers and texts."""
    numbers = pa.array(range(1_000), pa.int64())
    texts = pa.array([f"value {number % 97}" for number in range(1_000)], pa.string())
    cells = {f"c{place}": texts if place % 2 else numbers for place in range(columns - 1)}
    merging.create_table(str(folder), pa.table({"id": numbers, **cells}))
    return folder


def make_texts(folder: Path, rows: int, length: int) -> Path:
    """A table of one file with one row group of large texts that do not compress away, as others write it."""
    merging.create_table(
        str(folder), pa.table({"id": pa.array([], pa.int64()), "body": pa.array([], pa.string())})
    )
    path = folder / _name(0)
    schema = pa.schema([("id", pa.int64()), ("body", pa.string())])
    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False) as writer:
        # One batch after the other into one row group.
        writer.write_table(pa.Table.from_batches(_texts(rows, length), schema), row_group_size=rows)
    stats = {
        "numRecords": rows,
        "minValues": {"id": 0},
        "maxValues": {"id": rows - 1},
        "nullCount": {"id": 0, "body": 0},
    }
    commit(
        folder,
        1,
        [
            {
                "add": {
                    "path": path.name,
                    "partitionValues": {},
                    "size": path.stat().st_size,
                    "modificationTime": _MADE,
                    "dataChange": True,
                    "stats": json.dumps(stats),
                }
            }
        ],
    )
    return folder


def _texts(rows: int, length: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, 4_096):
        keys = range(start, min(rows, start + 4_096))
        bodies = pa.array([os.urandom(length // 2).hex() for _ in keys], pa.string())
        yield pa.record_batch([pa.array(keys, pa.int64()), bodies], ["id", "body"])


def linked(table: Path, copy: Path) -> Path:
    """A copy of a table: its data files are linked, which never change, and its log is copied."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(table, copy, copy_function=_link_or_copy)
    return copy


def _link_or_copy(source: str, target: str) -> None:
    if "_delta_log" in source:
        shutil.copy2(source, target)
    else:
        os.link(source, target)
