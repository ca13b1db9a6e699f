"""What benchmarks print: tables, and figures beside their bars. ``python -m benchmarks`` keeps them in
``docs/performance.md``.

A benchmark calls ``table`` and ``figure``, and ends with ``exit_code()``. Where ``BENCHMARK_NOTES`` names a file, what
it prints is noted there as JSON lines, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NOTES = "BENCHMARK_NOTES"
#: How a benchmark ends that ran as it should and found a bar missed.
BAR_MISSED = 3

_missed: list[str] = []


@dataclass(frozen=True)
class Figure:
    """One measured number; ``most`` or ``least`` is its bar, if it has one. ``failed``: what ended it instead."""

    name: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    failed: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.failed:
            return False
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def bar(self) -> str:
        """The bar as people read it."""
        if self.failed:
            return "ends well"
        if self.most is not None:
            return f"at most {_number(self.most)}{self._unit}"
        return "" if self.least is None else f"at least {_number(self.least)}{self._unit}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def row(self) -> list[str]:
        """Name, value, bar, and whether it is met."""
        word = {True: "met", False: "**missed**", None: ""}[self.kept]
        return [self.name, self.failed or f"{_number(self.value)}{self._unit}", self.bar, word]


def figure(
    name: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None
) -> None:
    """Print a number, with its bar if it has one."""
    _tell(Figure(name, value, unit, most, least))


def failure(name: str, what: str) -> None:
    """Print that something could not be measured, and what ended it: a bar that is missed."""
    _tell(Figure(name, 0.0, failed=" ".join(what.replace("|", "/").split())))


def _tell(found: Figure) -> None:
    print(": ".join(found.row()[:2]) + (f" ({found.bar}: {found.row()[3]})" if found.bar else ""), flush=True)
    if found.kept is False:
        _missed.append(found.name)
    _note({"figure": asdict(found)})


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    kept = [list(row) for row in rows]
    print(markdown(columns, kept), flush=True)
    _note({"columns": list(columns), "rows": kept})


def exit_code() -> int:
    """What a benchmark ends with: whether each of its bars is met."""
    return BAR_MISSED if _missed else 0


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown writes it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def noted(file: Path) -> tuple[list[str], list[Figure]]:
    """What a benchmark noted: its tables in Markdown, with one of all its figures at the end, and the figures."""
    tables: list[str] = []
    figures: list[Figure] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if "figure" in found:
            figures.append(Figure(**found["figure"]))
        else:
            tables.append(markdown(found["columns"], found["rows"]))
    if figures:
        tables.append(markdown(["", "measured", "bar", ""], (one.row() for one in figures)))
    return tables, figures


def _note(content: dict[str, Any]) -> None:
    if NOTES in os.environ:
        with open(os.environ[NOTES], "a", encoding="utf-8") as notes:
            notes.write(f"{json.dumps(content, ensure_ascii=False)}\n")


def _number(value: float) -> str:
    """A number with three digits that say something."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def peak_memory() -> int:
    """This process's own peak in bytes (``ru_maxrss`` would tell the parent's where that was larger)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
