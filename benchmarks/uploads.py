"""What a large upload costs those who send it, and everybody else: ``python -m benchmarks.uploads``.

A CSV of 1,000,000 rows and 10 columns is sent to a web process (uvicorn, with a worker of its own for all queues) while
others ask for a list and a dataset; a small one before warms everything up. Printed are

- how long until it is staged, and what of that the sending took,
- by how much the web process grew (VmHWM), and the answers to others (median, 95th percentile, worst).

Bars: staged within 8 s on two quiet cores, the web process grows by less than 50 MB, others wait less than 0.5 s at the
95th percentile. On SQLite and the embedded broker, as ``make demo``, or with
``--postgresql`` on PostgreSQL and Redis.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.core.management import call_command

from benchmarks import report
from demo.broker import EmbeddedBroker
from demo.processes import ManagedProcess, wait_until, web_command
from tests import services

MOST_SECONDS = 8.0
MOST_GROWTH_MB = 50
MOST_WAIT_SECONDS = 0.5
TABLE_ROWS = 100_000
LONGEST_SECONDS = 600.0
BORDER = "a-border-that-no-file-has"


@dataclass(frozen=True)
class Web:
    """The web process, and a caller with a token."""

    address: str
    pid: int
    token: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and document of an answer."""
        place = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=LONGEST_SECONDS)
        with contextlib.closing(connection):
            sent = {"Authorization": f"Token {self.token}", **headers}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def peak(self) -> int:
        """The most resident memory that it had so far, in bytes (VmHWM)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@dataclass
class Others:
    """People who ask for small things all the time, a tenth of a second after each answer."""

    web: Web
    paths: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def asking(self, people: int) -> Iterator[None]:
        """Let so many ask at once while the block lasts. Raises ``RuntimeError`` where one was not answered 200."""
        ended, wrong = threading.Event(), list[int]()

        def ask() -> None:
            for path in itertools.cycle(self.paths):
                if ended.wait(0.1):
                    return
                began = time.monotonic()
                status, _ = self.web.call("GET", path)
                self.seconds.append(time.monotonic() - began)
                if status != 200:
                    wrong.append(status)

        threads = [threading.Thread(target=ask) for _ in range(people)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        if wrong:
            raise RuntimeError(f"others were answered {set(wrong)}")


def write_rows(path: Path, rows: int) -> None:
    """A CSV of ten columns: keys that the table has and new ones, texts, numbers, dates."""
    with path.open("w", encoding="ascii") as file:
        file.write("id,a,b,c,d,e,f,g,h,i\n")
        for number in range(rows):
            file.write(
                f"{number},{number % 1000},name {number % 5000},{number * 0.37:.2f},{number / 7!r},"
                f"2013-{number % 12 + 1:02}-{number % 28 + 1:02},{'true' if number % 2 else 'false'},"
                f"{number * 3},note {number},{number % 97}\n"
            )


def send(web: Web, path: str, file: Path) -> dict[str, Any]:
    """Send the file without waiting for the worker; the upload. Raises ``RuntimeError`` where it is not received."""
    head = (
        f'--{BORDER}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        "Content-Type: text/csv\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BORDER}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        with file.open("rb") as content:
            while piece := content.read(1 << 16):
                yield piece
        yield tail

    headers = {
        "Content-Type": f"multipart/form-data; boundary={BORDER}",
        "Content-Length": str(len(head) + file.stat().st_size + len(tail)),
        "Prefer": "respond-async",
    }
    status, upload = web.call("POST", path, pieces(), **headers)
    if status != 202:
        raise RuntimeError(f"the upload was answered {status}: {upload}")
    return dict(upload)


def staged(web: Web, upload: dict[str, Any]) -> dict[str, Any]:
    """The upload once it is staged. Raises ``RuntimeError`` where it ended otherwise."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while upload["state"] in ("received", "reading", "checking") and time.monotonic() < deadline:
        time.sleep(0.1)
        _, upload = web.call("GET", urlsplit(upload["url"]).path)
    if upload["state"] != "staged":
        raise RuntimeError(f"the upload is {upload['state']}: {upload['problem']}")
    return upload


def draft(folder: Path) -> tuple[str, str, int]:
    """A request without content: its public id, a token of its author, and the number of its dataset."""
    import pyarrow as pa
    from django.contrib.auth.models import User

    import merging
    from accounts.scopes import Scope
    from accounts.tokens import make_token
    from changerequests.services import proposals
    from datasets.roles import Role, set_role
    from datasets.services import create_project, register_dataset

    numbers = range(TABLE_ROWS)
    table = str(folder / "delta" / "tables" / "large")
    merging.create_table(table, pa.table({"id": numbers, "a": numbers, "b": ["-"] * TABLE_ROWS}))
    project = create_project(slug="bench", name="Bench")
    dataset = register_dataset(
        project=project, slug="large", name="large", table_uri=table, primary_keys=["id"]
    )
    author = User.objects.create_user("carl")
    set_role(member=author, target=dataset, role=Role.OWNER, actor=None)
    made = proposals.create_change_request(dataset=dataset, author=author, title="A million rows")
    return made.cr_id, make_token(owner=author, scopes=tuple(Scope))[1], dataset.pk


def measure(web: Web, cr_id: str, dataset: int, file: Path, people: int) -> None:
    """Send, wait, print."""
    others = Others(web, ("/api/v1/change_requests?limit=20", f"/api/v1/datasets/{dataset}"))
    with others.asking(people):
        time.sleep(2)  # what is loaded on first use is loaded
    small = file.with_name("small.csv")
    write_rows(small, 10)  # the first upload of a worker starts what its readers are forked from
    staged(web, send(web, f"/api/v1/change_requests/{cr_id}/upload", small))
    others.seconds.clear()
    before, began = web.peak(), time.monotonic()
    with others.asking(people):
        upload = send(web, f"/api/v1/change_requests/{cr_id}/upload", file)
        received = time.monotonic() - began
        upload = staged(web, upload)
        took = time.monotonic() - began
    grown = web.peak() - before
    late = statistics.quantiles(others.seconds, n=20)[-1]
    print(f"{upload['size_bytes']:,} bytes, {upload['rows_read']:,} rows")
    report.figure("received", received, "s")
    report.figure("staged", took, "s", most=MOST_SECONDS)
    report.figure("the web process grows by", grown / 1e6, "MB", most=MOST_GROWTH_MB)
    report.figure(f"{people} others wait, median", statistics.median(others.seconds), "s")
    report.figure("they wait, 95th percentile", late, "s", most=MOST_WAIT_SECONDS)


@contextlib.contextmanager
def installation(folder: Path, *, postgresql: bool) -> Iterator[dict[str, str]]:
    """The environment of an empty installation."""
    with contextlib.ExitStack() as stack:
        if postgresql:
            database = stack.enter_context(services.postgresql())
            broker = stack.enter_context(services.redis_server())
        else:
            database = f"sqlite:///{folder / 'bench.sqlite3'}"
            embedded = EmbeddedBroker(folder)
            stack.callback(embedded.stop)
            broker = embedded.url
        yield {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings.dev",
            "DATABASE_URL": database,
            "CELERY_BROKER_URL": broker,
            "DELTA_DATA_ROOT": str(folder / "delta"),
            "LOG_LEVEL": "WARNING",
            "C_FORCE_ROOT": "1",
        }


def main() -> int:
    """Start everything and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=5, help="others who ask meanwhile")
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="headgate-bench-") as name,
        installation(Path(name), postgresql=options.postgresql) as environment,
    ):
        folder = Path(name)
        os.environ.update(environment)
        django.setup()
        call_command("migrate", verbosity=0)
        cr_id, token, dataset = draft(folder)
        write_rows(folder / "rows.csv", options.rows)
        port = services.free_port()
        with services.worker_process({**environment, "LOG_LEVEL": "INFO"}, folder / "worker.log"):
            web = ManagedProcess(
                "web", web_command(port=port), environment=environment, log=folder / "web.log"
            )
            try:
                wait_until(web, lambda: services.answers_livez(port), seconds=60)
                caller = Web(f"http://127.0.0.1:{port}", web.pid, token)
                measure(caller, cr_id, dataset, folder / "rows.csv", options.people)
            finally:
                web.stop(seconds=10)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
