"""What a question to Spark costs: seconds for each GB of files that is scanned, million of staged rows, and file.

    tests/install-spark
    python -m benchmarks.spark_model

One local server with two threads and 6 GB of memory. The rows of staged keys, which lie all over the table, are asked
for with all their columns; beside one table and one number of keys each of the three is made larger twice, and the four
numbers are fitted to the seven times (least squares, none below zero). Each question is asked three times, the median
counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import merging
from benchmarks import report
from benchmarks.spark import make_table
from merging.delta import open_snapshot
from merging.engines import Cluster, EngineChoice, Keys, TableReader
from merging.sql.quoting import column_sql
from merging.sql.session import session as opened_session
from tests.merging.interoperability.conftest import connect_server
from tests.merging.interoperability.spark_connect import connected

RUNS = 3


@dataclass(frozen=True)
class Size:
    """A table, and how many of its rows are staged."""

    rows: int
    files: int
    staged: int


def sizes(rows: int) -> list[Size]:
    """One that is like the others but for one number, and those."""
    return [
        Size(rows, 16, 10_000),
        *(Size(rows * times, 16, 10_000) for times in (3, 6)),
        *(Size(rows, 16, staged) for staged in (200_000, rows)),
        *(Size(rows, files, 10_000) for files in (100, 400)),
    ]


def seconds_of(uri: str, size: Size) -> float:
    """How long the rows of the staged keys are asked for."""
    taken = []
    snapshot = open_snapshot(uri)
    for _ in range(RUNS):
        with opened_session() as opened:
            opened.execute(
                f"CREATE TABLE sought AS SELECT i * {size.rows // size.staged} AS {column_sql('id')} "
                f"FROM range({size.staged}) r(i)"
            )
            began = time.perf_counter()
            found = TableReader(opened, snapshot).rows_of(Keys("sought", ["id"]), snapshot.schema.names)
            taken.append(time.perf_counter() - began)
            if found.number != size.staged:
                raise SystemExit(f"{found.number:,} rows were found of {size.staged:,}")
    return statistics.median(taken)


def fitted(points: list[tuple[float, float, float, float]]) -> list[float]:
    """What a question, a GB, a million rows and a file cost, of points (GB, millions, files, seconds)."""
    told = np.array(points)
    terms = np.column_stack([np.ones(len(told)), told[:, :3]])
    used = list(range(4))
    while True:
        found = np.linalg.lstsq(terms[:, used], told[:, 3], rcond=None)[0]
        if (found >= 0).all() or len(used) == 1:
            break
        used.pop(int(np.argmin(found)))
    costs = np.zeros(4)
    costs[used] = found
    return [float(one) for one in costs]


def main() -> int:
    """Make the tables, ask, print the times and what fits them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    lines, points = [], []
    settings = {"spark.driver.memory": "6g"}
    with (
        connect_server(settings=settings) as (_, port),
        connected(port) as session,
        tempfile.TemporaryDirectory() as place,
    ):
        choice = EngineChoice("spark", Cluster(f"sc://127.0.0.1:{port}"))
        merging.set_engines(lambda _: choice)
        for size in sizes(options.rows):
            folder = Path(place) / f"{size.rows}-{size.files}"
            if not folder.exists():
                make_table(session, folder, size.rows, vectors=True, files=size.files)
                seconds_of(str(folder), Size(size.rows, size.files, 1))
            gigabytes = open_snapshot(str(folder)).size_bytes / 1e9
            took = seconds_of(str(folder), size)
            points.append((gigabytes, size.staged / 1e6, float(size.files), took))
            lines.append([f"{gigabytes:.2f} GB", f"{size.staged:,}", str(size.files), f"{took:.2f} s"])
            print(f"  {size}: {took:.2f} s", file=sys.stderr)
    report.table(["table", "staged rows", "files", "taken"], lines)
    names = ("a question", "a GB of files", "a million staged rows", "a file")
    for name, seconds in zip(names, fitted(points), strict=True):
        report.figure(f"costs {name}", seconds, "s")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
