"""What a large download costs those who fetch it, and everybody else: ``python -m benchmarks.downloads``.

A table of 1,000,000 rows and 10 columns is read from a web process (uvicorn) as Arrow, Parquet and CSV, twice each
after a small one that warms everything up, while others ask for a list and a dataset. Printed are

- how long each takes, its bytes, and the processor time that the web process spent on it,
- by how much the web process grew (VmHWM), and the answers to others (median, 95th percentile, worst).

Bars: as Arrow within 3 s on two quiet cores, the web process grows by less than 500 MB, however many rows there are.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.core.management import call_command

from benchmarks import report
from benchmarks.uploads import LONGEST_SECONDS, Others, Web, installation
from demo.processes import ManagedProcess, wait_until, web_command
from tests import services

MOST_SECONDS = 3.0
MOST_GROWTH_MB = 500
FORMATS = ("arrow", "parquet", "csv")


def readable(folder: Path, rows: int) -> tuple[str, int]:
    """A table of so many rows: a token of a viewer, and the number of its dataset."""
    import pyarrow as pa
    from django.contrib.auth.models import User

    import merging
    from accounts.scopes import Scope
    from accounts.tokens import make_token
    from datasets.roles import Role, set_role
    from datasets.services import create_project, register_dataset

    numbers = range(rows)
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "a": pa.array([number % 1000 for number in numbers], pa.int32()),
        "b": [f"name {number % 5000}" for number in numbers],
        "c": pa.array([number * 37 for number in numbers], pa.int64()).cast(pa.decimal128(19, 0)),
        "d": [number / 7 for number in numbers],
        "e": pa.array([number % 20_000 for number in numbers], pa.int32()).cast(pa.date32()),
        "f": [number % 2 == 0 for number in numbers],
        "g": pa.array([number * 1_000_003 for number in numbers], pa.timestamp("us", "UTC")),
        "h": [f"note {number}" for number in numbers],
        "i": pa.array([number % 97 for number in numbers], pa.int64()),
    }
    table = str(folder / "delta" / "tables" / "large")
    merging.create_table(table, pa.table(columns))
    project = create_project(slug="bench", name="Bench")
    dataset = register_dataset(
        project=project, slug="large", name="large", table_uri=table, primary_keys=["id"]
    )
    viewer = User.objects.create_user("vera")
    set_role(member=viewer, target=dataset, role=Role.VIEWER, actor=None)
    return make_token(owner=viewer, scopes=tuple(Scope))[1], dataset.pk


def fetched(web: Web, path: str) -> int:
    """Read an answer to its end, and forget it; its bytes. Raises ``RuntimeError`` where it is none of rows."""
    place = urlsplit(web.address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=LONGEST_SECONDS)
    connection.request("GET", path, headers={"Authorization": f"Token {web.token}"})
    answer = connection.getresponse()
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the download was answered {answer.status}")
    return size


def processor_seconds(pid: int) -> float:
    """What a process has used so far (``proc(5)``, stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(web: Web, dataset: int, people: int) -> None:
    """Fetch and print."""
    rows = f"/api/v1/datasets/{dataset}/rows"
    others = Others(web, ("/api/v1/change_requests?limit=20", f"/api/v1/datasets/{dataset}"))
    with others.asking(people):
        for name in FORMATS:
            fetched(web, f"{rows}?format={name}&filter=id:<:10")
    others.seconds.clear()
    before, best = web.peak(), dict.fromkeys(FORMATS, float("inf"))
    rows_of_table: dict[str, list[str]] = {}
    with others.asking(people):
        for name in FORMATS * 2:
            used, began = processor_seconds(web.pid), time.monotonic()
            size = fetched(web, f"{rows}?format={name}")
            took = time.monotonic() - began
            used = processor_seconds(web.pid) - used
            if took < best[name]:
                best[name] = took
                rows_of_table[name] = [name, f"{size / 1e6:.1f} MB", f"{took:.2f} s", f"{used:.2f} s"]
    grown = web.peak() - before
    report.table(("format", "bytes", "took", "CPU of the web process"), rows_of_table.values())
    report.figure("Arrow takes", best["arrow"], "s", most=MOST_SECONDS)
    report.figure("the web process grows by", grown / 1e6, "MB", most=MOST_GROWTH_MB)
    report.figure(f"{people} others wait, median", statistics.median(others.seconds), "s")
    report.figure("they wait, 95th percentile", statistics.quantiles(others.seconds, n=20)[-1], "s")


def main() -> int:
    """Start everything and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=2, help="others who ask meanwhile")
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
        token, dataset = readable(folder, options.rows)
        port = services.free_port()
        web = ManagedProcess("web", web_command(port=port), environment=environment, log=folder / "web.log")
        try:
            wait_until(web, lambda: services.answers_livez(port), seconds=60)
            measure(Web(f"http://127.0.0.1:{port}", web.pid, token), dataset, options.people)
        finally:
            web.stop(seconds=10)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
