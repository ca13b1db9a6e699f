"""All benchmarks one after the other: ``python -m benchmarks`` (``make bench``).

Within 40 minutes on two cores, on which nothing else should run. Prints every bar in one table at the end, and what
each benchmark took; writes what it measured into ``docs/performance.md`` as soon as it has, bars with the date; after
all, the machine and the versions, too. ``--long`` runs what takes as long as all others together.

The tables are made once and kept in ``var/benchmarks`` (about 15 GB with scale 10).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from config.env import BASE_DIR

DOCUMENT = BASE_DIR / "docs" / "performance.md"
#: Each is a command of its own; the document has a place for what it measures, by the same words.
RUNS = (
    "merge --scale 1 --runs 3",
    "merge --scale 0.05 --runs 3",
    "threeway",
    "expectations --rows 6000000 --changes 10000 --runs 3",
    "staging",
    "million",
    "uploads",
    "changes",
    "downloads",
    "client",
    "queue_throughput",
    "conflicts",
    "stores --rows 1000000",
    "scale",
    "large",
    "crowd",
    "load",
)
#: Sixty million rows: a peer writes the whole table, or holds 17 GB.
LONG = ('merge --scale 10 --runs 1 --layouts clustered --engines floor headgate delta-rs "delta-rs tuned"',)
#: The columns of the table of bars.
BARS = ("benchmark", "", "measured", "bar", "", "on")
#: What of the environment decides.
PACKAGES = ("duckdb", "deltalake", "pyarrow", "Django")


def main() -> int:
    """Run each in a process of its own; 1 where one did not end as it should, whatever the bars say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="run only what has this in its command")
    parser.add_argument("--long", action="store_true", help="run those that take long instead")
    options = parser.parse_args()
    began, failed = time.monotonic(), []
    bars: list[list[str]] = []
    took: dict[str, float] = {}
    for command in LONG if options.long else RUNS:
        if options.only not in command:
            continue
        print(f"\n## python -m benchmarks.{command}\n", flush=True)
        started = time.monotonic()
        found = run(command)
        took[command] = time.monotonic() - started
        if found is None:
            failed.append(command)
            continue
        tables, figures = found
        rows = [[short(command), *one.row(), f"{datetime.now(UTC):%Y-%m-%d}"] for one in figures if one.bar]
        bars += rows
        # Now, and not at the end: whoever ends it early keeps what was measured.
        text = placed(DOCUMENT.read_text(encoding="utf-8"), command, "\n\n".join(tables))
        DOCUMENT.write_text(with_bars(text, command, rows), encoding="utf-8")
    if not (options.only or options.long or failed):
        text = placed(DOCUMENT.read_text(encoding="utf-8"), "machine", machine())
        DOCUMENT.write_text(text, encoding="utf-8")
    print(f"\n{report.markdown(BARS, bars)}\n")
    for command, seconds in took.items():
        print(f"{seconds:6.0f} s  {command}")
    print(f"{time.monotonic() - began:6.0f} s  in all")
    for command in failed:
        print(f"FAILED: python -m benchmarks.{command}")
    return 1 if failed else 0


def short(command: str) -> str:
    """What a benchmark is called in the table of bars."""
    return " ".join(command.split()[:3])


def with_bars(text: str, command: str, rows: list[list[str]]) -> str:
    """The document whose table of bars has these rows of one benchmark, and those of all others as they were."""
    _, _, *lines = content_of(text, "bars").splitlines()
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    kept = [row for row in cells if row[0] != short(command)]
    order = [short(one) for one in (*RUNS, *LONG)]
    ordered = sorted([*kept, *rows], key=lambda row: order.index(row[0]))
    return placed(text, "bars", report.markdown(BARS, ordered))


def run(command: str) -> tuple[list[str], list[report.Figure]] | None:
    """One benchmark; what it noted, or None where it did not end as it should."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
        notes = Path(folder) / "notes"
        notes.touch()
        module, *arguments = shlex.split(command)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            env={**os.environ, report.NOTES: str(notes)},
            check=False,
        )
        return report.noted(notes) if done.returncode in (0, report.BAR_MISSED) else None


def placed(text: str, name: str, content: str) -> str:
    """The document with the content in the place of this name. Raises ``LookupError`` where it has none."""
    start, end = _place(text, name)
    return f"{text[:start]}\n{content}\n\n{text[end:]}"


def content_of(text: str, name: str) -> str:
    """What stands in the place of this name. Raises ``LookupError`` where there is none."""
    start, end = _place(text, name)
    return text[start:end].strip()


def _place(text: str, name: str) -> tuple[int, int]:
    found = re.search(rf"(?<=<!-- measured: {re.escape(name)} -->\n).*?(?=<!-- end -->)", text, re.DOTALL)
    if found is None:
        raise LookupError(f"{DOCUMENT.name} has no place for what `{name}` measures.")
    return found.span()


def machine() -> str:
    """On what, with what and when."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), "
        f"{memory:.0f} GiB of memory, local disk; Python {platform.python_version()}, {versions}."
    )


if __name__ == "__main__":
    sys.exit(main())
