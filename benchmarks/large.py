"""What a table of ten terabytes costs the process that plans merges into it: 100,000 files of 100 MB.

    python -m benchmarks.large
    python -m benchmarks.large --folder /somewhere/with/1/GB

The log is real: commits of 1,000 files each, a checkpoint by delta-rs, and commits behind it. The data files are not
there: what a cluster would answer about them is answered by a stand-in, which makes the rows of a key from the key, in
the session in which answers of Spark are held as well. So what is measured is ours alone: opening the log, leaving
files out by their statistics, holding a million rows, and the three-way plan; the time and the memory of a cluster are
not.

*pinned*: nobody touched the table since a million rows were staged, ten in each file. *rewritten*: somebody wrote every
file anew since, so that each row has to be looked for. Each operation runs in a process of its own. Told are its time,
which other processes of the machine change, and its peak memory, libraries and all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import merging
from benchmarks import report
from benchmarks.scale_tables import commit, rows_of
from merging.delta import Snapshot
from merging.engines import EngineChoice, EngineName, Keys, Rows
from merging.errors import MergeError
from merging.sql.quoting import column_sql
from merging.sql.session import Session

FILES = 100_000
ROWS_A_FILE = 1_000_000
FILE_BYTES = 100_000_000
STAGED_A_FILE = 10
KEYS = ("id",)
#: Cells of a row, from its key.
_CELLS = {
    "id": "k",
    "name": "'row ' || k",
    "amount": "k / 7.0",
    "day": "DATE '2013-01-01' + (k % 4000)::INTEGER",
    "note": "'note ' || k % 13",
}
_answers = itertools.count()
_MADE = 1_700_000_000_000


def path_of(number: int, generation: int) -> str:
    """The name of a file, which tells its number."""
    return f"part-{number:06d}-{generation}.parquet"


def _added(number: int, generation: int) -> dict[str, Any]:
    first = number * ROWS_A_FILE
    last = first + ROWS_A_FILE - 1
    stats = {
        "numRecords": ROWS_A_FILE,
        "minValues": {"id": first, "name": f"row {first}", "amount": first / 7, "day": "2013-01-01"},
        "maxValues": {"id": last, "name": f"row {last}", "amount": last / 7, "day": "2023-12-14"},
        "nullCount": dict.fromkeys(_CELLS, 0),
    }
    return {
        "path": path_of(number, generation),
        "partitionValues": {},
        "size": FILE_BYTES,
        "modificationTime": _MADE,
        "dataChange": True,
        "stats": json.dumps(stats, separators=(",", ":")),
    }


def _removed(number: int, generation: int) -> dict[str, Any]:
    return {
        "path": path_of(number, generation),
        "deletionTimestamp": int(time.time() * 1_000),
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": FILE_BYTES,
    }


def make_table(folder: Path) -> Path:
    """The log of a table whose data files nobody has, with a checkpoint behind its last file."""
    merging.create_table(str(folder), rows_of(0).slice(0, 0))
    for version, start in enumerate(range(0, FILES, 1_000), start=1):
        commit(folder, version, [{"add": _added(number, 0)} for number in range(start, start + 1_000)])
    deltalake.DeltaTable(folder).create_checkpoint()
    return folder


def rewrite(folder: Path) -> None:
    """Every file anew, as somebody's compaction or update of all rows leaves them; a checkpoint half-way."""
    version = merging.inspect_table(str(folder)).version
    for start in range(0, FILES, 1_000):
        version += 1
        numbers = range(start, start + 1_000)
        removed = [{"remove": _removed(number, 0)} for number in numbers]
        commit(folder, version, [*removed, *({"add": _added(number, 1)} for number in numbers)])
        if start == FILES // 2:
            deltalake.DeltaTable(folder).create_checkpoint()


class StandIn:
    """Answers as Spark would of a table whose rows are made from their keys. Held where answers of Spark are held."""

    name: EngineName = "spark"

    def __init__(self, opened: Session, *_: object) -> None:
        self._opened = opened

    def rows_of(
        self, snapshot: Snapshot, keys: Keys, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        """The row of each key that one of the files has."""
        key = column_sql("id")
        sought = f"SELECT {key} AS k, {key} // {ROWS_A_FILE} AS number FROM {keys.sql}"
        return self._answer(snapshot, f"({sought}) JOIN places USING (number)", columns, files)

    def rows_at(self, snapshot: Snapshot, positions: str, columns: Sequence[str]) -> Rows:
        """The rows that stand there."""
        key = f"number * {ROWS_A_FILE} + row_number"
        sought = f"SELECT {key} AS k, file_index FROM {positions} JOIN places USING (file_index)"
        return self._answer(snapshot, f"({sought})", columns, None)

    def _answer(
        self, snapshot: Snapshot, sought: str, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        asked = np.zeros(len(snapshot.files), bool)
        asked[np.fromiter(range(len(asked)) if files is None else files, np.int64)] = True
        paths = snapshot.files.column("path")
        numbers = pc.utf8_slice_codeunits(paths, 5, 11).cast(pa.int64()).to_numpy()
        places = pa.table({"number": numbers[asked], "file_index": np.flatnonzero(asked)})
        cells = "".join(f", {_CELLS[name]} AS {column_sql(name)}" for name in columns)
        into = f"stand_in_{next(_answers)}"
        self._opened.connection.register("places", places)
        self._opened.execute(
            f"CREATE TEMP TABLE {into} AS SELECT file_index, k % {ROWS_A_FILE} AS row_number{cells} FROM {sought}"
        )
        self._opened.connection.unregister("places")
        return Rows(into, self._opened.number(f"SELECT count(*) FROM {into}"))


@contextmanager
def answered_by_stand_in() -> Iterator[None]:
    """While tables are read by a cluster that there is none of."""
    merging.set_engines(lambda _: EngineChoice("spark", merging.Cluster("sc://stand-in")))
    try:
        with mock.patch("merging.engines.spark.SparkConnectEngine", StandIn):
            yield
    finally:
        merging.set_engines(lambda _: EngineChoice())


def stage_rows(folder: Path, staged: Path) -> None:
    """A million changed rows, spread over all files."""
    step = ROWS_A_FILE // STAGED_A_FILE
    ids = np.arange(0, FILES * ROWS_A_FILE, step, dtype=np.int64)
    changes = pa.table({"id": ids, "amount": np.full(len(ids), -1.0)})
    with answered_by_stand_in():
        merging.stage(str(folder), changes, KEYS, destination=str(staged))


# The operations


def open_table(table: str, _: str) -> None:
    """The table's facts, nothing known of it."""
    found = merging.inspect_table(table)
    if (found.file_count, found.size_bytes) != (FILES, FILES * FILE_BYTES):
        raise SystemExit(f"{found.file_count} files of {found.size_bytes} bytes")


def plan_pinned(table: str, staged: str) -> None:
    """The plan and its first page where no staged row moved."""
    _plan(table, staged, looked_for=0)


def plan_rewritten(table: str, staged: str) -> None:
    """The same where each staged row is looked for."""
    _plan(table, staged, looked_for=FILES * STAGED_A_FILE)


def _plan(table: str, location: str, *, looked_for: int) -> None:
    [content] = Path(location).iterdir()
    staged = merging.open_staged(str(content))
    with answered_by_stand_in(), merging.plan(merging.MergeRequest(table, "CR-1", KEYS, staged)) as made:
        page = made.rows()
        found = (
            made.rows_updated,
            len(made.conflicts),
            len(page.items),
            sum(read.rows for read in made.reads),
        )
    if found != (FILES * STAGED_A_FILE, 0, 100, looked_for):
        raise SystemExit(f"the plan has {found}")


OPERATIONS: dict[str, tuple[str, Callable[[str, str], None]]] = {
    "open, nothing known": ("pinned", open_table),
    "open, all files rewritten": ("rewritten", open_table),
    "plan of 1,000,000 pinned rows": ("pinned", plan_pinned),
    "plan of 1,000,000 rows, all looked for": ("rewritten", plan_rewritten),
}


def main() -> int:
    """Make the tables that are missing, measure each operation, print what it took beside its bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks/large"))
    parser.add_argument("--one", nargs=2, metavar=("NAME", "TABLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, table = arguments.one
        print(json.dumps(measure_here(name, table, arguments.folder)))
        return 0
    make(arguments.folder)
    for name in OPERATIONS:
        if arguments.only not in name:
            continue
        found = measure(name, arguments.folder)
        if "failed" in found:
            report.failure(name, found["failed"])
            continue
        report.figure(f"{name}, time", found["seconds"], "s", most=10 if name.startswith("open") else None)
        report.figure(f"{name}, peak", found["peak"] / 1e6, "MB", most=1_000)
    return report.exit_code()


def make(folder: Path) -> None:
    """The tables and the staged rows, where they are missing."""
    if (folder / "rewritten").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pinned = make_table(folder / "pinned")
    stage_rows(pinned, folder / "staged")
    shutil.copytree(pinned, folder / "begun")
    rewrite(folder / "begun")
    (folder / "begun").rename(folder / "rewritten")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """One operation in a process of its own, on a copy that nothing is known of; ``failed`` says what ended it."""
    with tempfile.TemporaryDirectory(prefix="copy-", dir=folder) as place:
        copy = shutil.copytree(folder / OPERATIONS[name][0], Path(place) / "table")
        command = [
            sys.executable,
            "-m",
            "benchmarks.large",
            "--one",
            name,
            str(copy),
            "--folder",
            str(folder),
        ]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"failed": f"the process ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure_here(name: str, table: str, folder: Path) -> dict[str, Any]:
    """Run one operation in this process."""
    _, run = OPERATIONS[name]
    merging.warm_up()
    began = time.perf_counter()
    try:
        run(table, str(folder / "staged"))
    except MergeError as error:
        return {"failed": str(error)}
    return {"seconds": time.perf_counter() - began, "peak": report.peak_memory()}


if __name__ == "__main__":
    sys.exit(main())
