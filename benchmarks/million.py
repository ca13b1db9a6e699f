"""What a million rows cost before they are merged: read and written down, and planned where others changed the table.

    python -m benchmarks.million --rows 1000000

A table of a key and nine columns; each step in a process of its own, after one small merge in that process: new rows
from a CSV are staged, updates of all rows from Parquet are staged, and those are planned where somebody else has
changed the same cell in a tenth of the rows since. Bars: 6 s, 5 s and 3 s on two quiet cores, within 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

import merging
from benchmarks import report

KEYS = ("id",)
ROWS = """
    SELECT i + {first} AS id, (i * 7919) % 1000 AS quantity, 'name ' || md5(i::VARCHAR) AS name, i % 7 = 0 AS open,
           (i * 0.37)::DECIMAL(15, 2) AS price, i / 7.0::DOUBLE AS weight, DATE '2013-01-01' + (i % 3000)::INT AS day,
           TIMESTAMPTZ '2013-01-01 00:00:00+00' + INTERVAL (i % 100000) MINUTE AS moment,
           ['north', 'south', 'east', 'west'][i % 4 + 1] AS region,
           'a note of ' || i || ' that is some words long' AS note
    FROM range({rows}) t(i)
"""
EDITED = "(quantity + {by})::BIGINT AS quantity, (price + 1)::DECIMAL(15, 2) AS price"


def main() -> int:
    """Make what is staged, measure each step, print it with its bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--one", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        step, folder = options.one
        print(json.dumps(measure_here(STEPS[step], Path(folder))))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="headgate-million-", dir=options.folder))
    try:
        prepare(folder, options.rows)
        for step, (name, most) in BARS.items():
            runs = [measure(step, folder) for _ in range(options.runs)]
            report.figure(name, statistics.median(run["seconds"] for run in runs), "s", most=most)
            report.figure(f"{name}: peak memory", max(run["peak"] for run in runs) / 2**30, "GiB", most=1)
    finally:
        shutil.rmtree(folder)
    return report.exit_code()


def prepare(folder: Path, rows: int) -> None:
    """A table, the files that are staged, and the table again as it is planned on, with what others changed in it."""
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        base = ROWS.format(first=0, rows=rows)
        for name in ("table", "changed"):
            merging.create_table(str(folder / name), connection.sql(base).to_arrow_table())
        connection.execute(f"COPY ({ROWS.format(first=rows, rows=rows)}) TO '{folder / 'new.csv'}' (HEADER)")
        edited = f"SELECT * REPLACE ({EDITED.format(by=1)}) FROM ({base})"
        connection.execute(f"COPY ({edited}) TO '{folder / 'updates.parquet'}' (FORMAT parquet)")
        others = f"SELECT id, (quantity + 2)::BIGINT AS quantity FROM ({base}) WHERE id % 10 = 0"
        changes = connection.sql(others).to_arrow_table()
    table, destination = str(folder / "changed"), str(folder / "staging")
    ours = merging.stage(table, folder / "updates.parquet", KEYS, destination=destination)
    (folder / "planned").write_text(ours.location, encoding="utf-8")
    theirs = merging.stage(table, changes, KEYS, destination=destination)
    merging.merge(merging.MergeRequest(table, "CR-1", KEYS, theirs))


def measure(step: str, folder: Path) -> dict[str, Any]:
    """One step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.million", "--one", step, str(folder)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure_here(step: Callable[[Path], None], folder: Path) -> dict[str, Any]:
    """Run one step in this process and time it; before that a small merge, so that libraries are loaded."""
    merging.warm_up()
    started, used = time.perf_counter(), time.process_time()
    step(folder)
    return {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - used,
        "peak": report.peak_memory(),
    }


def stage_csv(folder: Path) -> None:
    """New rows from a CSV."""
    _stage(folder, "new.csv")


def stage_updates(folder: Path) -> None:
    """Two columns of every row updated, from Parquet with all columns."""
    _stage(folder, "updates.parquet")


def _stage(folder: Path, name: str) -> None:
    merging.stage(str(folder / "table"), folder / name, KEYS, destination=str(folder / "staging"))


def plan_conflicts(folder: Path) -> None:
    """The updates planned on a table in which a tenth of the rows has another new quantity."""
    staged = (folder / "planned").read_text(encoding="utf-8")
    with merging.plan(merging.MergeRequest(str(folder / "changed"), "CR-2", KEYS, staged)) as made:
        if made.unresolved * 10 != made.staged.rows:
            raise RuntimeError(f"{made.unresolved} conflicts in {made.staged.rows} rows are not a tenth")


STEPS: dict[str, Callable[[Path], None]] = {
    "csv": stage_csv,
    "updates": stage_updates,
    "plan": plan_conflicts,
}
BARS = {
    "csv": ("new rows from a CSV, staged", 6.0),
    "updates": ("updates from Parquet, staged", 5.0),
    "plan": ("planned, with a tenth of the rows in conflict", 3.0),
}

if __name__ == "__main__":
    sys.exit(main())
