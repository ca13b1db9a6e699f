"""What a backup says of itself, signed with the key of the audit trail: nobody without it can change a backup unseen.

Format 1, in JSON: when it was made, of which database, what was migrated, the dump and the list of files with their
hashes, and the heads of the audit trail's chains as the dump has them. ``signature`` is ``AuditKey.sign`` of the
canonical JSON of everything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audit.chain import canonical_json
from audit.files import file_sha256
from audit.keys import current_key, key_called
from changerequests.services.backups.errors import BackupRefused
from changerequests.services.backups.files import CopiedFile

FORMAT_VERSION = 1
MANIFEST, LIST_OF_FILES, FILES = "manifest.json", "files.jsonl", "files"
_PURPOSE = "backup"


@dataclass(frozen=True)
class Manifest:
    """A backup in figures and hashes."""

    made_at: str
    vendor: str
    migrations: dict[str, str]
    dump: CopiedFile
    heads: dict[str, list[Any]]
    #: How many files there are, how large together; None where the database alone was backed up.
    files: int | None
    files_bytes: int
    list_sha256: str

    def write(self, folder: Path) -> None:
        """Into a backup, as its last file: without it a backup is none."""
        key = current_key()
        content = {"format": FORMAT_VERSION, **asdict(self), "key": key.id}
        signed = {**content, "signature": key.sign(_PURPOSE, canonical_json(content))}
        (folder / MANIFEST).write_text(json.dumps(signed, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a backup, and every hash in it compared. Raises ``BackupRefused`` naming what differs."""
        told = _read(folder)
        key = key_called(str(told["key"]))
        if key is None:
            raise BackupRefused(
                f"The backup is signed with the audit key {told['key']!r}, which is not among AUDIT_KEYS."
            )
        content = {name: value for name, value in told.items() if name != "signature"}
        is_signed = key.has_signed(_PURPOSE, canonical_json(content), told["signature"])
        if told["format"] != FORMAT_VERSION or not is_signed:
            raise BackupRefused(
                f"{MANIFEST} is not as it was signed: somebody changed it, or it is of a newer release."
            )
        content.pop("key"), content.pop("format")
        manifest = cls(**{**content, "dump": CopiedFile(**content["dump"])})
        _compare(folder, manifest.dump.path, manifest.dump.sha256)
        if manifest.files is not None:
            _compare(folder, LIST_OF_FILES, manifest.list_sha256)
        return manifest

    def copied(self, folder: Path) -> Iterator[CopiedFile]:
        """The files of the backup, as its list has them."""
        if self.files is not None:
            with (folder / LIST_OF_FILES).open(encoding="utf-8") as lines:
                for line in lines:
                    yield CopiedFile(**json.loads(line))


def _read(folder: Path) -> dict[str, Any]:
    """What the manifest of a backup says, believed by nobody yet: its key and signature are texts."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        told["format"], told["key"].encode(), told["signature"].encode()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BackupRefused(
            f"{folder} holds no whole backup: its {MANIFEST} cannot be read ({error})."
        ) from None
    return dict(told)


def _compare(folder: Path, name: str, sha256: str) -> None:
    path = folder / name
    if not path.is_file() or file_sha256(path) != sha256:
        raise BackupRefused(f"{name} is missing from the backup, or not as it was written.")
