"""Servers that can die and come back at the same address, with or without their data."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from demo.broker import EmbeddedBroker
from demo.processes import ManagedProcess, wait_until
from tests import services
from tests.faults.orders import ORDERS_VARIABLE
from tests.migrated import begin_cluster, begin_migrated


class PostgresqlServer:
    """A PostgreSQL cluster in ``folder``, which belongs to ``owner``, the user who runs it."""

    def __init__(self, folder: Path, owner: str | None) -> None:
        self.folder, self.owner, self.port = folder, owner, services.free_port()
        self.binaries = services.postgresql_binaries()
        begin_cluster(self.binaries, folder / "data", owner)
        self.process = self._start()
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE headgate")

    @property
    def url(self) -> str:
        return self._url("headgate")

    def _url(self, database: str) -> str:
        return f"postgresql://headgate@127.0.0.1:{self.port}/{database}"

    def crash(self) -> None:
        """Every backend ends at once without a check point; on the way up the log is replayed."""
        self.process.stop(first=signal.SIGQUIT)
        self.process = self._start()

    def stop(self) -> None:
        self.process.stop(first=signal.SIGINT)

    def _start(self) -> ManagedProcess:
        server = ManagedProcess(
            "postgresql",
            [
                *(str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)),
                *("-k", str(self.folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            log=self.folder / "postgresql.log",
            folder=self.folder,
            run_as=self.owner,
        )
        ready = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(server, lambda: subprocess.run(ready, check=False).returncode == 0, seconds=30)
        return server


class RedisServer:
    """A Redis server that writes down every command before it answers, so that a kill loses nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, services.free_port()
        self.process = self._start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def crash(self, *, lose_data: bool) -> None:
        self.process.kill()
        if lose_data:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.process = self._start()

    def stop(self) -> None:
        self.process.stop(seconds=5)

    def _start(self) -> ManagedProcess:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise services.ServiceMissingError(
                "Redis is not installed (Debian: apt-get install redis-server)."
            )
        server = ManagedProcess(
            "redis",
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
            ],
            log=self.folder / "redis.log",
        )
        wait_until(server, lambda: services.answers_ping(self.port), seconds=10)
        return server


class EmbeddedServer:
    """The embedded broker; it keeps nothing, so every crash loses its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = EmbeddedBroker(folder)

    @property
    def url(self) -> str:
        return self.broker.url

    def crash(self, *, lose_data: bool) -> None:
        self.broker.process.kill()
        self.broker = EmbeddedBroker(self.folder)

    def stop(self) -> None:
        self.broker.stop()


@dataclass
class Servers:
    """What an installation stands on; ``database`` is None where it is SQLite."""

    folder: Path
    database_url: str
    broker: RedisServer | EmbeddedServer
    database: PostgresqlServer | None = None

    def environment(self) -> dict[str, str]:
        """The environment of every process of the installation."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": self.broker.url,
            "DELTA_DATA_ROOT": str(self.folder / "delta"),
            "LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
            "C_FORCE_ROOT": "1",
            ORDERS_VARIABLE: str(self.folder / "orders"),
        }


@contextlib.contextmanager
def servers(kind: str) -> Iterator[Servers]:
    """``production``: PostgreSQL and Redis; ``embedded``: SQLite and the broker that needs no server."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(services.private_folder("faults"))
        if kind == "embedded":
            broker: RedisServer | EmbeddedServer = EmbeddedServer(folder)
            stack.callback(lambda: broker.stop())
            database_file = folder / "headgate.sqlite3"
            begin_migrated(database_file)
            yield Servers(folder, f"sqlite:///{database_file}", broker)
            return
        owner = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        database = PostgresqlServer(stack.enter_context(services.private_folder("pg", owner=owner)), owner)
        stack.callback(database.stop)
        broker = RedisServer(folder)
        stack.callback(broker.stop)
        yield Servers(folder, database.url, broker, database)
