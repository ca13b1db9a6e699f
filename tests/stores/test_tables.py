"""The engine on every kind of store: stage, plan, merge by each strategy, history, maintenance, recovery."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import MergeConflict, MergeRequest, Resolution
from tests.stores.far_tables import SCHEMA, FarTable, make_in_folder, put_in_store, row
from tests.stores.servers import STORES, server

KINDS = ("local", "s3", *STORES)
STRATEGIES = ("merge-on-read", "copy-on-write")


@dataclass(frozen=True)
class World:
    """One table, and a folder for what is staged."""

    table: FarTable
    folder: Path

    def stage(self, rows: list[dict[str, Any]], **more: Any) -> merging.Staged:
        named = list(dict.fromkeys(name for one in rows for name in one))
        fields = [
            SCHEMA.field(name) if name in SCHEMA.names else pa.field(name, pa.string()) for name in named
        ]
        return merging.stage(
            self.table.uri,
            pa.Table.from_pylist(rows, schema=pa.schema(fields)),
            ["id"],
            destination=str(self.folder / "staged"),
            storage_options=dict(self.table.options) or None,
            **more,
        )

    def request(self, staged: merging.Staged | str, cr_id: str = "CR-1", **more: Any) -> MergeRequest:
        return MergeRequest(
            self.table.uri,
            cr_id,
            ["id"],
            staged,
            destination=str(self.folder / "artefacts"),
            storage_options=dict(self.table.options) or None,
            **more,
        )

    def options(self) -> dict[str, Any]:
        return {"storage_options": dict(self.table.options) or None}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., World]:
    """Make a table on a kind of store."""

    def made(**how: Any) -> World:
        path, rows = make_in_folder(tmp_path, **{"files": 3, "rows": 30, "behind": 2, **how})
        if request.param == "local":
            return World(FarTable(str(path), {}, tuple(rows)), tmp_path)
        store = server(request.param)
        uri = put_in_store(path, store.options, store.address)
        shutil.rmtree(path)
        return World(FarTable(uri, store.options, tuple(rows)), tmp_path)

    return made


CHANGES: list[dict[str, Any]] = [
    {"id": 3, "b": "new", "_op": "upsert"},
    {"id": 41, "b": "new", "_op": "update"},
    {"id": 900, "b": "added", "_op": "insert"},
    {"id": 7, "b": None, "_op": "delete"},
]


@pytest.mark.sample(4)
@pytest.mark.parametrize("feed", [False, True], ids=["plain", "feed"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stage_plan_and_merge(strategy: str, feed: bool, make: Callable[..., World]) -> None:
    world = make(vectors=strategy == "merge-on-read", feed=feed)
    staged = world.stage(CHANGES)
    with merging.plan(world.request(staged)) as made:
        assert (made.rows_added, made.rows_updated, made.rows_deleted) == (1, 2, 1)
    result = merging.merge(world.request(staged))
    assert (result.strategy.removesuffix("+cdf"), result.rows_affected) == (strategy, 4)
    changed = [{name: value for name, value in one.items() if name != "_op"} for one in CHANGES[:3]]
    assert world.table.now() == world.table.after(changed, gone=[7])
    assert merging.merge(world.request(staged)).already_merged
    newest = merging.history(world.table.uri, **world.options())[0]
    assert (newest.version, newest.cr_id, newest.rows_added, newest.rows_deleted) == (
        result.merged_version,
        "CR-1",
        1,
        1,
    )
    if feed:
        opened = deltalake.DeltaTable(world.table.uri, storage_options=dict(world.table.options) or None)
        found = pa.table(opened.load_cdf(starting_version=result.merged_version).read_all()).to_pylist()
        kinds = sorted((one["id"], one["_change_type"]) for one in found)
        assert kinds == [
            (3, "update_postimage"),
            (3, "update_preimage"),
            (7, "delete"),
            (41, "update_postimage"),
            (41, "update_preimage"),
            (900, "insert"),
        ]


@pytest.mark.sample(3)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_others_write_meanwhile(strategy: str, make: Callable[..., World]) -> None:
    world = make(vectors=strategy == "merge-on-read")
    first = world.stage([{"id": 3, "b": "mine"}, {"id": 5, "b": "mine"}])
    other = world.stage([{"id": 3, "b": "theirs"}, {"id": 6, "b": "theirs"}])
    merging.merge(world.request(other, "CR-2"))
    with pytest.raises(MergeConflict) as caught:
        merging.merge(world.request(first))
    [conflict] = caught.value.conflicts
    assert (conflict.key, conflict.base, conflict.current, conflict.proposed) == (
        {"id": 3},
        row(3)["b"],
        "theirs",
        "mine",
    )
    chosen = [Resolution({"id": 3}, "b", "proposed", None, conflict.inputs_digest)]
    assert merging.merge(world.request(first, resolutions=chosen)).rows_affected == 2
    expected = [{"id": 3, "b": "mine"}, {"id": 5, "b": "mine"}, {"id": 6, "b": "theirs"}]
    assert world.table.now() == world.table.after(expected)


@pytest.mark.sample(2)
def test_maintenance_keeps_every_row_and_removes_only_what_nobody_needs(make: Callable[..., World]) -> None:
    world = make(vectors=True)
    merging.merge(world.request(world.stage(CHANGES)))
    before = world.table.now()
    uri, options = world.table.uri, world.options()
    compacted = merging.compact(
        uri, attempt_id=uuid.uuid4().hex, application_id="care", generation=1, **options
    )
    assert compacted is not None
    assert world.table.now() == before
    version = merging.inspect_table(uri, **options).version
    assert merging.write_checkpoint(uri, **options) in (None, version)
    unneeded = merging.find_unneeded_files(uri, retention_hours=0, **options)
    assert world.table.now() == before
    assert merging.preview(uri, primary_keys=["id"], limit=200, **options).rows == tuple(before)
    assert unneeded is not None


@pytest.mark.sample(3)
@pytest.mark.parametrize("dies", ["committing", "recording"])
def test_whoever_takes_up_the_work_of_a_dead_worker_merges_once(
    dies: str, make: Callable[..., World]
) -> None:
    world = make(vectors=True)
    request = world.request(world.stage(CHANGES))

    def die(phase: str, **_: Any) -> None:
        if phase == dies:
            raise InterruptedError("the worker died")

    with pytest.raises(InterruptedError):
        merging.merge(request, die)
    again = merging.merge(request)
    assert (again.already_merged, again.rows_affected) == (dies == "recording", 4)
    changed = [{name: value for name, value in one.items() if name != "_op"} for one in CHANGES[:3]]
    assert world.table.now() == world.table.after(changed, gone=[7])


RACER = """
import json, sys, time
import merging
from merging import MergeRequest
uri, options, staged, number, artefacts, begins = json.loads(sys.stdin.read())
time.sleep(max(0, begins - time.time()))
request = MergeRequest(uri, f"CR-{number}", ["id"], staged, destination=artefacts, storage_options=options)
print(merging.merge(request).merged_version)
"""


@pytest.mark.stores
def test_eight_processes_race_and_each_merges_once(make: Callable[..., World]) -> None:
    world = make(vectors=True)
    staged = [world.stage([{"id": number, "b": f"by {number}"}]).location for number in range(8)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in staged
    ]
    begins = time.time() + 5
    told = [
        json.dumps(
            [
                world.table.uri,
                world.options()["storage_options"],
                one,
                number,
                str(world.folder / "a"),
                begins,
            ]
        )
        for number, one in enumerate(staged)
    ]
    for process, line in zip(processes, told, strict=True):
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.close()
    versions = []
    for process in processes:
        assert process.stdout is not None
        with process.stdout as said:
            versions.append(int(said.read()))
    assert [process.wait() for process in processes] == [0] * 8
    assert len(set(versions)) == 8
    assert world.table.now() == world.table.after([{"id": one, "b": f"by {one}"} for one in range(8)])
