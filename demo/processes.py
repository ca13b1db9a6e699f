"""Child processes that are always stopped: for the demo command and for tests that need real services.

Every child gets a process group of its own. So a Ctrl-C in the terminal reaches only the parent, which then
stops the children in a sensible order, and whatever a child forked is stopped with it. On Linux a child also
gets SIGTERM when its parent dies without a chance to clean up.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

Sink = Callable[[str], None]


class ManagedProcess:
    """One child process with its output, and the only way to end it.

    ``sink`` receives every line of output; otherwise all output goes to the file ``log``.
    ``run_as`` names the system user the child runs as (only root may ask for that).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        sink: Sink | None = None,
        log: Path | None = None,
        run_as: str | None = None,
    ) -> None:
        if (sink is None) == (log is None):
            raise ValueError("A process needs exactly one of sink and log.")
        self.name = name
        self.log = log
        self._asked = False
        output: IO[bytes] | int = subprocess.PIPE if log is None else log.open("ab")
        try:
            self._process = subprocess.Popen(  # noqa: S603  (the callers' own fixed commands)
                [*_stops_with_parent(), *command],
                env=None if environment is None else dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=run_as,
                group=run_as,
                extra_groups=None if run_as is None else [],
            )
        finally:
            if not isinstance(output, int):
                output.close()
        self._reader: threading.Thread | None = None
        if sink is not None:
            self._reader = threading.Thread(
                target=self._pass_on, args=(sink,), name=f"{name}-output", daemon=True
            )
            self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._process.poll()

    def ask_to_stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process itself, not what it forked, to end. Once: a second signal means "at once" to many."""
        if self.exit_code is None and not self._asked:
            self._process.send_signal(signal_number)
        self._asked = True

    def kill(self) -> None:
        """End the process and everything in its group at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nobody is left in the group
        finally:
            self._process.wait()

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when the process still runs after ``seconds``."""
        try:
            return self._process.wait(timeout=max(seconds, 0))
        except subprocess.TimeoutExpired:
            return None

    def stop(self, *, seconds: float = 10, first: signal.Signals = signal.SIGTERM) -> None:
        """Ask with ``first``, wait, then kill; in the end nothing of the process group is left."""
        self.ask_to_stop(first)
        self.wait(seconds)
        self.kill()
        if self._reader is not None:
            self._reader.join(timeout=2)

    def log_tail(self, lines: int = 40) -> str:
        """The end of the log file, for error messages; empty where the output went to a sink."""
        if self.log is None:
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _pass_on(self, sink: Sink) -> None:
        stream = self._process.stdout
        if stream is not None:
            with stream:
                for line in stream:
                    sink(line.decode(errors="replace").rstrip("\n"))


class NotReadyError(Exception):
    """A process ended, or did not answer, within the time given; the message has the end of its log."""


def wait_until(process: ManagedProcess, is_ready: Callable[[], bool], *, seconds: float) -> None:
    """Wait until ``is_ready`` says so. Raises ``NotReadyError`` when the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        if process.exit_code is not None:
            raise NotReadyError(f"{process.name} ended with code {process.exit_code}.\n{process.log_tail()}")
        if time.monotonic() > deadline:
            raise NotReadyError(f"{process.name} was not ready after {seconds:.0f} s.\n{process.log_tail()}")
        time.sleep(0.05)


def worker_command(*, concurrency: int, beat: bool) -> list[str]:
    """One Celery worker on all queues; with ``beat`` it also keeps the schedule (only one worker may)."""
    command = [
        *(sys.executable, "-m", "celery", "--quiet", "-A", "config", "worker"),
        *("--queues", "merging,maintenance,staging,notifications", "--concurrency", str(concurrency)),
        *("--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    return [*command, "--beat"] if beat else command


def web_command(*, port: int) -> list[str]:
    """The web process on the loopback address; Django itself logs the requests."""
    return [
        *(sys.executable, "-m", "uvicorn", "config.asgi:application"),
        *("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--no-proxy-headers"),
        *("--log-level", "warning"),
        *("--timeout-graceful-shutdown", "5"),
    ]


def _stops_with_parent() -> list[str]:
    """What to put before a command so that it ends with this process. Whoever starts to listen for our end when we are
    gone already never hears of it, so the shell looks whether we are still there."""
    if sys.platform != "linux":
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    still_there = 'test "$PPID" = "$0" && exec "$@"'
    return [setpriv, "--pdeathsig", "TERM", "--", "sh", "-c", still_there, str(os.getpid())]
