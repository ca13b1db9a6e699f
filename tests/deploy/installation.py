"""A whole installation, started by the commands of ``deploy/`` with its configuration: two web processes, a worker
for each queue, the schedule, PostgreSQL, Redis, and a proxy before it. For the smoke test and the load benchmark.

What differs from the files is what one machine beside others needs: ports, folders, addresses. All else is theirs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.env import BASE_DIR
from demo.processes import ManagedProcess, wait_until
from tests import services
from tests.deploy import reading
from tests.deploy.weights import weighed

HOST = "localhost"
QUEUES = ("merging", "staging", "maintenance", "notifications")
LONGEST_START = 120


@dataclass
class Installation:
    """A running installation, without its proxy."""

    folder: Path
    environment: dict[str, str]
    database_url: str
    web_ports: tuple[int, ...]
    processes: dict[str, ManagedProcess] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str]) -> ManagedProcess:
        """One of its processes, under a name of the test's."""
        process = ManagedProcess(
            name, command, environment=self.environment, folder=BASE_DIR, log=self.folder / f"{name}.log"
        )
        self.processes[name] = process
        return process

    def manage(self, *arguments: str, **environment: str) -> str:
        """What a command of ``manage.py`` says. Raises ``CalledProcessError`` with what it complained of."""
        return self.run(
            [*in_checkout(["/opt/headgate/.venv/bin/python"]), "manage.py", *arguments], environment
        )

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """What a command in the environment of the installation says."""
        done = subprocess.run(
            command,
            cwd=BASE_DIR,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def start_web(self, port: int) -> ManagedProcess:
        """A web process, which answers when this returns."""
        command, _ = reading.unit("headgate-web@.service", str(port))
        web = self.start(f"web-{port}", in_checkout(command))
        wait_until(web, lambda: services.answers_livez(port), seconds=LONGEST_START)
        return web


@contextlib.contextmanager
def installation(
    folder: Path,
    *,
    children: Mapping[str, int],
    database_connections: int = 10,
    prepare: Sequence[str] = (),
    weights: bool = False,
    **settings: str,
) -> Iterator[Installation]:
    """Everything but the proxy: ``children`` are the processes of each queue's worker.

    ``prepare`` are a module and its arguments that are run, once the database is migrated, before the processes start;
    ``settings`` are variables of the environment beside those of the file. With ``weights`` workers have the weight of
    their unit, which is for a machine on which nothing else runs: beside other tests they would never be ready.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(services.postgresql())
        broker = stack.enter_context(services.redis_server(persistent=True))
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("CREATE DATABASE headgate")
        database_url = server.rpartition("/")[0] + "/headgate"
        ports = (services.free_port(), services.free_port())
        environment = _environment(folder, database_url, broker)
        environment |= {"DATABASE_CONNECTIONS": str(database_connections), **settings}
        made = Installation(folder, environment, database_url, ports)
        groups = stack.enter_context(contextlib.ExitStack())
        stack.callback(_stop, made.processes)
        build = reading.build_step("collectstatic")
        subprocess.run(["sh", "-c", build], cwd=BASE_DIR, env={"PATH": os.defpath}, check=True)
        made.run(in_checkout(reading.unit("headgate-migrate.service")[0]))
        if prepare:
            made.run([*in_checkout(["/opt/headgate/.venv/bin/python"]), "-m", *prepare])
        for port in ports:
            command, _ = reading.unit("headgate-web@.service", str(port))
            made.start(f"web-{port}", in_checkout(command))
        for queue in QUEUES:
            concurrency = str(children.get(queue, 1))
            command, service = reading.unit("headgate-worker@.service", queue, CONCURRENCY=concurrency)
            weight = groups.enter_context(weighed(service["CPUWeight"])) if weights else []
            made.start(f"worker-{queue}", [*weight, *in_checkout(command)])
        made.start("schedule", in_checkout(reading.unit("headgate-schedule.service")[0]))
        for port in ports:
            web = made.processes[f"web-{port}"]
            wait_until(web, lambda port=port: services.answers_livez(port), seconds=LONGEST_START)  # type: ignore[misc]
        for queue in QUEUES:
            worker = made.processes[f"worker-{queue}"]
            wait_until(worker, lambda worker=worker: " ready." in worker.log_tail(200), seconds=LONGEST_START)  # type: ignore[misc]
        yield made


def in_checkout(command: Sequence[str]) -> list[str]:
    """A command of the files with the checkout where they have the installation."""
    return [part.replace(reading.INSTALLED, str(BASE_DIR)) for part in command]


def _environment(folder: Path, database_url: str, broker: str) -> dict[str, str]:
    """What the units' file says, with secrets that ``deploy/write-secrets`` makes."""
    secrets, root, temporary = folder / "secrets", folder / "data", folder / "tmp"
    root.mkdir()
    temporary.mkdir()
    subprocess.run(
        [reading.DEPLOY / "write-secrets", secrets], check=True, stdout=subprocess.DEVNULL, cwd=folder
    )
    place = urlsplit(database_url)
    written = (secrets / "database_url").read_text()
    assert written.endswith("@database:5432/headgate\n")
    (secrets / "database_url").write_text(
        written.replace("@database:5432/", f"@{place.hostname}:{place.port}/")
    )
    here = {
        "/etc/headgate/secrets": str(secrets),
        "redis://127.0.0.1:6379/0": broker,
        "/data/delta": str(root),
        "headgate.example.org": HOST,
    }
    given = {}
    for name, value in reading.unit_environment().items():
        for part, instead in here.items():
            value = value.replace(part, instead)
        given[name] = value
    of_image = {
        name: value.replace(reading.INSTALLED, str(BASE_DIR))
        for name, value in reading.image_environment().items()
    }
    own = {"TMPDIR": str(temporary), "HEADGATE_CACHE": str(folder / "cache"), "C_FORCE_ROOT": "1"}
    return {**of_image, **given, **own}


def _stop(processes: Mapping[str, ManagedProcess]) -> None:
    for process in processes.values():
        process.ask_to_stop()
    for process in processes.values():
        process.stop(seconds=15)


@contextlib.contextmanager
def nginx(made: Installation, *, read_seconds: int = 150) -> Iterator[int]:
    """nginx with ``deploy/nginx/headgate.conf`` before the installation; yields the port that speaks TLS."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise services.ServiceMissingError("nginx is not installed (Debian: apt-get install nginx).")
    folder, port, plain = made.folder / "nginx", services.free_port(), services.free_port()
    folder.mkdir()
    certificate, key = certify(folder)
    one, other = made.web_ports
    site = reading.with_parts(
        reading.DEPLOY / "nginx" / "headgate.conf",
        {
            "127.0.0.1:8001": f"127.0.0.1:{one}",
            "127.0.0.1:8002": f"127.0.0.1:{other}",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen [::]:80;": "",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
            "listen [::]:443 ssl http2;": "",
            "headgate.example.org": HOST,
            "/etc/nginx/headgate.crt": str(certificate),
            "/etc/nginx/headgate.key": str(key),
            "/var/log/nginx/headgate.log": str(folder / "access.log"),
            "proxy_read_timeout 150s": f"proxy_read_timeout {read_seconds}s",
        },
    )
    (folder / "headgate.conf").write_text(site)
    kept = [
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    user = "user root; " if os.geteuid() == 0 else ""  # folders of the test are root's alone
    (folder / "nginx.conf").write_text(
        f"{user}daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 2;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ {' '.join(kept)} include {folder}/headgate.conf; }}\n"
    )
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with _proxy("nginx", command, made, port, {}):
        yield port


@contextlib.contextmanager
def caddy(made: Installation) -> Iterator[int]:
    """Caddy with ``deploy/caddy/Caddyfile`` before the installation; yields the port that speaks TLS."""
    program = shutil.which("caddy")
    if program is None:
        raise services.ServiceMissingError("Caddy is not installed (Debian: apt-get install caddy).")
    folder, port = made.folder / "caddy", services.free_port()
    folder.mkdir()
    certificate, key = certify(folder)
    environment = {
        "HEADGATE_SITE": f"https://{HOST}:{port}",
        "HEADGATE_WEBS": " ".join(f"127.0.0.1:{web}" for web in made.web_ports),
        "HEADGATE_TLS": f"tls {certificate} {key}",
        "HEADGATE_HTTP_PORT": str(services.free_port()),
        "CADDY_ADMIN": f"127.0.0.1:{services.free_port()}",
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    configuration = str(reading.DEPLOY / "caddy" / "Caddyfile")
    command = [program, "run", "--config", configuration, "--adapter", "caddyfile"]
    with _proxy("caddy", command, made, port, environment):
        yield port


@contextlib.contextmanager
def _proxy(
    name: str, command: Sequence[str], made: Installation, port: int, environment: Mapping[str, str]
) -> Iterator[None]:
    path = {"PATH": f"{os.defpath}:/usr/sbin"}
    process = ManagedProcess(
        name,
        command,
        environment={**path, **environment},
        folder=made.folder,
        log=made.folder / f"{name}.log",
    )
    try:
        wait_until(process, lambda: _listens(port), seconds=20)
        yield
    finally:
        process.stop(seconds=5)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate for ``HOST`` that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "headgate.crt", folder / "headgate.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return paths
