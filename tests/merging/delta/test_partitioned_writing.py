"""Rows of many partitions: each file has the rows of its own, however many files a partition takes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from merging.delta.writing.partitioning import Partition
from merging.errors import MergeFailed
from tests.merging.world import STRATEGIES, Row, World

SCHEMA = pa.schema([("id", pa.int64()), ("p", pa.string()), ("q", pa.date32()), ("v", pa.string())])


def incompressible(number: int) -> str:
    """A text that takes as much room in a file as here."""
    return hashlib.shake_128(str(number).encode()).hexdigest(500)


def check_feed(world: World, replaced: list[Row], written: list[Row]) -> None:
    """The change data feed of the newest commit has these rows before and after it."""
    feed = pa.table(deltalake.DeltaTable(world.uri).load_cdf(starting_version=world.version).read_all())
    rows = feed.select([*SCHEMA.names, "_change_type"]).to_pylist()
    kinds = Counter(row["_change_type"] for row in rows)
    assert kinds == {
        "insert": len(written) - len(replaced),
        "update_preimage": len(replaced),
        "update_postimage": len(replaced),
    }
    for kept, told in ((replaced, {"update_preimage"}), (written, {"insert", "update_postimage"})):
        found = [{name: row[name] for name in SCHEMA.names} for row in rows if row["_change_type"] in told]
        assert sorted(found, key=str) == sorted(kept, key=str)


@pytest.mark.parametrize("feed", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_partitions_of_several_files_have_their_own_rows_each(
    strategy: str, feed: bool, tmp_path: Path
) -> None:
    old: list[Row] = [{"id": -n, "p": f"p{n % 5}", "q": None, "v": incompressible(n)} for n in range(1, 41)]
    world = World(tmp_path, strategy, SCHEMA, old, partition_by=["p"], change_data_feed=feed)
    deltalake.DeltaTable(world.uri).alter.set_table_properties({"delta.targetFileSize": "1mb"})
    world.base_version = world.version
    new = [{"id": n, "p": f"p{n % 7 % 3}", "q": None, "v": str(n)} for n in range(42_000)]
    moved = [{**row, "p": "p1"} for row in old[:10]]
    world.merge(world.stage(moved + new))
    assert len(deltalake.DeltaTable(world.uri).file_uris()) >= 8
    assert world.rows() == sorted([*moved, *old[10:], *new], key=lambda row: str(row["id"]))
    if feed:
        replaced = [row for row in old[:10] if row["p"] != "p1"]
        check_feed(
            world, replaced, [row for row in moved if row["id"] in {one["id"] for one in replaced}] + new
        )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_of_a_hundred_partitions_of_two_columns(strategy: str, tmp_path: Path) -> None:
    """NULL is one of them, on its own and beside a value."""

    def row(number: int, part: int, value: str) -> Row:
        day = pa.scalar(part // 10, pa.date32()).as_py() if part % 4 else None
        return {"id": number, "p": f"p {part % 10}%/" if part % 3 else None, "q": day, "v": value}

    old = [row(n, n % 100, f"old {n}") for n in range(300)]
    world = World(tmp_path, strategy, SCHEMA, old, partition_by=["p", "q"], change_data_feed=True)
    changed = [row(n, (n * 7) % 100, f"new {n}") for n in range(0, 500, 3)]
    world.merge(world.stage(changed))
    kept = [one for one in old if one["id"] % 3]
    assert world.rows() == sorted([*kept, *changed], key=lambda one: str(one["id"]))
    check_feed(world, [one for one in old if not one["id"] % 3], changed)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_file_that_has_not_the_rows_that_it_was_to_have_is_not_committed(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, strategy, SCHEMA, [], partition_by=["p"])
    monkeypatch.setattr(Partition, "cut", lambda self, share: [(f"FROM {self.source} WHERE false", share)])
    files = world.paths()
    with pytest.raises(MergeFailed, match="was to hold 1 rows and holds 0; nothing was committed"):
        world.merge(world.stage([{"id": 1, "p": "p0", "q": None, "v": "new"}]))
    assert world.version == 0
    assert world.paths() == files
