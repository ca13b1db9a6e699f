"""The bytes of an upload: what they are by their own first bytes, decompressed and within limits, line by line.

What a file holds is told by its content, never by its name alone: a workbook may be called ``x.csv``, and a ``.csv.gz``
may have been unpacked on its way here.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.errors import StagingRejected
from merging.scratch import scratch_place
from merging.staging.sources.base import beyond, content_limits, most, refuse

BLOCK_BYTES = 4 << 20
FREE_BYTES = 256 << 20
"""What may come out of any file, however small it is; what is more is measured by the file's own size."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEAD_BYTES = 512
# RFC 1952; bzip2's format begins with BZh, the block size and the digits of pi; RFC 8878.
_COMPRESSIONS = {"gzip": b"\x1f\x8b", "bz2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd"}
_BZ2_BEGINNINGS = (b"1AY&SY", b"\x17rE8P\x90")  # of a block, of the end where there is none
_SKIPPABLE = b"*M\x18"
"""A frame of zstd or lz4 that holds no content begins so, behind one byte of 0x50 to 0x5f (RFC 8878, 3.1.2)."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BINARY_FORMATS = {
    b"PAR1": "a Parquet file",
    b"PARE": "an encrypted Parquet file",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file of version 1",
    b"SQLite format 3": "an SQLite database",
    b"\xfd7zXZ": "compressed with xz (unpack it, or compress it with gzip, bzip2 or zstd)",
    b"\x04\x22\x4d\x18": "compressed with lz4 (unpack it, or compress it with gzip, bzip2 or zstd)",
    b"7z\xbc\xaf\x27\x1c": "an archive (.7z; unpack it)",
    b"Rar!\x1a\x07": "an archive (.rar; unpack it)",
}
_END_OF_DIRECTORY = b"PK\x05\x06"
_END_OF_DIRECTORY_64 = b"PK\x06\x06"
_LONGEST_END = 22 + 65_535 + 20 + 56
_BYTES_A_PART = 1_000
"""In the directory: 46, its name, and what programs add."""
_ARROW_STREAM = b"\xff\xff\xff\xff"
_BINARY = ("parquet", "arrow", "xlsx")
_PASSWORD_PROTECTED = "EncryptedPackage".encode("utf-16-le")


def compression_of(head: bytes) -> str | None:
    """The compression that the first bytes of a file name (``gzip``, ``bz2``, ``zstd``), None for none."""
    for name, magic in _COMPRESSIONS.items():
        if head.startswith(magic) and (name != "bz2" or head[4:10] in _BZ2_BEGINNINGS):
            return name
    if head[1:4] == _SKIPPABLE and head[:1] in (bytes([byte]) for byte in range(0x50, 0x60)):
        return "zstd"
    return None


def described_format(path: Path, head: bytes) -> str | None:
    """What a file is by its first bytes, as a phrase for people, where that is surely no text."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _described_archive(path)
    if head.startswith(_OLE):
        with open(path, "rb") as file:
            protected = _PASSWORD_PROTECTED in file.read(BLOCK_BYTES)
        return (
            "a workbook protected by a password (take the password off and save it again)"
            if protected
            else "a document of older Office programs, such as .xls (save it as .xlsx)"
        )
    for magic, phrase in _BINARY_FORMATS.items():
        # A text may begin with the same letters, but then it holds no NUL.
        if head.startswith(magic) and (b"\x00" in head or not magic.isascii()):
            return phrase
    if head.startswith(_ARROW_STREAM) and b"\x00" in head:
        return "a stream of Arrow data"
    if head.startswith(b"%PDF-"):
        return "a PDF document"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a page in HTML"
    return None


def open_archive(path: Path) -> zipfile.ZipFile:
    """A zip archive, after a look at how large its directory is: Python's reader takes all of it at once.

    Raises StagingRejected where it has more parts than any workbook needs, else as ``zipfile`` does. By APPNOTE.TXT
    (4.3.16) the directory ends with a record of at least 22 bytes, behind which a comment of 65,535 may stand.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - _LONGEST_END))
        end = file.read()
    at = end.rfind(_END_OF_DIRECTORY)
    declared = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if at >= 0 and _END_OF_DIRECTORY_64 in end[:at]:
        at = end.rfind(_END_OF_DIRECTORY_64, 0, at)
        declared = max(
            declared if declared < 0xFFFFFFFF else 0, int.from_bytes(end[at + 40 : at + 48], "little")
        )
    if declared > content_limits().archive_parts * _BYTES_A_PART:
        raise beyond("archive_parts", f"the directory of the archive takes {declared:,} bytes")
    archive = zipfile.ZipFile(path)
    if len(archive.filelist) > content_limits().archive_parts:
        archive.close()
        raise beyond("archive_parts", f"the archive has {len(archive.filelist):,} parts")
    return archive


def described_content(path: Path, head: bytes) -> str | None:
    """What a file is by its first bytes, packed and texts told too, as a phrase for people."""
    compressed = compression_of(head)
    if compressed is not None:
        return f"compressed ({compressed}; unpack it)"
    return described_format(path, head) or described_text(head)


def described_text(head: bytes) -> str | None:
    """What kind of text a file is by its first bytes, as a phrase for people; None where it is none."""
    if not head.strip() or b"\x00" in head or head.startswith(tuple(_BINARY_FORMATS)):
        return None
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    beginning = text.removeprefix("\ufeff").lstrip()
    if beginning.startswith(("{", "[")):
        return "JSON"
    return "text, such as CSV"


def _described_archive(path: Path) -> str:
    try:
        with open_archive(path) as archive:
            names = {name.lower() for name in archive.namelist()}
            kind = b""
            if "mimetype" in archive.namelist():
                with archive.open("mimetype") as member:
                    kind = member.read(200)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return "a damaged archive"
    if b"opendocument.spreadsheet" in kind:
        return "an OpenDocument spreadsheet, .ods (save it as .xlsx)"
    if "xl/workbook.bin" in names:
        return "a binary workbook, .xlsb (save it as .xlsx)"
    if any(name.startswith("xl/") for name in names) and "[content_types].xml" in names:
        return "a workbook (.xlsx)"
    return "an archive (.zip; unpack it)"


class Unpacked:
    """How much came out of what is compressed so far: in all, and beside its own size."""

    def __init__(self, what: str, size: int) -> None:
        self._what = what
        self._size = size
        self._total = 0

    def add(self, number: int) -> None:
        """Count bytes that came out. Raises StagingRejected where they are more than any upload needs."""
        self._total += number
        allowed = content_limits()
        if self._total > allowed.unpacked_bytes:
            raise beyond("unpacked_bytes", f"more than {most('unpacked_bytes')} come out of {self._what}")
        if self._total > max(FREE_BYTES, self._size * allowed.unpacked_ratio):
            raise beyond(
                "unpacked_ratio",
                f"more than {allowed.unpacked_ratio} times its own size ({self._size:,} bytes) come out of "
                f"{self._what}; upload it unpacked, if it is meant so",
            )


def unpacked_if_binary(path: str, file_format: str | None) -> str:
    """Where a file of a format that is read from its end can be read: a packed one is unpacked into the folder for
    temporary files, whose owner removes it. Others are read as they are: text is unpacked while it is read.

    Raises StagingRejected where it is cut or damaged, or holds more than any upload needs.
    """
    with open(path, "rb") as file:
        compression = compression_of(file.read(HEAD_BYTES))
    if compression is None or file_format not in _BINARY:
        return path
    counted = Unpacked("the compressed file", os.path.getsize(path))
    unpacked = scratch_place("unpacked")
    with pa.input_stream(path, compression=compression) as packed, unpacked.open("xb") as file:
        while block := _unpacked_block(packed, BLOCK_BYTES):
            counted.add(len(block))
            file.write(block)
    return str(unpacked)


def _unpacked_block(packed: Any, size: int) -> bytes:
    try:
        block: bytes = packed.read(size)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(error) from error
    except pa.ArrowException as error:  # of bzip2, behind a stream that holds nothing
        raise _damaged(error) from error
    return block


def _damaged(error: Exception) -> StagingRejected:
    return refuse(
        "unreadable",
        f"the compressed file is cut or damaged ({error}); nothing of it was taken. "
        "Compress it again and upload it whole.",
    )


class Content:
    """The text of an upload as bytes, decompressed where its first bytes say so, without a byte order mark.

    Raises StagingRejected where the file is no text in UTF-8 by its first bytes, where a compressed file is cut or
    damaged (what was read of it must not be used then), and where more comes out of it than any upload needs.
    """

    def __init__(self, path: Path, wanted: str) -> None:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        self._compression = compression_of(head)
        if self._compression is None:
            _refuse_other_formats(path, head, wanted)
        self._stream: Any = pa.input_stream(str(path), compression=self._compression)
        self._unpacked = Unpacked("the compressed file", path.stat().st_size)
        self._begun = self._read(HEAD_BYTES)
        if self._compression is not None:
            _refuse_other_formats(path, self._begun, wanted)
        _refuse_other_encodings(self._begun)
        self._begun = self._begun.removeprefix(BYTE_ORDER_MARK)

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        begun, self._begun = self._begun[:size], self._begun[size:]
        return begun or self._read(size)

    def _read(self, size: int) -> bytes:
        if self._compression is None:
            read: bytes = self._stream.read(size)
            return read
        block = _unpacked_block(self._stream, size)
        self._unpacked.add(len(block))
        return block

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines, numbered from 1; they end with LF, CR LF or CR."""
        line = 0
        rest = b""
        while block := self.read(BLOCK_BYTES):
            *complete, rest = _lines_of(rest + block)
            for text in complete:
                line += 1
                yield line, _decoded(text, line)
            if len(rest) > content_limits().line_bytes:
                raise _too_long(line + 1)
        for text in rest.splitlines():
            line += 1
            yield line, _decoded(text, line)


def _lines_of(block: bytes) -> list[bytes]:
    """Whole lines, and what is left: the beginning of a line, or one whose CR may be followed by LF."""
    lines = block.splitlines(keepends=True)
    return lines if not lines[-1].endswith(b"\n") else [*lines, b""]


def _too_long(line: int) -> StagingRejected:
    told = f"the line is longer than {most('line_bytes')}"
    return beyond("line_bytes", told, code="too_long", line=line)


def _decoded(text: bytes, line: int) -> str:
    if len(text) > content_limits().line_bytes:
        raise _too_long(line)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise encoding_problem(line) from error


def encoding_problem(line: int) -> StagingRejected:
    """The refusal of a text that is no UTF-8."""
    return refuse("not_utf8", "the text is not UTF-8; save the file with the encoding UTF-8.", line=line)


def _refuse_other_formats(path: Path, head: bytes, wanted: str) -> None:
    found = described_format(path, head)
    if found is not None:
        raise refuse(
            "wrong_format", f"the file is {found}, not {wanted}; give its name the ending of what it is."
        )
    nested = compression_of(head)
    if nested is not None:
        raise refuse("wrong_format", f"the file is compressed twice ({nested}); unpack it once.")


def _refuse_other_encodings(head: bytes) -> None:
    """UTF-16 and UTF-32, with a byte order mark or by the NULs between Latin characters."""
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
    sample = head[: len(head) // 2 * 2][:64]
    even, odd = sample[0::2], sample[1::2]
    striped = len(sample) >= 8 and ((not any(even) and all(odd)) or (not any(odd) and all(even)))
    if marked or striped:
        raise refuse(
            "not_utf8", "the text is UTF-16 or UTF-32; save the file with the encoding UTF-8.", line=1
        )
