"""Audit files: written once, fsynced, never changed, named by their SHA-256 in the events."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from audit.errors import AuditFileExists


def audit_root() -> Path:
    """The folder under which every audit file lies; events name files relative to it."""
    return Path(settings.DELTA_DATA_ROOT) / "audit"


def file_sha256(path: Path) -> str:
    """The hex SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_audit_files(
    folder: Path, *, documents: Mapping[str, Any], copies: Mapping[str, Path]
) -> dict[str, str]:
    """Write JSON ``documents`` and ``copies`` of files into ``folder``; return name -> SHA-256.

    Durable when it returns: files and folder are synced to disk. Safe to call again with the same content (a
    recovered run does). Raises ``AuditFileExists`` where a file stands there with other content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, document in documents.items():
        hashes[name] = _publish(folder, name, document_bytes(document))
    for name, source in copies.items():
        hashes[name] = _publish(folder, name, source)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return hashes


def written_beside(path: Path, content: bytes) -> str:
    """Write a file that will take another's place where somebody is erased, durably; returns its SHA-256."""
    path.unlink(missing_ok=True)
    with path.open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    return file_sha256(path)


def taken_names(folder: Path, *, documents: Mapping[str, Any], copies: Mapping[str, Path]) -> set[str]:
    """Which of the files stand in the folder with other content: what ``write_audit_files`` would raise for."""
    digests = {
        name: hashlib.sha256(document_bytes(document)).hexdigest() for name, document in documents.items()
    }
    digests |= {name: file_sha256(source) for name, source in copies.items()}
    return {
        name
        for name, digest in digests.items()
        if (folder / name).exists() and file_sha256(folder / name) != digest
    }


def document_bytes(document: Any) -> bytes:
    """How a document is written as an audit file."""
    text = json.dumps(document, cls=DjangoJSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def _publish(folder: Path, name: str, content: bytes | Path) -> str:
    # A name of its own: what a killed writer left may be a second name of the published file, and the worker that
    # lost its lease may still be writing.
    target, partial = folder / name, folder / f".{name}.{uuid.uuid4().hex}.partial"
    try:
        with partial.open("xb") as out:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, out, 1024 * 1024)
            else:
                out.write(content)
            out.flush()
            os.fsync(out.fileno())
        digest = file_sha256(partial)
        os.link(partial, target)  # fails where the name is taken: an audit file is never replaced
    except FileExistsError:
        if file_sha256(target) != digest:
            raise AuditFileExists(
                f"{target} exists with other content. Audit files are never replaced: move it aside, "
                f"run verify_audit, then retry the merge run."
            ) from None
    finally:
        partial.unlink(missing_ok=True)
    return digest
