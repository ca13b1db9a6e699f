"""What a confined process does: give up all that it could harm with, then do its work and answer.

Linux alone knows all of it (``prctl(2)``, ``setrlimit(2)``, ``proc(5)``).
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import re
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from merging.confinement.bounds import Bounds
from merging.confinement.crossing import Frames, error_document, frame
from merging.confinement.syscalls import filter_calls
from merging.errors import MergeError
from merging.scratch import clear_scratch

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_SET_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_CONVERSATION = 3
#: How C++ and the libraries say it, and how whoever cannot start a thread, whose stack finds no room: nothing else
#: bounds the number of threads.
_NO_MEMORY = re.compile(
    r"\bbad[ _]alloc|Cannot allocate memory|[Rr]esource temporarily unavailable|start new thread"
)
_NETWORK = frozenset(
    f"socket.{name}"
    for name in (
        "__new__",
        "bind",
        "connect",
        "getaddrinfo",
        "gethostbyaddr",
        "gethostbyname",
        "getnameinfo",
        "getservbyname",
        "sendmsg",
        "sendto",
    )
)
_PROGRAMS = frozenset(
    (
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
    )
)


def work(conversation: int, function: str, bounds: Bounds) -> NoReturn:
    """Be the confined process: read the argument from the conversation, call the function, answer and end."""
    try:
        spoken = _alone(conversation)
        _limit(bounds)
        if not bounds.network:
            sys.addaudithook(_refuse)
        filter_calls(network=bounds.network)
        _answer(spoken, _outcome(spoken, function))
    finally:
        os._exit(0)


def _alone(conversation: int) -> socket.socket:
    """Leave the family of the server: its session, files and signals."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    server = os.getppid()
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(0)  # the server died before it could be asked to tell
    nothing = os.open(os.devnull, os.O_RDWR)
    moved = os.dup(conversation) if conversation == _CONVERSATION else conversation
    os.dup2(moved, _CONVERSATION, inheritable=False)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(_CONVERSATION + 1, os.sysconf("SC_OPEN_MAX"))
    return socket.socket(fileno=_CONVERSATION)


def _limit(bounds: Bounds) -> None:
    _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    # Where the machine runs out of memory, this process goes first.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    processor_seconds = math.ceil(bounds.seconds) * (os.cpu_count() or 1) + 1
    for kind, most in (
        (resource.RLIMIT_AS, address_space() + bounds.memory_bytes),
        (resource.RLIMIT_CPU, processor_seconds),
        (resource.RLIMIT_NOFILE, bounds.open_files),
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))


def address_space() -> int:
    """How many bytes of addresses this process has (``proc(5)``, statm)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event in _NETWORK:
        raise PermissionError("A confined process has no network.")
    if event in _PROGRAMS:
        raise PermissionError("A confined process starts no programs.")


class Caller:
    """Whoever asked for the work, for the function that does it: called, it hears of progress."""

    def __init__(self, spoken: socket.socket) -> None:
        self._spoken = spoken
        self._frames = Frames()

    def __call__(self, progress: Mapping[str, Any]) -> None:
        _answer(self._spoken, {"progress": dict(progress)})

    def ask(self, question: Mapping[str, Any]) -> Any:
        """What it answers, as JSON. Where it has no answer it ends this process."""
        _answer(self._spoken, {"question": dict(question)})
        return self.hear()

    def hear(self) -> Any:
        """What it says next."""
        while piece := self._spoken.recv(1 << 20):
            for document in self._frames.take(piece):
                return document
        os._exit(0)  # whoever asked is gone


def _outcome(spoken: socket.socket, function: str) -> dict[str, Any]:
    caller = Caller(spoken)
    try:
        return {"answer": _function(function)(caller.hear(), caller)}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        if _is_of_memory(error):
            return {"out_of_memory": True}
        return (
            {"error": error_document(error)}
            if isinstance(error, MergeError)
            else {"raised": _described(error)}
        )
    finally:
        clear_scratch()  # before whoever asked goes on


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether it came of this process having no more memory, in the words of Python, C++ or the libraries.

    An engine that met its own limit says so otherwise, and of another setting.
    """
    looked_at: list[BaseException] = []
    while error is not None and error not in looked_at:  # an error may be raised from itself
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            return True
        looked_at.append(error)
        error = error.__cause__
    return False


def _function(name: str) -> Callable[[Any, Caller], Any]:
    module, _, attribute = name.partition(":")
    found: Callable[[Any, Caller], Any] = getattr(importlib.import_module(module), attribute)
    return found


def _answer(spoken: socket.socket, document: dict[str, Any]) -> None:
    try:
        said = frame(document)
    except (TypeError, ValueError) as error:
        said = frame({"raised": f"{type(error).__name__}: the answer is no JSON"})
    spoken.sendall(said)


def _described(error: BaseException) -> str:
    """The kind of an error and where it was raised; its text may hold values of rows."""
    [*_, last] = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
