"""What files of ours are called, and in which folders they stand.

Every name tells the attempt that wrote the file, so that what a dead attempt left behind is found by it: the name of a
data file holds it, that of a file of vectors the beginning of its UUID. What others write for an attempt stands in a
folder of the attempt until it is ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import urllib.parse
import uuid
from collections.abc import Collection, Mapping

from merging.delta.actions import DataFile
from merging.delta.snapshot import Snapshot

_LONGEST_FOLDER = 255  # bytes, of every common file system
_ESCAPED_BY_SPARK = re.compile(r"""[\x00-\x1f\x7f"#%'*/:=?\\{\[\]^]""")
_AS_IN_JAVA = "/-_.!~'()*,;:$&+=@"
_DATA_FILE = re.compile(r"[a-z]+-(.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.parquet")
TEMPORARY = "_headgate"
"""The folder of a table for what is written for attempts and not yet theirs. Readers leave it out, as all that begins
with an underscore."""
_VECTOR_FILE = re.compile(r"deletion_vector_([0-9a-f-]{28})[0-9a-f]{8}\.bin")


def data_file_name(attempt_id: str, kind: str = "part") -> str:
    """A fresh name for a file of rows, `kind` being a word in small letters."""
    return f"{kind}-{attempt_id}-{uuid.uuid4()}.parquet"


def temporary_folder(path: str) -> str:
    """A fresh folder for what becomes the file of an attempt at `path`, and others of its."""
    return f"{TEMPORARY}/{attempt_mark(path)}/{uuid.uuid4()}"


def vector_identity(attempt_id: str) -> uuid.UUID:
    """A fresh UUID for a file of vectors, whose first twelve bytes tell the attempt.

    The format lets such a file be named by its UUID alone, so its attempt must be found in that.
    """
    return uuid.UUID(bytes=_hashed(attempt_id) + os.urandom(4))


def _hashed(attempt_id: str) -> bytes:
    return hashlib.sha256(attempt_id.encode()).digest()[:12]


def attempt_marks(attempt_id: str) -> tuple[str, str]:
    """What `attempt_mark` finds in the names of an attempt's files: of rows, and of vectors."""
    return attempt_id, str(uuid.UUID(bytes=_hashed(attempt_id) + bytes(4)))[:28]


def attempt_mark(path: str) -> str | None:
    """What tells the attempt in the name of a file of ours, or of one written for it; None where it is no such."""
    if path.startswith(f"{TEMPORARY}/"):
        return path.split("/")[1]
    name = path.rpartition("/")[2]
    named = _DATA_FILE.fullmatch(name) or _VECTOR_FILE.fullmatch(name)
    return named[1] if named else None


def holds_mark(path: str, marks: Collection[str]) -> bool:
    """Whether a file's name holds one of the marks anywhere: what is to be kept is told by less than what may go."""
    name = path if path.startswith(f"{TEMPORARY}/") else path.rpartition("/")[2]
    return any(mark in name for mark in marks)


def partition_folder(values: Mapping[str, str | None]) -> str:
    """The folder of a partition, ending in a slash, encoded as delta-rs does.

    By the protocol readers take the values from the log; Polars takes them from the folder, so it is exact. A value
    that would be too long so is encoded as Spark does, which leaves most characters as they are; one that is too long
    even so has a folder of which Polars says that it cannot read it: of one that claims nothing it makes NULL.
    """
    return "".join(f"{_folder_of(name.replace('/', '%2F'), value)}/" for name, value in values.items())


def _folder_of(name: str, value: str | None) -> str:
    if value is None:
        return f"{name}=__HIVE_DEFAULT_PARTITION__"
    exact = urllib.parse.quote(value, safe="")
    for spelled in (exact, _ESCAPED_BY_SPARK.sub(lambda found: f"%{ord(found[0]):02X}", value)):
        if len(f"{name}={spelled}".encode()) <= _LONGEST_FOLDER:
            return f"{name}={spelled}"
    return f"headgate-partition={hashlib.sha256(f'{name}={value}'.encode()).hexdigest()[:32]}"


def folder_beside(snapshot: Snapshot, file: DataFile) -> str:
    """Where a file that takes the place of another belongs: beside it, or in its partition's folder where the other
    is not in the table's own place at all (the table is a shallow clone)."""
    path = snapshot.store.relative(file.path)
    if os.path.isabs(path) or "://" in path:
        stored = [snapshot.physical_names[name] for name in snapshot.partition_columns]
        return partition_folder({name: file.partition_values.get(name) for name in stored})
    return "/".join([*path.split("/")[:-1], ""])


def log_path(path: str) -> str:
    """A path as the log spells it: URL-encoded (PROTOCOL.md, "Add File and Remove File"), and that as Spark does it.

    Spark's VACUUM compares spellings: a file that stands in the log in another one is nobody's to it, and goes. Java
    (``java.net.URI``, quoting of paths) leaves characters outside ASCII as they are but for blanks and controls.
    """
    return "".join(
        one
        if one > "\x7f" and not unicodedata.category(one).startswith(("Z", "Cc"))
        else urllib.parse.quote(one, _AS_IN_JAVA)
        for one in path
    )
