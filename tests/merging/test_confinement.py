"""Work in a process that may die alone: whatever it does, whoever asked hears what became of it and goes on."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import billiard
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import errors
from merging.confinement import Bounds, calling, is_ready, run_confined
from merging.confinement.crossing import BadFrame, Frames, error_document, error_from, frame
from merging.confinement.syscalls import filter_calls, has_syscall_filter
from merging.model import Conflict, Sides, StagingProblem
from tests.merging import confined

SMALL = Bounds(memory_bytes=256 * 1024**2, seconds=20)


def run(name: str, argument: dict[str, Any] | None = None, bounds: Bounds = SMALL, **callbacks: Any) -> Any:
    return run_confined(f"tests.merging.confined:{name}", argument or {}, bounds, **callbacks)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return status.rpartition(")")[2].split()[0] == "Z"


def test_it_answers_with_json() -> None:
    argument = {"text": "ä\ud800", "number": 1.5, "list": [None, True, {"deep": []}]}

    assert run("echo", argument) == argument


def test_the_kernel_refuses_native_code_what_a_confined_process_gave_up() -> None:
    assert has_syscall_filter()
    refused = dict.fromkeys(
        ("socket", "socketpair", "exec", "fork", "signal to others", "io_uring", "ptrace", "new namespaces"),
        errno.EPERM,
    )

    assert run("native_calls") == {**refused, "signal to itself": 0, "thread": 0}

    with_network = run(
        "native_calls", bounds=Bounds(memory_bytes=SMALL.memory_bytes, seconds=20, network=True)
    )
    assert with_network == {**refused, "socket": 0, "socketpair": 0, "signal to itself": 0, "thread": 0}


@pytest.mark.parametrize("machine", ["riscv64", "i686"])
def test_a_machine_whose_calls_are_not_known_has_no_filter(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)

    assert not has_syscall_filter()
    assert not filter_calls(network=False)


def test_large_arguments_and_answers_pass() -> None:
    argument = {"texts": ["x" * 1000] * 20_000}

    assert run("echo", argument) == argument


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGTERM])
def test_a_crash_is_told_with_its_signal(number: signal.Signals) -> None:
    with pytest.raises(errors.ConfinedDied, match=number.name) as caught:
        run("crash", {"signal": number})

    assert caught.value.signal_number == number
    assert run("echo", {"still": "works"}) == {"still": "works"}


def test_an_exit_without_an_answer_is_told() -> None:
    with pytest.raises(errors.ConfinedDied) as caught:
        run("exit_at_once")

    assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", ["hog", "native_hog", "thread_hog", "arrow_thread_hog"])
def test_too_much_memory_is_told(kind: str) -> None:
    with pytest.raises(errors.ConfinedOutOfMemory, match="256 MiB"):
        run(kind)


@pytest.mark.parametrize("named", [True, False])
def test_memory_that_the_engine_asks_for_in_vain_is_told_alike(named: bool) -> None:
    """Whether DuckDB, Python or C meets the end of it is chance: the way out is one."""
    with pytest.raises(errors.ConfinedOutOfMemory, match="256 MiB"):
        run("engine_hog", {"named": named})


def test_an_error_that_was_raised_from_itself_is_told() -> None:
    with pytest.raises(errors.MergeFailed, match=r"It failed\."):
        run("raise_from_itself")


def test_a_kill_from_outside_counts_as_want_of_memory() -> None:
    """That is what the kernel does when the machine has no more."""
    with pytest.raises(errors.ConfinedOutOfMemory):
        run("crash", {"signal": signal.SIGKILL})


def test_a_loop_that_no_signal_of_python_reaches_is_ended() -> None:
    told: list[Any] = []
    started = time.monotonic()

    with pytest.raises(errors.ConfinedTooLong, match=r"0\.5 s"):
        run("loop", bounds=Bounds(seconds=0.5), on_progress=told.append)

    assert time.monotonic() - started < 5
    assert within(5, lambda: is_gone(told[0]["pid"]))


def test_it_asks_its_caller_and_its_time_does_not_pass_meanwhile() -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        time.sleep(0.4)
        return {"text": "ä" * 700_000, "square": question["number"] ** 2}

    told = run("ask", {"times": 4}, bounds=Bounds(seconds=1.2), on_question=answer)

    assert [(one["square"], len(one["text"])) for one in told] == [(n * n, 700_000) for n in range(4)]


def test_what_its_caller_cannot_answer_ends_it() -> None:
    def refuse(question: Mapping[str, Any]) -> Any:
        raise errors.ConfinedCancelled("Nobody wants it any more.")

    with pytest.raises(errors.ConfinedCancelled, match="Nobody wants it"):
        run("ask", {"times": 1}, on_question=refuse)
    with pytest.raises(errors.ConfinedDied, match="nobody answers"):
        run("ask", {"times": 1})


def test_it_is_cancelled() -> None:
    told: list[Any] = []

    with pytest.raises(errors.ConfinedCancelled):
        run("loop", on_progress=told.append, is_cancelled=lambda: bool(told))

    assert is_gone(told[0]["pid"])


def test_what_the_callables_raise_ends_it_and_is_raised() -> None:
    told: list[Any] = []

    def stop(progress: Any) -> None:
        told.append(progress)
        raise errors.VersionMoved("stopped")

    with pytest.raises(errors.VersionMoved, match="stopped"):
        run("loop", on_progress=stop)

    assert is_gone(told[0]["pid"])


def test_the_death_of_whoever_asked_takes_it_along(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    asking = (
        "from merging.confinement import Bounds, calling, run_confined; "
        f"run_confined('tests.merging.confined:tell_and_wait', {{'file': {str(file)!r}}}, Bounds())"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", asking], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE
    )
    try:
        assert within(60, lambda: file.exists() and file.read_text(encoding="ascii") != "")
        pid = int(file.read_text(encoding="ascii"))
        [server] = children_of(asker.pid)
        asker.kill()
        _, said = asker.communicate()  # the server's, too

        assert within(5, lambda: is_gone(pid))
        assert within(5, lambda: is_gone(server))
        assert said == b""
    finally:
        asker.kill()
        asker.wait()


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in listed.split()]


def test_the_death_of_the_server_is_told_and_the_next_task_has_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def kill_server() -> None:
        assert within(60, lambda: file.exists() and file.read_text(encoding="ascii") != "")
        pid = int(file.read_text(encoding="ascii"))
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_server)
    killer.start()
    with pytest.raises(errors.ConfinedDied, match="was lost"):
        run("tell_and_wait", {"file": str(file)})
    killer.join()

    assert within(5, lambda: is_gone(int(file.read_text(encoding="ascii"))))
    assert run("echo", {"again": 1}) == {"again": 1}


def test_whether_it_would_begin_at_once_is_told_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = calling._Servers()
    monkeypatch.setattr(calling, "_SERVERS", servers)
    try:
        for _ in range(2):  # what had been ready may have died
            assert not is_ready("tests.merging.confined_slowly:echo", SMALL)
            [server] = servers._by_module.values()
            assert within(60, lambda: is_ready("tests.merging.confined_slowly:echo", SMALL))
            assert [*servers._by_module.values()] == [server]
            assert run_confined("tests.merging.confined_slowly:echo", {"again": 1}, SMALL) == {"again": 1}
            os.kill(server._process.pid, signal.SIGKILL)
            server._process.wait(5)  # all of its threads: the first may be gone before the others
    finally:
        servers.end()


def test_progress_comes_in_order() -> None:
    told: list[Any] = []

    assert run("count", {"to": 500}, on_progress=told.append) == "counted"
    assert told == [{"number": number} for number in range(500)]


def test_what_is_no_json_does_not_cross() -> None:
    with pytest.raises(errors.ConfinedDied, match="the answer is no JSON"):
        run("no_json")
    with pytest.raises(TypeError):
        run("echo", {"a": object()})


def test_errors_of_the_engine_cross_typed() -> None:
    with pytest.raises(errors.StagingRejected) as rejected:
        run("raise_rejected")
    assert (rejected.value.problems, rejected.value.total) == ((confined.PROBLEM,), 7)
    assert str(rejected.value).endswith("7 problems. First: line 3, column price: no number")

    with pytest.raises(errors.DuplicateKeys) as doubled:
        run("raise_duplicates")
    assert (doubled.value.examples, doubled.value.total) == ((confined.KEY,), 2)


def test_other_errors_are_told_by_kind_and_place_alone() -> None:
    with pytest.raises(errors.ConfinedDied) as caught:
        run("raise_key_error")

    assert str(caught.value.raised).startswith("KeyError in confined.py, line ")
    assert "secret" not in str(caught.value)
    with pytest.raises(errors.ConfinedDied, match="SystemExit"):
        run("exit")


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_there_is_no_network(port: int) -> None:
    with pytest.raises(errors.ConfinedDied, match="PermissionError"):
        run("connect", {"port": port})

    assert run("connect", {"port": port}, Bounds(network=True)) is None


def test_there_is_no_network_below_python_where_the_kernel_allows(port: int) -> None:
    allowed = subprocess.run(["unshare", "-rn", "true"], check=False).returncode == 0

    assert run("native_connect", {"port": port}) == (-1 if allowed else 0)


def test_it_starts_no_program_and_sees_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "not for the child")

    with pytest.raises(errors.ConfinedDied, match="PermissionError"):
        run("program")
    assert "SECRET_KEY" not in run("environment")


class StatusFirst:
    """A poll that hears the end of a process and nothing of what it said before."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status

    def poll(self, _: float) -> list[tuple[int, int]]:
        return [(self._status.fileno(), select.POLLIN)]

    def modify(self, *_: Any) -> None:
        """Nothing is waited for."""

    unregister = modify


@pytest.mark.parametrize("said", [{"answer": 7}, {"error": error_document(errors.MergeFailed("No."))}])
def test_whose_end_is_heard_before_its_answer_has_answered(said: dict[str, Any]) -> None:
    conversation, childs = socket.socketpair()
    status, servers = socket.socketpair()
    with conversation, status:
        with childs, servers:
            childs.sendall(frame(said))
            servers.sendall(b'{}\n{"code": 0, "grown": 0}\n')
        for one in (conversation, status):
            one.setblocking(False)
        task = calling._Task(conversation, status, b"", SMALL)
        task._poll = StatusFirst(status)  # type: ignore[assignment]
        if "answer" in said:
            assert task.finish(lambda _: None, lambda _: None, lambda: False) == 7
        else:
            with pytest.raises(errors.MergeFailed, match="No"):
                task.finish(lambda _: None, lambda _: None, lambda: False)


def test_with_network_it_sees_what_stores_ask_for_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calling._SERVERS.end()  # the environment is that of the moment in which a server was started
    told = {
        "AWS_REGION": "eu-1",
        "AZURE_CLIENT_ID": "id",
        "SSL_CERT_FILE": "/ca.pem",
        "https_proxy": "http://proxy",
    }
    kept = {"SECRET_KEY": "k", "DATABASE_URL": "d", "CONNECTION_LAKE": "c", "HEADGATE_CONNECTION_KEYS": "s"}
    for name, value in {**told, **kept}.items():
        monkeypatch.setenv(name, value)

    seen = dict(
        line.partition("=")[::2]
        for line in run("environment", bounds=Bounds(network=True)).split("\0")
        if line
    )
    calling._SERVERS.end()

    assert told.items() <= seen.items()
    assert not {*kept, "PATH"} & seen.keys()


def test_files_are_limited_and_none_is_inherited(tmp_path: Path) -> None:
    bounds = Bounds(open_files=20, file_bytes=1000)
    file = tmp_path / "file"

    found = run("limits", {"file": str(file), "bytes": 1001, "files": 100}, bounds)

    # Descriptor 4 is the listing's own.
    assert found == {"open": [0, 1, 2, 3, 4], "written": "OSError", "opened": "OSError"}
    assert file.stat().st_size <= 1000


def test_threads_ask_side_by_side() -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: run("echo", {"number": number}), range(40)))

    assert answers == [{"number": number} for number in range(40)]


def _ask(answer: Any) -> None:
    answer.send(run("echo", {"by": "a worker"}))


def test_a_daemonic_worker_process_of_the_queue_asks() -> None:
    """Celery's prefork processes are such, and may start no processes of ``multiprocessing``."""
    run("echo")  # the parent has a server by then, which is not the child's
    ours, theirs = billiard.Pipe()
    worker = billiard.context.ForkProcess(target=_ask, args=(theirs,), daemon=True)
    worker.start()
    try:
        assert ours.poll(60)
        assert ours.recv() == {"by": "a worker"}
    finally:
        worker.terminate()
        worker.join()
    assert run("echo", {"by": "the parent"}) == {"by": "the parent"}


# ---- the border ------------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False) | st.dates() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)  # fmt: skip


@given(plain, plain)
@settings(max_examples=20)
def test_an_error_comes_back_as_it_left(key: Any, value: Any) -> None:
    conflict = Conflict({"k": key}, "c", "modify/modify", Sides(value, None, key), "digest", ("current",))
    for error in (
        errors.MergeConflict([conflict]),
        errors.CommitDiffers("other", version=3, data={"value": value}),
        errors.StagingRejected([StagingProblem("a", "b", value="\ud800")]),
    ):
        [document] = Frames().take(frame(error_document(error)))
        again = error_from(document)

        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))


@given(st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["class", "MergeError", "message", "fields", "model"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["class", "message", "fields", "model", "tuple", "dict", "decimal"]), inner, max_size=3),
    max_leaves=8))  # fmt: skip
@settings(max_examples=200)
def test_what_a_hostile_process_tells_is_an_error_or_nothing(document: Any) -> None:
    with suppress(BadFrame):
        assert isinstance(error_from(document), errors.MergeError)
    with suppress(BadFrame):
        error_from({"class": "MergeError", "message": "", "fields": document})


@pytest.mark.parametrize(
    "said", [b"\xff" * 8, (3).to_bytes(8, "big") + b"{]}", (200_000).to_bytes(8, "big") + b"[" * 200_000]
)
def test_a_frame_that_is_none_is_refused(said: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Frames().take(said))
