"""Files for a while: all of a process below one folder, which goes with the process, however that ends.

Where a process is killed nobody removes what it wrote, and a machine that lives for years would fill up: what a merge
spills may be gigabytes. So a process holds a lock on its folder (``flock(2)``, which ends with it, and which
systemd-tmpfiles respects), and each that makes one first removes those that nobody holds any more.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PREFIX = "headgate-scratch-"


@contextlib.contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """An empty folder of one's own, which is gone with all that is in it once the block ends."""
    folder = scratch_place(purpose)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scratch_place(purpose: str) -> Path:
    """A path at which nothing lies, for a file or a folder that whoever asks for it also removes.

    Raises OSError where there is no place for temporary files.
    """
    return _SCRATCH.folder() / f"{purpose}-{_fresh()}"


def clear_scratch() -> None:
    """Remove all files for a while of this process, for those that end without Python's last things (a pool's)."""
    _SCRATCH.clear()


@dataclass(frozen=True)
class _Held:
    """A folder, and the descriptor through which this process holds its lock."""

    path: Path
    descriptor: int


@dataclass
class _Scratch:
    """The folders of this process, by where temporary files lie: who reads content in confinement is told another."""

    _held: dict[str, _Held] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def folder(self) -> Path:
        place = tempfile.gettempdir()
        with self._lock:
            held = self._held.get(place)
            if held is None or not held.path.is_dir():
                self._let_go_of_those_gone()
                _collect(place)
                held = self._held[place] = _new(place)
            return held.path

    def _let_go_of_those_gone(self) -> None:
        for place, held in [*self._held.items()]:
            if not held.path.is_dir():
                os.close(self._held.pop(place).descriptor)

    def clear(self) -> None:
        with self._lock:
            for held in self._held.values():
                shutil.rmtree(held.path, ignore_errors=True)
                os.close(held.descriptor)
            self._held.clear()

    def forget(self) -> None:
        """In a process that was forked: they are the other's, and so is the lock, which this one must not keep."""
        self._lock = threading.RLock()
        for held in self._held.values():
            os.close(held.descriptor)
        self._held.clear()


def _fresh() -> str:
    return uuid.uuid4().hex[:16]


def _new(place: str) -> _Held:
    """A folder that this process holds. Another may take it for one of the dead between the first step and the last:
    then it is removed, and one more is made.
    """
    while True:
        path = Path(place, f"{_PREFIX}{_fresh()}")
        path.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            descriptor = _opened(path)
            if _is_locked(descriptor) and path.is_dir():
                return _Held(path, descriptor)
            os.close(descriptor)


def _collect(place: str) -> None:
    """Remove what processes left that are gone."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):  # somebody else's, or gone by now
                    _remove_if_free(Path(entry.path))


def _remove_if_free(path: Path) -> None:
    descriptor = _opened(path)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() and _is_locked(descriptor):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_locked(descriptor: int) -> bool:
    """Whether it is ours now; it is not where another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_SCRATCH = _Scratch()
atexit.register(clear_scratch)
os.register_at_fork(after_in_child=_SCRATCH.forget)
