"""FS2: content that is small and holds gigabytes: refused by the name of a limit, at its place, in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

import pyarrow as pa
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet
import pytest

import merging
from merging import ContentLimits, StagingRejected
from merging.confinement import Bounds, run_confined
from tests.merging.world import World

MIB = 1 << 20
Pieces = Iterable[tuple[bytes, int]]
"""Bytes, and how many times they stand."""

SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
TEXT = b'<c t="inlineStr"><is><t>%s</t></is></c>'
HEADER = SHEET + b"<row>" + TEXT % b"id" + TEXT % b"b" + b"</row>"
END = b"</sheetData></worksheet>"
TEXTS = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
BOOK = f"""<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{RELATIONS}">
<sheets><sheet name="S" sheetId="1" r:id="a"/></sheets></workbook>"""


def gzipped(pieces: Pieces) -> bytes:
    """The pieces as members of gzip, one after the other (RFC 1952, 2.2)."""
    return b"".join(gzip.compress(piece, 9, mtime=0) * times for piece, times in pieces)


def deflated(pieces: Pieces) -> bytes:
    """The pieces as one stream of deflate, packed once each (RFC 1951)."""
    packed = b""
    for piece, times in pieces:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed += (packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)) * times
    return packed + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def workbook(sheet: Pieces, texts: Pieces | None = None) -> bytes:
    """A workbook of one sheet whose parts may unpack to gigabytes."""
    parts: dict[str, Pieces] = {
        "[Content_Types].xml": [(b"<Types/>", 1)],
        "_rels/.rels": [(_relations("officeDocument", "xl/workbook.xml"), 1)],
        "xl/workbook.xml": [(BOOK.encode(), 1)],
        "xl/_rels/workbook.xml.rels": [(_relations("worksheet", "s.xml", "sharedStrings", "t.xml"), 1)],
        "xl/s.xml": sheet,
    }
    if texts is not None:
        parts["xl/t.xml"] = texts
    return _archive(parts)


def _relations(*kinds_and_targets: str) -> bytes:
    listed = "".join(
        f'<Relationship Id="{name}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for name, kind, target in zip("ab", kinds_and_targets[::2], kinds_and_targets[1::2], strict=False)
    )
    return f'<Relationships xmlns="{PACKAGE}">{listed}</Relationships>'.encode()


def _archive(parts: Mapping[str, Pieces]) -> bytes:
    """A zip archive (APPNOTE.TXT, 4.3) of parts that are never held unpacked; those repeated have no true checksum."""
    body, directory = io.BytesIO(), io.BytesIO()
    for name, pieces in parts.items():
        pieces = list(pieces)
        data = deflated(pieces)
        size = sum(len(piece) * times for piece, times in pieces)
        checksum = zlib.crc32(b"".join(piece * times for piece, times in pieces)) if size < MIB else 0
        at = body.tell()
        facts = struct.pack(
            "<HHHHHIIIHH", 20, 0, 8, 0, 33, checksum, len(data), min(size, 2**32 - 2), len(name), 0
        )
        body.write(b"PK\x03\x04" + facts + name.encode() + data)
        directory.write(b"PK\x01\x02" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, at))
        directory.write(name.encode())
    listed = directory.getvalue()
    end = struct.pack("<HHHHIIH", 0, 0, len(parts), len(parts), len(listed), body.tell(), 0)
    return body.getvalue() + listed + b"PK\x05\x06" + end


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    arrow_parquet.write_table(table, sink, write_statistics=False, **options)
    return sink.getvalue()


def arrow(batch: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with arrow_ipc.new_file(
        sink, batch.schema, options=arrow_ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


LETTERS = b"a" * MIB
BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a line": ("x.csv.gz", lambda: gzipped([(b"id,b\n1,", 1), (LETTERS, 1500)]), "line_bytes"),
    "a cell in quotes": ("x.csv.gz", lambda: gzipped([(b'id,b\n1,"', 1), (LETTERS, 1500)]), "line_bytes"),
    "quotes": ("x.csv.gz", lambda: gzipped([(b"id,b\n1,", 1), (b'"' * MIB, 40)]), "line_bytes"),
    "a header": ("x.csv.gz", lambda: gzipped([(b"id,", 1), (LETTERS, 1500)]), "header_bytes"),
    "a header of names": ("x.csv.gz", lambda: gzipped([(b"id,", 1), (b"a," * MIB, 750)]), "header_bytes"),
    "a line of JSON": ("x.jsonl.gz", lambda: gzipped([(b'{"id":"', 1), (LETTERS, 1500)]), "line_bytes"),
    "values of JSON": ("x.jsonl", lambda: b'{"id": [' + b"{}," * 3 * MIB + b"1]}", "json_values"),
    "names of JSON": (
        "x.jsonl",
        lambda: json.dumps(dict.fromkeys(map(str, range(10_001)), 1)).encode(),
        "columns",
    ),
    "a cell of a sheet": (
        "x.xlsx",
        lambda: workbook([(HEADER + b'<row><c t="inlineStr"><is><t>', 1), (LETTERS, 1500)]),
        "cell_bytes",
    ),
    "a part of blanks": ("x.xlsx", lambda: workbook([(HEADER, 1), (b" " * MIB, 3000)]), "unpacked_ratio"),
    "a row of cells": (
        "x.xlsx",
        lambda: workbook([(HEADER + b"<row>" + TEXT % (b"a" * 4_000_000) * 20 + b"</row>", 1)]),
        "line_bytes",
    ),
    "a shared text": (
        "x.xlsx",
        lambda: workbook([(HEADER, 1)], [(TEXTS + b"<si><t>", 1), (LETTERS, 1500)]),
        "cell_bytes",
    ),
    "runs of a shared text": (
        "x.xlsx",
        lambda: workbook([(HEADER, 1)], [(TEXTS + b"<si>", 1), (b"<r><t>a</t></r>" * 10_000, 2000)]),
        "cell_bytes",
    ),
    "rows of NULLs in Arrow": (
        "x.arrow",
        lambda: arrow(pa.record_batch({"id": pa.nulls(2_000_000_000)})),
        "rows",
    ),
    "lists that share their values": ("x.arrow", lambda: arrow(_sharing_lists()), "row_bytes"),
    "NULLs in a list": (
        "x.arrow",
        lambda: arrow(
            pa.record_batch({"id": [1], "n": pa.ListArray.from_arrays([0, 2 * 10**9], pa.nulls(2 * 10**9))})
        ),
        "row_bytes",
    ),
}


def _sharing_lists() -> pa.RecordBatch:
    values = pa.array(range(100_000))
    inner = pa.ListViewArray.from_arrays(
        pa.array([0] * 20_000, pa.int32()), pa.array([100_000] * 20_000, pa.int32()), values
    )
    outer = pa.ListViewArray.from_arrays(
        pa.array([0] * 1000, pa.int32()), pa.array([20_000] * 1000, pa.int32()), inner
    )
    return pa.record_batch({"id": pa.array(range(1000)), "n": outer})


def stage_in_little_memory(argument: Mapping[str, str], _: object) -> str:
    """Runs confined: the refusal of an upload, as text."""
    try:
        merging.stage(argument["table"], argument["upload"], ["id"], destination=argument["destination"])
    except StagingRejected as refusal:
        return str(refusal)
    return "staged"


@pytest.mark.parametrize("bomb", BOMBS)
def test_fs2_a_bomb_is_refused_by_the_name_of_its_limit_in_little_memory(world: World, bomb: str) -> None:
    name, make, limit = BOMBS[bomb]
    before = world.rows()
    argument = {
        "table": world.uri,
        "upload": str(world.file(name, make())),
        "destination": str(world.folder / "staged"),
    }
    told = run_confined(
        f"{__name__}:stage_in_little_memory", argument, Bounds(memory_bytes=900 * MIB, seconds=60)
    )
    assert f"(limit {limit}: " in told
    assert world.rows() == before
    assert not list((world.folder / "staged").glob("*"))


WIDE = {"id": [1, 2], "b": ["x", "y" * 300]}
NESTED = pa.array([[[[1]]]], pa.list_(pa.list_(pa.list_(pa.int64()))))
SMALL: list[tuple[str, int, str, Callable[[], bytes], str]] = [
    ("unpacked_bytes", 10_000, "x.csv.gz", lambda: gzip.compress(b"id,b\n" + b"1,z\n" * 9_000), "come out"),
    ("unpacked_bytes", 10_000, "x.csv", lambda: b"id,b\n" + b"1,z\n" * 9_000, "the first "),
    (
        "unpacked_bytes",
        10_000,
        "x.parquet",
        lambda: parquet(pa.table({"id": range(9_000)}), use_dictionary=False),
        "come out of the Parquet file",
    ),
    (
        "unpacked_bytes",
        10_000,
        "x.arrow",
        lambda: arrow(pa.record_batch({"id": [1] * 9_000}), "zstd"),
        "come out of the Arrow file",
    ),
    ("rows", 2, "x.csv", lambda: b"id\n1\n2\n3\n", "more than 2 rows"),
    ("rows", 2, "x.jsonl", lambda: b'{"id":1}\n{"id":2}\n{"id":3}\n', "more than 2 rows"),
    ("rows", 2, "x.parquet", lambda: parquet(pa.table({"id": [1, 2, 3]})), "declares 3 rows"),
    ("rows", 2, "x.arrow", lambda: arrow(pa.record_batch({"id": [1, 2, 3]})), "declares 3 rows"),
    (
        "rows",
        2,
        "x.xlsx",
        lambda: workbook([(HEADER + (b"<row>" + TEXT % b"7" + b"</row>") * 3, 1), (END, 1)]),
        "more",
    ),
    ("line_bytes", 100, "x.csv", lambda: b"id,b\n1," + b"x" * 200, "line 2, column id: the row is longer"),
    (
        "line_bytes",
        100,
        "x.jsonl",
        lambda: b'{"id":1}\n{"b":"' + b"x" * 200 + b'"}',
        "line 2: the line is longer",
    ),
    ("row_bytes", 100, "x.parquet", lambda: parquet(pa.table(WIDE)), "line 2: the row takes"),
    ("row_bytes", 100, "x.arrow", lambda: arrow(pa.record_batch(WIDE)), "line 2: the row takes"),
    (
        "cell_bytes",
        100,
        "x.csv",
        lambda: b"id,b\n1,y\n2," + b"x" * 200,
        "line 3, column b: the cell is longer",
    ),
    (
        "cell_bytes",
        100,
        "x.jsonl",
        lambda: b'{"id":1}\n{"id":2,"b":"' + b"x" * 200 + b'"}',
        "line 2, column b",
    ),
    ("cell_bytes", 100, "x.parquet", lambda: parquet(pa.table(WIDE)), "line 2, column b: the cell takes 300"),
    (
        "cell_bytes",
        100,
        "x.arrow",
        lambda: arrow(pa.record_batch(WIDE)),
        "line 2, column b: the cell takes 300",
    ),
    ("header_bytes", 100, "x.csv", lambda: b"id," + b"x" * 200 + b"\n1,2\n", "line 1: the header takes 204"),
    (
        "header_bytes",
        100,
        "x.jsonl",
        lambda: b'{"id":1,"' + b"x" * 200 + b'":1}',
        "the names of the columns take 202",
    ),
    ("header_bytes", 100, "x.parquet", lambda: parquet(pa.table({"id": [1], "x" * 200: [1]})), "take 202"),
    ("header_bytes", 100, "x.arrow", lambda: arrow(pa.record_batch({"id": [1], "x" * 200: [1]})), "take 202"),
    ("columns", 2, "x.csv", lambda: b"id,b,c\n1,2,3\n", "line 1: there are more than 2 columns: 3"),
    ("columns", 2, "x.jsonl", lambda: b'{"id":1,"b":1}\n{"c":1}', "line 2: there are more than 2 names"),
    ("columns", 2, "x.parquet", lambda: parquet(pa.table({"id": [1], "b": [1], "c": [1]})), "more than 2"),
    ("columns", 2, "x.arrow", lambda: arrow(pa.record_batch({"id": [1], "b": [1], "c": [1]})), "more than 2"),
    ("json_depth", 3, "x.jsonl", lambda: b'{"id":[[[1]]]}', "line 1: the value is nested more than 3 deep"),
    ("json_values", 3, "x.jsonl", lambda: b'{"id":[1,2,3,4]}', "line 1: there are more than 3 values"),
    ("type_depth", 2, "x.parquet", lambda: parquet(pa.table({"id": [1], "n": NESTED})), "column n"),
    ("type_depth", 2, "x.arrow", lambda: arrow(pa.record_batch({"id": [1], "n": NESTED})), "column n"),
    ("number_digits", 20, "x.jsonl", lambda: b'{"id":' + b"9" * 30 + b"}", "line 1: a number has 30 digits"),
    (
        "number_digits",
        20,
        "x.xlsx",
        lambda: workbook([(HEADER + b"<row><c><v>" + b"9" * 30 + b"</v></c></row>", 1), (END, 1)]),
        "cell A2 holds a number of 30 digits",
    ),
    ("archive_parts", 3, "x.xlsx", lambda: workbook([(HEADER, 1), (END, 1)]), "the archive has 5 parts"),
    (
        "page_bytes",
        1000,
        "x.parquet",
        lambda: parquet(pa.table({"id": range(9_000)}), use_dictionary=False),
        'row group 1, column "id", a page declares 72,',
    ),
    (
        "page_bytes",
        1000,
        "x.arrow",
        lambda: arrow(pa.record_batch({"id": range(9_000)}), "lz4"),
        "in record batch 1, a buffer declares 72,000 bytes",
    ),
    ("open_page_bytes", 1000, "x.parquet", lambda: parquet(pa.table({"id": range(9_000)})), "row group 1"),
    (
        "open_page_bytes",
        1000,
        "x.arrow",
        lambda: arrow(pa.record_batch({"id": range(900)}), "lz4"),
        "record batch 1",
    ),
]


@pytest.mark.parametrize(
    ("limit", "value", "name", "make", "place"), SMALL, ids=[f"{one[0]}-{one[2]}" for one in SMALL]
)
def test_fs2_each_limit_is_named_with_its_value_and_the_place_in_each_format(
    world: World,
    allow: Callable[..., None],
    limit: str,
    value: int,
    name: str,
    make: Callable[[], bytes],
    place: str,
) -> None:
    path = world.file(name, make())
    allow(**{limit: value})
    with pytest.raises(StagingRejected) as refusal:
        world.stage(path)
    told = str(refusal.value)
    shown = f"{value:,} bytes" if limit.endswith("_bytes") else f"{value:,}"
    assert f"(limit {limit}: {shown})" in told
    assert place in told


def test_fs2_what_is_packed_very_densely_is_refused_beyond_what_any_file_may_hold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = gzip.compress(b"id,b\n" + b"9,z\n" * 200_000, 9)
    assert world.stage(world.file("x.csv.gz", dense)).duplicate_rows
    monkeypatch.setattr("merging.staging.sources.content.FREE_BYTES", 1000)
    with pytest.raises(
        StagingRejected, match=r"more than 250 times its own size .*limit unpacked_ratio: 250"
    ):
        world.stage(world.file("x.csv.gz", dense))


def test_fs2_every_limit_has_a_refusal() -> None:
    elsewhere = {"unpacked_ratio", "sheets", "shared_texts", "shared_text_bytes"}
    """Bombs above, and tests/merging/test_workbooks.py."""
    assert {one[0] for one in SMALL} | elsewhere == {one.name for one in fields(ContentLimits)}
