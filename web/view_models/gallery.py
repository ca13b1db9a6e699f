"""Samples of every component in every state, for those who build pages. Pure."""

from dataclasses import dataclass, replace
from typing import Any

from changerequests.states import Readiness
from web.markdown import Named
from web.view_models.datasets import Tab
from web.view_models.merge_box import Gate
from web.view_models.requests import READINESS, Obstacle, ReadinessChip, Tally
from web.view_models.runs import Step
from web.view_models.strip import NextStep, Strip

#: The colours of the house, by what they are for; each has a sample in both themes.
COLOURS = ("accent", "good", "bad", "warn", "merged")

_CHIPS = (
    ReadinessChip("Draft", "draft", "draft"),
    *READINESS.values(),
    replace(READINESS[Readiness.QUEUED], word="Queued 2nd"),
    ReadinessChip("Merged as v42", "merged", "merged"),
    ReadinessChip("Closed", "closed", "closed"),
)
_OBSTACLES = (Obstacle("fix", "29 conflicts", "#strips"), Obstacle("wait", "Needs 1 approval", "#strips"))
_FAILED = (
    Gate("fix", "29 conflicts need a choice.", "#gates", "Choose values"),
    Gate("wait", "1 more approval of this content needed, from somebody who did not edit it."),
    Gate("confirm", "2 expectations only warn.", "#gates", "See the check"),
)
_HELD = (Gate("ok", "Nobody asks for changes."), Gate("ok", "Checked against version 41 of the table."))
_STEPS = (
    Step("Queued", "", "done"),
    Step("Checking", "The changes are compared with the table as it is now.", "now"),
    Step("Writing", "", "next"),
    Step("Committing", "Stopped here.", "failed"),
)
PROSE = """# What changes
Two planes were **built** a year _later_ than `planes` says, see CR-128 and @olivia.

- N10156: 2004
- N102UW: 1998

> The register of 2013.

| tailnum | year |
|---|---|
| N10156 | 2004 |

<script>alert(1)</script>
"""


@dataclass(frozen=True)
class CellSample:
    """A value as tables show it."""

    what: str
    value: Any


CELLS = (
    CellSample("text", "JFK"),
    CellSample("NULL", None),
    CellSample("empty text", ""),
    CellSample("blanks around it", " JFK "),
    CellSample("written from right to left", "\u202eKFJ\u202c \u200f"),
    CellSample("a number", 1204),
    CellSample("bytes", b"\x00\xff"),
    CellSample("long", "a long remark of a pilot " * 30),
)


def samples() -> dict[str, Any]:
    """What the gallery's template shows."""
    return {
        "colours": COLOURS,
        "chips": _CHIPS,
        "strips": [
            Strip(
                READINESS[Readiness.CONFLICTS],
                _OBSTACLES,
                "",
                _step("page", "Choose values", "conflict"),
                False,
            ),
            Strip(READINESS[Readiness.READY], (), "", _step("page", "Merge…", "merged"), False),
            Strip(
                READINESS[Readiness.MERGING],
                (),
                "Writing …",
                _step("page", "Watch the merge", "merging"),
                False,
            ),
        ],
        "failed": _FAILED,
        "held": _HELD,
        "steps": _STEPS,
        "tally": Tally(3, 12, 1),
        "tabs": [
            Tab("Conversation", "#tabs", "comment", True, None),
            Tab("Changes", "#tabs", "table", False, 1204),
            Tab("Conflicts", "#tabs", "conflict", False, 29),
        ],
        "cells": CELLS,
        "prose": PROSE,
        "named": Named({"CR-128": "Correct two planes"}, {"olivia": "Olivia Okafor"}),
        "levels": ("success", "error", "warning", "info"),
        "bars": [
            {"name": "dep_time", "width": 100, "cells": 1204},
            {"name": "arr_time", "width": 12, "cells": 148},
        ],
    }


def _step(kind: Any, words: str, icon: str) -> NextStep:
    return NextStep(kind, words, "#strips", icon)
