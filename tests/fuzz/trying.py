"""What the confined process does: make mutants by their numbers, stage each, and tell what became of it."""

from __future__ import annotations

import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import merging
from tests.fuzz.mutants import mutant
from tests.fuzz.seeds import SCHEMA, rows

SLOW_SECONDS = 20.0
_Report = Callable[[Mapping[str, Any]], None]


def make_table(folder: Path) -> str:
    """The table that mutants are staged against."""
    from random import Random

    import pyarrow as pa

    uri = str(folder / "table")
    content = rows(Random("the table"), 20)  # noqa: S311 - tests are repeated by their seeds
    merging.create_table(uri, pa.Table.from_pylist(content, schema=SCHEMA))
    return uri


def try_mutants(argument: Mapping[str, Any], report: _Report) -> dict[str, Any]:
    """Stage the mutants ``first`` to ``first + count - 1``: how many ended how, and those that ended as none may."""
    folder = Path(argument["folder"])
    outcomes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    slowest = 0.0
    for number in range(argument["first"], argument["first"] + argument["count"]):
        report({"at": number})
        ending, content = mutant(argument["format"], argument["seed"], number)
        path = folder / f"mutant.{ending}"
        path.write_bytes(content)
        began = time.monotonic()
        outcome, told = _staged(argument["table"], path, folder / "staged")
        took = time.monotonic() - began
        slowest = max(slowest, took)
        outcomes[outcome] += 1
        if told or took > SLOW_SECONDS:
            findings.append({"number": number, "told": told or f"took {took:.0f} s"})
        path.unlink()
    return {"outcomes": outcomes, "findings": findings, "slowest": slowest}


def _staged(table: str, path: Path, destination: Path) -> tuple[str, str]:
    """How staging ended in a word, and what is wrong with that ("" for nothing)."""
    try:
        merging.stage(table, path, ["id"], destination=str(destination))
    except merging.StagingRejected as refusal:
        left = list(destination.glob("*")) if destination.exists() else []
        unnamed = not refusal.problems or not all(one.code and one.message for one in refusal.problems)
        str(refusal).encode()  # what cannot be written cannot be shown
        told = f"left {left} behind" if left else "refused without a reason" if unnamed else ""
        return f"refused: {refusal.problems[0].code}" if refusal.problems else "refused", told
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return "failed", f"{type(error).__name__} in {place}: {str(error)[:300]}"
    finally:
        shutil.rmtree(destination, ignore_errors=True)
    return "staged", ""
