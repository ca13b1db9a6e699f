"""What it costs to push a million rows from Python: ``python -m benchmarks.client``.

A Parquet file of 1,000,000 rows and 10 columns is proposed by the client, in a process of its own, to a web process
(uvicorn, with a worker of its own for all queues); then the same rows again with one in a thousand changed, of which
the client sends only those (``only_changes``) once the first are merged. Printed are, for each,

- how long until it is staged, the client's import left out,
- the client's most resident memory (VmHWM), and by how much the web process grew.

Bars for the first: staged within 15 s, the client below 300 MB, the web process grows by less than 50 MB. Ends with 1
where one is not kept. On SQLite and the embedded broker, or with ``--postgresql`` on PostgreSQL and Redis.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from django.core.management import call_command

from benchmarks import report
from benchmarks.uploads import Web, draft, installation, write_rows
from demo.processes import ManagedProcess, wait_until, web_command
from tests import services

MOST_SECONDS = 15.0
MOST_CLIENT_MB = 300
MOST_GROWTH_MB = 50

#: What the client's process does; it knows nothing of the server's code.
PUSH = """
import json, sys, time
import headgate
address, token, path, only_changes = json.loads(sys.argv[1])
with headgate.Client(address, token) as hg:
    began = time.monotonic()
    made = hg.dataset("bench/large").propose(path, title=path, only_changes=only_changes)
    sent = time.monotonic() - began
    made.wait()
    took = time.monotonic() - began
    rows = made.data["revision"]["rows"]
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(json.dumps({"sent": sent, "took": took, "rows": rows, "peak": peak, "cr_id": made.cr_id}))
"""


def push(web: Web, path: Path, *, only_changes: bool) -> dict[str, Any]:
    """Let a client push a file; what it measured, and by how much the web process grew."""
    before = web.peak()
    options = json.dumps([web.address, web.token, str(path), only_changes])
    environment = {**os.environ, "PYTHONPATH": "client"}
    done = subprocess.run(
        [sys.executable, "-c", PUSH, options], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return {**json.loads(done.stdout), "grown": web.peak() - before}


def merge(web: Web, cr_id: str) -> None:
    """Merge a request, whose approvals its owner overrides: nobody else is there."""
    place = f"/api/v1/change_requests/{cr_id}"
    web.call("POST", f"{place}/submit")
    body, kind = json.dumps({"reason": "Only measured"}), "application/json"
    status, run = web.call("POST", f"{place}/merge", body, **{"Content-Type": kind, "Prefer": "wait=60"})
    if status != 200:
        raise RuntimeError(f"the merge was answered {status}: {run}")


def write_parquet(folder: Path, rows: int) -> tuple[Path, Path]:
    """The file, and one in which one row in a thousand is another."""
    text, whole, changed = folder / "rows.csv", folder / "rows.parquet", folder / "changed.parquet"
    write_rows(text, rows)
    table = pa.csv.read_csv(text)
    pq.write_table(table, whole)
    hit = pc.equal(pc.bit_wise_and(table["id"], 1023), 0)
    pq.write_table(table.set_column(9, "i", pc.if_else(hit, -1, table["i"])), changed)
    return whole, changed


@contextlib.contextmanager
def served(folder: Path, environment: dict[str, str], token: str) -> Iterator[Web]:
    """The web process and a worker."""
    port = services.free_port()
    with services.worker_process({**environment, "LOG_LEVEL": "INFO"}, folder / "worker.log"):
        web = ManagedProcess("web", web_command(port=port), environment=environment, log=folder / "web.log")
        try:
            wait_until(web, lambda: services.answers_livez(port), seconds=60)
            yield Web(f"http://127.0.0.1:{port}", web.pid, token)
        finally:
            web.stop(seconds=10)


def main() -> int:
    """Start everything, push twice, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
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
        _, token, _ = draft(folder)
        whole, changed = write_parquet(folder, options.rows)
        small = folder / "small.parquet"
        pq.write_table(pq.read_table(whole).slice(0, 10), small)
        with served(folder, environment, token) as web:
            push(web, small, only_changes=False)  # the first starts what readers are forked from
            first = push(web, whole, only_changes=False)
            print(f"{options.rows:,} rows, {whole.stat().st_size:,} bytes of Parquet")
            merge(web, first["cr_id"])
            second = push(web, changed, only_changes=True)
    tell("a whole file", first, bars=True)
    tell(f"only what differs: {second['rows']:,} rows", second, bars=False)
    return report.exit_code()


def tell(title: str, measured: dict[str, Any], *, bars: bool) -> None:
    """Print what one push took."""
    report.figure(f"{title}: sent", measured["sent"], "s")
    report.figure(f"{title}: staged", measured["took"], "s", most=MOST_SECONDS if bars else None)
    report.figure(
        f"{title}: memory of the client", measured["peak"] / 1e6, "MB", most=MOST_CLIENT_MB if bars else None
    )
    report.figure(
        f"{title}: the web process grows by",
        measured["grown"] / 1e6,
        "MB",
        most=MOST_GROWTH_MB if bars else None,
    )


if __name__ == "__main__":
    sys.exit(main())
