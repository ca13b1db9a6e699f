"""How fast a merge is: ours with conflict check and cell-level diff, against what people use instead.

    python -m benchmarks.merge --scale 1 --runs 3

TPC-H ``lineitem`` (``tpchgen-cli`` writes it) as a table of 16 files, in key order and shuffled; three change sets:
``tiny`` (about a hundred updates over all files), ``local`` (updates and deletes in one key range), ``scatter``
(about 1 % of the rows over all files: updates, deletes, inserts). Every measurement runs in a process of its own on a
copy of the table (data files are linked, they never change), the engines in alternation, each after one merge into a
small table, as in a worker that has been running (copy-on-write after another into a table of that kind). Ours is
measured on a table that nobody touched since the content was staged, and (``rewritten``) on one whose files were all
written anew since, the dearest case; ``featured`` is the first of them with column mapping, two constraints and row
tracking. ``floor`` is what nobody can leave out: the staged rows are read, the changed ones written as Parquet, vectors
and one synced commit.
Printed: medians of seconds and how many times as long as ours each engine takes, peak memory of the process with that
of the processes that it started, bytes of data files and vectors written (also as a multiple of the changed rows' own
size as Parquet), bytes of the log's entry; then what is asked of it (the bars).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow.parquet
from pyroaring import BitMap64

import merging
from benchmarks import report
from merging.delta import open_snapshot

KEYS = ("l_orderkey", "l_linenumber")
FILES = 16
ENGINES = (
    "floor",
    "headgate",
    "headgate featured",
    "headgate rewritten",
    "headgate copy-on-write",
    "delta-rs",
    "delta-rs tuned",
    "overwrite",
)
VARIANTS = {
    "headgate copy-on-write": "-cow",
    "headgate rewritten": "-rewritten",
    "headgate featured": "-featured",
}
#: Those whose content was staged on a table of their own.
STAGED_APART = ("-cow", "-featured")
IN_LIST = 1_000
#: From so many rows on the table decides what a merge costs, below it what every merge costs.
LARGE = 1.0

Results = dict[tuple[str, str, str], list[dict[str, Any]]]


def main() -> int:
    """Prepare what is missing, measure, print the table and the bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="TPC-H scale factor; 1 is 6 million rows")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--layouts", nargs="+", default=["clustered", "shuffled"])
    parser.add_argument("--changes", nargs="+", default=["tiny", "local", "scatter"])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks"))
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "TABLE", "CHANGES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_here(*options.one)))
        return 0
    folder = options.folder / f"sf{options.scale:g}"
    prepare(folder, options.scale, options.layouts, {VARIANTS.get(engine, "") for engine in options.engines})
    results: Results = {}
    for _ in range(options.runs):
        for layout in options.layouts:
            for changes in options.changes:
                for engine in options.engines:
                    found = measure(engine, folder, layout, changes)
                    results.setdefault((layout, changes, engine), []).append(found)
                    print(f"  {layout} {changes} {engine}: {found['seconds']:.2f} s", file=sys.stderr)
    print_table(results, options)
    judge(results, large=options.scale >= LARGE)
    return report.exit_code()


def print_table(results: Results, options: Any) -> None:
    """Medians as a Markdown table."""
    columns = ("layout", "changes", "rows", "engine", "seconds", "times ours", "peak memory", "written")
    rows = []
    for layout in options.layouts:
        for changes in options.changes:
            ours = median(results.get((layout, changes, "headgate"), []), "seconds")
            for engine in options.engines:
                runs = results[layout, changes, engine]
                seconds, written = median(runs, "seconds"), median(runs, "written")
                rows.append(
                    [
                        *(layout, changes, f"{runs[0]['rows']:,}", engine, f"{seconds:.3f}"),
                        f"{seconds / ours:.1f}" if ours else "",
                        f"{median(runs, 'peak') / 1e9:.2f} GB",
                        f"{written / 1e6:.2f} MB",
                        f"{written / runs[0]['own']:.1f}",
                        f"{median(runs, 'log') / 1e6:.2f} MB",
                    ]
                )
    report.table((*columns, "of changed rows", "log"), rows)


def judge(results: Results, *, large: bool) -> None:
    """What is asked of a merge, on tables where their size decides, and on small ones."""

    def times(ours: str, peer: str, name: str = "seconds") -> list[float]:
        """How many times as much the peer takes, in each case that both were measured in."""
        return [
            median(runs, name) / median(mine, name)
            for (layout, changes, engine), runs in results.items()
            if engine == peer and (mine := results.get((layout, changes, ours)))
        ]

    least = {"delta-rs": 10.0 if large else 1.0, "delta-rs tuned": 1.0}
    for peer, bar in least.items():
        if found := times("headgate", peer):
            report.figure(f"{peer} takes, median", statistics.median(found), "times ours")
            report.figure(f"{peer} takes, least", min(found), "times ours", least=bar)
    if found := times("floor", "headgate"):
        report.figure("ours takes, most", max(found), "times the floor", most=2)
    if found := times("headgate", "headgate featured"):
        report.figure(
            "with mapping, constraints and row tracking, most",
            max(found),
            "times without",
            most=1.2 if large else None,
        )
    if found := times("headgate", "delta-rs", "peak"):
        report.figure("our memory, most", 1 / min(found), "of delta-rs", most=0.5 if large else None)
    for ours, bar in (("headgate rewritten", 8.0), ("headgate copy-on-write", 2.5)):
        if found := times(ours, "delta-rs"):
            middle = statistics.median(found)
            report.figure(
                f"delta-rs takes, median ({ours})", middle, "times ours", least=bar if large else None
            )
            slowest = 1 if ours == "headgate copy-on-write" else None
            report.figure(f"delta-rs takes, least ({ours})", min(found), "times ours", least=slowest)
            most = 1 / min(times(ours, "delta-rs", "peak"))
            report.figure(f"memory, most ({ours})", most, "of delta-rs", most=0.5 if large else None)


def median(runs: list[dict[str, Any]], name: str) -> float:
    """The median of one figure."""
    return statistics.median(run[name] for run in runs) if runs else 0.0


# preparing


def prepare(folder: Path, scale: float, layouts: list[str], variants: set[str]) -> None:
    """Tables, change sets and staged content, made once; ``variants`` of ``VARIANTS`` beside the plain tables."""
    source = folder / "source"
    if not source.exists():
        source.mkdir(parents=True)
        tool = Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run(
            [
                str(tool),
                "parquet",
                "-s",
                f"{scale:g}",
                "--tables=lineitem",
                f"--parts={FILES}",
                f"--output-dir={source}",
            ],
            check=True,
        )
    parquet = f"read_parquet('{source}/lineitem/*.parquet')"
    for layout in layouts:
        table, shuffled = folder / layout, layout == "shuffled"
        if not table.exists():
            make_table(parquet, table, shuffled=shuffled)
        without_vectors, rewritten, featured = (
            Path(f"{table}{variant}") for variant in ("-cow", "-rewritten", "-featured")
        )
        if "-cow" in variants and not without_vectors.exists():
            make_table(parquet, without_vectors, shuffled=shuffled, deletion_vectors=False)
        if "-rewritten" in variants and not rewritten.exists():
            shutil.copytree(table, rewritten, copy_function=link_data)
            make_table(parquet, rewritten, shuffled=shuffled, again=True)
        if "-featured" in variants and not featured.exists():
            shutil.copytree(table, featured, copy_function=link_data)
            give_features(featured)
    for name, query in change_sets(parquet).items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            with duckdb.connect() as connection:
                connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        for layout in layouts:
            for variant in (layout, *(f"{layout}{apart}" for apart in STAGED_APART if apart in variants)):
                link = folder / f"{variant}.{name}.staged"
                if not link.exists():
                    staged = merging.stage(
                        str(folder / variant), path, KEYS, destination=str(folder / "staging")
                    )
                    link.write_text(staged.location, encoding="utf-8")


def make_table(
    parquet: str, table: Path, *, shuffled: bool, deletion_vectors: bool = True, again: bool = False
) -> None:
    """A table of ``FILES`` files, in key order or shuffled by row; ``again`` replaces one by the same rows."""
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        top = connection.execute(f"SELECT max(l_orderkey) FROM {parquet}").fetchall()[0][0]
        number = f"l_orderkey * {FILES} // {top + 1}"
        if shuffled:
            number = f"hash(l_orderkey, l_linenumber) % {FILES}"
        order = "hash(l_orderkey, l_linenumber, 1)" if shuffled else "l_orderkey, l_linenumber"
        for part in range(FILES):
            rows = connection.sql(f"SELECT * FROM {parquet} WHERE {number} = {part} ORDER BY {order}")
            data = rows.to_arrow_table()
            if part == 0 and again:
                deltalake.write_deltalake(str(table), data, mode="overwrite")
            elif part == 0:
                merging.create_table(str(table), data, deletion_vectors=deletion_vectors)
            else:
                deltalake.write_deltalake(str(table), data, mode="append")
    deltalake.DeltaTable(str(table)).create_checkpoint()


def give_features(table: Path) -> None:
    """Give a table, in one commit, column mapping, two constraints and row tracking, as Spark's ALTER TABLE would."""
    before = open_snapshot(str(table))
    fields = json.loads(before.schema_json)["fields"]
    for number, field in enumerate(fields, 1):
        field["metadata"] = {
            "delta.columnMapping.id": number,
            "delta.columnMapping.physicalName": field["name"],
        }
    properties = {
        **before.properties,
        "delta.columnMapping.mode": "name",
        "delta.columnMapping.maxColumnId": str(len(fields)),
        "delta.constraints.sold": "l_quantity > 0",
        "delta.constraints.dated": "l_shipdate >= '1992-01-01'",
        "delta.enableRowTracking": "true",
        "delta.rowTracking.materializedRowIdColumnName": "_row_id",
        "delta.rowTracking.materializedRowCommitVersionColumnName": "_row_version",
    }
    readers = {*before.protocol["readerFeatures"], "columnMapping"}
    writers = {
        *before.protocol["writerFeatures"],
        "columnMapping",
        "checkConstraints",
        "rowTracking",
        "domainMetadata",
    }
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": sorted(readers),
        "writerFeatures": sorted(writers),
    }
    version = before.version + 1
    actions: list[dict[str, Any]] = []
    first = 0
    for file in before.files:
        actions.append(
            {
                "add": {
                    "path": file.logged_path,
                    "partitionValues": {},
                    "size": file.size,
                    "modificationTime": file.modification_time,
                    "dataChange": False,
                    "stats": file.stats_json,
                    "baseRowId": first,
                    "defaultRowCommitVersion": version,
                }
            }
        )
        first += file.num_records or 0
    tracked = {"domain": "delta.rowTracking", "configuration": json.dumps({"rowIdHighWaterMark": first - 1})}
    schema = json.dumps({"type": "struct", "fields": fields})
    lines = [
        {"commitInfo": {"operation": "SET TBLPROPERTIES"}},
        {"protocol": protocol},
        {"metaData": {**before.metadata, "schemaString": schema, "configuration": properties}},
        {"domainMetadata": {**tracked, "removed": False}},
        *actions,
    ]
    commit = table / "_delta_log" / f"{version:020}.json"
    commit.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def change_sets(parquet: str) -> dict[str, str]:
    """Queries of the change sets: whole rows with ``_op``."""
    edited = "(l_quantity + 1)::DECIMAL(15, 2) AS l_quantity, 'edited ' || left(l_comment, 30) AS l_comment"
    update = f"SELECT * REPLACE ({edited}), 'update' AS _op FROM {parquet}"
    delete = f"SELECT *, 'delete' AS _op FROM {parquet}"
    insert = f"SELECT * REPLACE (l_linenumber + 100 AS l_linenumber), 'insert' AS _op FROM {parquet}"
    spread = "hash(l_orderkey, l_linenumber, 7)"
    middle = f"(SELECT max(l_orderkey) // 2 FROM {parquet})"
    return {
        "tiny": f"{update} WHERE {spread} % 56617 = 0",
        "local": f"{update} WHERE l_orderkey BETWEEN {middle} AND {middle} + 12000 "
        f"UNION ALL {delete} WHERE l_orderkey BETWEEN {middle} + 12001 AND {middle} + 13000",
        "scatter": f"{update} WHERE {spread} % 100 = 1 UNION ALL {delete} WHERE {spread} % 1000 = 2 "
        f"UNION ALL {insert} WHERE {spread} % 200 = 3",
    }


# measuring


def measure(engine: str, folder: Path, layout: str, changes: str) -> dict[str, Any]:
    """One measurement in a process of its own, on a copy of the table."""
    variant = layout + VARIANTS.get(engine, "")
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / variant, copy, copy_function=link_data)
    content = folder / f"{changes}.parquet"
    if engine == "floor" or engine.startswith("headgate"):
        staged_on = variant if variant.removeprefix(layout) in STAGED_APART else layout
        content = Path((folder / f"{staged_on}.{changes}.staged").read_text(encoding="utf-8"))
    if engine == "headgate copy-on-write":
        make_small(copy.with_name("small"))
    before = set(copy.rglob("*"))
    command = [sys.executable, "-m", "benchmarks.merge", "--one", engine, str(copy), str(content)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        beside = memory_beside(process)
        told, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found: dict[str, Any] = json.loads(told)
    found["peak"] += beside
    found["own"] = (folder / f"{changes}.parquet").stat().st_size
    new = [path for path in set(copy.rglob("*")) - before if path.is_file()]
    found["log"] = sum(path.stat().st_size for path in new if path.parent.name == "_delta_log")
    found["written"] = sum(path.stat().st_size for path in new) - found["log"]
    return found


def memory_beside(process: subprocess.Popen[str]) -> int:
    """The most bytes that processes held that it started, until it ends: of memory that several share each its part."""
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(memory_of, started_by(process.pid))))
        time.sleep(0.05)
    return most


def started_by(pid: int) -> Iterator[int]:
    """The processes that one started, and those that they did."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            for child in map(int, listed.read_text(encoding="ascii").split()):
                yield child
                yield from started_by(child)


def memory_of(pid: int) -> int:
    """Bytes in memory of a process that are no file's (``proc(5)``, Pss_Anon): all hold the pages of libraries once."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return 0


def link_data(source: str, target: str) -> None:
    """Data files are linked, the log is copied."""
    if source.endswith(".parquet") and "_delta_log" not in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def measure_here(engine: str, table: str, changes: str) -> dict[str, Any]:
    """Run one merge in this process and time it; before that a small one, so that libraries are loaded."""
    run = RUNNERS[engine]
    if engine.startswith("headgate"):
        merging.warm_up()
        if engine == "headgate copy-on-write":
            warm_up_copy_on_write(Path(table).with_name("small"))
    elif engine == "floor":
        duckdb.sql("COPY (SELECT 1) TO '/dev/null' (FORMAT parquet)")
    else:
        warm_up(run)
    started = time.perf_counter()
    rows = run(table, changes)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak": report.peak_memory(), "rows": rows}


def warm_up(run: Callable[[str, str], int]) -> None:
    """One merge of a few rows into a small table."""
    keys = {"l_orderkey": pyarrow.array(range(10)), "l_linenumber": pyarrow.array([1] * 10)}
    with tempfile.TemporaryDirectory() as folder:
        deltalake.write_deltalake(f"{folder}/table", pyarrow.table(keys))
        pyarrow.parquet.write_table(
            pyarrow.table(keys | {"_op": ["update"] * 10}), f"{folder}/changes.parquet"
        )
        run(f"{folder}/table", f"{folder}/changes.parquet")


def warm_up_copy_on_write(folder: Path) -> None:
    """One merge into a small table of that kind, and a while to get ready what it leaves to be."""
    run_headgate(str(folder / "table"), (folder / "staged").read_text(encoding="utf-8"))
    time.sleep(1)


def make_small(folder: Path) -> None:
    """A table of two files of some pages, and an edit of a row of each, staged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    table, rows = str(folder / "table"), 60_000
    for number in range(2):
        keys = range(number * rows, (number + 1) * rows)
        data = {
            "l_orderkey": pyarrow.array(keys),
            "l_linenumber": pyarrow.array([1] * rows),
            "l_comment": [os.urandom(50).hex() for _ in keys],
        }
        deltalake.write_deltalake(table, pyarrow.table(data), mode="append")
    edited = {"l_orderkey": [5_000, rows + 5_000], "l_linenumber": [1, 1], "l_comment": ["edited"] * 2}
    changes = pyarrow.table({**edited, "_op": ["update"] * 2})
    staged = merging.stage(table, changes, KEYS, destination=str(folder / "staging"))
    (folder / "staged").write_text(staged.location, encoding="utf-8")


def run_headgate(table: str, changes: str) -> int:
    """Conflict check, cell-level diff, artefacts and commit."""
    request = merging.MergeRequest(table, "CR-1", KEYS, changes, destination=f"{table}-artefacts")
    return merging.merge(request).rows_affected


def run_floor(table: str, staged: str) -> int:
    """What is left where all is known and nothing is checked: no plan, no diff, no record, and no valid vectors."""
    with duckdb.connect() as connection:
        rows = f"read_parquet('{staged}/rows.parquet')"
        connection.execute(
            f"COPY (SELECT k0, k1, COLUMNS('p[0-9]+') FROM {rows} WHERE op <> 'delete') "
            f"TO '{table}/floor.parquet' (FORMAT parquet)"
        )
        found = connection.execute(
            f"SELECT base_file, list(base_row) FROM {rows} WHERE base_row IS NOT NULL GROUP BY ALL"
        ).fetchall()
        count = connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0]
    vectors = b"".join(BitMap64(numbers).serialize() for _, numbers in found)
    for name, content in (("floor.bin", vectors), ("_delta_log/floor.json", b"{}")):
        with open(f"{table}/{name}", "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
    with open(f"{table}/floor.parquet", "rb") as file:
        os.fsync(file.fileno())
    return int(count)


def run_delta_rs(table: str, changes: str, *, tuned: bool = False) -> int:
    """``DeltaTable.merge``, plain or with the best literal predicate: no diff, no conflict check."""
    source = pyarrow.parquet.read_table(changes)
    predicate = " AND ".join(f"t.{key} = s.{key}" for key in KEYS)
    if tuned:
        keys = source.column("l_orderkey").unique().to_pylist()
        if len(keys) <= IN_LIST:
            predicate += f" AND t.l_orderkey IN ({', '.join(map(str, keys))})"
        else:
            predicate += f" AND t.l_orderkey BETWEEN {min(keys)} AND {max(keys)}"
    opened = deltalake.DeltaTable(table)
    done = (
        opened.merge(source, predicate, source_alias="s", target_alias="t")
        .when_matched_delete(predicate="s._op = 'delete'")
        .when_matched_update_all(predicate="s._op = 'update'", except_cols=["_op"])
        .when_not_matched_insert_all(predicate="s._op = 'insert'", except_cols=["_op"])
        .execute()
    )
    return int(
        done["num_target_rows_inserted"] + done["num_target_rows_updated"] + done["num_target_rows_deleted"]
    )


def run_overwrite(table: str, changes: str) -> int:
    """DuckDB joins the whole table with the changes, delta-rs overwrites the table with the result."""
    opened = deltalake.DeltaTable(table)
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        files = ", ".join(f"'{path}'" for path in opened.file_uris())
        columns = ", ".join(KEYS)
        merged = connection.sql(
            f"SELECT * FROM read_parquet([{files}]) ANTI JOIN '{changes}' USING ({columns}) "
            f"UNION ALL SELECT * EXCLUDE (_op) FROM '{changes}' WHERE _op <> 'delete'"
        )
        deltalake.write_deltalake(opened, merged.to_arrow_reader(100_000), mode="overwrite")
        return int(connection.sql(f"SELECT count(*) FROM '{changes}'").fetchall()[0][0])


RUNNERS: dict[str, Callable[[str, str], int]] = {
    "floor": run_floor,
    "headgate": run_headgate,
    "headgate featured": run_headgate,
    "headgate rewritten": run_headgate,
    "headgate copy-on-write": run_headgate,
    "delta-rs": run_delta_rs,
    "delta-rs tuned": lambda table, changes: run_delta_rs(table, changes, tuned=True),
    "overwrite": run_overwrite,
}

if __name__ == "__main__":
    sys.exit(main())
