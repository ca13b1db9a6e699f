"""Creating a table whose commit is answered wrong, late or not at all (FD5)."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from merging import CommitUnknown, MergeFailed, delta
from merging.store.client import ObjectExists
from merging.store.stores import LocalStore

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "a": ["x", "y", None]})
FIRST = "_delta_log/00000000000000000000.json"


@pytest.fixture(params=[True, False], ids=["merge-on-read", "copy-on-write"])
def vectors(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def data_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.parquet"))


def answer(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, done: bool) -> list[bytes]:
    """Let the put of a commit be answered with an error, whether it is done or not."""
    put_new, sent = LocalStore.put_new, []

    def answered(self: LocalStore, path: str, data: bytes) -> None:
        sent.append(data)
        if done:
            put_new(self, path, data)
        raise error

    monkeypatch.setattr(LocalStore, "put_new", answered)
    return sent


@pytest.mark.parametrize(
    "error", [ObjectExists(FIRST), TimeoutError("no answer"), OSError("connection reset")]
)
def test_fd5_a_table_whose_answer_was_lost_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, vectors: bool
) -> None:
    uri = str(tmp_path / "t")
    answer(monkeypatch, error, done=True)
    made = delta.create_table(uri, ROWS, deletion_vectors=vectors)
    assert (made.version, made.row_count) == (0, 3)
    assert len(data_files(tmp_path)) == len(made.files) == 1
    assert delta.open_snapshot(uri).files == made.files


def test_fd5_a_table_that_may_still_come_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: bool
) -> None:
    uri = str(tmp_path / "t")
    with monkeypatch.context() as patch:
        [sent] = [answer(patch, TimeoutError("no answer"), done=False)]
        with pytest.raises(CommitUnknown, match="could not be committed"):
            delta.create_table(uri, ROWS, deletion_vectors=vectors)
    LocalStore(Path(uri)).put_new(FIRST, sent[0])  # it lands after all
    assert delta.open_snapshot(uri).row_count == 3
    assert data_files(tmp_path) == [Path(file.path).name for file in delta.open_snapshot(uri).files]


def test_fd5_an_interrupted_put_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: bool
) -> None:
    uri = str(tmp_path / "t")
    with monkeypatch.context() as patch:
        answer(patch, KeyboardInterrupt(), done=True)
        with pytest.raises(KeyboardInterrupt):
            delta.create_table(uri, ROWS, deletion_vectors=vectors)
    assert delta.open_snapshot(uri).row_count == 3
    assert len(data_files(tmp_path)) == 1


def test_fd5_a_table_of_somebody_else_stays_and_our_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: bool
) -> None:
    uri = str(tmp_path / "t")
    put_new = LocalStore.put_new

    def others_first(self: LocalStore, path: str, data: bytes) -> None:
        monkeypatch.setattr(LocalStore, "put_new", put_new)
        delta.create_table(uri, ROWS.slice(0, 1), deletion_vectors=vectors)
        put_new(self, path, data)

    monkeypatch.setattr(LocalStore, "put_new", others_first)
    with pytest.raises(MergeFailed, match="There is a Delta table at"):
        delta.create_table(uri, ROWS, deletion_vectors=vectors)
    assert delta.open_snapshot(uri).row_count == 1
    assert data_files(tmp_path) == [Path(file.path).name for file in delta.open_snapshot(uri).files]


def test_fd5_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: bool
) -> None:
    with monkeypatch.context() as patch:
        answer(patch, OSError(28, "No space left on device"), done=False)
        with pytest.raises(MergeFailed):
            delta.create_table(str(tmp_path / "t"), ROWS, deletion_vectors=vectors)
    assert data_files(tmp_path) == []


def test_fd5_an_interrupted_compaction_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: bool
) -> None:
    """The same thought wherever a commit is put: an interrupted put is not a failed one."""
    import duckdb

    uri = str(tmp_path / "t")
    partitioned = pa.table({"id": pa.array(range(4), pa.int64()), "a": ["x"] * 4})
    delta.create_table(uri, partitioned, deletion_vectors=vectors)
    before = delta.open_snapshot(uri)
    with monkeypatch.context() as patch:
        answer(patch, KeyboardInterrupt(), done=True)
        with duckdb.connect() as connection, pytest.raises(KeyboardInterrupt):
            delta.set_deletion_vectors(connection, before, not vectors, attempt_id="one", application_id="m")
    after = delta.open_snapshot(uri)
    assert after.version == 1
    assert {Path(file.path).name for file in after.files} <= set(data_files(tmp_path))
