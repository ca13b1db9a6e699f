"""What tables cost that have many versions, many files, wide rows or large texts.

    python -m benchmarks.scale
    python -m benchmarks.scale --only "many: open" --folder /somewhere/with/5/GB

*many*: 100,000 files, half of them with a vector, 10,000 commits behind the checkpoint. *versions*: 10,000 versions and
a checkpoint at the newest. *page*: 20,000 files. *small*: rows in each of 5,000 files. *wide*: one column changed of
many, and all of them. *texts*: one row group of large texts. Every file is real (see ``scale_tables``).

Each operation runs in a process of its own that has merged once before, as a worker has. What is told is its CPU time,
user and system, which other processes do not change much, and the peak memory of the process, libraries and all.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import merging
from benchmarks import report
from benchmarks.scale_tables import (
    SHAPES,
    commit,
    linked,
    make_table,
    make_texts,
    make_wide,
    rows_of,
)
from merging.errors import MergeError

KEYS = ("id",)
WIDE = (500, 2_000)
#: What is done with ten rows of wide tables, and how many times as much all of it may take for four times the columns.
WIDE_STEPS = {"one changed": 4, "staging all": 6, "merging all": 6, "comparing all": 6, "reverting all": 6}
TEXTS = {"texts of 2 kB": (122_880, 2_048), "texts of 1 MB": (200, 1_000_000)}


@dataclass
class Measured:
    """What an operation took; ``cpu`` in seconds, of what stands within ``counting`` alone."""

    cpu: float = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Adds what happens within."""
        before = _cpu()
        yield
        self.cpu += _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# The operations, on a table of many files


def open_cold(table: str, measured: Measured) -> None:
    """The table's facts, nothing known of it."""
    with measured.counting():
        merging.inspect_table(table)


def open_next(table: str, measured: Measured) -> None:
    """The same once more, a version later."""
    version = merging.inspect_table(table).version + 1
    commit(Path(table), version, [])
    with measured.counting():
        found = merging.inspect_table(table)
    if found.version != version:
        raise SystemExit(f"version {found.version} where {version} was expected")


def first_page(table: str, measured: Measured) -> None:
    """The first page of rows, by a process that has opened the table."""
    merging.inspect_table(table)
    with measured.counting():
        page = merging.preview(table, primary_keys=KEYS)
    if len(page.rows) != 50:
        raise SystemExit(f"{len(page.rows)} rows on the page")


def later_page(table: str, measured: Measured) -> None:
    """The page behind it."""
    page = merging.preview(table, primary_keys=KEYS)
    with measured.counting():
        page = merging.preview(table, primary_keys=KEYS, after=page.next)
    if len(page.rows) != 50:
        raise SystemExit(f"{len(page.rows)} rows on the page")


def stage_rows(count: int) -> Callable[[str, Measured], None]:
    """Staging rows of as many files, the table known."""

    def run(table: str, measured: Measured) -> None:
        changes = _changes(merging.inspect_table(table).file_count, count)
        with measured.counting():
            _staged(table, changes)

    return run


def plan_rows(table: str, measured: Measured) -> None:
    """The plan of 100 staged rows and its first page, the table known."""
    staged = _staged(table, _changes(merging.inspect_table(table).file_count, 100))
    with measured.counting(), merging.plan(merging.MergeRequest(table, "CR-1", KEYS, staged)) as made:
        found = len(made.rows().items)
    if found != 100:
        raise SystemExit(f"{found} rows in the plan")


def merge_rows(table: str, measured: Measured) -> None:
    """A merge of 10 staged rows, as a whole."""
    staged = _staged(table, _changes(merging.inspect_table(table).file_count, 10))
    request = merging.MergeRequest(table, "CR-1", KEYS, staged, destination=f"{table}-artefacts")
    with measured.counting():
        done = merging.merge(request)
    if done.rows_affected != 10:
        raise SystemExit(f"{done.rows_affected} rows merged")


def merge_rows_of_all(table: str, measured: Measured) -> None:
    """Staging and merging a row of each file."""
    changes = _changes(SHAPES["small"].files, SHAPES["small"].files)
    with measured.counting():
        staged = _staged(table, changes)
        request = merging.MergeRequest(table, "CR-1", KEYS, staged, destination=f"{table}-artefacts")
        merging.merge(request)


def history_page(table: str, measured: Measured) -> None:
    """The newest fifty versions."""
    with measured.counting():
        merging.history(table)


def condition(table: str, measured: Measured) -> None:
    """What maintenance decides by."""
    with measured.counting():
        merging.table_condition(table)


def _changes(files: int, count: int) -> pa.Table:
    """Content that changes a row of as many files, spread over a table of so many."""
    step = max(1, files // count)
    rows = pa.concat_tables([rows_of(number).slice(0, 1) for number in range(0, files, step)[:count]])
    return rows.set_column(2, "amount", pa.array([-1.0] * len(rows), pa.float64())).combine_chunks()


def _staged(table: str, changes: pa.Table) -> merging.Staged:
    return merging.stage(table, changes, KEYS, destination=f"{table}-staging")


# The operations on wide tables and large texts


def change_one_column(table: str, measured: Measured) -> None:
    """Ten rows whose one column is changed: staged and merged."""
    names = [column.name for column in merging.inspect_table(table).columns]
    changed = pa.table({"id": pa.array(range(10), pa.int64()), names[1]: pa.array([-1] * 10, pa.int64())})
    with measured.counting():
        staged = merging.stage(table, changed, KEYS, destination=f"{table}-staging")
        request = merging.MergeRequest(table, "CR-1", KEYS, staged, destination=f"{table}-artefacts")
        merging.merge(request)


def change_every_column(step: str) -> Callable[[str, Measured], None]:
    """Ten rows whose every column is changed: one step of staging, merging, comparing the versions and reverting."""

    def run(table: str, measured: Measured) -> None:
        def counted(name: str) -> AbstractContextManager[None]:
            return measured.counting() if name == step else nullcontext()

        known = merging.inspect_table(table)
        cells: dict[str, pa.Array] = {"id": pa.array(range(10), pa.int64())}
        for place, column in enumerate(known.columns[1:]):
            cells[column.name] = pa.array(["other"] * 10) if place % 2 else pa.array([-1] * 10, pa.int64())
        artefacts = f"{table}-artefacts"
        with counted("staging all"):
            staged = merging.stage(table, pa.table(cells), KEYS, destination=f"{table}-staging")
        with counted("merging all"):
            done = merging.merge(merging.MergeRequest(table, "CR-1", KEYS, staged, destination=artefacts))
        with (
            counted("comparing all"),
            closing(
                merging.compare_versions(
                    table, primary_keys=KEYS, before=known.version, after=known.version + 1
                )
            ) as compared,
        ):
            found = compared.page().total
        with counted("reverting all"):
            back = merging.invert(table, str(done.artefacts), KEYS, f"{table}-back")
            merging.merge(merging.MergeRequest(table, "CR-2", KEYS, back, destination=artefacts))
        if (found, len(done.cells_updated)) != (10, len(known.columns) - 1):
            raise SystemExit(f"{found} rows and {len(done.cells_updated)} columns changed")

    return run


def change_texts(table: str, measured: Measured) -> None:
    """Ten rows with another text: staged and merged, and a page of the table read."""
    rows = merging.inspect_table(table).row_count
    keys = range(0, rows, rows // 10)[:10]
    changed = pa.table({"id": pa.array(keys, pa.int64()), "body": pa.array(["short"] * 10)})
    with measured.counting():
        staged = merging.stage(table, changed, KEYS, destination=f"{table}-staging")
        request = merging.MergeRequest(table, "CR-1", KEYS, staged, destination=f"{table}-artefacts")
        merging.merge(request)
        merging.preview(table, primary_keys=KEYS, limit=10)


@dataclass(frozen=True)
class Operation:
    """One measurement: on which table, and its bars (CPU seconds, MB at the peak)."""

    name: str
    table: str
    run: Callable[[str, Measured], None]
    seconds: float | None = None
    megabytes: float | None = None


OPERATIONS: Sequence[Operation] = (
    Operation("many: open, nothing known", "many", open_cold, 2, 300),
    Operation("many: open the next version", "many", open_next, 0.1, 300),
    Operation("many: first page of rows", "many", first_page, 1, 300),
    Operation("many: page behind it", "many", later_page, 1, 300),
    Operation("many: stage 10 rows", "many", stage_rows(10), 1, 300),
    Operation("many: stage 1,000 rows", "many", stage_rows(1_000), None, 300),
    Operation("many: plan of 100 rows", "many", plan_rows, 1, 300),
    Operation("many: merge of 10 rows", "many", merge_rows, 1, 300),
    Operation("many: page of history", "many", history_page, 0.2, 300),
    Operation("many: what maintenance decides by", "many", condition, 2, 300),
    Operation("versions: open, nothing known", "versions", open_cold, 2, 300),
    Operation("versions: page of history", "versions", history_page, 0.2, 300),
    Operation("versions: merge of 10 rows", "versions", merge_rows, 1, 300),
    Operation("page: first page of rows", "page", first_page, 0.3, 300),
    Operation("page: page behind it", "page", later_page, 0.3, 300),
    Operation("small: a row of each of 5,000 files", "small", merge_rows_of_all, 5),
    *(
        Operation(
            f"wide: {columns} columns, {step}",
            f"wide-{columns}",
            change_one_column if step == "one changed" else change_every_column(step),
        )
        for step in WIDE_STEPS
        for columns in WIDE
    ),
    *(Operation(f"texts: {name}", name.replace(" ", "-"), change_texts, None, 1_000) for name in TEXTS),
)


def main() -> int:
    """Make the tables that are missing, measure each operation, print what it took beside its bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks/scale"))
    parser.add_argument("--one", nargs=2, metavar=("NAME", "TABLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure_here(*arguments.one)))
        return 0
    taken = {}
    for one in OPERATIONS:
        if arguments.only not in one.name:
            continue
        table = made(arguments.folder, one.table)
        found = measure(one, table)
        if "failed" in found:
            report.failure(one.name, found["failed"])
            continue
        taken[one.name] = found
        report.figure(f"{one.name}, CPU", found["cpu"], "s", most=one.seconds)
        report.figure(f"{one.name}, peak", found["peak"] / 1e6, "MB", most=one.megabytes)
    for step, most in WIDE_STEPS.items():
        narrow, wide = (taken.get(f"wide: {columns} columns, {step}") for columns in WIDE)
        if narrow and wide:
            what = f"wide: {WIDE[1] / WIDE[0]:.0f} times as many columns take, {step}"
            report.figure(what, wide["cpu"] / narrow["cpu"], "times", most=most)
    return report.exit_code()


def made(folder: Path, name: str) -> Path:
    """The table of this name, made where it is missing."""
    table = folder / name
    if table.exists():
        return table
    begun = folder / f"{name}.begun"
    shutil.rmtree(begun, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if name in SHAPES:
        make_table(begun, SHAPES[name])
    elif name.startswith("wide-"):
        make_wide(begun, int(name.removeprefix("wide-")))
    else:
        make_texts(begun, *TEXTS[name.replace("-", " ")])
    begun.rename(table)
    return table


def measure(operation: Operation, table: Path) -> dict[str, Any]:
    """One operation in a process of its own, on a copy of the table; ``failed`` says what ended it, where it did."""
    with tempfile.TemporaryDirectory(prefix="copy-", dir=table.parent) as folder:
        copy = linked(table, Path(folder) / "table")
        command = [sys.executable, "-m", "benchmarks.scale", "--one", operation.name, str(copy)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return {"failed": f"the process ended with {done.returncode}"}
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def measure_here(name: str, table: str) -> dict[str, Any]:
    """Run one operation in this process."""
    [operation] = [one for one in OPERATIONS if one.name == name]
    merging.warm_up()
    measured = Measured()
    try:
        operation.run(table, measured)
    except MergeError as error:
        return {"failed": str(error)}
    return {"cpu": measured.cpu, "peak": report.peak_memory()}


if __name__ == "__main__":
    sys.exit(main())
