"""Mutants by the thousand, 200 in one confined process; a process that dies is noticed, and the next one goes on."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merging import Bounds, MergeError, run_confined
from tests.fuzz.trying import make_table

MEMORY_BYTES = 3 << 30
SECONDS = 600.0


@dataclass
class Outcome:
    """What became of the mutants of one format: how many ended how, and what must be mended, by number."""

    ended: Counter[str] = field(default_factory=Counter)
    findings: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0

    @property
    def tried(self) -> int:
        """How many mutants were staged, refused or worse."""
        return sum(self.ended.values())

    def add(self, other: Outcome) -> None:
        """Count another part of the same format, too."""
        self.ended += other.ended
        self.findings |= other.findings
        self.slowest = max(self.slowest, other.slowest)


def attack(
    file_format: str,
    *,
    seed: int,
    first: int,
    count: int,
    at_once: int = 200,
    children: int = 1,
    goes_on: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Stage mutants of a format, ``at_once`` in each process, ``children`` processes beside each other."""
    total = Outcome()
    with tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as folder:
        table = make_table(Path(folder))

        def part(start: int) -> Outcome:
            if not goes_on():
                return Outcome()
            with tempfile.TemporaryDirectory(dir=folder) as own:
                argument = {"format": file_format, "seed": seed, "table": table, "folder": own}
                return _part(argument, start, min(at_once, first + count - start))

        with ThreadPoolExecutor(children) as pool:
            for found in pool.map(part, range(first, first + count, at_once)):
                total.add(found)
    return total


def _part(argument: Mapping[str, Any], first: int, count: int) -> Outcome:
    outcome = Outcome()
    end = first + count
    while first < end:
        at = first - 1

        def note(progress: Mapping[str, Any]) -> None:
            nonlocal at
            at = progress["at"]

        try:
            told = run_confined(
                "tests.fuzz.trying:try_mutants",
                {**argument, "first": first, "count": end - first},
                Bounds(memory_bytes=MEMORY_BYTES, seconds=SECONDS),
                on_progress=note,
            )
        except MergeError as error:
            outcome.ended["died"] += 1
            outcome.findings[at] = f"{type(error).__name__}: {error}"
            # Those before it ended well, or the process would have told: they are counted as such.
            outcome.ended["before a death"] += max(0, at - first)
            first = max(at, first) + 1
            continue
        outcome.ended.update(told["outcomes"])
        outcome.findings |= {one["number"]: one["told"] for one in told["findings"]}
        outcome.slowest = max(outcome.slowest, told["slowest"])
        break
    return outcome
