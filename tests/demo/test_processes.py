"""Child processes are always stopped, with all that they forked."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from config.env import BASE_DIR
from demo.broker import LONGEST_SOCKET_PATH, EmbeddedBroker
from demo.processes import ManagedProcess, NotReadyError, wait_until

STUBBORN = "trap '' TERM; sleep 600 & echo $!; while true; do sleep 600; done"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_end(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_output_reaches_the_sink_line_by_line() -> None:
    lines: list[str] = []
    process = ManagedProcess("echo", ["sh", "-c", "echo one; echo two >&2"], sink=lines.append)
    assert process.wait(5) == 0
    process.stop()
    assert lines == ["one", "two"]


def test_a_stubborn_process_and_its_children_are_killed() -> None:
    lines: list[str] = []
    heard = threading.Event()

    def sink(line: str) -> None:
        lines.append(line)
        heard.set()

    process = ManagedProcess("stubborn", ["bash", "-c", STUBBORN], sink=sink)
    assert heard.wait(5)
    process.stop(seconds=0.2)
    assert process.exit_code == -9
    assert wait_for_end(int(lines[0]))


def test_a_process_is_asked_only_once() -> None:
    lines: list[str] = []
    script = "trap 'echo asked' TERM; echo ready; for i in 1 2 3 4 5; do sleep 0.1; done"
    process = ManagedProcess("polite", ["bash", "-c", script], sink=lines.append)
    wait_until(process, lambda: "ready" in lines, seconds=5)
    process.ask_to_stop()
    process.stop(seconds=5)
    assert lines == ["ready", "asked"]


def test_a_process_that_ends_too_early_is_told_with_its_log(tmp_path: Path) -> None:
    process = ManagedProcess("broken", ["sh", "-c", "echo no such file; exit 3"], log=tmp_path / "log")
    with pytest.raises(NotReadyError, match=r"broken ended with code 3\.\nno such file"):
        wait_until(process, lambda: False, seconds=5)
    process.stop()


def test_a_process_that_never_gets_ready_is_told(tmp_path: Path) -> None:
    process = ManagedProcess("slow", ["sleep", "600"], log=tmp_path / "log")
    with pytest.raises(NotReadyError, match="slow was not ready after 0 s"):
        wait_until(process, lambda: False, seconds=0.1)
    process.stop()
    assert not is_running(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux' own")
def test_a_process_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib; from demo.processes import ManagedProcess\n"
        f"p = ManagedProcess('child', ['sleep', '600'], log=pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", program], cwd=BASE_DIR, capture_output=True, check=False)
    assert wait_for_end(int(parent.stdout))


@pytest.mark.parametrize("folder", ["short", "with a space", "x" * LONGEST_SOCKET_PATH])
def test_the_broker_answers_wherever_its_folder_is(
    tmp_path_factory: pytest.TempPathFactory, folder: str
) -> None:
    from kombu import Connection

    path = tmp_path_factory.mktemp("b") / folder
    path.mkdir()
    broker = EmbeddedBroker(path)
    try:
        with Connection(broker.url) as connection:
            queue = connection.SimpleQueue("numbers")
            queue.put({"number": 1})
            assert queue.get(timeout=2).payload == {"number": 1}
            queue.close()
    finally:
        broker.stop()
    assert broker.process.exit_code == 0
    assert not broker.socket_path.exists()
