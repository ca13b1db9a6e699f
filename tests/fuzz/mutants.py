"""Right files made wrong: bytes and, where a format hides them in a structure, the places that its readers trust."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from random import Random

import pyarrow as pa

from tests.fuzz.seeds import parts_of, seeds

_NUMBERS = (
    0,
    1,
    -1,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**62,
    2**63 - 1,
    -(2**63),
)
_TOKENS = {
    "csv": (
        b'"', b'""', b",", b";", b"\t", b"|", b"\r", b"\n", b"\r\n", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80",
        b"\xef\xbb\xbf", b"\\", b"id", b"_op", b"delete", b"9" * 4301, b"1e999999", b"-0", b"NaN", b"{", b"[[",
        b"=1+1",
        b'{"x":"\\ud800"}', b"0x0g", b"2024-02-30", b"99999-01-01T00:00:00Z", b"," * 50, b"x" * 5000,
    ),
    "jsonl": (
        b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\ud800", b"\\udc00", b"\\u0000", b"null", b"true", b"NaN",
        b"-Infinity", b"1e999", b"1E-9999", b"9" * 4301, b"0.1" + b"0" * 4301, b"[" * 200, b'{"a":' * 150, b"\n",
        b"\r",
        b"\xff", b"\xed\xa0\x80", b"\x00", b'"id"', b'"_op"', b"-0", b"0x1", b"\xe2\x80\xa8",
    ),
    "xml": (
        b"<", b">", b"/>", b"&", b"&#0;", b"&#xD800;", b"&lt;", b"&a;", b'"', b"<!DOCTYPE x>", b"<!--", b"-->",
        b"<![CDATA[",
        b"<?x?>", b'r="A1"', b'r="ZZZ9999999"', b't="s"', b't="b"', b't="d"', b't="e"', b't="str"', b's="99999"',
        b"<v>",
        b"</v>", b"<row>", b"</row>", b"<c>", b"</c>", b"<f/>", b"<t>", b"9" * 4301, b"1e999", b"-1", b"_xD800_",
        b"_x0000_",
        b'encoding="utf-16"', b'encoding="x"', b"\xff", b"\x00", b"<a>" * 120, b" " * 5000,
    ),
}  # fmt: skip


def mutant(file_format: str, seed: int, number: int) -> tuple[str, bytes]:
    """The mutant of this number, and the ending of its name. The same arguments give the same bytes."""
    random = Random(f"{seed}:{file_format}:{number}")  # noqa: S311 - tests are repeated by their seeds
    base = random.choice(seeds(file_format))
    mutated = _MUTATORS[file_format](random, base)
    ending = file_format
    if file_format in ("csv", "jsonl") and random.random() < 0.15:
        mutated = random.choice((gzip.compress, bz2.compress, _zstd))(mutated)
        ending += random.choice(("", ".gz"))
        if random.random() < 0.7:
            mutated = _bytes(random, mutated)
    if random.random() < 0.02:
        ending = random.choice(("csv", "jsonl", "xlsx", "parquet", "arrow", "json", "feather", "txt"))
    return ending, mutated


def _zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


def _times(random: Random) -> int:
    return random.choice((1, 1, 1, 2, 3, 8))


def _bytes(random: Random, data: bytes, first: int = 0, last: int | None = None) -> bytes:
    """Some changes of bytes between two places."""
    changed = bytearray(data)
    for _ in range(_times(random)):
        end = min(len(changed), len(changed) if last is None else last)
        if end <= first:
            return bytes(changed)
        at = random.randrange(first, end)
        kind = random.randrange(9)
        if kind <= 1:
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            changed[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif kind == 3:
            del changed[at : at + random.choice((1, 2, 4, 8, 50))]
        elif kind == 4:
            changed[at:at] = random.randbytes(random.choice((1, 2, 4, 8)))
        elif kind == 5:
            changed[at : at + 4] = struct.pack("<I", random.choice(_NUMBERS) % 2**32)
        elif kind == 6:
            changed[at : at + 8] = struct.pack("<Q", random.choice(_NUMBERS) % 2**64)
        elif kind == 7:
            size = random.choice((1, 4, 16, 200))
            other = random.randrange(first, end)
            changed[at : at + size] = changed[other : other + size]
        else:
            del changed[at:]
    return bytes(changed)


def _tokens(random: Random, data: bytes, kind: str) -> bytes:
    """Words of the format set where they do not belong, lines and pieces moved."""
    changed = data
    for _ in range(_times(random)):
        at = random.randrange(len(changed) + 1)
        way = random.randrange(6)
        token = random.choice(_TOKENS[kind])
        if way <= 1:
            changed = changed[:at] + token + changed[at:]
        elif way == 2:
            changed = changed[:at] + token + changed[at + len(token) :]
        elif way == 3:
            size = random.choice((1, 5, 30, 300))
            changed = changed[:at] + changed[at + size :]
        elif way == 4:
            size = random.choice((1, 5, 30, 300))
            changed = changed[:at] + changed[at : at + size] * random.choice((2, 3, 40)) + changed[at:]
        else:
            found = changed.find(random.choice(_TOKENS[kind][:8]), at)
            if found >= 0:
                changed = changed[:found] + token + changed[found + 1 :]
    return changed


def _csv(random: Random, data: bytes) -> bytes:
    return _tokens(random, data, "csv") if random.random() < 0.7 else _bytes(random, data)


def _json_lines(random: Random, data: bytes) -> bytes:
    return _tokens(random, data, "jsonl") if random.random() < 0.7 else _bytes(random, data)


def _workbook(random: Random, data: bytes) -> bytes:
    kind = random.random()
    if kind < 0.15:
        return _bytes(random, data)
    if kind < 0.3:  # the directory, by which the parts are found
        at = data.find(b"PK\x01\x02")
        return _bytes(random, data, at)
    parts = parts_of(data)
    read = [name for name in parts if "theme" not in name and "docProps" not in name]
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(read)
        change = random.random()
        if change < 0.1:
            parts.pop(name, None)
        elif change < 0.2:
            parts[name] = parts.get(random.choice(read), b"")
        elif name in parts:
            parts[name] = _tokens(random, parts[name], "xml") if change < 0.8 else _bytes(random, parts[name])
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return sink.getvalue()


def _parquet(random: Random, data: bytes) -> bytes:
    kind = random.random()
    [length] = struct.unpack("<I", data[-8:-4])
    begin = len(data) - 8 - length
    if kind < 0.45:  # the footer, with a length that is true again
        footer = _bytes(random, data[begin:-8])
        return data[:begin] + footer + struct.pack("<I", len(footer)) + data[-4:]
    if kind < 0.9:  # pages and their headers
        return _bytes(random, data, 4, begin)
    return _bytes(random, data)


def _arrow(random: Random, data: bytes) -> bytes:
    kind = random.random()
    if kind < 0.2:
        return _bytes(random, data)
    # Metadata stands behind each mark of a message; a file has a footer, too.
    marks = []
    at = data.find(b"\xff\xff\xff\xff")
    while at >= 0:
        marks.append(at)
        at = data.find(b"\xff\xff\xff\xff", at + 4)
    if data.startswith(b"ARROW1") and kind < 0.5:
        [length] = struct.unpack("<I", data[-10:-6])
        return _bytes(random, data, len(data) - 10 - length)
    if not marks:
        return _bytes(random, data)
    mark = random.choice(marks)
    return _words(random, data, mark + 4, mark + 4 + random.choice((40, 300, 1000)))


def _words(random: Random, data: bytes, first: int, last: int) -> bytes:
    """Numbers of four or eight bytes changed where they stand, as tables of FlatBuffers have them."""
    changed = bytearray(data)
    for _ in range(_times(random)):
        at = random.randrange(first, max(first + 1, min(last, len(changed)))) // 4 * 4
        if random.random() < 0.3:
            return _bytes(random, bytes(changed), first, last)
        size, form = random.choice(((2, "<H"), (4, "<I"), (8, "<Q")))
        now = int.from_bytes(changed[at : at + size], "little")
        new = random.choice((now + 1, now - 1, now * 2, now + 8, random.choice(_NUMBERS)))
        changed[at : at + size] = struct.pack(form, new % 2 ** (8 * size))
    return bytes(changed)


_MUTATORS: dict[str, Callable[[Random, bytes], bytes]] = {
    "csv": _csv,
    "jsonl": _json_lines,
    "xlsx": _workbook,
    "parquet": _parquet,
    "arrow": _arrow,
}
