"""Eight processes merge into one table while somebody appends, deletes and compacts: nothing is lost, nothing twice."""

from __future__ import annotations

import multiprocessing
import random
from multiprocessing.connection import Connection
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import delta
from tests.merging import racing
from tests.merging.delta.delta_tables import assert_all_readers_agree
from tests.merging.sites import Site
from tests.merging.world import STRATEGIES, Row, T, World, arrow, same_rows
from tests.options import RACE_REQUESTS, RACE_SEED

PROCESSES = 8
OWN = 20
SHARED = range(1_000, 1_010)
FOREIGN = range(2_000, 2_100)
STAGED = T.append(pa.field("_op", pa.string()))


def content() -> list[Row]:
    numbers = [*range(PROCESSES * OWN), *SHARED, *FOREIGN]
    return [{"id": number, "a": number, "b": f"row {number}", "c": number / 2} for number in numbers]


def changes_of(process: int, place: int, chance: random.Random) -> list[Row]:
    """Disjoint rows of the process' own, and in every second request one that others want too."""
    own = chance.randrange(process * OWN, (process + 1) * OWN)
    changes: list[Row] = [
        {"id": own, "a": -place - 1, "b": None, "c": None, "_op": "update"},
        {"id": 10_000 + process * 100 + place, "a": process, "b": "added", "c": None, "_op": "insert"},
    ]
    if place % 2:
        changes.append(
            {"id": chance.choice(SHARED), "a": 100 * process + place, "b": "mine", "c": 0.0, "_op": "update"}
        )
    return changes


def run_together(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What came of each order, carried out by processes that begin at the same moment.

    They are forked from one that has loaded the engine and done nothing yet.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.merging.racing"])
    pipes = [processes.Pipe() for _ in orders]
    children = [
        processes.Process(target=racing.carry_out, args=(order, there))
        for order, (_, there) in zip(orders, pipes, strict=True)
    ]
    try:
        for child, (_, there) in zip(children, pipes, strict=True):
            child.start()
            there.close()  # so that the end of a child is heard
        for here, _ in pipes:
            assert said_by(here) == "ready"
        for here, _ in pipes:
            here.send("go")
        outcomes: list[dict[str, Any]] = [said_by(here) for here, _ in pipes]
    finally:
        for child in children:
            child.kill()
            child.join()
    return outcomes


def said_by(child: Connection) -> Any:
    assert child.poll(300), "a process says nothing"
    return child.recv()


def replay(world: World, requests: dict[str, list[Row]], merged: dict[str, int]) -> dict[int, Row]:
    """The table as a serial order of the log's commits makes it, compared with every version on the way."""
    rows = {row["id"]: row for row in content()}
    by_version = {version: cr_id for cr_id, version in merged.items()}
    history = sorted(delta.read_history(world.uri, limit=10_000), key=lambda entry: entry.version)
    assert [entry.version for entry in history] == list(range(len(history)))
    for entry in history[world.base_version + 1 :]:
        version = entry.version
        before, now = dict(rows), rows_at(world, version)
        if version in by_version:
            assert entry.cr_id == by_version[version]
            for change in requests[entry.cr_id]:
                rows[change["id"]] = {name: change[name] for name in ("id", "a", "b", "c")}
        elif entry.operation == "WRITE":
            [number] = now.keys() - before.keys()
            rows[number] = now[number]
        elif entry.operation == "DELETE":
            [number] = before.keys() - now.keys()
            assert number in FOREIGN
            del rows[number]
        else:
            assert entry.operation == "OPTIMIZE"
        assert same_rows(list(now.values()), list(rows.values()), ["id"]), (version, entry)
    return rows


def rows_at(world: World, version: int) -> dict[int, Row]:
    table = deltalake.DeltaTable(world.uri, version=version)
    builder = deltalake.QueryBuilder().register("t", table)
    found = pa.table(builder.execute("SELECT * FROM t").read_all()).to_pylist()
    rows = {row["id"]: row for row in found}
    assert len(rows) == len(found)
    return rows


@pytest.mark.slow
@pytest.mark.any_store
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_change_lands_once_or_conflicts(strategy: str, site: Site) -> None:
    chance = random.Random(RACE_SEED)  # noqa: S311  (repeatable, no secret)
    world = World(site, strategy, rows=content())
    where = {"uri": world.uri, "options": dict(site.options)}
    requests: dict[str, list[Row]] = {}
    orders: list[dict[str, Any]] = []
    for process in range(PROCESSES):
        locations: dict[str, str] = {}
        taken: set[int] = set()
        for place in range(RACE_REQUESTS):
            changes = [one for one in changes_of(process, place, chance) if one["id"] not in taken]
            taken |= {one["id"] for one in changes}
            cr_id = f"CR-{process}-{place}"
            requests[cr_id] = changes
            locations[cr_id] = world.stage(arrow(STAGED, changes)).location
        orders.append({"action": "merge", **where, "requests": locations})
    orders.append(
        {
            "action": "write",
            **where,
            "seed": RACE_SEED,
            "steps": 5 * RACE_REQUESTS,
            "own_ids": list(FOREIGN),
        }
    )
    *outcomes, elsewhere = run_together(orders)

    found = {cr_id: version for outcome in outcomes for cr_id, version in outcome.items()}
    assert found.keys() == requests.keys()
    merged = {cr_id: version for cr_id, version in found.items() if version is not None}
    assert len(set(merged.values())) == len(merged)
    rows = replay(world, requests, merged)

    # Each row that several wanted went to one of them; who wanted none of those was merged.
    wanted: dict[int, list[str]] = {}
    for cr_id, changes in requests.items():
        for change in changes:
            if change["id"] in SHARED:
                wanted.setdefault(change["id"], []).append(cr_id)
    for number, rivals in wanted.items():
        assert len([cr_id for cr_id in rivals if cr_id in merged]) == 1, (number, rivals)
    contested = {cr_id for rivals in wanted.values() for cr_id in rivals}
    assert merged.keys() >= requests.keys() - contested
    assert any(len(rivals) > 1 for rivals in wanted.values())

    assert set(elsewhere["appended"]) <= rows.keys()
    assert not set(elsewhere["deleted"]) & rows.keys()
    for cr_id, version in merged.items():
        committed = merging.find_merge(world.uri, cr_id)
        assert committed is not None
        assert committed.version == version
    assert_all_readers_agree(world.uri)
