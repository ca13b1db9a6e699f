"""A merge computed by Apache Spark: its own MERGE INTO, ours with Spark as the engine, ours with DuckDB.

    tests/install-spark
    python -m benchmarks.spark --rows 5000000

A table of 16 files that Spark wrote, with deletion vectors and without, and three change sets as in
``benchmarks.merge``: ``tiny`` (updates over all files), ``local`` (updates and deletes in one key range), ``scatter``
(1 % of the rows over all files: updates, deletes, inserts). Every merge runs on a copy of the table. MERGE INTO reads
the changes from Parquet and neither looks for conflicts nor tells cells; ours does both, on content that was staged
before. *Moved*: each file has another name than when the content was staged, so that every row is looked for; *pinned*:
nobody touched the table. Server, client and DuckDB share the cores of one machine; the server has two local threads and
6 GB of memory, and each has merged before. Beside seconds: CPU and bytes of the executors, by their event log, and of
the process that merges, together.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import merging
from benchmarks import report
from benchmarks.merge import link_data
from benchmarks.scale_tables import commit
from benchmarks.spark_work import EventLog, Work, of_this_process
from merging.delta import open_snapshot
from merging.engines import Cluster, EngineChoice, EngineSetting
from tests.merging.interoperability.conftest import connect_server
from tests.merging.interoperability.spark_connect import connected

KEYS = ("id",)
FILES = 16
CHANGES = ("tiny", "local", "scatter")
ENGINES = ("Spark's MERGE INTO", "ours on Spark", "ours on DuckDB", "ours on Spark, pinned")
_COLUMNS = {
    "id": "id",
    "name": "concat('row ', lpad(id, 9, '0'))",
    "amount": "CAST(id % 100000 AS DECIMAL(12, 2)) / 7",
    "price": "CAST(id AS DOUBLE) / 3",
    "day": "date_add(DATE '2013-01-01', CAST(id % 4000 AS INT))",
    "flag": "id % 2 = 0",
    "note": "concat('note ', id % 13)",
    "text": "sha2(CAST(id AS STRING), 256)",
}


def make_table(session: Any, folder: Path, rows: int, *, vectors: bool, files: int = FILES) -> None:
    """A table of as many files, in the order of its key."""
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COLUMNS.items())
    switched = f"TBLPROPERTIES (delta.enableDeletionVectors = {str(vectors).lower()})"
    source = f"SELECT {columns} FROM range(0, {rows}, 1, {files})"
    session.sql(f"CREATE TABLE delta.`{folder}` USING delta {switched} AS {source}")


def changes_of(name: str, rows: int) -> pa.Table:
    """Changed columns of rows, by their keys, and what becomes of each."""
    if name == "tiny":
        updated, deleted, added = range(0, rows, rows // 100), range(0), 0
    elif name == "local":
        first = rows // 3
        updated, deleted, added = range(first, first + rows // 500), range(first - rows // 6_000, first), 0
    else:
        updated, deleted, added = range(0, rows, 100), range(50, rows, 1_000), rows // 200
    ids = [*updated, *deleted, *range(rows, rows + added)]
    operations = ["upsert"] * len(updated) + ["delete"] * len(deleted) + ["upsert"] * added
    return pa.table({"id": pa.array(ids, pa.int64()), "price": [-1.0] * len(ids), "_op": operations})


def move(folder: Path) -> None:
    """Every file under another name, as a rewrite leaves the log."""
    snapshot = open_snapshot(str(folder))
    actions: list[dict[str, Any]] = []
    for file in snapshot.files:
        name = f"moved-{file.path}"
        os.link(folder / file.path, folder / name)
        common = {"partitionValues": {}, "size": file.size, "dataChange": False}
        actions += [
            {"remove": {**common, "path": file.path, "deletionTimestamp": 1, "extendedFileMetadata": True}}
        ]
        actions += [{"add": {**common, "path": name, "modificationTime": 1, "stats": file.stats_json}}]
    commit(folder, snapshot.version + 1, actions)


def merge_into(session: Any, table: str, changes: str) -> None:
    """Spark's own merge."""
    new = "INSERT (id, price) VALUES (s.id, s.price)"
    session.sql(
        f"MERGE INTO delta.`{table}` t USING parquet.`{changes}` s ON t.id = s.id "
        "WHEN MATCHED AND s._op = 'delete' THEN DELETE WHEN MATCHED THEN UPDATE SET t.price = s.price "
        f"WHEN NOT MATCHED THEN {new}"
    ).collect()


def main() -> int:
    """Make the tables, measure, print the table and the bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=CHANGES)
    options = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (place / "events").mkdir()
        log = EventLog(place / "events")
        _, port = stack.enter_context(connect_server(settings={**log.settings, "spark.driver.memory": "6g"}))
        session = stack.enter_context(connected(port))
        bench = _Bench(session, Cluster(f"sc://127.0.0.1:{port}"), place, options.rows, log)
        for vectors in (True, False):
            bench.measure(options.changes, options.runs, vectors=vectors)
        bench.tell(options.changes)
    return report.exit_code()


class _Bench:
    def __init__(self, session: Any, cluster: Cluster, folder: Path, rows: int, log: EventLog) -> None:
        self._session, self._cluster, self._folder, self._rows, self._log = (
            session,
            cluster,
            folder,
            rows,
            log,
        )
        self._taken: dict[tuple[bool, str, str], list[float]] = {}
        self._work: dict[tuple[bool, str, str], Work] = {}

    def measure(self, names: list[str], runs: int, *, vectors: bool) -> None:
        """All engines on all change sets, in alternation."""
        self._prepare(warm := self._folder / f"warm-{vectors}", 10_000, vectors, ["tiny"])
        self._round(warm, "tiny")
        self._prepare(made := self._folder / f"table-{vectors}", self._rows, vectors, names)
        for _ in range(runs):
            for name in names:
                for engine, (seconds, work) in self._round(made, name).items():
                    self._work[vectors, name, engine] = work
                    self._taken.setdefault((vectors, name, engine), []).append(seconds)
                    print(f"  vectors {vectors}, {name}, {engine}: {seconds:.2f} s", file=sys.stderr)

    def _prepare(self, folder: Path, rows: int, vectors: bool, names: list[str]) -> None:
        folder.mkdir()
        make_table(self._session, folder / "pinned", rows, vectors=vectors)
        for name in names:
            changes = changes_of(name, rows)
            pq.write_table(changes, folder / f"{name}.parquet")
            merging.stage(str(folder / "pinned"), changes, KEYS, destination=str(folder / name))
        shutil.copytree(folder / "pinned", folder / "moved", copy_function=link_data)
        move(folder / "moved")

    def _round(self, folder: Path, name: str) -> dict[str, tuple[float, Work]]:
        def ours(table: str, setting: EngineSetting) -> None:
            merging.set_engines(lambda _: EngineChoice(setting, self._cluster))
            [staged] = (folder / name).iterdir()
            request = merging.MergeRequest(table, "CR-1", KEYS, str(staged), destination=f"{table}-artefacts")
            merging.merge(request)

        changes = str(folder / f"{name}.parquet")
        runs: dict[str, tuple[str, Callable[[str], None]]] = {
            ENGINES[0]: ("moved", lambda table: merge_into(self._session, table, changes)),
            ENGINES[1]: ("moved", lambda table: ours(table, "spark")),
            ENGINES[2]: ("moved", lambda table: ours(table, "duckdb")),
            ENGINES[3]: ("pinned", lambda table: ours(table, "spark")),
        }
        found: dict[str, tuple[float, Work]] = {}
        rows = set()
        for engine, (source, run) in runs.items():
            copy = folder / "copy"
            shutil.copytree(folder / source, copy, copy_function=link_data)
            self._log.more()
            os.sync()  # what others wrote before is not to be waited for
            before = of_this_process()
            began = time.perf_counter()
            run(str(copy))
            seconds = time.perf_counter() - began
            here = of_this_process() - before
            found[engine] = (seconds, self._log.more() + here)
            rows.add(merging.inspect_table(str(copy)).row_count)
            for made in folder.glob("copy*"):
                shutil.rmtree(made)
        if len(rows) != 1:
            raise SystemExit(f"{name}: the engines leave {sorted(rows)} rows")
        return found

    def tell(self, names: list[str]) -> None:
        """The table of medians, and the bars."""
        lines: list[list[str]] = []
        works: list[list[str]] = []
        shares, pinned = [], []
        for vectors in (True, False):
            for name in names:
                took = [statistics.median(self._taken[vectors, name, engine]) for engine in ENGINES]
                lines.append([name, "on" if vectors else "off", *(f"{seconds:.2f} s" for seconds in took)])
                done = [self._work[vectors, name, engine] for engine in ENGINES]
                works.append([name, "on" if vectors else "off", *map(_told, done)])
                shares.append(took[1] / took[0])
                pinned.append(took[3] / took[0])
        report.table(["changes", "vectors", *ENGINES], lines)
        report.table(["CPU, read, written", "vectors", *ENGINES], works)
        report.figure("ours on Spark, of MERGE INTO, median", statistics.median(shares), most=0.6)
        report.figure("ours on Spark, of MERGE INTO, most", max(shares), most=1.0)
        report.figure("ours on Spark, pinned, of MERGE INTO, median", statistics.median(pinned), most=0.1)


def _told(work: Work) -> str:
    return f"{work.cpu:.2f} s, {work.read / 1e6:,.1f} MB, {work.written / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
