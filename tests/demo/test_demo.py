"""The demo command: what it says when it cannot start, and one whole life of it."""

import http.client
import os
import re
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from config.env import BASE_DIR
from demo import run as demo
from demo.processes import ManagedProcess, wait_until
from demo.run import DemoError, check_packages, check_port, own_secret, read_port, the_only_demo_in
from tests.migrated import begin_migrated
from tests.services import free_port


def test_a_port_in_use_is_told_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DemoError, match=rf"Port {port} is in use.*PORT={port + 1} make demo"):
            check_port(port)
    check_port(port)


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "80a"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DemoError, match="between 1 and 65535"):
        read_port(text)


def test_a_missing_package_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NEEDED_MODULES", ("django", "a_package_that_nobody_has"))
    with pytest.raises(DemoError, match=r"Packages are missing: a_package_that_nobody_has\. `make demo`"):
        check_packages()


def test_one_folder_serves_one_demo_at_a_time(tmp_path: Path) -> None:
    with (
        the_only_demo_in(tmp_path, 8000),
        pytest.raises(DemoError, match=r"runs already .*http://127\.0\.0\.1:8000/.*\n.*\n.*PORT=8001"),
        the_only_demo_in(tmp_path, 8000),
    ):
        pass
    with the_only_demo_in(tmp_path, 8000):
        pass


def test_the_secret_key_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = own_secret(path)
    assert len(key) >= 64
    assert own_secret(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- One whole life ----------------------------------------------------------------------------------------


class RunningDemo:
    """``python -m demo`` on a folder and port of its own, and what it says."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.lines: list[str] = []
        environment = {**os.environ, "HEADGATE_DEMO_FOLDER": str(folder), "PORT": str(port)}
        self.process = ManagedProcess(
            "demo",
            [sys.executable, "-m", "demo"],
            environment=environment,
            folder=BASE_DIR,
            sink=self.lines.append,
        )

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait_until_ready(self, seconds: float) -> None:
        wait_until(self.process, lambda: "Ctrl-C stops everything" in self.said, seconds=seconds)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self, how: signal.Signals = signal.SIGINT) -> int | None:
        self.process.ask_to_stop(how)
        return self.process.wait(30)


def processes_of(folder: Path) -> list[str]:
    """The command lines of every process that works on the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended, or is somebody else's
            if str(folder).encode() in text:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.mark.services
@pytest.mark.slow
def test_the_demo_starts_serves_keeps_its_data_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo folder"
    folder.mkdir()
    begin_migrated(folder / "headgate.sqlite3")
    first = RunningDemo(folder, free_port())
    try:
        first.wait_until_ready(120)
        for words in ("olivia   owner", "carl     contributor", "vera     viewer", "adam     operator"):
            assert words in first.said
        assert "headgate-demo" in first.said
        assert f"http://127.0.0.1:{first.port}/" in first.said
        assert first.get("/livez")[0] == 200
        status, ready = first.get("/readyz")
        assert status == 200, ready

        second = RunningDemo(folder, first.port)
        assert second.process.wait(20) == 1
        assert re.search(rf"A demo runs already .*127\.0\.0\.1:{first.port}/", second.said)
        assert second.stop() == 1

        assert first.stop(signal.SIGINT) == 0
        assert processes_of(folder) == []
    finally:
        first.process.stop(seconds=20)

    again = RunningDemo(folder, first.port)
    try:
        again.wait_until_ready(60)
        assert "loading the flights" not in again.said
        assert again.stop(signal.SIGTERM) == 0
        assert processes_of(folder) == []
    finally:
        again.process.stop(seconds=20)
