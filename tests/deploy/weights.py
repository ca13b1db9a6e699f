"""The share of the processors that a unit states (``CPUWeight=``), kept for a process as systemd keeps it: by a control
group of the kernel, whose children stay in it. (A nice value would not do: where the kernel groups processes by their
sessions, it compares those of one session alone.)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

_ROOT = Path("/sys/fs/cgroup")
#: How long the children of a process that has ended may take to end, too.
_EMPTIED_SECONDS = 5


@contextlib.contextmanager
def weighed(weight: str) -> Iterator[list[str]]:
    """What to put before a command so that it has this weight (of 100, which is what a process has otherwise).

    Nothing where this machine lets us make no control groups: ``can_weigh`` says so.
    """
    group = _made(int(weight))
    if group is None:
        yield []
        return
    try:
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        _remove(group)


def can_weigh() -> bool:
    """Whether units have here the weights that they state."""
    with weighed("100") as before:
        return bool(before)


def _made(weight: int) -> Path | None:
    unified = (_ROOT / "cgroup.controllers").is_file()
    group = (_ROOT if unified else _ROOT / "cpu") / f"headgate-{uuid4().hex}"
    with contextlib.suppress(OSError):
        if unified:
            (_ROOT / "cgroup.subtree_control").write_text("+cpu")
        group.mkdir()
        if unified:
            (group / "cpu.weight").write_text(str(weight))
        else:
            (group / "cpu.shares").write_text(str(weight * 1024 // 100))
        return group
    with contextlib.suppress(OSError):
        group.rmdir()
    return None


def _remove(group: Path) -> None:
    end = time.monotonic() + _EMPTIED_SECONDS
    while group.is_dir() and time.monotonic() < end:
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
