"""Orders: which fault happens when a process reaches a named step. The controller gives them, a worker obeys.

An order is a file named after the step, with one action per line; each time the step is reached the first line is
taken off and carried out. Taking it is a rename, so that of several processes only one obeys.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

#: Where processes find the folder of orders.
ORDERS_VARIABLE = "HEADGATE_FAULT_ORDERS"
#: How long a held process waits for the controller before it goes on by itself.
LONGEST_HOLD_SECONDS = 30.0

#: Carried out by the process that reaches the step.
KILL = "kill"  # the process itself, as the kernel's memory killer would
KILL_PARENT = "kill-parent"  # the pool's parent; the child goes on without it
KILL_WORKER = "kill-worker"  # parent and children at once
FULL = "full"  # the disk is full
HOLD = "hold"  # wait until the controller has done something
PAUSE = "pause"  # stop like a suspended machine, heartbeat included, until the controller wakes it
GO_ON = "go-on"  # nothing, this time


class Orders:
    """A folder of orders, seen from both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._heard = True

    # --- the controller's side --------------------------------------------------------------------------

    def give(self, step: str, *actions: str) -> None:
        """Let the next processes that reach ``step`` carry out ``actions``, one each."""
        draft = self.folder / f".{step}.draft"
        draft.write_text("\n".join(actions))
        draft.rename(self.folder / step)

    def waiting(self) -> list[tuple[str, int]]:
        """Steps at which a process is held or paused now, with its process id."""
        return [
            (path.name.removesuffix(".at"), int(path.read_text()))
            for path in sorted(self.folder.glob("[!.]*.at"))
        ]

    def resume(self, step: str) -> None:
        """Let the process that waits at ``step`` go on."""
        at = self.folder / f"{step}.at"
        pid = int(at.read_text())
        at.unlink()
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return  # it was killed while it waited

    def obeyed(self) -> list[str]:
        """Steps and actions that were carried out, in order."""
        path = self.folder / ".obeyed"
        return path.read_text().split() if path.exists() else []

    def clear(self) -> None:
        """Take back what nobody has reached, and forget what was done."""
        for step, _ in self.waiting():
            self.resume(step)
        for path in self.folder.iterdir():
            path.unlink()

    # --- the obeying process' side ----------------------------------------------------------------------

    @contextlib.contextmanager
    def unheard(self) -> Iterator[None]:
        """Within it no step of this process is reached."""
        self._heard = False
        try:
            yield
        finally:
            self._heard = True

    def reach(self, step: str) -> None:
        """Carry out the order for ``step``, if there is one."""
        if not self._heard:
            return
        order, mine = self.folder / step, self.folder / f".{step}.{os.getpid()}"
        try:
            order.rename(mine)
        except FileNotFoundError:
            return
        action, *later = mine.read_text().split("\n")
        with (self.folder / ".obeyed").open("a") as log:
            log.write(f"{step}={action}\n")
        if later:
            mine.write_text("\n".join(later))
            mine.rename(order)
        else:
            mine.unlink()
        self._obey(step, action)

    def _obey(self, step: str, action: str) -> None:
        match action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill-parent":
                os.kill(os.getppid(), signal.SIGKILL)
            case "kill-worker":
                os.killpg(os.getpgrp(), signal.SIGKILL)
            case "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            case "hold" | "pause":
                draft, at = self.folder / f".{step}.at", self.folder / f"{step}.at"
                draft.write_text(str(os.getpid()))
                draft.rename(at)
                if action == PAUSE:
                    os.kill(os.getpid(), signal.SIGSTOP)
                deadline = time.monotonic() + LONGEST_HOLD_SECONDS
                while at.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
            case "go-on":
                pass
            case _:
                raise ValueError(f"No such order: {action!r}.")
