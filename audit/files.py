"""Audit files: written once, durably, never changed, named by their SHA-256 in the events.

They lie where the installation keeps its files, on a disk or in an object store: whoever knows where hands it in
(``keep_files_in``).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from django.core.serializers.json import DjangoJSONEncoder

from audit.errors import AuditFileExists

#: The folder of all audit files among what the installation keeps; events name files relative to it.
AUDIT_FOLDER: Final = "audit"
_PLAIN: Final = re.compile(r"[^\\\x00]+")


class FoundFile(Protocol):
    """A file of a listing, by its name."""

    @property
    def path(self) -> str:
        """The name among what is kept."""


class Keeping(Protocol):
    """What is asked of wherever files are kept; names have slashes. ``merging.Folders`` is one."""

    def address_of(self, name: str) -> str:
        """Where a file lies, for people."""

    def put_new(self, folder: str, files: Mapping[str, bytes | Path]) -> set[str]:
        """Put files durably, each unless its name is taken; which names were."""

    def put(self, name: str, content: bytes) -> None:
        """Put a file durably, in the place of another too."""

    def read(self, name: str) -> bytes:
        """The whole file; FileNotFoundError."""

    def sha256(self, name: str) -> str:
        """The hex SHA-256 of a file; FileNotFoundError."""

    def files(self, folder: str) -> Iterable[FoundFile]:
        """The files right in a folder, sorted."""

    def walk(self, folder: str) -> Iterator[FoundFile]:
        """Every file in a folder and below it."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete files."""


_keepers: list[Callable[[], Keeping]] = []


def keep_files_in(keeper: Callable[[], Keeping]) -> None:
    """Keep audit files in what ``keeper`` answers, from now on."""
    _keepers[:] = [keeper]


def _kept() -> Keeping:
    return _keepers[0]()


@dataclass(frozen=True, order=True)
class KeptAuditFile:
    """One audit file, by its folder below the audit root and its name, whether there is one or not."""

    folder: str
    name: str

    @property
    def _called(self) -> str:
        return f"{AUDIT_FOLDER}/{self.folder}/{self.name}"

    def __str__(self) -> str:
        return _kept().address_of(self._called)

    def read(self) -> bytes:
        """The whole file. Raises ``FileNotFoundError``."""
        return _kept().read(self._called)

    def text(self) -> str:
        """The file as text. Raises ``FileNotFoundError`` and ``UnicodeDecodeError``."""
        return self.read().decode()

    def digest(self) -> str:
        """The hex SHA-256 of the file; empty where there is none, or what should be its name is none."""
        if not _PLAIN.fullmatch(self._called) or {"", ".", ".."} & set(self._called.split("/")):
            return ""
        try:
            return _kept().sha256(self._called)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return ""

    def write(self, content: bytes) -> str:
        """Put the file durably, in the place of another too, and answer its SHA-256: where somebody is erased."""
        _kept().put(self._called, content)
        return self.digest()

    def remove(self) -> None:
        """Remove the file: one that waited to take another's place."""
        _kept().delete([self._called])


def audit_files_in(folder: str) -> list[KeptAuditFile]:
    """The files right in a folder below the audit root, sorted by name; not those that are being written."""
    found = _kept().files(f"{AUDIT_FOLDER}/{folder}")
    return [KeptAuditFile(folder, one.path.rpartition("/")[2]) for one in found]


def all_audit_files() -> Iterator[KeptAuditFile]:
    """Every file below the audit root, those that are being written too."""
    for one in _kept().walk(AUDIT_FOLDER):
        folder, _, name = one.path.removeprefix(f"{AUDIT_FOLDER}/").rpartition("/")
        yield KeptAuditFile(folder, name)


def file_sha256(path: Path) -> str:
    """The hex SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_audit_files(
    folder: str, *, documents: Mapping[str, Any], copies: Mapping[str, Path]
) -> dict[str, str]:
    """Write JSON ``documents`` and ``copies`` of files into a folder below the audit root; return name -> SHA-256.

    Durable when it returns. Safe to call again with the same content (a recovered run does). Raises
    ``AuditFileExists`` where a file stands there with other content.
    """
    files: dict[str, bytes | Path] = {name: document_bytes(document) for name, document in documents.items()}
    files |= copies
    digests = _digests(files)
    for name in sorted(_kept().put_new(f"{AUDIT_FOLDER}/{folder}", files)):
        there = KeptAuditFile(folder, name)
        if there.digest() != digests[name]:
            raise AuditFileExists(
                f"{there} exists with other content. Audit files are never replaced: move it aside, "
                f"run verify_audit, then retry the merge run."
            )
    return digests


def taken_names(folder: str, *, documents: Mapping[str, Any], copies: Mapping[str, Path]) -> set[str]:
    """Which of the files stand in the folder with other content: what ``write_audit_files`` would raise for."""
    files: dict[str, bytes | Path] = {name: document_bytes(document) for name, document in documents.items()}
    files |= copies
    there = {one.name: one for one in audit_files_in(folder)}
    return {
        name for name, digest in _digests(files).items() if name in there and there[name].digest() != digest
    }


def _digests(files: Mapping[str, bytes | Path]) -> dict[str, str]:
    return {
        name: file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for name, content in files.items()
    }


def document_bytes(document: Any) -> bytes:
    """How a document is written as an audit file."""
    text = json.dumps(document, cls=DjangoJSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()
