"""Paying the fixed costs of a fresh process before the first request does."""

from __future__ import annotations

import atexit
import gc
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from merging.delta import reach_of
from merging.executing.executor import merge
from merging.scratch import scratch_folder
from merging.staging import stage
from merging.tables.looking import create_table
from merging.threeway.request import MergeRequest
from merging.without_pandas import leave_pandas_alone

_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
#: A row with a value of each kind: what reads and writes a kind is made ready where the first of it comes.
_ROW = {
    "key": 1,
    "number": Decimal("1.00"),
    "share": 0.5,
    "open": True,
    "day": _MOMENT.date(),
    "moment": _MOMENT,
    "value": "a",
}


def warm_up() -> None:
    """Stage and merge one row into a throw-away table: libraries that load on first use are loaded then.

    A fresh process needs about a second for it, which its first merge would need otherwise. For worker processes; call
    it after the fork, never before. Arrow does without pandas in this process from then on.
    """
    leave_pandas_alone()
    # Of a table of one's own nobody need be asked where it lies.
    with (
        scratch_folder("warm-up") as folder,
        reach_of(leaving=False, places={}),
    ):
        table = str(Path(folder) / "table")
        create_table(table, pa.Table.from_pylist([_ROW]))
        proposed = pa.Table.from_pylist([{**_ROW, "value": "b"}])
        staged = stage(table, proposed, ("key",), destination=str(Path(folder) / "staged"))
        merge(MergeRequest(table, "CR-0", ("key",), staged))
    # What is loaded now stays as long as the process: the collector need not look at it again each time that a log or
    # a file makes many values, which takes longer than to read them.
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries complain of what is left at the end
