"""Asking for work in a confined process, and hearing what became of it.

Each process that asks has a server for each module that it asks for (``server``): it is started when first needed,
has loaded that module, and ends with the process. Threads share it; a process that was forked starts its own. No part
of it is a child by ``multiprocessing``, so that daemonic processes (those of a task queue) may ask, too.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from merging.confinement.bounds import Bounds
from merging.confinement.crossing import BadFrame, Frames, error_from, frame
from merging.errors import ConfinedCancelled, ConfinedDied, ConfinedOutOfMemory, ConfinedTooLong

START_SECONDS = 120.0
"""How long a server may take to load the engine and begin a child; a busy machine needs a few seconds."""
_END_SECONDS = 5.0
"""How long a process may take to be killed."""
_LOOK_SECONDS = 0.25
_PIECE = 1 << 20
#: Threads and arenas that libraries would set up at the size of the machine, and a limit on memory count.
_SMALL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
#: What a process with network is told of the environment: who the machine is to the stores of tables, how they are
#: reached and trusted. Keys of the application, its database and what connections refer to are none of it.
_OF_STORES = re.compile(
    r"(AWS|AZURE|GOOGLE|IDENTITY|MSI|SSL_CERT)_\w+|HOME|LANG|LC_\w+|TZ|(ALL|HTTPS?|NO)_PROXY|(all|https?|no)_proxy"
)
#: A death with so much of the granted memory in use is taken for want of it.
_NEARLY_ALL = 0.75
_ABRUPT = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP)

Report = Callable[[Mapping[str, Any]], None]
Answering = Callable[[Mapping[str, Any]], Any]


def run_confined(
    function: str,
    argument: Mapping[str, Any],
    bounds: Bounds,
    *,
    on_progress: Report | None = None,
    on_question: Answering | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Any:
    """Call ``package.module:name`` with the argument in a confined process; returns what it returns. Both are JSON.

    The function takes the argument and a ``Caller``; what it tells that reaches ``on_progress``, and what it asks it is
    answered by ``on_question``, in JSON too: the process waits, and its time does not pass meanwhile. ``is_cancelled``
    is asked a few times a second, but for that. What any of the three raises ends the process and is raised here. Once
    anything is raised here the process is gone, and writes nothing any more. Where the module has a function
    ``before_confinement``, it is called once beforehand, in the process that all confined ones of the module come from:
    what it loads, they have.

    Raises the errors of the engine that the function raises; ConfinedDied where it ends in any other way,
    ConfinedTooLong, ConfinedOutOfMemory and ConfinedCancelled.
    """
    with _SERVERS.task(function, bounds) as (conversation, status):
        task = _Task(conversation, status, frame(argument), bounds)
        try:
            return task.finish(
                on_progress or (lambda _: None), on_question or _unanswered, is_cancelled or (lambda: False)
            )
        except BaseException:
            task.end()
            raise


def is_ready(function: str, bounds: Bounds) -> bool:
    """Whether a confined process for the function would begin at once: its server has loaded the module. Where there is
    none it is started, and not waited for.
    """
    return _SERVERS.is_ready(function.partition(":")[0], bounds)


def _unanswered(_: Mapping[str, Any]) -> Any:
    raise ConfinedDied("The process for it asked what nobody answers.")


class _Task:
    """One task: what is still to be said to its process, and what was heard of it."""

    def __init__(
        self, conversation: socket.socket, status: socket.socket, said: bytes, bounds: Bounds
    ) -> None:
        self._conversation = conversation
        self._status = status
        self._unsaid = memoryview(said)
        self._bounds = bounds
        self._frames = Frames()
        self._status_text = b""
        self._began = False
        self._spoke = False
        self._deadline = time.monotonic() + START_SECONDS
        self._poll = select.poll()
        self._poll.register(conversation, select.POLLIN | select.POLLOUT)
        self._poll.register(status, select.POLLIN)

    def finish(self, on_progress: Report, on_question: Answering, is_cancelled: Callable[[], bool]) -> Any:
        """The answer, or the error that stands for its failure."""
        asked = -math.inf
        while True:
            now = time.monotonic()
            if now - asked >= _LOOK_SECONDS:
                asked = now
                if is_cancelled():
                    raise ConfinedCancelled("The work was cancelled.")
            left = self._deadline - now
            if left <= 0:
                raise self._too_long()
            for descriptor, _ in self._poll.poll(max(1, min(left, _LOOK_SECONDS) * 1000)):
                if descriptor == self._conversation.fileno():
                    for document in self._talk():
                        if "progress" in document:
                            on_progress(document["progress"])
                        elif "question" in document:
                            self._say(on_question(document["question"]))
                            self._deadline += time.monotonic() - now
                        else:
                            return self._answer(document)
                elif self._hear_status():
                    return self._last_words()

    def end(self) -> None:
        """Have the process killed where it still is at work, and wait until it is."""
        with contextlib.suppress(OSError):
            self._status.shutdown(socket.SHUT_WR)
            if self._began or self._spoke:
                self._status.settimeout(_END_SECONDS)
                while self._status.recv(4096):
                    pass

    def _say(self, document: Any) -> None:
        self._unsaid = memoryview(frame(document))
        self._poll.modify(self._conversation, select.POLLIN | select.POLLOUT)

    def _talk(self) -> Iterator[dict[str, Any]]:
        if self._unsaid:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                self._unsaid = self._unsaid[self._conversation.send(self._unsaid[:_PIECE]) :]
            if not self._unsaid:
                self._poll.modify(self._conversation, select.POLLIN)
        try:
            piece = self._conversation.recv(_PIECE)
        except BlockingIOError:
            return
        except ConnectionResetError:
            piece = b""
        if not piece:
            self._poll.unregister(self._conversation)
            return
        self._spoke = True
        try:
            for document in self._frames.take(piece):
                if not isinstance(document, dict) or len(document) != 1:
                    raise BadFrame("it answered with what is no answer")
                yield document
        except BadFrame as error:
            raise ConfinedDied(f"The process for it failed: {error}.") from error

    def _answer(self, document: dict[str, Any]) -> Any:
        [(kind, told)] = document.items()
        if kind == "answer":
            return told
        if kind == "out_of_memory":
            raise self._out_of_memory()
        if kind == "error":
            try:
                raise error_from(told)
            except BadFrame as error:
                raise ConfinedDied(f"The process for it failed: {error}.") from error
        raise ConfinedDied(f"The process for it failed: {told}.", raised=str(told))

    def _hear_status(self) -> bool:
        """Whether it has ended; its time begins when it does."""
        try:
            piece = self._status.recv(4096)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            piece = b""
        self._status_text += piece
        lines = self._status_text.count(b"\n")
        if lines and not self._began:
            self._began = True
            self._deadline = time.monotonic() + self._bounds.seconds
        return not piece or lines > 1

    def _last_words(self) -> Any:
        """The answer of a process that has ended: its end may be heard before it. Raises why there is none."""
        said: list[dict[str, Any]] = []
        with contextlib.suppress(KeyError, ValueError):  # nothing is left to hear
            said += [document for document in self._talk() if "progress" not in document]
        if said:
            return self._answer(said[0])
        raise self._end()

    def _end(self) -> Exception:
        """Why a process ended that had not answered."""
        told = [json.loads(line) for line in self._status_text.splitlines()]
        if len(told) < 2:
            return ConfinedDied(
                "The process for it could not be started, or was lost with what had started it."
            )
        code, grown = told[1]["code"], told[1]["grown"]
        if -code == signal.SIGXCPU:
            return self._too_long()
        if -code == signal.SIGKILL or (-code in _ABRUPT and grown >= _NEARLY_ALL * self._bounds.memory_bytes):
            return self._out_of_memory()
        if code < 0:
            name = signal.Signals(-code).name
            return ConfinedDied(f"The process for it crashed ({name}).", signal_number=-code)
        return ConfinedDied(f"The process for it ended without an answer (exit code {code}).", code=code)

    def _too_long(self) -> ConfinedDied | ConfinedTooLong:
        if not self._began:
            return ConfinedDied(f"The process for it did not start within {START_SECONDS:g} s.")
        return ConfinedTooLong(self._bounds.seconds)

    def _out_of_memory(self) -> ConfinedOutOfMemory:
        return ConfinedOutOfMemory(self._bounds.memory_bytes)


# ---- servers ---------------------------------------------------------------------------------------------------------


def _of_stores() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _OF_STORES.fullmatch(name)}


class _Server:
    """A server of this process, and the socket on which it takes tasks."""

    def __init__(self, module: str, *, network: bool, engine: bool) -> None:
        self._is_ready = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = {
            "control": theirs.fileno(),
            "parent": os.getpid(),
            "module": module,
            "network": network,
            "engine": engine,
            "path": [os.path.abspath(one) for one in sys.path],
        }
        program = Path(__file__).with_name("starting.py")
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this project's own file, and nothing of a user's is an argument
                [sys.executable, "-I", str(program), json.dumps(asked)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**(_of_stores() if network else {}), "TMPDIR": tempfile.gettempdir(), **_SMALL},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it has loaded its module."""
        with contextlib.suppress(BlockingIOError):
            self._is_ready = self._is_ready or bool(self._control.recv(1, socket.MSG_DONTWAIT))
        return self._is_ready

    def begin(
        self, function: str, bounds: Bounds, conversation: socket.socket, status: socket.socket
    ) -> None:
        """Hand it a task. Raises OSError where it is gone."""
        asked = json.dumps({"function": function, "bounds": asdict(bounds)}).encode()
        socket.send_fds(self._control, [asked], [conversation.fileno(), status.fileno()])

    def end(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a forked process: it is the other one's."""
        self._control.close()
        self._process.returncode = 0


class _Servers:
    """The servers of this process."""

    def __init__(self) -> None:
        self._by_module: dict[tuple[str, bool, bool], _Server] = {}
        self._lock = threading.Lock()

    @contextmanager
    def task(self, function: str, bounds: Bounds) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A task that has begun: the sockets to talk with it and to hear of it. With them it ends."""
        conversation, childs = socket.socketpair()
        status, servers = socket.socketpair()
        with conversation, status:
            with childs, servers:
                self._begin(function, bounds, childs, servers)
            for one in (conversation, status):
                one.setblocking(False)
            try:
                yield conversation, status
            finally:
                # Closing alone would not do where another thread forked meanwhile, and its child holds a copy.
                with contextlib.suppress(OSError):
                    status.shutdown(socket.SHUT_RDWR)

    def _begin(
        self, function: str, bounds: Bounds, conversation: socket.socket, status: socket.socket
    ) -> None:
        module = function.partition(":")[0]
        with self._lock:
            try:
                self._server(module, bounds).begin(function, bounds, conversation, status)
            except OSError:  # it died since it was looked at
                self._by_module.pop(_kind(module, bounds)).end()
                self._server(module, bounds).begin(function, bounds, conversation, status)

    def _server(self, module: str, bounds: Bounds) -> _Server:
        kind = _kind(module, bounds)
        known = self._by_module.get(kind)
        if known is not None and known.is_alive:
            return known
        started = _Server(module, network=bounds.network, engine=bounds.engine)
        if known is not None:
            known.end()
        self._by_module[kind] = started
        return started

    def is_ready(self, module: str, bounds: Bounds) -> bool:
        """See the function; a process that cannot be started is not ready."""
        with self._lock, contextlib.suppress(OSError):
            return self._server(module, bounds).is_ready
        return False

    def end(self) -> None:
        """End all servers, and with them what they work on."""
        with self._lock:
            for server in self._by_module.values():
                server.end()
            self._by_module.clear()

    def forget(self) -> None:
        """In a forked process: nothing of this is its own, and a thread that it does not have may hold the lock."""
        for server in self._by_module.values():
            server.forget()
        self._by_module.clear()
        self._lock = threading.Lock()


def _kind(module: str, bounds: Bounds) -> tuple[str, bool, bool]:
    """What tells servers of a process apart."""
    return module, bounds.network, bounds.engine


_SERVERS = _Servers()
atexit.register(_SERVERS.end)
os.register_at_fork(after_in_child=_SERVERS.forget)
