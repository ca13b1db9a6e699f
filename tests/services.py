"""Real services for the tests: PostgreSQL, Redis, the embedded broker, worker and web processes.

All of them are private to the test run, listen on the loopback address or a unix socket only, are waited for
with a bound, and are stopped however the run ends.

As a program: ``python -m tests.services suite`` runs the suite (what ``make test`` does), ``whole-suite`` every
combination (``make test-whole``), ``stores-suite`` what needs stores that others serve (``make test-stores``),
``quick`` the static checks and the tests of single parts (``make quick``);
``python -m tests.services with-postgresql COMMAND …`` runs a command with ``DATABASE_URL`` set.
"""

import contextlib
import http.client
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kombu.pools

from config.celery import app as celery_app
from config.env import BASE_DIR
from demo.processes import ManagedProcess, wait_until, web_command, worker_command
from tests import options
from tests.migrated import begin_cluster, copy_cluster, migrate

#: The same application tests on both databases; the engine knows no database, so it is tested once.
DATABASE_SUITES = tuple(
    f"tests/{name}"
    for name in (
        "audit",
        "accounts",
        "datasets",
        "changerequests",
        "notifications",
        "api",
        "web",
        "demo",
        "config",
    )
)

#: What `make quick` runs: tests of single parts, a few seconds each.
QUICK_TESTS = (
    "tests/architecture/test_class_names.py",
    "tests/architecture/test_map.py",
    "tests/architecture/test_model_relations.py",
    "tests/architecture/test_repository.py",
    "tests/changerequests/test_facts.py",
    "tests/config/test_env.py",
    "tests/merging/delta/test_delta_vectors.py",
    "tests/merging/expectations/test_kinds.py",
    "tests/merging/expectations/test_suites.py",
    "tests/merging/test_values.py",
    "tests/web/test_cells.py",
    "tests/web/test_moved.py",
    "tests/web/test_wording.py",
)


class ServiceMissingError(Exception):
    """A program that a service needs is not installed; the message names its package."""


@contextlib.contextmanager
def postgresql(*, kept: Path | None = None) -> Iterator[str]:
    """A PostgreSQL cluster of its own; yields the URL of an empty database whose user may make others.

    ``kept`` is where its data are copied to at its end.
    """
    binaries = postgresql_binaries()
    owner = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    with private_folder("postgresql", owner=owner) as folder:
        data = folder / "data"
        begin_cluster(binaries, data, owner)
        port = free_port()
        server = ManagedProcess(
            "postgresql",
            [
                *(str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"),
                *("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
            ],
            log=folder / "postgresql.log",
            folder=folder,
            run_as=owner,
        )
        try:
            ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(server, lambda: subprocess.run(ready, check=False).returncode == 0, seconds=30)
            yield f"postgresql://headgate@127.0.0.1:{port}/postgres"
        finally:
            server.stop(first=signal.SIGINT)  # PostgreSQL's fast shutdown
        if kept is not None:
            copy_cluster(data, kept)


def postgresql_binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``. Raises ``ServiceMissingError``."""
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parent.parent.name
    )
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve())
    if not candidates:
        raise ServiceMissingError("PostgreSQL is not installed (Debian: apt-get install postgresql).")
    return candidates[-1].parent


@contextlib.contextmanager
def redis_server(*, persistent: bool = False) -> Iterator[str]:
    """A Redis server of its own on the loopback address; yields its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise ServiceMissingError("Redis is not installed (Debian: apt-get install redis-server).")
    with private_folder("redis") as folder:
        port = free_port()
        server = ManagedProcess(
            "redis",
            [
                *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
                *("--save", "", "--appendonly", "yes" if persistent else "no"),
            ],
            log=folder / "redis.log",
        )
        try:
            wait_until(server, lambda: answers_ping(port), seconds=10)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.stop(seconds=5)


@contextlib.contextmanager
def worker_process(
    environment: Mapping[str, str], log: Path, *, concurrency: int = 1
) -> Iterator[ManagedProcess]:
    """A Celery worker in a process of its own, ready to take tasks."""
    command = worker_command(concurrency=concurrency, beat=False)
    worker = ManagedProcess("worker", command, environment=environment, folder=BASE_DIR, log=log)
    try:
        wait_until(worker, lambda: " ready." in log.read_text(errors="replace"), seconds=60)
        yield worker
    finally:
        worker.stop(seconds=15)


@contextlib.contextmanager
def web_process(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """The web process under uvicorn; yields its address."""
    port = free_port()
    web = ManagedProcess("web", web_command(port=port), environment=environment, folder=BASE_DIR, log=log)
    try:
        wait_until(web, lambda: answers_livez(port), seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        web.stop(seconds=10)


@contextlib.contextmanager
def using_broker(url: str) -> Iterator[None]:
    """Publish this process' tasks to another broker for a while."""
    previous = celery_app.conf.broker_url
    publish_to(url)
    try:
        yield
    finally:
        publish_to(previous)


def publish_to(url: str) -> None:
    """Point the Celery application at a broker, and drop the connections to the one before."""
    application: Any = celery_app  # the stubs do not know the pools behind its properties
    application.pool.force_close_all()
    kombu.pools.reset()  # the pools are kept by URL: a closed one would come back with the same broker
    application.conf.broker_url = url
    application._pool = None
    application.amqp._producer_pool = None


@contextlib.contextmanager
def private_folder(name: str, *, owner: str | None = None) -> Iterator[Path]:
    """A short-lived folder, with a path short enough for unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix=f"headgate-{name}-"))
    if owner is not None:
        account = pwd.getpwnam(owner)
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers_ping(port: int) -> bool:
    """Does a Redis server answer on the port?"""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def answers_livez(port: int) -> bool:
    """Does the web process answer on the port?"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def run_suite(arguments: list[str], *, whole: bool = False) -> int:
    """Run the tests; the worst exit code of its parts. ``arguments`` go to each pytest.

    A run takes every test that does not take long, of those that do and of combinations a sample (``tests.dealing``),
    and repeats on PostgreSQL what asks it anything new (``tests.asked_statements``); the ``whole`` takes every test and
    every combination, on both databases.
    """
    began = time.monotonic()
    pytest = [sys.executable, "-m", "pytest", *arguments]
    in_process = [*pytest, "-n", "2", "--dist", "worksteal"]
    in_process += [
        "-m",
        "not e2e and not services and not spark and not stores and not corpus and not recipes",
    ]
    with tempfile.TemporaryDirectory(prefix="headgate-suite-") as folder:
        seed = "" if whole else str(_seed())
        variables = {"SAMPLE_SEED": seed, **_migrated_databases(Path(folder))}
        noting = variables if whole else {**variables, "STATEMENTS": folder}
        if not whole:
            announce(f"the sample of this run: SAMPLE_SEED={seed}; `make test-whole` takes all")
        # What waits for servers and browsers leaves time to the processes beside it.
        with ThreadPoolExecutor(1) as beside:
            services = beside.submit(_separate_processes_and_browser, pytest, variables)
            results = [
                part("everything within one process, on SQLite", in_process, variables=noting),
                part(
                    "the application again, on PostgreSQL",
                    [*in_process, *DATABASE_SUITES],
                    variables=noting,
                    on_postgresql=True,
                ),
                *services.result(),
            ]
    announce(f"all tests: {time.monotonic() - began:.0f} s")
    return max(results)


def _migrated_databases(folder: Path) -> dict[str, str]:
    """Make the databases that the others begin as; the variables that name them."""
    file, cluster = folder / "migrated.sqlite3", folder / "cluster"

    def make_cluster() -> dict[str, str]:
        try:
            with postgresql(kept=cluster) as url:
                migrate(f"{url.rpartition('/')[0]}/template1")
        except ServiceMissingError:
            return {}  # each part that needs it says so
        return {"MIGRATED_CLUSTER": str(cluster)}

    with ThreadPoolExecutor(1) as beside:
        made = beside.submit(make_cluster)
        migrate(f"sqlite:///{file}")
        return {"MIGRATED": str(file), **made.result()}


def _separate_processes_and_browser(pytest: list[str], variables: Mapping[str, str]) -> list[int]:
    return [
        part(
            "separate processes, PostgreSQL and Redis",
            [*pytest, "-m", "services", *_files_marked("services")],
            variables=variables,
            on_postgresql=True,
            whole_output=True,
        ),
        part("the browser", [*pytest, "tests/e2e"], variables=variables, whole_output=True),
    ]


def _files_marked(mark: str) -> list[str]:
    """The files of tests in which the mark stands: others need not be looked at."""
    files = sorted((BASE_DIR / "tests").rglob("test_*.py"))
    return [str(file.relative_to(BASE_DIR)) for file in files if f"pytest.mark.{mark}" in file.read_text()]


def _seed() -> int:
    """The sample that was asked for, else the commit's: whoever judges a commit takes the same, and each commit others.

    Without a repository a new one.
    """
    if options.SAMPLE_SEED is not None:
        return options.SAMPLE_SEED
    tree = ["git", "rev-parse", "HEAD^{tree}"]
    try:
        found = subprocess.run(tree, cwd=BASE_DIR, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return secrets.randbelow(10_000)
    return int(found, 16) % 10_000


def run_stores_suite(arguments: list[str]) -> int:
    """The engine on stores that others serve: its path and their faults on each, its tests of tables on one."""
    pytest = [sys.executable, "-m", "pytest", *arguments]
    seed = str(_seed())
    announce(f"the sample of this run: SAMPLE_SEED={seed}; SITES=azurite SAMPLE_SEED= takes all in one place")
    stores = " ".join(options.SITES or ("versitygw", "azurite", "gcs"))
    return max(
        part("stores and their faults", [*pytest, "tests/stores"], variables={"SAMPLE_SEED": ""}),
        part(
            f"the engine's tests of tables, each in one of {stores}",
            [*pytest, "-n", "2", "--dist", "worksteal", "-m", "stores", "tests/merging"],
            variables={"SAMPLE_SEED": seed, "SITES": stores},
        ),
    )


def run_quick(arguments: list[str]) -> int:
    """The static checks, and beside them the tests that need neither a table nor a database row."""
    started = time.monotonic()
    checks = subprocess.Popen([BASE_DIR / ".ci" / "static-checks"], stdout=subprocess.PIPE, text=True)
    results = [part("tests of single parts", [sys.executable, "-m", "pytest", *QUICK_TESTS, *arguments])]
    said, _ = checks.communicate()
    sys.stdout.write(said)
    announce(f"quick: {time.monotonic() - started:.0f} s; `make test` runs every test")
    return max(*results, checks.returncode)


def part(
    title: str,
    command: list[str],
    *,
    variables: Mapping[str, str] | None = None,
    on_postgresql: bool = False,
    whole_output: bool = False,
) -> int:
    """Run one part of the suite and say how long it took; with ``whole_output`` its output comes at its end."""
    announce(f"{title} …")
    started = time.monotonic()
    try:
        with postgresql() if on_postgresql else contextlib.nullcontext("") as url:
            # Importing ``config`` has named the settings of the demo in this process' environment.
            environment = {
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "config.settings.test",
                **(variables or {}),
            }
            if url:
                environment["DATABASE_URL"] = url
            done = subprocess.run(
                command,
                cwd=BASE_DIR,
                env=environment,
                check=False,
                text=True,
                stdout=subprocess.PIPE if whole_output else None,
                stderr=subprocess.STDOUT if whole_output else None,
            )
    except ServiceMissingError as error:
        announce(f"{'FAILED' if options.services_required() else 'SKIPPED'}: {title}: {error}")
        return 1 if options.services_required() else 0
    if whole_output:
        sys.stdout.write(done.stdout)
    outcome = "passed" if done.returncode == 0 else f"FAILED (exit code {done.returncode})"
    announce(f"{title}: {outcome} in {time.monotonic() - started:.0f} s")
    return done.returncode


def find_chromium() -> Path:
    """The system's Chromium, which the browser tests drive. Raises ``ServiceMissingError``."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    raise ServiceMissingError("Chromium is not installed (Debian: apt-get install chromium).")


def announce(line: str) -> None:
    sys.stdout.write(f"headgate: {line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["suite", *rest]:
            return run_suite(rest)
        case ["whole-suite", *rest]:
            return run_suite(rest, whole=True)
        case ["stores-suite", *rest]:
            return run_stores_suite(rest)
        case ["quick", *rest]:
            return run_quick(rest)
        case ["with-postgresql", _, *_]:
            return part(" ".join(arguments[1:]), arguments[1:], on_postgresql=True)
        case _:
            sys.stderr.write(__doc__ or "")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
