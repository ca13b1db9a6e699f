"""Audit files: written once, the same content again is fine, other content is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from audit.errors import AuditFileExists
from audit.files import file_sha256, write_audit_files


def test_documents_and_copies_are_written_with_their_hashes(tmp_path: Path, delta_data_root: Path) -> None:
    source = tmp_path / "source.parquet"
    source.write_bytes(b"rows")
    folder = delta_data_root / "audit" / "CR-1"
    hashes = write_audit_files("CR-1", documents={"diff.json": {"rows": 2}}, copies={"diff.parquet": source})
    assert sorted(path.name for path in folder.iterdir()) == ["diff.json", "diff.parquet"]
    assert json.loads((folder / "diff.json").read_text()) == {"rows": 2}
    assert (folder / "diff.parquet").read_bytes() == b"rows"
    assert hashes["diff.parquet"] == hashlib.sha256(b"rows").hexdigest()
    assert hashes["diff.json"] == file_sha256(folder / "diff.json")


def test_writing_the_same_again_changes_nothing(delta_data_root: Path) -> None:
    folder = delta_data_root / "audit" / "CR-1"
    first = write_audit_files("CR-1", documents={"a.json": {"b": 1, "a": 2}}, copies={})
    before = (folder / "a.json").stat().st_mtime_ns
    again = write_audit_files("CR-1", documents={"a.json": {"a": 2, "b": 1}}, copies={})
    assert again == first
    assert (folder / "a.json").stat().st_mtime_ns == before


def test_other_content_is_refused_and_the_file_stays(delta_data_root: Path) -> None:
    folder = delta_data_root / "audit" / "CR-1"
    write_audit_files("CR-1", documents={"a.json": 1}, copies={})
    with pytest.raises(AuditFileExists, match=r"a\.json exists with other content"):
        write_audit_files("CR-1", documents={"a.json": 2}, copies={})
    assert json.loads((folder / "a.json").read_text()) == 1
    assert [path.name for path in folder.iterdir()] == ["a.json"]
