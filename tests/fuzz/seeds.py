"""Files that are right, of every format and in many layouts: what mutants are made from."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

from tests.merging.arrow_layouts import built, logical_type, value

FORMATS = ("csv", "jsonl", "xlsx", "parquet", "arrow")

#: The table that mutants are staged against: a column of every kind.
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("a", pa.int32()),
        ("b", pa.string()),
        ("c", pa.float64()),
        ("d", pa.decimal128(12, 2)),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("local", pa.timestamp("us")),
        ("yes", pa.bool_()),
        ("raw", pa.binary()),
        ("many", pa.list_(pa.int64())),
        ("pair", pa.struct([("x", pa.string()), ("y", pa.list_(pa.float64()))])),
        ("by", pa.map_(pa.string(), pa.int64())),
    ]
)


def rows(random: Random, number: int) -> list[dict[str, Any]]:
    """Rows that the table takes."""
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678_901, tzinfo=datetime.UTC)
    return [
        {
            "id": key,
            "a": random.choice([None, 0, -(2**31), 77]),
            "b": random.choice([None, "", "x", 'a "b", c', "zwei\r\nZeilen", "ü€😀", "w" * 300]),
            "c": random.choice([None, 1.5, -0.0, float("inf"), 1e-300]),
            "d": random.choice([None, Decimal("3.30"), Decimal("-9999999999.99")]),
            "day": random.choice([None, datetime.date(1, 1, 1), datetime.date(2024, 2, 29)]),
            "at": random.choice([None, moment]),
            "local": random.choice([None, moment.replace(tzinfo=None)]),
            "yes": random.choice([None, True, False]),
            "raw": random.choice([None, b"", b"\x00\xff" * 9]),
            "many": random.choice([None, [], [1, None, 3], list(range(40))]),
            "pair": random.choice([None, {"x": "y", "y": [0.5]}, {"x": None, "y": None}]),
            "by": random.choice([None, [], [("k", 1), ("l", None)]]),
        }
        for key in random.sample(range(1000), number)
    ]


def texts_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it."""
    told: dict[str, Any] = {}
    for name, cell in row.items():
        if isinstance(cell, bytes):
            cell = "0x" + cell.hex()
        elif isinstance(cell, datetime.date):
            cell = cell.isoformat()
        elif isinstance(cell, Decimal) or cell == float("inf"):
            cell = str(cell)
        elif name == "by" and cell is not None:
            cell = dict(cell)
        told[name] = cell
    return told


@cache
def seeds(file_format: str) -> tuple[bytes, ...]:
    """Some dozens of right files of a format."""
    random = Random(f"seeds of {file_format}")  # noqa: S311 - tests are repeated by their seeds
    makers: dict[str, Callable[[Random, int], bytes]] = {
        "csv": _csv,
        "jsonl": _json_lines,
        "xlsx": _workbook,
        "parquet": _parquet,
        "arrow": _arrow,
    }
    return tuple(makers[file_format](random, number) for number in range(40))


def _csv(random: Random, number: int) -> bytes:
    delimiter = ",;\t|"[number % 4]
    end = ("\n", "\r\n", "\r")[number % 3]
    names = random.sample(SCHEMA.names[1:], random.randint(1, 8))
    lines = [delimiter.join(["id", *names])]
    for row in map(texts_of, rows(random, random.randint(0, 12))):
        cells = [row["id"], *(row[name] for name in names)]
        lines.append(delimiter.join(map(_csv_cell, cells)))
    return (b"\xef\xbb\xbf" if number % 5 == 0 else b"") + end.join(lines).encode() + end.encode()


def _csv_cell(cell: Any) -> str:
    if cell is None:
        return ""
    text = cell if isinstance(cell, str) else json.dumps(cell)
    quoted = any(mark in text for mark in '",;\t|\r\n') or text == ""
    return '"' + text.replace('"', '""') + '"' if quoted else text


def _json_lines(random: Random, number: int) -> bytes:
    lines = []
    for row in map(texts_of, rows(random, random.randint(1, 12))):
        kept = {name: cell for name, cell in row.items() if name == "id" or random.random() < 0.6}
        lines.append(json.dumps(kept, ensure_ascii=number % 2 == 0))
    return "\n".join(lines).encode()


def _workbook(random: Random, number: int) -> bytes:
    book = openpyxl.Workbook(write_only=number % 3 == 0)
    sheet = book.create_sheet() if number % 3 == 0 else book.active
    names = ["id", *random.sample(["a", "b", "c", "d", "day", "local", "yes", "many"], 4)]
    sheet.append(names)
    for row in rows(random, random.randint(0, 10)):
        cells = [row[name] for name in names]
        sheet.append([json.dumps(cell) if isinstance(cell, list) else cell for cell in cells])
    if number % 4 == 1:
        book.create_sheet("Other").append(["x", 1])
        if number % 3:
            sheet.merge_cells("C2:D2")
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _table(random: Random, number: int) -> pa.Table:
    chosen = rows(random, random.randint(0, 30))
    names = ["id", *random.sample(SCHEMA.names[1:], random.randint(1, 8))]
    schema = pa.schema([SCHEMA.field(name) for name in names])
    table = pa.Table.from_pylist([{name: row[name] for name in names} for row in chosen], schema=schema)
    if number % 3 == 0:
        kind = logical_type(random)
        values = [value(random, kind) for _ in chosen]
        return table.append_column("new", built(random, values, kind))
    return table


def _parquet(random: Random, number: int) -> bytes:
    table = _table(random, number)
    storable = [field.name for field in table.schema if _parquet_can_hold(table[field.name])]
    sink = io.BytesIO()
    arrow_parquet.write_table(
        table.select(storable),
        sink,
        row_group_size=random.choice([3, 1000]),
        compression=random.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        use_dictionary=random.random() < 0.6,
        data_page_version=random.choice(["1.0", "2.0"]),
        write_statistics=random.random() < 0.5,
        write_page_index=random.random() < 0.3,
        write_page_checksum=random.random() < 0.3,
        data_page_size=random.choice([32, 1 << 20]),
        version=random.choice(["1.0", "2.6"]),
        use_deprecated_int96_timestamps=random.random() < 0.2,
    )
    return sink.getvalue()


def _parquet_can_hold(column: pa.ChunkedArray) -> bool:
    try:
        arrow_parquet.write_table(pa.table({"x": column}), io.BytesIO())
    except (pa.ArrowException, NotImplementedError):
        return False
    return True


def _arrow(random: Random, number: int) -> bytes:
    table = _table(random, number)
    sink = io.BytesIO()
    options = arrow_ipc.IpcWriteOptions(
        compression=random.choice([None, "lz4", "zstd"]), emit_dictionary_deltas=number % 2 == 0
    )
    opened = arrow_ipc.new_stream if number % 3 == 1 else arrow_ipc.new_file
    with opened(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=random.choice([2, 1000]))
    return sink.getvalue()


def parts_of(workbook: bytes) -> dict[str, bytes]:
    """The parts of a workbook, unpacked."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
