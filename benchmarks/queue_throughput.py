"""How fast the queue drains, and how soon one small merge is done: ``python -m benchmarks.queue_throughput``.

On PostgreSQL, Redis and separate workers with the settings of development. Printed are

- the median time from enqueue to merged of a 10-row request on an idle system,
- the time in which 4 workers drain 50 requests queued on one dataset, and 50 on fifty datasets, from the first claim to
  the last record; every request must end merged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command

from benchmarks import report
from tests import services

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from changerequests.models import MergeRun
    from datasets.models import Dataset, Project

TABLE_ROWS = 5_000
ROWS_PER_REQUEST = 10
WORKERS = 4
LONGEST_SECONDS = 600.0


class Bench:
    """One installation with a user who owns everything."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        from django.contrib.auth.models import User

        from datasets.roles import Role, set_role
        from datasets.services import create_project

        self.folder, self.environment, self.started = folder, environment, 0
        self.owner: User = User.objects.create_user("olivia")
        self.project: Project = create_project(slug="bench", name="Bench")
        set_role(member=self.owner, target=self.project, role=Role.OWNER, actor=None)

    def dataset(self, name: str) -> Dataset:
        """A table of ``TABLE_ROWS`` rows, registered."""
        import pyarrow as pa

        import merging
        from datasets.services import register_dataset

        uri = self.folder / "delta" / "tables" / name
        merging.create_table(
            str(uri),
            pa.table({"id": range(TABLE_ROWS), "value": [0.0] * TABLE_ROWS, "note": ["-"] * TABLE_ROWS}),
        )
        return register_dataset(
            project=self.project,
            slug=name,
            name=name,
            table_uri=str(uri),
            primary_keys=["id"],
            required_approvals=0,
        )

    def request(self, dataset: Dataset, number: int) -> int:
        """A pending request that changes rows of its own; its primary key."""
        from changerequests.services import proposals, staging

        made = proposals.create_change_request(dataset=dataset, author=self.owner, title=f"Request {number}")
        path = self.folder / "upload.csv"
        first = number * ROWS_PER_REQUEST
        lines = [f"{row},{number + 1}.5" for row in range(first, first + ROWS_PER_REQUEST)]
        path.write_text("\n".join(["id,value", *lines]) + "\n")
        staging.stage_at_once(change_request_id=made.pk, actor=self.owner, path=path)
        proposals.submit(change_request_id=made.pk, actor=self.owner)
        return made.pk

    def ask(self, pk: int) -> MergeRun:
        """Ask for the merge."""
        from changerequests.services import runs

        return runs.request_merge(change_request_id=pk, actor=self.owner)

    @contextlib.contextmanager
    def workers(self) -> Iterator[None]:
        """A worker with ``WORKERS`` children."""
        self.started += 1
        log = self.folder / f"worker-{self.started}.log"
        with services.worker_process(self.environment, log, concurrency=WORKERS):
            yield

    def ended(self, asked: list[MergeRun]) -> list[MergeRun]:
        """The runs once all of them have merged. Raises ``RuntimeError`` where one has not."""
        from changerequests.services import runs

        deadline = time.monotonic() + LONGEST_SECONDS
        found = [runs.wait_for_run(run.pk, deadline - time.monotonic()) for run in asked]
        for run in found:
            if run.status != "succeeded":
                raise RuntimeError(f"{run} is {run.status}: {run.error_message}")
        return found


def idle_latency(bench: Bench, times: int) -> list[float]:
    """Seconds from enqueue to merged of requests that come one by one."""
    dataset = bench.dataset("idle")
    requests = [bench.request(dataset, number) for number in range(times + WORKERS)]
    seconds = []
    with bench.workers():
        time.sleep(2)  # the checks that submitting asked for are done, and the system is idle
        for pk in requests:
            [run] = bench.ended([bench.ask(pk)])
            if run.finished_at is not None:
                seconds.append((run.finished_at - run.queued_at).total_seconds())
    return seconds[WORKERS:]  # each child's first merge is not idle, but cold


def drained(bench: Bench, name: str, datasets: int, requests: int) -> float:
    """Seconds from the first claim to the last record of requests that were queued before any worker ran."""
    tables = [bench.dataset(f"{name}-{number}") for number in range(datasets)]
    asked = [
        bench.ask(bench.request(tables[number % datasets], number // datasets)) for number in range(requests)
    ]
    with bench.workers():
        ended = bench.ended(asked)
    started = [run.started_at for run in ended if run.started_at is not None]
    finished = [run.finished_at for run in ended if run.finished_at is not None]
    return (max(finished) - min(started)).total_seconds()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_throughput", description=__doc__)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--idle", type=int, default=20, help="requests that come one by one")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="headgate-bench-") as name,
        services.postgresql() as database,
        services.redis_server(persistent=True) as broker,
    ):
        folder = Path(name)
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings.dev",
            "DATABASE_URL": database,
            "CELERY_BROKER_URL": broker,
            "DELTA_DATA_ROOT": str(folder / "delta"),
            "C_FORCE_ROOT": "1",
        }
        os.environ.update(environment)
        django.setup()
        call_command("migrate", verbosity=0)
        bench = Bench(folder, environment)
        seconds = idle_latency(bench, options.idle)
        report.figure(
            f"enqueue to merged, {ROWS_PER_REQUEST} rows, idle: median", statistics.median(seconds), "s"
        )
        report.figure(f"worst of {len(seconds)}", max(seconds), "s")
        for title, datasets in (("one dataset", 1), (f"{options.requests} datasets", options.requests)):
            took = drained(bench, title.replace(" ", "-"), datasets, options.requests)
            name = f"{options.requests} requests queued on {title}, {WORKERS} workers: all merged in"
            report.figure(name, took, "s")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
