"""What pages and tasks cost in a large installation: ``python -m benchmarks.crowd``.

Fills a database of its own (SQLite, or PostgreSQL with ``--postgresql``) with 10,000 requests, 2,000 people, 500,000
events and 200 datasets, and prints for each page, list and task the SQL statements and the CPU seconds of this process
(the least of three, after one to warm up).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import django

from benchmarks import report
from tests import services

if TYPE_CHECKING:
    from benchmarks.crowd_data import Crowd

MOST_SECONDS_A_PAGE = 0.1
MOST_SECONDS_A_MERGE = 0.12
TINY = "a tiny merge"
TIMES = 3
PENDING_BESIDE = 40


@dataclass(frozen=True)
class Cost:
    """What one page or task took."""

    name: str
    statements: int
    seconds: float
    size: int | None

    def row(self) -> list[str]:
        """Name, statements, CPU seconds, and the size of its answer."""
        size = "" if self.size is None else f"{self.size / 1000:.0f} kB"
        return [self.name, str(self.statements), f"{self.seconds:.3f} s", size]


def tell(costs: Collection[Cost]) -> None:
    """Print them as a table."""
    report.table(("", "statements", "CPU", "answer"), (cost.row() for cost in costs))


def things(crowd: Crowd) -> Iterator[tuple[str, Callable[[], int | None]]]:
    """Everything that is measured: its name, and what does it once (giving the size of its answer, if it has one)."""
    from django.contrib import admin
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    from audit.services import verify_anchors
    from benchmarks import crowd_data
    from changerequests.services import execution
    from changerequests.services.blame import row_history
    from changerequests.states import RunStatus
    from changerequests.tasks import sweep
    from datasets.tasks import reconcile_all

    def page(address: str, user: User) -> Callable[[], int]:
        client = Client(SERVER_NAME="localhost")
        client.force_login(user)

        def get() -> int:
            response = client.get(address)
            if response.status_code != 200:
                raise RuntimeError(f"{address} answered {response.status_code}: {response.content[:500]!r}")
            return len(response.getvalue())

        return get

    def merges(crowd: Crowd) -> Callable[[], None]:
        crowd_data.queue_merges(crowd.quiet, crowd.owner, TIMES + 1)

        def merge() -> None:
            run = execution.merge_next(dataset_id=crowd.quiet.pk, worker="benchmark")
            if run is None or run.status != RunStatus.SUCCEEDED:
                raise RuntimeError(f"The merge ended otherwise: {run and run.error_message}")

        return merge

    def done(task: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            task()

        return work

    busy = [crowd.busy.project.slug, crowd.busy.slug]
    pages = {
        "home": reverse("home"),
        "datasets": reverse("datasets"),
        "requests of a dataset": reverse("dataset_change_requests", args=busy),
        "merged requests of a dataset": reverse("dataset_change_requests", args=busy) + "?status=merged",
        "API: requests": reverse("api:change-requests"),
        "API: pending requests": reverse("api:change-requests") + "?status=pending",
        "API: datasets": reverse("api:datasets"),
        "API: runs": reverse("api:runs"),
        "a request": reverse("change_request", args=[crowd.pending.cr_id]),
        "API: a request": reverse("api:change-request", args=[crowd.pending.cr_id]),
        "a long conversation": reverse("change_request", args=[crowd.long.cr_id]),
        "API: events of it": reverse("api:events", args=[crowd.long.cr_id]),
        "members": reverse("members", args=busy),
        "API: members": reverse("api:dataset-members", args=[crowd.busy.pk]),
        "/metrics": reverse("metrics"),
        "/readyz": reverse("readyz"),
    }
    for name, address in pages.items():
        yield name, page(address, crowd.owner)
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        yield f"admin: {name}", page(reverse(f"admin:{name}_changelist"), crowd.operator)
    yield TINY, merges(crowd)
    crowd_data.wait_beside(crowd.quiet, crowd.owner, PENDING_BESIDE)
    yield f"{TINY}, {PENDING_BESIDE} pending beside it", merges(crowd)
    yield "blame of a row", done(lambda: row_history(dataset=crowd.busy, key={"id": 7}))
    yield "sweep", done(sweep)
    yield "verify_anchors", done(lambda: list(verify_anchors()))
    yield "reconcile of all", done(reconcile_all)


def measured(name: str, once: Callable[[], int | None]) -> Cost:
    """Once to count its statements and to warm up, then a few times for the clock."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        size = once()
    statements = len(captured)  # a further request empties the log
    seconds = []
    for _ in range(TIMES):
        started = time.process_time()
        once()
        seconds.append(time.process_time() - started)
        if sum(seconds) > 5:
            break
    return Cost(name, statements, min(seconds), size)


@contextlib.contextmanager
def installation(*, postgresql: bool) -> Iterator[None]:
    """An empty installation in this process."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder, contextlib.ExitStack() as stack:
        database = (
            stack.enter_context(services.postgresql()) if postgresql else f"sqlite:///{folder}/crowd.sqlite3"
        )
        os.environ.update(
            DJANGO_SETTINGS_MODULE="config.settings.dev",
            DATABASE_URL=database,
            CELERY_BROKER_URL="memory://",
            DELTA_DATA_ROOT=str(Path(folder) / "delta"),
            LOG_LEVEL="ERROR",
        )
        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        yield
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    options = parser.parse_args()
    with installation(postgresql=options.postgresql):
        from benchmarks import crowd_data

        started = time.monotonic()
        sizes = crowd_data.Sizes(options.requests, options.people, options.events, options.datasets)
        crowd = crowd_data.fill(sizes)
        crowd_data.merge_two(crowd)
        crowd_data.count_rows()
        print(
            f"{sizes.requests:,} requests, {sizes.people:,} people, {sizes.events:,} events, {sizes.datasets:,} "
            f"datasets: filled in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        costs = [measured(name, once) for name, once in things(crowd) if options.only in name]
        tell(costs)
        pages = [cost for cost in costs if cost.size is not None]
        if pages:
            slowest = max(pages, key=lambda cost: cost.seconds)
            report.figure(
                f"the slowest page ({slowest.name})", slowest.seconds, "s", most=MOST_SECONDS_A_PAGE
            )
        for cost in costs:
            if cost.name.startswith(TINY):
                report.figure(cost.name, cost.seconds, "s", most=MOST_SECONDS_A_MERGE)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
