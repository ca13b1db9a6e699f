"""How long the pages of a request with a million changed rows take: the bar is 0.3 s of server time for each view.

    python -m benchmarks.changes --rows 1000000 --folder /somewhere/with/2/GB

Makes a table of ten columns, stages as many changed rows for a request, and asks for the page of changes with each of
its filters, for the groups and for pages in the middle, through Django as a browser would; prints the median of several
asks. What it wrote is removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import report

MOST_SECONDS = 0.3
VIEWS = {
    "first page": "",
    "all columns": "columns=all",
    "new rows": "kind=insert",
    "changed rows": "kind=update",
    "a column that often changes": "column=v1",
    "a column that rarely changes": "column=v8",
    "a value of a column": "column=v1&old=0&new=1",
    "a value of any column": "new=1",
    "became NULL": "became_null=yes",
    "outside the usual range": "unusual=yes",
    "part of a key": "key=99999",
    "groups": "view=groups",
}


def main() -> int:
    """Make the request, ask for each view, print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headgate-changes-", dir=arguments.folder))
    try:
        measure(folder, arguments.rows, arguments.runs)
    finally:
        shutil.rmtree(folder)
    return report.exit_code()


def measure(folder: Path, rows: int, runs: int) -> None:
    """Prints the figures."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "SECRET_KEY": "only for the benchmark",
        "DATABASE_URL": f"sqlite:///{folder / 'headgate.sqlite3'}",
        "CELERY_BROKER_URL": "memory://",
        "DELTA_DATA_ROOT": str(folder / "delta"),
        "LOG_LEVEL": "ERROR",
    }
    import django

    django.setup()
    client, address = _request(folder, rows)
    for name, query in VIEWS.items():
        took, page = [], None
        for _ in range(runs):
            started = time.perf_counter()
            page = client.get(address, query_params=dict(_pairs(query)))
            took.append(time.perf_counter() - started)
            if page.status_code != 200:
                raise SystemExit(f"{name}: {page.status_code}")
        median = statistics.median(took)
        size = len(page.content) if page is not None else 0
        report.figure(f"{name} ({size / 1000:.0f} kB)", median * 1000, "ms", most=MOST_SECONDS * 1000)


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (part.partition("=") for part in query.split("&")) if name]


def _request(folder: Path, rows: int) -> tuple[Any, str]:
    """A browser of somebody who may review, and the address of the changes."""
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    import merging
    from changerequests.services import proposals, staging
    from datasets.roles import Role
    from datasets.services import register_dataset
    from tests.factories import ProjectFactory, person_with

    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    numbers = pa.array(range(rows), pa.int64())
    columns = {f"v{place}": pc.bit_wise_and(numbers, 2**place - 1) for place in range(9)}
    merging.create_table(str(folder / "table"), pa.table({"id": numbers, **columns}))
    project = ProjectFactory.create()
    dataset = register_dataset(
        project=project,
        slug="table",
        name="table",
        table_uri=str(folder / "table"),
        primary_keys=("id",),
    )
    author, reviewer = (person_with(Role.CONTRIBUTOR, dataset) for _ in range(2))
    changed = dict(columns)
    changed["v1"] = pc.subtract(1, columns["v1"])
    changed["v2"] = pc.if_else(pc.equal(pc.bit_wise_and(numbers, 7), 3), None, columns["v2"])
    changed["v3"] = pc.if_else(pc.equal(pc.bit_wise_and(numbers, 4095), 5), 99, columns["v3"])
    changed["v8"] = pc.if_else(pc.equal(pc.bit_wise_and(numbers, 65535), 9), 7, columns["v8"])
    content = folder / "content.parquet"
    pq.write_table(pa.table({"id": numbers, **changed}), content)
    made = proposals.create_change_request(dataset=dataset, author=author, title="All rows")
    staging.stage_at_once(change_request_id=made.pk, actor=author, path=content, file_name=content.name)
    proposals.submit(change_request_id=made.pk, actor=author)
    client = Client()
    client.force_login(reviewer)
    return client, f"/change-requests/{made.cr_id}/changes/"


if __name__ == "__main__":
    sys.exit(main())
