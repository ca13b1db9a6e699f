"""Functions for confined processes: each does one thing that such a process is for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv

from merging.confinement import Caller
from merging.errors import DuplicateKeys, MergeFailed, StagingRejected
from merging.model import StagingProblem
from merging.sql.failures import naming_engine_failures

Report = Callable[[Mapping[str, Any]], None]
PROBLEM = StagingProblem("type", "no number", line=3, column="price", value="x")
KEY = {
    "day": date(2020, 1, 2),
    "at": datetime(2020, 1, 2, 3, tzinfo=UTC),
    "price": Decimal("1.10"),
    "raw": b"\xff",
    "list": [1, None],
}


def echo(argument: Any, _: Report) -> Any:
    return argument


def crash(argument: Any, _: Report) -> None:
    os.kill(os.getpid(), argument.get("signal", signal.SIGSEGV))


def hog(_: Any, __: Report) -> None:
    held = []
    while True:
        held.append(bytearray(1 << 24))


def native_hog(_: Any, __: Report) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    while True:
        ctypes.memset(libc.malloc(1 << 24), 1, 1 << 24)


def thread_hog(_: Any, __: Report) -> None:
    """Each thread takes room for its stack."""
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def arrow_thread_hog(argument: Any, report: Report) -> None:
    with contextlib.suppress(RuntimeError):
        thread_hog(argument, report)
    pa.csv.read_csv(pa.py_buffer(b"a,b\n" + b"1,2\n" * 1_000_000))


def raise_from_itself(_: Any, __: Report) -> None:
    error = MergeFailed("It failed.")
    raise error from error


def engine_hog(argument: Any, _: Report) -> None:
    naming = naming_engine_failures() if argument["named"] else contextlib.nullcontext()
    with duckdb.connect(config={"memory_limit": "100GB", "threads": 2}) as engine, naming:
        engine.execute("SELECT list(uuid()::TEXT) FROM range(100000000)").fetchall()


def loop(argument: Any, report: Report) -> None:
    report({"phase": "began", "pid": os.getpid()})
    re.match("(a+)+$", "a" * 60 + "b")


def tell_and_wait(argument: Any, report: Report) -> None:
    Path(argument["file"]).write_text(str(os.getpid()), encoding="ascii")
    time.sleep(60)


def count(argument: Any, report: Report) -> str:
    for number in range(argument["to"]):
        report({"number": number})
    return "counted"


def ask(argument: Any, caller: Caller) -> list[Any]:
    return [caller.ask({"number": number}) for number in range(argument["times"])]


def raise_rejected(_: Any, __: Report) -> None:
    raise StagingRejected([PROBLEM], total=7)


def raise_duplicates(_: Any, __: Report) -> None:
    raise DuplicateKeys([KEY], 2)


def raise_key_error(_: Any, __: Report) -> None:
    raise KeyError("a secret cell")


def exit(_: Any, __: Report) -> None:
    sys.exit(3)


def exit_at_once(_: Any, __: Report) -> None:
    os._exit(3)


def no_json(_: Any, __: Report) -> Any:
    return {1, 2}


def connect(argument: Any, _: Report) -> None:
    socket.create_connection(("127.0.0.1", argument.get("port", 80)), timeout=1)


def native_connect(argument: Any, _: Report) -> int:
    """What a native library does, which asks no interpreter: ``socket`` and ``connect`` of the C library."""
    libc = ctypes.CDLL(None, use_errno=True)
    address = bytes([2, 0]) + argument["port"].to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    return int(libc.connect(libc.socket(2, 1, 0), address, 16))


def native_calls(_: Any, __: Report) -> dict[str, int]:
    """What the kernel says to native code that wants out: 0 where it lets it, else the number of the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = (ctypes.c_char_p * 1)(None)

    def said(call: Callable[[], int]) -> int:
        ctypes.set_errno(0)
        return ctypes.get_errno() if call() < 0 else 0

    def forked() -> int:
        pid = int(libc.fork())
        if pid == 0:
            os._exit(0)
        return pid

    found = {
        "socket": said(lambda: libc.socket(2, 1, 0)),
        "socketpair": said(lambda: libc.socketpair(1, 1, 0, (ctypes.c_int * 2)())),
        "exec": said(lambda: libc.execve(b"/bin/true", nothing, nothing)),
        "fork": said(forked),
        "signal to others": said(lambda: libc.kill(os.getppid(), 0)),
        "signal to itself": said(lambda: libc.kill(os.getpid(), 0)),
        "io_uring": said(lambda: libc.syscall(425, 1, ctypes.create_string_buffer(120))),
        "ptrace": said(lambda: libc.ptrace(0, 0, 0, 0)),
        "new namespaces": said(lambda: libc.unshare(0x10000000)),
    }
    thread = threading.Thread(target=lambda: found.update({"thread": 0}))
    thread.start()
    thread.join()
    return found


def environment(_: Any, __: Report) -> str:
    return Path("/proc/self/environ").read_text(encoding="utf-8")


def program(_: Any, __: Report) -> None:
    subprocess.run(["true"], check=True)


def limits(argument: Any, _: Report) -> Any:
    """What becomes of a long file, of many open files, and of the descriptors of others."""
    found: dict[str, Any] = {"open": sorted(int(one) for one in os.listdir("/proc/self/fd"))}
    try:
        Path(argument["file"]).write_bytes(bytes(argument["bytes"]))
    except OSError as error:
        found["written"] = type(error).__name__
    try:
        held = [open(os.devnull, "rb") for _ in range(argument["files"])]  # noqa: SIM115
        found["opened"] = len(held)
    except OSError as error:
        found["opened"] = type(error).__name__
    return found
