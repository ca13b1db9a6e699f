"""One of many processes that change a table at the same moment.

It says ``ready`` through its pipe, then it waits for a word, so that all begin together; then it tells what came of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import deltalake
import pyarrow as pa
from deltalake.exceptions import DeltaError

import merging

ATTEMPTS = 10


def merge_all(
    uri: str, options: dict[str, str], requests: dict[str, str], cluster: str | None = None
) -> dict[str, Any]:
    """Merge request after request; for each the version it was merged in, or None where it conflicts.

    With the address of a cluster rows that moved are looked for there.
    """
    if cluster is not None:
        choice = merging.EngineChoice("spark", merging.Cluster(cluster, seconds=180))
        merging.set_engines(lambda _: choice)
    outcome: dict[str, Any] = {}
    for cr_id, location in requests.items():
        request = merging.MergeRequest(
            uri, cr_id, ["id"], merging.open_staged(location), storage_options=options or None
        )
        outcome[cr_id] = merge_one(request)
    return outcome


def merge_one(request: merging.MergeRequest) -> int | None:
    for _ in range(ATTEMPTS):
        try:
            return merging.merge(request).merged_version
        except merging.MergeConflict:
            return None
        except merging.CommitRefused as error:
            if not error.retriable:
                raise
    raise RuntimeError(f"{request.cr_id} lost every race")


def write_elsewhere(
    uri: str, options: dict[str, str], seed: int, steps: int, own_ids: list[int]
) -> dict[str, Any]:
    """Appends, deletes and compactions by delta-rs, as somebody does who knows nothing of us. What landed."""
    chance = random.Random(seed)  # noqa: S311  (repeatable, no secret)
    appended: list[int] = []
    deleted: list[int] = []
    compactions = refused = 0
    fresh = iter(range(own_ids[-1] + 1, own_ids[-1] + 10_000))
    for _ in range(steps):
        time.sleep(chance.uniform(0, 0.15))
        action = chance.choice(["append", "append", "delete", "compact"])
        try:
            if action == "append":
                number = next(fresh)
                row = pa.table(
                    {"id": [number], "a": pa.array([number], pa.int32()), "b": ["appended"], "c": [0.5]}
                )
                deltalake.write_deltalake(uri, row, mode="append", storage_options=options)
                appended.append(number)
            elif action == "delete":
                number = own_ids.pop(chance.randrange(len(own_ids)))
                deltalake.DeltaTable(uri, storage_options=options).delete(f"id = {number}")
                deleted.append(number)
            else:
                deltalake.DeltaTable(uri, storage_options=options).optimize.compact()
                compactions += 1
        except DeltaError:
            refused += 1
    return {"appended": appended, "deleted": deleted, "compactions": compactions, "refused": refused}


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"merge": merge_all, "write": write_elsewhere}


def carry_out(order: dict[str, Any], pipe: Connection) -> None:
    """Do what the order says once all others are ready too."""
    action = ACTIONS[order.pop("action")]
    merging.warm_up()
    pipe.send("ready")
    pipe.recv()
    pipe.send(action(**order))
