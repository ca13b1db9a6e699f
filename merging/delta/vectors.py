"""Deletion vectors: which rows of a data file are gone (PROTOCOL.md, "Deletion Vector Format").

A file of vectors is the byte 1, then for each vector its size (int32, big-endian), the payload and the
payload's CRC-32 (big-endian). A payload is the magic number 1681511377 (int32, little-endian) and a 64-bit
portable Roaring bitmap of row numbers. An inline vector is the payload alone, in Z85.
"""

from __future__ import annotations

import base64
import functools
import struct
import urllib.parse
import uuid
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyroaring

from merging.delta.damage import Damaged, fields_of, number_of, text_of
from merging.errors import FileMissing, TableDamaged
from merging.store.stores import TableStore

MAGIC = 1681511377
NATIVE_MAGIC = 1681511376
FORMAT_VERSION = b"\x01"
_FIELDS = ("storageType", "pathOrInlineDv", "offset", "sizeInBytes", "cardinality")
_USUAL = 2**60

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_B85 = str.maketrans(Z85, _B85)
_TO_Z85 = str.maketrans(_B85, Z85)


@dataclass(frozen=True, slots=True)
class VectorDescriptor:
    """Where a data file's vector is stored, as the log says it; `cardinality` is the number of rows gone."""

    storage_type: str
    path_or_inline: str
    offset: int | None
    size: int
    cardinality: int

    @classmethod
    def from_log(cls, value: Any) -> VectorDescriptor:
        """The descriptor of an add or remove action (JSON or checkpoint). Raises Damaged."""
        stated = fields_of(value, "deletionVector")
        values: list[Any] = [stated.get(name) for name in _FIELDS]
        storage, path, *numbers = values
        if storage not in ("u", "p", "i"):
            storage = text_of(stated, "storageType", "deletionVector")
            raise Damaged(f"storageType of deletionVector is {storage!r}")
        if type(path) is not str:
            path = text_of(stated, "pathOrInlineDv", "deletionVector")
        found = cls(storage, path, None, 0, 0)
        if not found.is_named:
            raise Damaged(f"pathOrInlineDv of deletionVector is {path[:60]!r}, which names no file")
        # As with files: what is as usual is told at a glance.
        if not all(type(number) is int and 0 <= number < _USUAL for number in numbers):
            offset = None if stated.get("offset") is None else number_of(stated, "offset", "deletionVector")
            size, cardinality = (number_of(stated, name, "deletionVector") for name in _FIELDS[3:])
            numbers = [offset, size, cardinality]
        return cls(storage, path, *numbers)

    @property
    def is_named(self) -> bool:
        """Whether it says where it is: a relative path ends with the name of a file, encoded."""
        return self.storage_type != "u" or _uuid_of(self.path_or_inline) is not None

    def to_log(self) -> dict[str, Any]:
        """The descriptor as an action holds it."""
        value: dict[str, Any] = {"storageType": self.storage_type, "pathOrInlineDv": self.path_or_inline}
        if self.offset is not None:
            value["offset"] = self.offset
        return {**value, "sizeInBytes": self.size, "cardinality": self.cardinality}

    @property
    def unique_id(self) -> str:
        """What tells two vectors of one file apart (PROTOCOL.md, "Derived Fields")."""
        base = self.storage_type + self.path_or_inline
        return base if self.offset is None else f"{base}@{self.offset}"

    @property
    def file_path(self) -> str | None:
        """The vector's file relative to the table's root (absolute for type "p"), None when inline."""
        if self.storage_type == "i":
            return None
        if self.storage_type == "p":
            return urllib.parse.unquote(self.path_or_inline)
        prefix = self.path_or_inline[:-20]
        name = f"deletion_vector_{_uuid_of(self.path_or_inline)}.bin"
        return f"{prefix}/{name}" if prefix else name


def read_vector(
    store: TableStore, descriptor: VectorDescriptor, *, within: int | None = None
) -> pyroaring.BitMap64:
    """The row numbers that a vector marks as gone.

    Raises TableDamaged when the vector is missing, cut short, of another format, its checksum or cardinality is wrong,
    or it marks other rows than the `within` first ones: counted as gone, they would let live ones go with their file.
    """
    path = descriptor.file_path
    try:
        payload = _inline_payload(descriptor) if path is None else _stored_payload(store, path, descriptor)
        bitmap = _bitmap(payload)
    except (ValueError, struct.error) as error:
        raise _broken(store, descriptor, f"its bitmap cannot be read ({error})") from error
    if len(bitmap) != descriptor.cardinality:
        raise _broken(
            store, descriptor, f"it marks {len(bitmap)} rows where the log says {descriptor.cardinality}"
        )
    if within is not None and bitmap and bitmap.max() >= within:
        raise _broken(store, descriptor, f"it marks row {bitmap.max()} of a file of {within}")
    return bitmap


def require_room(store: TableStore, descriptor: VectorDescriptor, rows: int) -> None:
    """Raise TableDamaged where the log says of a vector that it marks more rows than its file has."""
    if descriptor.cardinality > rows:
        raise _broken(store, descriptor, f"it marks {descriptor.cardinality} rows of a file of {rows}")


def among_dead(store: TableStore, descriptor: VectorDescriptor, rows: np.ndarray) -> np.ndarray:
    """Which of the row numbers the vector marks as gone, as booleans. Raises as `read_vector` does."""
    hits = read_vector(store, descriptor) & pyroaring.BitMap64(rows.astype(np.uint64))
    return np.isin(rows, np.asarray(hits.to_array(), dtype=np.int64))


def only_grew(store: TableStore, before: VectorDescriptor | None, after: VectorDescriptor | None) -> bool:
    """Whether every row that a file's earlier vector marked as gone still is; False where that cannot be told.

    Vectors grow as rows go; RESTORE brings rows back. Raises as `read_vector` does for the later vector.
    """
    if before is None or after is None:
        return before is None
    if before.unique_id == after.unique_id:
        return True
    try:
        gone = read_vector(store, before)
    except TableDamaged:  # vacuumed since
        return False
    return gone.issubset(read_vector(store, after))


def _bitmap(payload: bytes) -> pyroaring.BitMap64:
    if payload[:4] == struct.pack("<i", MAGIC):
        return pyroaring.BitMap64.deserialize(payload[4:])
    if payload[:4] != struct.pack(">i", NATIVE_MAGIC):
        raise ValueError("it does not begin with the format's magic number")
    # The older layout of inline vectors, big-endian: a count, then each 32-bit bitmap with its size.
    (count,) = struct.unpack_from(">i", payload, 4)
    parts = [struct.pack("<Q", max(count, 0))]
    position = 8
    for high in range(count):
        (size,) = struct.unpack_from(">i", payload, position)
        low = pyroaring.BitMap.deserialize(payload[position + 4 : position + 4 + size])
        parts += struct.pack("<I", high), low.serialize()
        position += 4 + size
    return pyroaring.BitMap64.deserialize(b"".join(parts))


def _inline_payload(descriptor: VectorDescriptor) -> bytes:
    payload = _z85_decode(descriptor.path_or_inline)
    if len(payload) < descriptor.size:
        raise ValueError(f"it has {len(payload)} bytes where the log says {descriptor.size}")
    return payload[: descriptor.size]


def _stored_payload(store: TableStore, path: str, descriptor: VectorDescriptor) -> bytes:
    offset = descriptor.offset or 0
    try:
        stored = store.read_range(store.relative(path), offset, descriptor.size + 8)
    except FileNotFoundError as error:
        broken = _broken(store, descriptor, "its file is missing")
        raise FileMissing(str(broken), data=broken.data) from error
    if len(stored) < descriptor.size + 8:
        raise _broken(store, descriptor, "its file is cut short")
    if struct.unpack_from(">i", stored)[0] != descriptor.size:
        raise _broken(store, descriptor, "the size in its file is not the one in the log")
    payload = stored[4 : 4 + descriptor.size]
    if zlib.crc32(payload) != struct.unpack_from(">I", stored, 4 + descriptor.size)[0]:
        raise _broken(store, descriptor, "its checksum is wrong")
    return payload


def _broken(store: TableStore, descriptor: VectorDescriptor, reason: str) -> TableDamaged:
    where = descriptor.file_path or "an inline vector"
    return TableDamaged(
        f"A deletion vector of {store.uri} cannot be trusted: {reason} ({where}). Restore its file, "
        "or the table to a version without it.",
        data={"vector": where, "reason": reason},
    )


class VectorFile:
    """Collects the vectors of one commit in one file at the table's root."""

    def __init__(self, identity: uuid.UUID) -> None:
        self.path = f"deletion_vector_{identity}.bin"
        self._encoded = base64.b85encode(identity.bytes).decode("ascii").translate(_TO_Z85)
        self._content = bytearray(FORMAT_VERSION)

    def append(self, bitmap: pyroaring.BitMap64) -> VectorDescriptor:
        """Add a vector; the descriptor is what the log says of it."""
        bitmap.run_optimize()
        payload = struct.pack("<i", MAGIC) + bitmap.serialize()
        offset = len(self._content)
        self._content += struct.pack(">i", len(payload)) + payload + struct.pack(">I", zlib.crc32(payload))
        return VectorDescriptor("u", self._encoded, offset, len(payload), len(bitmap))

    @property
    def content(self) -> bytes:
        """The whole file."""
        return bytes(self._content)

    def __bool__(self) -> bool:
        return len(self._content) > len(FORMAT_VERSION)


def _uuid_of(path: str) -> uuid.UUID | None:
    """The UUID in the last 20 characters of a relative path, None where there is none."""
    return _encoded_uuid(path[-20:])


@functools.lru_cache(maxsize=4_096)
def _encoded_uuid(text: str) -> uuid.UUID | None:
    # The vectors of one commit stand in one file, whose name is asked for with each of them.
    try:
        return uuid.UUID(bytes=_z85_decode(text))
    except ValueError:
        return None


def _z85_decode(text: str) -> bytes:
    """Bytes of a Z85 text; ValueError where it is none.

    A length that is no multiple of four is padded by its writer: zeros behind, which readers cut off by the stated
    size, or, by the z85 crate of Rust (kernel-rs, delta-rs), a last group that counts the missing bytes in `#`, with
    which no group of four bytes can begin.
    """
    tail = text[-5:]
    missing = len(tail) - len(tail.lstrip("#"))
    if len(text) % 5 or not 0 < missing < 4:
        return base64.b85decode(text.translate(_TO_B85))
    last = base64.b85decode((missing * "0" + tail[missing:]).translate(_TO_B85))
    if any(last[:missing]):
        raise ValueError("its last group holds more bytes than it says")
    return base64.b85decode(text[:-5].translate(_TO_B85)) + last[missing:]
