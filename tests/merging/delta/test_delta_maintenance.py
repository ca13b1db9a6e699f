"""Compaction, vacuum, checkpoints, vectors on and off, and what changed between versions."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from merging import delta
from merging.delta.known_states import KnownStates
from merging.errors import TableChanged, VersionMoved
from tests.merging.delta.delta_tables import (
    Merger,
    after_merge,
    assert_all_readers_agree,
    changed,
    differing,
    own_rows,
    sample,
)
from tests.merging.sites import paths_below

pytestmark = pytest.mark.any_store

FAR = 4_000_000_000_000


def stored(uri: str) -> set[str]:
    return {path for path in paths_below(uri) if not path.startswith("_delta_log/")}


@pytest.fixture
def worn_table(make_table: Callable[..., str], merger: Merger) -> str:
    """Three merges: several small files, one with a vector."""
    uri = make_table(sample(20))
    merger.merge(uri, upsert=changed(sample(20), [3], whole=-1), delete=[4])
    merger.merge(uri, upsert=sample(2, start=50))
    merger.merge(uri, delete=[51])
    return uri


def test_compaction_folds_vectors_and_changes_no_row(worn_table: str, merger: Merger) -> None:
    before = own_rows(worn_table)
    snapshot = delta.open_snapshot(worn_table)
    done = delta.compact(merger.connection, snapshot, attempt_id="c1", application_id="m", user="olivia")
    assert done.commit is not None
    assert (done.commit.version, done.files_added, done.vectors_folded) == (4, 1, 2)
    assert done.files_removed == len(snapshot.files)
    after = delta.open_snapshot(worn_table)
    assert [file.vector for file in after.files] == [None]
    assert_all_readers_agree(worn_table, before)
    [entry] = delta.read_history(worn_table, limit=1)
    assert (entry.operation, entry.user, entry.rows_added) == ("OPTIMIZE", "olivia", None)
    again = delta.compact(merger.connection, after, attempt_id="c2", application_id="m", generation=2)
    assert (again.commit, delta.open_snapshot(worn_table).version) == (None, 4)


def test_two_compactions_at_once_do_not_double_the_table(worn_table: str, merger: Merger) -> None:
    before = own_rows(worn_table)
    snapshot = delta.open_snapshot(worn_table)
    delta.compact(merger.connection, snapshot, attempt_id="c1", application_id="m")
    files = stored(worn_table)
    with pytest.raises(VersionMoved):
        delta.compact(merger.connection, snapshot, attempt_id="c2", application_id="m")
    assert stored(worn_table) == files
    assert own_rows(worn_table) == before


def test_compaction_keeps_partitions_apart(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(30), partition_by=["flag"])
    merger.merge(uri, upsert=sample(10, start=40), delete=[4, 5])
    before = own_rows(uri)
    delta.compact(merger.connection, delta.open_snapshot(uri), attempt_id="c", application_id="m")
    after = delta.open_snapshot(uri)
    assert sorted(file.partition_values["flag"] or "" for file in after.files) == ["false", "true"]
    assert_all_readers_agree(uri, before)


def test_vacuum_deletes_what_no_kept_version_needs(worn_table: str, merger: Merger) -> None:
    old = delta.open_snapshot(worn_table, version=1)
    delta.compact(merger.connection, delta.open_snapshot(worn_table), attempt_id="c", application_id="m")
    snapshot = delta.open_snapshot(worn_table)
    everything = stored(worn_table)
    assert delta.vacuum(snapshot) == ()
    assert delta.vacuum(snapshot, retention_hours=0, now_ms=FAR, dry_run=True) != ()
    assert stored(worn_table) == everything

    snapshot.store.write("_staging/kept.parquet", b"x")
    snapshot.store.write("part-running-1.parquet", b"x")
    delta.vacuum(snapshot, retention_hours=0, now_ms=FAR, protect=[old], protect_attempts=["running"])
    rows = own_rows(worn_table, version=1)
    assert len(rows) == 19
    assert {"_staging/kept.parquet", "part-running-1.parquet"} <= stored(worn_table)
    delta.vacuum(snapshot, retention_hours=0, now_ms=FAR)
    assert stored(worn_table) == {snapshot.files[0].path, "_staging/kept.parquet"}
    assert_all_readers_agree(worn_table)


SPELLED: dict[str, Callable[[str, str], str]] = {
    "dot": lambda root, path: f"./{path}",
    "two slashes": lambda root, path: f"here//{path}",
    "up": lambda root, path: f"here/../{path}",
    "through a link": lambda root, path: f"linked/{path}",
    "absolute": lambda root, path: f"{root}/{path}",
    "absolute with two slashes": lambda root, path: f"file://{root}//{path}",
    "absolute with a dot": lambda root, path: f"file:{root}/./{path}",
    "absolute up": lambda root, path: f"file://{root}/here/../{path}",
    "absolute through a link": lambda root, path: f"file://{root}/linked/{path}",
    "capitals": lambda root, path: f"FILE://{root}/{path}",
}


@pytest.mark.in_folder
@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("spelling", SPELLED)
def test_vacuum_spares_what_the_log_spells_otherwise(
    spelling: str, removed: bool, make_table: Callable[..., str]
) -> None:
    root = Path(make_table(sample(6)))
    (root / "here").mkdir()
    (root / "linked").symlink_to(root)
    log = root / "_delta_log" / f"{0:020d}.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [add] = [line["add"] for line in lines if "add" in line]
    path = add["path"]
    if spelling == "two slashes":
        (root / path).rename(root / "here" / path)
    add["path"] = SPELLED[spelling](str(root), path)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    later = 10**14
    if removed:
        remove = {"path": add["path"], "deletionTimestamp": later, "dataChange": True}
        commit = root / "_delta_log" / f"{1:020d}.json"
        commit.write_text(json.dumps({"remove": remove}) + "\n")
    snapshot = delta.open_snapshot(str(root))
    assert delta.vacuum(snapshot, retention_hours=0, now_ms=later) == ()
    assert len(own_rows(str(root), version=0)) == 6


@pytest.mark.in_folder
def test_what_a_killed_writer_left_beside_the_log_goes(make_table: Callable[..., str]) -> None:
    uri = make_table(sample(10))
    program = (
        "import os, sys; from merging.store.stores import LocalStore; os.link = lambda *_: os._exit(9); "
        "LocalStore(sys.argv[1]).put_new('_delta_log/00000000000000000001.json', b'{}')"
    )
    assert subprocess.run([sys.executable, "-c", program, uri], check=False).returncode == 9
    log = Path(uri) / "_delta_log"
    [left] = [path for path in log.iterdir() if path.name.startswith(".")]
    kept = log / ".00000000000000000001.json.crc"  # Hadoop's: nothing of ours
    kept.write_bytes(b"crc")
    snapshot = delta.open_snapshot(uri)
    assert delta.vacuum(snapshot) == ()  # it may be a commit in the making
    assert delta.vacuum(snapshot, now_ms=FAR) == (f"_delta_log/{left.name}",)
    assert (left.exists(), kept.exists()) == (False, True)


@pytest.mark.parametrize("start", [True, False])
def test_vectors_are_switched_on_and_off(start: bool, make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(20), deletion_vectors=start)
    merger.merge(uri, delete=[3])
    expected = after_merge(sample(20), None, [3])
    for number, enabled in enumerate([not start, start, not start]):
        snapshot = delta.open_snapshot(uri)
        done = delta.set_deletion_vectors(
            merger.connection,
            snapshot,
            enabled,
            attempt_id=f"s{number}",
            application_id="m",
            generation=number,
        )
        assert done is not None
        after = delta.open_snapshot(uri)
        assert after.strategy().name == ("merge-on-read" if enabled else "copy-on-write")
        if not enabled:
            assert all(file.vector is None for file in after.files)
        assert_all_readers_agree(uri, expected)
        again = delta.set_deletion_vectors(
            merger.connection, after, enabled, attempt_id="x", application_id="m"
        )
        assert again is None
        merger.merge(uri, delete=[5 + number])
        expected = after_merge(sample(20), None, [3, *range(5, 6 + number)])
        assert_all_readers_agree(uri, expected)


@pytest.mark.parametrize("stated", ["²", "9" * 5_000, "-3", "often"], ids=lambda stated: stated[:5])
def test_an_interval_of_checkpoints_that_is_no_number_is_the_usual_one(
    stated: str, make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(20), properties={"delta.checkpointInterval": "3"})
    store, first = delta.open_snapshot(uri).store, f"_delta_log/{0:020d}.json"
    restated = store.read(first).decode().replace('Interval":"3"', f'Interval":"{stated}"')
    store.delete([first])
    store.write(first, restated.encode())
    for number in range(3):
        merger.merge(uri, delete=[number])
    snapshot = delta.open_snapshot(uri)
    assert snapshot.properties["delta.checkpointInterval"] == stated
    assert delta.checkpoint_if_due(uri) is None


def test_checkpoints_come_every_tenth_version(
    make_table: Callable[..., str], merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = make_table(sample(20), properties={"delta.checkpointInterval": "3"})
    written = []
    for number in range(4):
        done = merger.merge(uri, delete=[number])
        if (checkpoint := delta.checkpoint_if_due(uri, done.version)) is not None:
            written.append(checkpoint)
    assert written == [3]
    assert delta.checkpoint_if_due(uri) is None
    delta.open_snapshot(uri).store.delete(f"_delta_log/{version:020d}.json" for version in range(3))
    monkeypatch.setattr("merging.delta.log._KNOWN", KnownStates())  # as a process that saw nothing of it
    assert delta.open_snapshot(uri).state.checkpoint_version == 3
    assert_all_readers_agree(uri, after_merge(sample(20), None, [0, 1, 2, 3]))


# ---- what changed between versions --------------------------------------------------------------------------


def changes(merger: Merger, uri: str, first: int, last: int) -> list[tuple[Any, ...]]:
    before, after = (delta.open_snapshot(uri, version=version) for version in (first, last))
    differing(merger.connection, before, after, ["id"], "changes")
    place = after.schema.names.index("whole")
    return merger.connection.execute(f"SELECT op, k0, b{place}, a{place} FROM changes ORDER BY n").fetchall()


@pytest.mark.parametrize("vectors", [True, False])
def test_changes_between_versions(vectors: bool, make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(20), deletion_vectors=vectors)
    merger.merge(
        uri, upsert=pa.concat_tables([changed(sample(20), [3], whole=-1), sample(1, start=50)]), delete=[5]
    )
    merger.merge(uri, upsert=changed(sample(20), [3], whole=3))
    delta.compact(merger.connection, delta.open_snapshot(uri), attempt_id="c", application_id="m")
    deltalake.DeltaTable(uri).restore(1)
    assert changes(merger, uri, 0, 1) == [
        ("update", 3, 3, -1),
        ("delete", 5, 5, None),
        ("insert", 50, None, 50),
    ]
    assert changes(merger, uri, 1, 2) == [("update", 3, -1, 3)]
    assert changes(merger, uri, 0, 2) == [("delete", 5, 5, None), ("insert", 50, None, 50)]
    assert changes(merger, uri, 2, 3) == []
    assert changes(merger, uri, 1, 4) == []
    assert changes(merger, uri, 2, 0) == [("insert", 5, None, 5), ("delete", 50, 50, None)]


def test_files_that_both_versions_hold_are_not_read(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(20))
    for start in (30, 40, 50):
        merger.merge(uri, upsert=sample(5, start=start))
    second = delta.open_snapshot(uri, version=2)
    second.store.delete(file.path for file in second.files)
    first, last = (delta.open_snapshot(uri, version=version) for version in (2, 3))
    assert differing(merger.connection, first, last, ["id"], "changes") == ({"insert": 5}, 1)


@pytest.mark.parametrize("vectors", [True, False])
def test_changes_from_and_to_a_version_without_files(
    vectors: bool, make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(4), deletion_vectors=vectors)
    merger.merge(uri, delete=[0, 1, 2, 3])
    merger.merge(uri, upsert=sample(2, start=7))
    assert len(delta.open_snapshot(uri, version=1).files) == 0

    def changed_keys(first: int, last: int) -> list[tuple[Any, ...]]:
        return [row[:2] for row in changes(merger, uri, first, last)]

    assert changed_keys(0, 1) == [("delete", number) for number in range(4)]
    assert changed_keys(1, 0) == [("insert", number) for number in range(4)]
    assert changed_keys(1, 1) == []
    assert changed_keys(1, 2) == [("insert", 7), ("insert", 8)]


def test_a_table_created_anew_cannot_be_compared(make_table: Callable[..., str], merger: Merger) -> None:
    first, second = (delta.open_snapshot(make_table(sample(3))) for _ in range(2))
    with pytest.raises(TableChanged, match="created anew"):
        differing(merger.connection, first, second, ["id"], "changes")


# ---- chains -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"deletion_vectors": False},
        {"change_data_feed": True, "partition_by": ["flag"]},
    ],
    ids=["merge-on-read", "copy-on-write", "feed and partitions"],
)
def test_a_chain_of_random_merges_compactions_and_checkpoints(
    options: dict[str, Any], make_table: Callable[..., str], merger: Merger
) -> None:
    dice = random.Random(20130101)  # noqa: S311 - repeatable, not secret
    uri = make_table(sample(30), **options)
    model = {row["id"]: row for row in sample(30).to_pylist()}
    schema = sample(0).schema
    for round_number in range(20):
        ids = sorted(model)
        updated = dice.sample(ids, min(len(ids), dice.randint(0, 4)))
        removed = [n for n in dice.sample(ids, min(len(ids), dice.randint(0, 3))) if n not in updated]
        rows = [
            {**model[n], "whole": round_number, "flag": dice.choice([True, False, None])} for n in updated
        ]
        rows += sample(dice.randint(0, 3), start=100 + 10 * round_number).to_pylist()
        merger.merge(uri, upsert=pa.Table.from_pylist(rows, schema=schema), delete=removed)
        for row in rows:
            model[row["id"]] = row
        for number in removed:
            del model[number]
        if round_number % 6 == 5:
            snapshot = delta.open_snapshot(uri)
            delta.compact(merger.connection, snapshot, attempt_id=f"c{round_number}", application_id="m")
        if round_number % 7 == 6:
            deltalake.DeltaTable(uri).create_checkpoint()
        if round_number == 12:
            deltalake.DeltaTable(uri).optimize.compact()
        expected = after_merge(pa.Table.from_pylist(list(model.values()), schema=schema), None, [])
        if round_number % 4 == 3:
            assert_all_readers_agree(uri, expected)
        else:
            assert own_rows(uri) == expected
