"""How long a large CSV takes to be staged, and how much memory: the bar is 1 GiB for 5 GB.

    python -m benchmarks.staging --gigabytes 5 --folder /somewhere/with/40/GB

Writes a CSV of new rows (seven columns, 141 bytes a row), stages it against a table of one row in a process of its
own, and prints the seconds, the peak of the resident memory (VmHWM), and what was read and written. What it wrote is
removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa

import merging
from benchmarks import report

BYTES_A_ROW = 141
ROWS = """
    SELECT i AS id, i % 1000 AS a, 'row ' || md5(i::VARCHAR) || ' ' || repeat('x', (i % 20)::INTEGER) AS b,
           (i * 0.37)::DECIMAL(15, 2) AS price, i / 7.0::DOUBLE AS c,
           TIMESTAMP '2013-01-01' + INTERVAL (i % 100000) MINUTE AS moment, md5((i * 7)::VARCHAR) AS note
    FROM range({rows}) t(i)
"""


def main() -> int:
    """Write the file, stage it in another process, print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage is not None:
        stage(arguments.stage)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="headgate-staging-", dir=arguments.folder))
    try:
        measure(folder, arguments.gigabytes)
    finally:
        shutil.rmtree(folder)
    return report.exit_code()


def measure(folder: Path, gigabytes: float) -> None:
    """Prints the figures."""
    rows = int(gigabytes * 1e9 / BYTES_A_ROW)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"COPY ({ROWS.format(rows=rows)}) TO '{folder / 'new.csv'}' (HEADER)")
    merging.create_table(
        str(folder / "table"),
        pa.table(
            {
                "id": pa.array([-1], pa.int64()),
                "a": pa.array([1], pa.int32()),
                "b": ["x"],
                "price": pa.array([Decimal("1.00")], pa.decimal128(15, 2)),
                "c": [1.0],
                "moment": pa.array([0], pa.timestamp("us", "UTC")),
                "note": ["n"],
            }
        ),
    )
    size = (folder / "new.csv").stat().st_size
    command = [sys.executable, "-m", "benchmarks.staging", "--stage", str(folder)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    took = json.loads(output)
    report.figure(f"{size / 1e9:.2f} GB of CSV, {took['rows']:,} rows", took["seconds"], "s")
    report.figure("peak memory of the process", took["peak"] / 2**30, "GiB", most=1)
    report.figure("staged content", took["staged"] / 1e9, "GB")


def stage(folder: Path) -> None:
    """The process that is measured."""
    started = time.monotonic()
    staged = merging.stage(
        str(folder / "table"), str(folder / "new.csv"), ["id"], destination=str(folder / "staging")
    )
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [peak] = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    written = sum(path.stat().st_size for path in Path(staged.location).iterdir())
    took = {
        "rows": staged.rows,
        "seconds": time.monotonic() - started,
        "peak": peak,
        "staged": written,
    }
    print(json.dumps(took))


if __name__ == "__main__":
    sys.exit(main())
