"""Audit files: written once, the same content again is fine, other content is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from audit.errors import AuditFileExists
from audit.files import file_sha256, write_audit_files


def test_documents_and_copies_are_written_with_their_hashes(tmp_path: Path) -> None:
    source = tmp_path / "source.parquet"
    source.write_bytes(b"rows")
    folder = tmp_path / "audit" / "CR-1"
    hashes = write_audit_files(folder, documents={"diff.json": {"rows": 2}}, copies={"diff.parquet": source})
    assert sorted(path.name for path in folder.iterdir()) == ["diff.json", "diff.parquet"]
    assert json.loads((folder / "diff.json").read_text()) == {"rows": 2}
    assert (folder / "diff.parquet").read_bytes() == b"rows"
    assert hashes["diff.parquet"] == hashlib.sha256(b"rows").hexdigest()
    assert hashes["diff.json"] == file_sha256(folder / "diff.json")


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    first = write_audit_files(tmp_path, documents={"a.json": {"b": 1, "a": 2}}, copies={})
    before = (tmp_path / "a.json").stat().st_mtime_ns
    again = write_audit_files(tmp_path, documents={"a.json": {"a": 2, "b": 1}}, copies={})
    assert again == first
    assert (tmp_path / "a.json").stat().st_mtime_ns == before


def test_other_content_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    write_audit_files(tmp_path, documents={"a.json": 1}, copies={})
    with pytest.raises(AuditFileExists, match=r"a\.json exists with other content"):
        write_audit_files(tmp_path, documents={"a.json": 2}, copies={})
    assert json.loads((tmp_path / "a.json").read_text()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
