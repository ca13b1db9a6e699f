"""Files for a while leave nothing: not after success, failure or an end from outside, nor for ever where a process was
killed.
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merging
from config.env import BASE_DIR
from merging import scratch
from merging.errors import TableUnreachable
from merging.store.client import ObjectClient
from merging.store.stores import LocalStore, TableStore
from tests.merging.sites import Site
from tests.merging.stores import memory_store
from tests.merging.world import World

ERRORS: tuple[type[BaseException], ...] = (ValueError, KeyboardInterrupt)
PROGRAM = """
import os, sys, time
import merging
with merging.scratch_folder("spill") as folder:
    (folder / "rows").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process and those that the test starts put temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left_in(temporary: Path) -> list[str]:
    """What lies there, but for the folder of this process itself."""
    return sorted(str(path.relative_to(temporary)) for path in temporary.glob("*/*"))


@pytest.fixture
def another(temporary: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], Path]]]:
    """Starts a process that uses a folder until it is told to end; and that folder."""
    started = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=BASE_DIR,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("error", [None, *ERRORS])
def test_a_folder_is_gone_however_its_block_ends(error: type[BaseException] | None, temporary: Path) -> None:
    with contextlib.suppress(*ERRORS), merging.scratch_folder("content") as folder:
        (folder / "rows").write_text("1")
        assert folder.stat().st_mode & 0o777 == 0o700
        if error is not None:
            raise error
    assert not folder.exists()
    assert left_in(temporary) == []


def test_what_a_killed_process_left_goes_when_another_needs_a_place(
    temporary: Path, another: Callable[[], tuple[subprocess.Popen[str], Path]]
) -> None:
    killed, of_killed = another()
    living, of_living = another()
    killed.kill()
    killed.wait()
    assert (of_killed / "rows").exists()
    merging.scratch_place("anything")
    assert not of_killed.parent.exists()
    assert (of_living / "rows").exists()
    living.communicate("\n")
    assert living.returncode == 0
    assert not of_living.parent.exists()
    merging.clear_scratch()
    assert list(temporary.iterdir()) == []


def test_a_process_that_was_told_to_end_leaves_what_the_next_removes(
    temporary: Path, another: Callable[[], tuple[subprocess.Popen[str], Path]]
) -> None:
    ended, folder = another()
    ended.send_signal(signal.SIGTERM)  # Python ends at once, without its last things
    ended.wait()
    assert folder.exists()
    _, of_next = another()
    assert not folder.exists()
    assert of_next.exists()


def test_what_is_nobodys_and_not_of_this_kind_stays(temporary: Path, tmp_path: Path) -> None:
    other, file, target = temporary / "of-somebody", temporary / "headgate-scratch-file", tmp_path / "target"
    other.mkdir()
    file.write_text("a file")
    target.mkdir()
    (temporary / "headgate-scratch-link").symlink_to(target)
    merging.scratch_place("anything")
    assert other.exists()
    assert file.exists()
    assert target.exists()


def test_a_folder_that_another_process_takes_for_a_dead_ones_is_made_anew(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, taken = scratch._opened, list[Path]()

    def late(path: Path) -> int:
        """Between the folder and its lock another process removes what nobody holds."""
        if not taken:
            taken.append(path)
            scratch._collect(str(temporary))
        return opened(path)

    monkeypatch.setattr(scratch, "_opened", late)
    with merging.scratch_folder("content") as folder:
        assert folder.is_dir()
        assert not taken[0].exists()


def test_a_folder_that_somebody_cleared_away_is_made_anew(temporary: Path) -> None:
    first = merging.scratch_place("first").parent
    first.rmdir()
    second = merging.scratch_place("second").parent
    assert second.is_dir()
    assert second != first


def test_a_forked_process_has_a_folder_of_its_own_and_keeps_none_of_its_parents(temporary: Path) -> None:
    own = merging.scratch_place("anything").parent
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        os.write(writing, str(merging.scratch_place("anything").parent).encode())
        os._exit(0)
    os.waitpid(child, 0)
    of_child = Path(os.read(reading, 1000).decode())
    os.close(reading)
    os.close(writing)
    assert of_child != own
    assert own.is_dir()
    scratch._collect(str(temporary))  # the child ended as those of a pool do
    assert not of_child.exists()
    assert own.is_dir()


def local_store(folder: Path) -> TableStore:
    return LocalStore(folder / "table")


def distant_store(_: Path) -> TableStore:
    return memory_store("memory://bucket/table")


@pytest.mark.parametrize("make", [local_store, distant_store])
@pytest.mark.parametrize("error", [None, *ERRORS])
def test_a_file_is_there_whole_or_not_at_all(
    make: Callable[[Path], TableStore], error: type[BaseException] | None, tmp_path: Path, temporary: Path
) -> None:
    store = make(tmp_path)
    with contextlib.suppress(*ERRORS), store.writing("part/one.parquet") as local:
        local.write_bytes(b"rows")
        if error is not None:
            raise error
    assert {item.path for item in store.walk()} == (set() if error else {"part/one.parquet"})
    assert left_in(temporary) == []


@pytest.mark.any_store
@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
def test_a_merge_leaves_nothing_on_this_machine(strategy: str, site: Site, temporary: Path) -> None:
    world = World(site, strategy)
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}])
    assert merging.merge(world.request(staged)).rows_affected == 2
    assert left_in(temporary) == []


def test_a_merge_whose_store_takes_no_file_leaves_nothing_on_this_machine(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = memory_store("memory://bucket/table")

    def refuse(*_: object) -> None:
        raise TableUnreachable(client.uri, "Its store refuses writing.", retriable=False)

    monkeypatch.setattr(ObjectClient, "put", refuse)
    with pytest.raises(TableUnreachable), client.writing("one.parquet") as local:
        local.write_bytes(b"rows")
    assert left_in(temporary) == []


#: Who makes temporary files by other means, and what removes them where the process is killed.
MADE_OTHERWISE = {
    "config/handling.py": "what a web server holds of a body, which has no name and goes with the process",
    "config/uploads.py": "beside the uploads that it becomes one of: the sweep of those",
    "merging/engines/through_caller.py": "in the folder of whoever asks a confined process, which goes with it",
}
_MAKERS = {
    "mkdtemp",
    "mkstemp",
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
}


def test_nothing_makes_temporary_files_otherwise() -> None:
    found = set()
    for package in (
        *("config", "demo", "api", "web", "notifications", "changerequests", "accounts", "datasets"),
        *("merging", "audit"),
    ):
        for path in (BASE_DIR / package).rglob("*.py"):
            names = {
                getattr(node, "attr", None) or getattr(node, "name", None) or getattr(node, "id", None)
                for node in ast.walk(ast.parse(path.read_bytes()))
                if isinstance(node, (ast.Attribute, ast.Name, ast.alias))
            }
            if names & _MAKERS:
                found.add(str(path.relative_to(BASE_DIR)))
    assert found == set(MADE_OTHERWISE)
