"""The process from which confined ones are forked: it has loaded the engine, so that each of them begins at once.

It answers the process that started it alone, and ends with it. For each task it is handed two sockets: one for the
child, and one on which it says ``{"pid"}``, and at the end how the child ended. When that one is closed from the other
side (the task is over, cancelled, too long, or whoever asked has died), the child is killed with all its processes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.confinement import child
from merging.confinement.bounds import Bounds
from merging.without_pandas import leave_pandas_alone

_READY = b"\0"
_LONGEST_REQUEST = 4096
_LOOK_EACH_MS = 1000


@dataclass(frozen=True)
class _Child:
    pid: int
    status: socket.socket


def serve(control: int, module: str, parent: int) -> None:
    """Fork a child for each request until whoever started this process is gone."""
    leave_pandas_alone()  # to load it took .2 s of each child, and content comes in files
    with contextlib.suppress(Exception):  # a child that cannot load it tells why
        loaded = importlib.import_module(module)
        if hasattr(loaded, "before_confinement"):
            loaded.before_confinement()
    gc.freeze()
    _ForkServer(socket.socket(fileno=control), parent).run()


class _ForkServer:
    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._children: dict[int, _Child] = {}
        self._resident = _own_memory()
        self._wake, wakes = socket.socketpair()
        self._wake.setblocking(False)
        wakes.setblocking(False)
        self._wakes = wakes
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wakes.fileno())
        self._poll = select.poll()
        for one in (control, self._wake):
            self._poll.register(one, select.POLLIN)

    def run(self) -> None:
        with contextlib.suppress(OSError):  # nobody asks any more
            self._control.send(_READY)
        while os.getppid() == self._parent:
            for descriptor, _ in self._poll.poll(_LOOK_EACH_MS):
                if descriptor == self._control.fileno():
                    if not self._begin():
                        self._end_all()
                        return
                elif descriptor == self._wake.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                else:
                    self._kill(self._children[descriptor].pid)
                    self._poll.unregister(descriptor)
            self._reap()
        self._end_all()

    def _begin(self) -> bool:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, _LONGEST_REQUEST, 2)
        except ConnectionResetError:  # it ended without having heard that this one is ready
            return False
        if not message:
            return False
        request: dict[str, Any] = json.loads(message)
        conversation, told = descriptors
        status = socket.socket(fileno=told)
        try:
            pid = os.fork()
        except OSError:  # no memory, no processes: whoever asked sees the sockets close
            os.close(conversation)
            status.close()
            return True
        if pid == 0:
            child.work(conversation, request["function"], Bounds(**request["bounds"]))
        os.close(conversation)
        self._children[status.fileno()] = _Child(pid, status)
        self._poll.register(status, select.POLLIN)
        _tell(status, {"pid": pid})
        return True

    def _reap(self) -> None:
        for descriptor, one in list(self._children.items()):
            # The process stays a zombie meanwhile, so that its number is nobody else's.
            if os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            self._kill(one.pid)
            _, status, used = os.wait4(one.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            _tell(one.status, {"code": code, "grown": used.ru_maxrss * 1024 - self._resident})
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
            del self._children[descriptor]
            one.status.close()

    def _end_all(self) -> None:
        signal.set_wakeup_fd(-1)  # it is closed before the last child is known to have ended
        for one in self._children.values():
            self._kill(one.pid)

    @staticmethod
    def _kill(pid: int) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has no session of its own yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _own_memory() -> int:
    """The bytes in memory that are this process's own: what a child begins with (``proc(5)``, RssAnon)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [line] = [one for one in status.splitlines() if one.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


def _tell(status: socket.socket, document: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        status.sendall(json.dumps(document).encode() + b"\n")
