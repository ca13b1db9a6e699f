"""A three-way merge beside Dolt's and doltlite's: ``python -m benchmarks.threeway --rows 1000000``.

One table with a key and eight columns; Current changed 1 % of the rows, Proposed 2 % (one column in half of those that
Current changed too, so that rows are merged by cell and nothing is in conflict). Timed is the merge alone: ours with
plan, artefacts and commit, ``dolt_merge`` of doltlite (the version-controlled SQLite) and ``dolt merge``, which commit
too. Each runs in a process of its own; all must end with the same sums. Printed: medians of seconds and peak memory.

Dolt is measured where the program ``dolt`` is on the path, and else said to be missing.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report

COLUMNS = [f"v{place}" for place in range(8)]
ENGINES = ("headgate", "doltlite", "dolt")
CURRENT = "id % 100 = 0"
PROPOSED = "(id % 200 = 0 OR id % 200 IN (7, 19, 31))"


def main() -> int:
    """Measure in alternation, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            run = {"headgate": run_headgate, "doltlite": run_doltlite, "dolt": run_dolt}[options.one]
            print(json.dumps(run(Path(folder), options.rows)))
        return 0
    there = [engine for engine in ENGINES if engine != "dolt" or shutil.which("dolt")]
    if "dolt" not in there:
        print("Dolt itself is not measured: there is no program `dolt` on the path.")
    results: dict[str, list[dict[str, Any]]] = {engine: [] for engine in there}
    for _ in range(options.runs):
        for engine, runs in results.items():
            command = [
                sys.executable,
                "-m",
                "benchmarks.threeway",
                "--rows",
                str(options.rows),
                "--one",
                engine,
            ]
            runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    sums = {run["sum"] for runs in results.values() for run in runs}
    if len(sums) != 1:
        raise SystemExit(f"The merged tables differ: {results}")
    print(f"{options.rows:,} rows, 1 % changed by Current, 2 % by Proposed")
    middle = {
        engine: [statistics.median(run[name] for run in runs) for name in ("seconds", "peak")]
        for engine, runs in results.items()
    }
    report.table(
        ("engine", "seconds", "peak memory"),
        ([engine, f"{seconds:.3f}", f"{peak / 1e9:.2f} GB"] for engine, (seconds, peak) in middle.items()),
    )
    for engine in there[1:]:
        report.figure(f"{engine} takes", middle[engine][0] / middle["headgate"][0], "times ours", least=1)
    return report.exit_code()


def run_headgate(folder: Path, rows: int) -> dict[str, Any]:
    """Ours: Current by one merge, then the measured one."""
    import duckdb

    import merging

    merging.warm_up()
    uri = str(folder / "table")
    with duckdb.connect() as connection:
        listed = ", ".join(f"id * 10 + {place} AS {name}" for place, name in enumerate(COLUMNS))
        merging.create_table(
            uri, connection.sql(f"SELECT range AS id, {listed} FROM range({rows})").to_arrow_table()
        )

        def staged(changed: str, column: str) -> merging.Staged:
            query = f"SELECT range AS id, -range AS {column} FROM range({rows})"
            content = connection.sql(f"SELECT * FROM ({query}) WHERE {changed}").to_arrow_table()
            return merging.stage(uri, content, ("id",), 0, destination=str(folder / "staged"))

        current, proposed = staged(CURRENT, "v0"), staged(PROPOSED, "v1")
        merging.merge(merging.MergeRequest(uri, "CR-1", ("id",), current, destination=str(folder / "done")))
        request = merging.MergeRequest(uri, "CR-2", ("id",), proposed, destination=str(folder / "done"))
        started = time.perf_counter()
        merging.merge(request)
        seconds, peak = time.perf_counter() - started, report.peak_memory()
        data = deltalake_rows(uri)
        [(total,)] = connection.sql("SELECT sum(v0 * 3 + v1) FROM data").fetchall()
        del data
    return {"seconds": seconds, "peak": peak, "sum": int(total)}


def deltalake_rows(uri: str) -> Any:
    """The table as delta-rs reads it."""
    import deltalake
    import pyarrow

    builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(uri))
    return pyarrow.table(builder.execute("SELECT v0, v1 FROM t").read_all())


def run_doltlite(folder: Path, rows: int) -> dict[str, Any]:
    """doltlite: Current on main, Proposed on a branch, ``dolt_merge``."""
    import doltlite

    doltlite.bootstrap()  # before anything imports sqlite3
    import sqlite3

    connection = sqlite3.connect(str(folder / "table.db"), isolation_level=None)
    connection.execute(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, {', '.join(f'{one} INTEGER' for one in COLUMNS)})"
    )
    places = ", ".join("?" for _ in range(len(COLUMNS) + 1))
    connection.execute("BEGIN")
    connection.executemany(
        f"INSERT INTO t VALUES ({places})",
        ([key, *(key * 10 + place for place in range(len(COLUMNS)))] for key in range(rows)),
    )
    connection.execute("COMMIT")
    connection.execute("SELECT dolt_commit('-A', '-m', 'base')")
    connection.execute("SELECT dolt_branch('proposed')")
    connection.execute(f"UPDATE t SET v0 = -id WHERE {CURRENT}")
    connection.execute("SELECT dolt_commit('-A', '-m', 'current')")
    connection.execute("SELECT dolt_checkout('proposed')")
    connection.execute(f"UPDATE t SET v1 = -id WHERE {PROPOSED}")
    connection.execute("SELECT dolt_commit('-A', '-m', 'proposed')")
    connection.execute("SELECT dolt_checkout('main')")
    started = time.perf_counter()
    connection.execute("SELECT dolt_merge('proposed')").fetchall()
    seconds, peak = time.perf_counter() - started, report.peak_memory()
    [(total,)] = connection.execute("SELECT sum(v0 * 3 + v1) FROM t").fetchall()
    connection.close()
    return {"seconds": seconds, "peak": peak, "sum": int(total)}


def run_dolt(folder: Path, rows: int) -> dict[str, Any]:
    """Dolt: Current on main, Proposed on a branch, ``dolt merge`` by its command line."""
    environment = {**os.environ, "HOME": str(folder), "DOLT_ROOT_PATH": str(folder)}
    data = folder / "data"
    data.mkdir()

    def dolt(*arguments: str) -> str:
        done = subprocess.run(
            ["dolt", *arguments], cwd=data, env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"dolt {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    dolt("config", "--global", "--add", "user.name", "benchmark")
    dolt("config", "--global", "--add", "user.email", "benchmark@localhost")
    dolt("init", "-b", "main")
    columns = ", ".join(f"{one} BIGINT" for one in COLUMNS)
    dolt("sql", "-q", f"CREATE TABLE t (id BIGINT PRIMARY KEY, {columns})")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *COLUMNS])
        writer.writerows([key, *(key * 10 + place for place in range(len(COLUMNS)))] for key in range(rows))
    dolt("table", "import", "-u", "t", str(folder / "rows.csv"))
    dolt("add", "-A")
    dolt("commit", "-m", "base")
    dolt("branch", "proposed")
    for branch, changed, column in (("main", CURRENT, "v0"), ("proposed", PROPOSED, "v1")):
        dolt("checkout", branch)
        dolt("sql", "-q", f"UPDATE t SET {column} = -id WHERE {changed}")
        dolt("commit", "-a", "-m", branch)
    dolt("checkout", "main")
    started = time.perf_counter()
    process = subprocess.Popen(
        ["dolt", "merge", "proposed", "-m", "merged"], cwd=data, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"dolt merge ended with {os.waitstatus_to_exitcode(status)}")
    [_, [total]] = csv.reader(
        io.StringIO(dolt("sql", "-r", "csv", "-q", "SELECT CAST(sum(v0 * 3 + v1) AS SIGNED) FROM t"))
    )
    return {"seconds": seconds, "peak": usage.ru_maxrss * 1024, "sum": int(total)}


if __name__ == "__main__":
    sys.exit(main())
