"""What a table in a distant store costs: requests, bytes and seconds, counted by a proxy that adds latency to each.

The table has twelve files and a checkpoint that is ten versions back; it lies on a server of this machine that speaks
S3 (moto). Measured are opening it, a page of it, staging one row of each file, and merging those by vectors and by
copy-on-write; beside it `DeltaTable.merge` of delta-rs merges the same rows into the same table, in a process of its
own. With ``--rows 1000000`` the table has about 1.4 GB.

    python -m benchmarks.stores --rows 100000
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa

import merging
from benchmarks import report
from merging import MergeRequest
from tests.merging.stores import s3_server
from tests.stores.far_tables import put_in_store
from tests.stores.proxy import Counted, Proxy, proxy_before

FILES, VALUES, BEHIND = 12, 12, 10


def part(number: int, rows: int) -> pa.Table:
    """One file's rows: a key, numbers that compress badly, and a text."""
    random = np.random.default_rng(number)
    ids = np.arange(number * rows, (number + 1) * rows)
    columns: dict[str, Any] = {"id": ids, **{f"c{one}": random.random(rows) for one in range(VALUES)}}
    return pa.table({**columns, "t": [f"text {one}" for one in ids]})


def made_on_s3(folder: Path, rows: int, options: Mapping[str, str], *, vectors: bool) -> str:
    """The address of the table, once it is on the server."""
    path = folder / "table"
    for number in range(FILES):
        deltalake.write_deltalake(
            str(path),
            part(number, rows),
            mode="append",
            configuration={"delta.enableDeletionVectors": str(vectors).lower()} if number == 0 else None,
            writer_properties=deltalake.WriterProperties(max_row_group_size=122_880),
        )
    opened = deltalake.DeltaTable(str(path))
    opened.create_checkpoint()
    for number in range(BEHIND):
        opened.alter.set_table_properties({"delta.checkpointInterval": str(100 + number)})
    uri = put_in_store(path, options)
    shutil.rmtree(path)
    return uri


class Measured:
    """Rows of the table that is printed."""

    def __init__(self, proxy: Proxy) -> None:
        self.rows: list[list[str]] = []
        self._proxy = proxy

    def run(self, name: str, work: Callable[[], Any]) -> tuple[Counted, float, Any]:
        """Do something, and count what it asks for."""
        started = time.perf_counter()
        with self._proxy.counting() as counted:
            found = work()
        took = time.perf_counter() - started
        self.rows.append(
            [
                name,
                str(len(counted)),
                str(counted.depth),
                f"{counted.read / 1e6:.2f} MB",
                f"{counted.written / 1e6:.2f} MB",
                f"{took:.2f} s",
            ]
        )
        return counted, took, found


def peer(uri: str, options: Mapping[str, str], ids: list[int]) -> None:
    """The same merge by delta-rs."""
    source = pa.table({"id": ids, "c3": [1.0] * len(ids)})
    opened = deltalake.DeltaTable(uri, storage_options=dict(options))
    merge = opened.merge(source, "target.id = source.id", source_alias="source", target_alias="target")
    merge.when_matched_update({"c3": "source.c3"}).execute()


def run_peer(told: str) -> None:
    """It has a process of its own: it holds Python's lock while it waits for the proxy."""
    subprocess.run([sys.executable, "-m", "benchmarks.stores", "--peer", told], check=True)


def measure(rows: int, latency: float) -> None:
    """Measure everything, and print it."""
    ids = [number * rows + rows // 2 for number in range(FILES)]
    changes = pa.table({"id": ids, "c3": [1.0] * FILES})
    with s3_server() as options, tempfile.TemporaryDirectory(prefix="headgate-bench-") as name:
        folder = Path(name)
        port = int(options["AWS_ENDPOINT_URL"].rpartition(":")[2])
        for vectors in (True, False):
            uri, other = (made_on_s3(folder, rows, options, vectors=vectors) for _ in range(2))
            with proxy_before(port, latency=latency) as proxy:
                one = Engine(Measured(proxy), uri, proxy.options(dict(options)), folder)
                one.measure(changes, vectors=vectors)
                told = json.dumps([other, proxy.options(dict(options)), ids])
                one.measured.run("DeltaTable.merge (delta-rs)", functools.partial(run_peer, told))
            kind = "vectors" if vectors else "copy-on-write"
            report.table(
                (kind, "requests", "one after another", "read", "written", "took"), one.measured.rows
            )


class Engine:
    """Ours, on one table."""

    def __init__(self, measured: Measured, uri: str, options: Mapping[str, str], folder: Path) -> None:
        self.measured = measured
        self._uri = uri
        self._options = options
        self._folder = folder

    def measure(self, changes: pa.Table, *, vectors: bool) -> None:
        """Open, look, stage, merge."""
        run, uri, options = self.measured.run, self._uri, self._options
        merging.warm_up()
        cold, _, _ = run("open, first time", lambda: merging.inspect_table(uri, storage_options=options))
        warm, _, _ = run("open again", lambda: merging.inspect_table(uri, storage_options=options))
        page, _, _ = run(
            "a page of 50 rows", lambda: merging.preview(uri, primary_keys=["id"], storage_options=options)
        )
        staging, _, staged = run(
            f"stage a row of each of {FILES} files",
            lambda: merging.stage(
                uri, changes, ["id"], destination=str(self._folder / "staged"), storage_options=options
            ),
        )
        request = MergeRequest(
            uri, "CR-1", ["id"], staged, destination=str(self._folder / "artefacts"), storage_options=options
        )
        merge, took, _ = run("merge them", lambda: merging.merge(request))
        if not vectors:
            return
        touched = len({asked.path for asked in page.of("GET", r"/part-[^/]*\.parquet")})
        report.figure("opened the first time, round trips", cold.depth, most=4)
        report.figure("opened again, requests", len(warm), most=1)
        data = page.of("GET", r"/part-[^/]*\.parquet")
        report.figure("a page, requests a touched file", len(data) / touched, most=3)
        report.figure("staged, requests a touched file", len(staging) / FILES, most=4)
        report.figure("merged, requests", len(merge), most=14)
        report.figure("merged, at 30 ms a request", took, "s", most=0.8)


def main() -> int:
    """Measure, or be the peer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each of the twelve files")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds added to each request")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(*json.loads(options.peer))
        return 0
    measure(options.rows, options.latency)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
