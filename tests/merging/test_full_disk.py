"""A full disk ends a merge at once, with an error that says what to do, and leaves nothing half-written.

``/dev/full`` is Linux' own full disk: what DuckDB says of it is real. Where the engine itself writes, the error of the
operating system is put in.
"""

import contextlib
import errno
import os
import resource
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging.executing import artefacts
from merging.store.space import says_disk_is_full
from merging.store.stores import LocalStore

STRATEGIES = ("merge-on-read", "copy-on-write")
Break = Callable[[pytest.MonkeyPatch, str], list[int]]


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def counting(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Callable[[], Exception]
) -> list[int]:
    """Let every call of a function fail; the calls are counted."""
    calls: list[int] = []

    def failing(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise error()

    monkeypatch.setattr(owner, name, failing)
    return calls


def at_the_put(monkeypatch: pytest.MonkeyPatch, strategy: str) -> list[int]:
    return counting(monkeypatch, LocalStore, "put_new", no_space)


def at_the_link(monkeypatch: pytest.MonkeyPatch, strategy: str) -> list[int]:
    return counting(monkeypatch, os, "link", no_space)


def at_the_data_files(monkeypatch: pytest.MonkeyPatch, strategy: str) -> list[int]:
    calls: list[int] = []

    @contextlib.contextmanager
    def full(_: LocalStore, path: str) -> Iterator[Path]:
        # The deletion vector still found room, and must go again.
        calls.append(1)
        yield Path("/dev/full")

    monkeypatch.setattr(LocalStore, "writing", full)
    return calls


def at_the_sync(monkeypatch: pytest.MonkeyPatch, strategy: str) -> list[int]:
    return counting(monkeypatch, LocalStore, "sync", no_space)


def at_the_artefacts(monkeypatch: pytest.MonkeyPatch, strategy: str) -> list[int]:
    return counting(monkeypatch, artefacts, "file_facts", no_space)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def request_on(tmp_path: Path, strategy: str) -> merging.MergeRequest:
    uri = str(tmp_path / "table")
    rows = pa.table({"id": pa.array(range(50), pa.int64()), "v": [f"v{n}" for n in range(50)]})
    merging.create_table(uri, rows, deletion_vectors=strategy == "merge-on-read")
    changes = pa.table({"id": pa.array([1, 2, 100], pa.int64()), "v": ["a", "b", "c"]})
    staged = merging.stage(uri, changes, ("id",), destination=str(tmp_path / "staged"))
    return merging.MergeRequest(
        table_uri=uri,
        cr_id="CR-1",
        primary_keys=("id",),
        staged=staged.location,
        attempt_id=uuid.uuid4().hex,
        destination=str(tmp_path / "artefacts"),
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "broken", [at_the_put, at_the_link, at_the_data_files, at_the_sync, at_the_artefacts]
)
def test_a_full_disk_ends_the_merge_at_once(
    broken: Break, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_on(tmp_path, strategy)
    assert merging.inspect_table(request.table_uri).strategy == strategy
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        calls = broken(patch, strategy)
        with pytest.raises(merging.StorageFull) as raised:
            merging.merge(request)
    assert (len(calls), raised.value.code) == (1, "storage_full")
    assert "There is no space left to merge: the disk (or quota) of" in raised.value.message
    assert "Free some space there, then try again; nothing was changed." in raised.value.message
    assert files(tmp_path) == before
    assert merging.merge(request).rows_affected == 3


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (no_space(), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (RuntimeError("Could not write file: No space left on device"), True),
        (RuntimeError("database or disk is full"), True),
        (merging.VersionMoved("Version 3 was committed by somebody else."), False),
    ],
)
def test_a_full_disk_is_told_from_other_failures(error: Exception, full: bool) -> None:
    assert says_disk_is_full(error) is full
    with pytest.raises(merging.MergeFailed) as raised:
        raise merging.MergeFailed("It failed.") from error
    assert says_disk_is_full(raised.value) is full


def test_a_database_whose_log_finds_no_room_for_its_index_says_so(tmp_path: Path) -> None:
    """SQLite says so as "disk I/O error", to whoever opens a database with a write-ahead log first."""
    with contextlib.closing(sqlite3.connect(tmp_path / "one.sqlite3")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t(x)")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.closing(sqlite3.connect(tmp_path / "one.sqlite3")) as database:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, before[1]))
        try:
            with pytest.raises(sqlite3.OperationalError, match="disk I/O error") as raised:
                database.execute("SELECT * FROM t")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert says_disk_is_full(raised.value)


def test_other_failures_pass_unchanged() -> None:
    with pytest.raises(OSError, match="Permission denied"), merging.naming_full_disks("merge", "here"):
        raise OSError(errno.EACCES, "Permission denied")
