"""How long a suite of 15 common expectations takes on a merged result.

    python -m benchmarks.expectations --rows 6000000 --changes 10000 --runs 3

A table like TPC-H's ``lineitem`` (13 columns), a change request that updates rows all over it, and the suite judged
on the merged result in the session of its plan, as a merge does before it writes. Great Expectations is not loaded.
Printed: seconds of the plan, of the suite (wall and processor), and the peak memory of the process that did both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

import merging
from benchmarks import report

KEYS = ("l_orderkey", "l_linenumber")
TABLE = """
    SELECT (i // 4)::BIGINT AS l_orderkey, (i % 4)::INTEGER AS l_linenumber, (i * 7919 % 200000)::BIGINT AS l_partkey,
           (i * 31 % 50)::DECIMAL(15, 2) AS l_quantity, (i * 13 % 100000 / 7)::DECIMAL(15, 2) AS l_extendedprice,
           (i % 11 / 100)::DECIMAL(15, 2) AS l_discount, (['R', 'A', 'N'])[1 + i % 3] AS l_returnflag,
           (['O', 'F'])[1 + i % 2] AS l_linestatus, DATE '1992-01-01' + (i % 2500)::INTEGER AS l_shipdate,
           DATE '1992-02-01' + (i % 2500)::INTEGER AS l_receiptdate,
           (['MAIL', 'SHIP', 'AIR', 'RAIL', 'TRUCK'])[1 + i % 5] AS l_shipmode,
           'comment ' || (i * 997 % 100000) AS l_comment, i * 0.25 AS l_score
    FROM range({rows}) t(i)
"""


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    """An expectation in JSON; the type without ``expect_``."""
    return {"type": f"expect_{kind}", "kwargs": kwargs}


SUITE = {
    "name": "lineitem",
    "expectations": [
        expect("column_values_to_not_be_null", column="l_orderkey"),
        expect("column_values_to_not_be_null", column="l_shipdate"),
        expect("column_values_to_be_between", column="l_quantity", min_value=0, max_value=50),
        expect("column_values_to_be_between", column="l_discount", max_value=0.1, mostly=0.9),
        expect("column_values_to_be_in_set", column="l_returnflag", value_set=["R", "A", "N"]),
        expect("column_values_to_match_regex", column="l_comment", regex=r"^comment \d+$"),
        expect("column_value_lengths_to_be_between", column="l_comment", min_value=1, max_value=44),
        expect("column_pair_values_a_to_be_greater_than_b", column_A="l_receiptdate", column_B="l_shipdate"),
        expect("compound_columns_to_be_unique", column_list=list(KEYS)),
        expect("table_row_count_to_be_between", min_value=1),
        expect("column_mean_to_be_between", column="l_extendedprice", min_value=1),
        expect("column_sum_to_be_between", column="l_quantity", min_value=1),
        expect(
            "column_distinct_values_to_equal_set",
            column="l_shipmode",
            value_set=["MAIL", "SHIP", "AIR", "RAIL", "TRUCK"],
        ),
        expect("column_max_to_be_between", column="l_shipdate", max_value="2000-01-01"),
        expect("column_unique_value_count_to_be_between", column="l_partkey", min_value=100),
    ],
}


UNITS = {
    "plan of the merge": "s",
    "the suite": "s",
    "the suite, of processor time": "s",
    "peak memory of the process": "MB",
}


def main() -> None:
    """Prepare what is missing, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder / f"expectations-{options.rows}-{options.changes}"
    if options.one:
        print(json.dumps(measure(folder)))
        return
    prepare(folder, options.rows, options.changes)
    command = [sys.executable, "-m", "benchmarks.expectations", *sys.argv[1:], "--one"]
    found = [json.loads(subprocess.check_output(command, text=True)) for _ in range(options.runs)]
    for name, unit in UNITS.items():
        report.figure(name, statistics.median(one[name] for one in found), unit)


def prepare(folder: Path, rows: int, changes: int) -> None:
    """Write the table and the changes where they are missing, and stage the changes anew."""
    changed = folder / "changed.parquet"
    if not changed.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE t AS {TABLE.format(rows=rows)}")
            merging.create_table(str(folder / "table"), connection.sql("FROM t").to_arrow_table())
            connection.execute(
                "COPY (SELECT l_orderkey, l_linenumber, l_quantity, l_comment || '7' AS l_comment FROM t "
                f"WHERE (l_orderkey * 4 + l_linenumber) % {max(1, rows // changes)} = 3 LIMIT {changes}) "
                f"TO '{changed}'"
            )
    shutil.rmtree(folder / "staging", ignore_errors=True)
    staged = merging.stage(
        str(folder / "table"), str(changed), list(KEYS), destination=str(folder / "staging")
    )
    (folder / "staged.txt").write_text(staged.location)


def measure(folder: Path) -> dict[str, float]:
    """Plan once and judge the suite, in this process."""
    staged = (folder / "staged.txt").read_text()
    started = time.perf_counter()
    request = merging.MergeRequest(str(folder / "table"), "CR-1", KEYS, staged, expectations=SUITE)
    with merging.plan(request) as plan:
        planned, processor = time.perf_counter(), time.process_time()
        report = plan.check_expectations()
        ended, processor = time.perf_counter(), time.process_time() - processor
    if report is None or {one.state for one in report.results} != {"passed"}:
        raise SystemExit(f"the suite does not hold: {report}")
    return {
        "plan of the merge": planned - started,
        "the suite": ended - planned,
        "the suite, of processor time": processor,
        "peak memory of the process": peak_megabytes(),
    }


def peak_megabytes() -> float:
    """The most memory that this process held; unlike ``ru_maxrss`` without what its parent held."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
