"""A large upload to a table that is too large for one machine: Spark finds its base images, and its rows again.

    tests/install-spark
    python -m benchmarks.spark_upload --rows 1000000000 --upload 10000000

A table of 64 files that Spark wrote in the order of its key, with deletion vectors, and a CSV of so many rows, which
lie all over the table: of a hundred 98 are updates, one is a delete and one is new. It is staged by a confined process
with the bounds that uploads have, and merged once every file has another name, so that all rows are looked for.
Afterwards Spark counts what the table has, and what became of the rows that were not uploaded. Server, worker and
confined process share the cores of one machine; the server has two local threads and 8 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

import merging
from benchmarks import report
from benchmarks.spark import move
from merging.engines import Cluster, EngineChoice
from tests.merging.interoperability.conftest import connect_server
from tests.merging.interoperability.spark_connect import connected

KEYS = ("id",)
FILES = 64
#: As ``staging_process_memory`` and ``staging_seconds`` of the settings, for a file that takes longer here.
BOUNDS = merging.Bounds(memory_bytes=3 * 1024**3, seconds=3_600, file_bytes=64 * 1024**3, network=True)


def make_table(session: Any, table: Path, rows: int) -> None:
    """Whole numbers, a word of a thousand, and a day."""
    session.sql(
        f"CREATE TABLE delta.`{table}` USING delta TBLPROPERTIES (delta.enableDeletionVectors = true) AS "
        "SELECT id, CAST(id % 100003 AS INT) AS amount, concat('word ', id % 1000) AS word, "
        f"date_add(DATE '2020-01-01', CAST(id % 2000 AS INT)) AS day FROM range(0, {rows}, 1, {FILES})"
    )


def make_upload(path: Path, rows: int, upload: int) -> None:
    """Rows at even distances in the table with another amount; of a hundred one goes, and one comes."""
    step = rows // upload
    duckdb.execute(
        f"COPY (SELECT CASE i % 100 WHEN 99 THEN {rows} + i ELSE i * {step} END AS id, -1 AS amount, "
        "CASE i % 100 WHEN 98 THEN 'delete' ELSE 'upsert' END AS _op "
        f"FROM range({upload}) r(i)) TO '{path}' (HEADER)"
    )


def told_by_spark(session: Any, table: Path, rows: int, upload: int) -> tuple[int, ...]:
    """How many rows there are and how many have the new amount, and a sum of all cells of the others."""
    step = rows // upload
    [found] = (
        session.sql(
            "SELECT count(*) AS n, count_if(amount = -1) AS changed, "
            f"count_if(id % {step} <> 0 AND id < {rows}) AS others, "
            f"sum(CASE WHEN id % {step} <> 0 AND id < {rows} THEN hash(id, amount, word, day) END) AS cells "
            f"FROM delta.`{table}`"
        )
        .toArrow()
        .to_pylist()
    )
    return tuple(found.values())


def main() -> int:
    """Make the table, stage, merge, compare, print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--upload", type=int, default=1_000_000)
    options = parser.parse_args()
    lines: list[list[str]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        connect_server(settings={"spark.driver.memory": "8g"}) as (_, port),
        connected(port) as session,
    ):
        place = Path(folder)
        table, path = place / "table", place / "rows.csv"

        def timed(name: str, began: float) -> None:
            lines.append([name, f"{time.perf_counter() - began:.1f} s"])
            print(f"  {name}: {lines[-1][1]}", file=sys.stderr)

        began = time.perf_counter()
        make_table(session, table, options.rows)
        make_upload(path, options.rows, options.upload)
        size = merging.inspect_table(str(table)).size_bytes
        timed(f"made by Spark, {size / 1e9:.1f} GB", began)
        before = told_by_spark(session, table, options.rows, options.upload)
        choice = EngineChoice("spark", Cluster(f"sc://127.0.0.1:{port}"))
        merging.set_engines(lambda _: choice)
        (place / "scratch").mkdir()
        began = time.perf_counter()
        staged = merging.stage_apart(
            str(table),
            str(path),
            KEYS,
            destination=str(place / "staged"),
            scratch=str(place / "scratch"),
            bounds=BOUNDS,
            file_name=path.name,
        )
        timed("staged", began)
        move(table)
        began = time.perf_counter()
        request = merging.MergeRequest(str(table), "CR-1", KEYS, staged, destination=str(place / "artefacts"))
        result = merging.merge(request)
        timed("merged, all rows looked for", began)
        for read in result.reads:
            print(f"  {read}", file=sys.stderr)
        after = told_by_spark(session, table, options.rows, options.upload)
        gone, come = options.upload // 100, options.upload // 100
        wanted = (before[0] - gone + come, options.upload - gone, *before[2:])
        if after != wanted:
            raise SystemExit(f"Spark tells of {after}, and it should be {wanted}")
    report.table(["step", "taken"], lines)
    report.figure("peak memory of the worker", report.peak_memory() / 1e9, "GB")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
