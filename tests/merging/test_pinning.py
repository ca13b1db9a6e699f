"""Rows known by where they stood at the base: what the table did since never changes the answer, only the cost."""

from __future__ import annotations

import dataclasses
import random
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

import merging
from merging import Staged
from merging.delta import ActiveFiles, open_snapshot, set_deletion_vectors
from merging.engines import TableReader
from merging.sql.session import session
from merging.staging.pinning import find_standing, write_base_files
from merging.staging.staged import open_staged, write_manifest
from tests.merging.world import B, T, World, arrow, with_rows

pytestmark = pytest.mark.any_store

ROWS = [{"id": number, "a": number * 10, "b": f"row {number}", "c": number / 2} for number in range(1, 41)]


def without_pins(staged: Staged) -> Staged:
    """The same content as if nobody had noted where its rows stood."""
    folder = Path(f"{staged.location}-{uuid.uuid4().hex}")
    shutil.copytree(staged.location, folder)
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (NULL::INTEGER AS base_file, NULL::BIGINT AS base_row) "
            f"FROM '{staged.rows_path}') TO '{folder}/rows.parquet' (FORMAT parquet)"
        )
    write_base_files(folder, ActiveFiles())
    snapshot = open_snapshot(staged.table_uri, version=staged.base_version)
    write_manifest(folder, dataclasses.replace(staged, location=str(folder)), snapshot.schema_json)
    return open_staged(str(folder))


def outcome(world: World, staged: Staged) -> Any:
    """All that a plan says."""
    with world.plan(staged) as made:
        return (
            made.rows(limit=1_000).items,
            tuple(made.conflicts),
            (made.rows_added, made.rows_updated, made.rows_deleted, made.rows_agreed),
            dict(made.cells_updated),
            made.row_count_after,
        )


def standing(world: World, staged: Staged) -> Any:
    with session() as opened:
        snapshot = open_snapshot(world.uri)
        reader = TableReader(opened, snapshot)
        return find_standing(opened, staged, reader, snapshot.schema.names)


def append(world: World, *rows: dict[str, Any]) -> None:
    deltalake.write_deltalake(world.uri, arrow(T, rows), mode="append")


def several_files(world: World) -> World:
    """The table in three files."""
    append(world, {"id": 4, "a": 40, "b": "z", "c": 4.5}, {"id": 5, "a": 50, "b": "z", "c": 5.5})
    append(world, {"id": 6, "a": 60, "b": "z", "c": 6.5})
    world.base_version = world.version
    return world


def test_nothing_is_read_while_nothing_moved(make_world: Callable[..., World]) -> None:
    world = several_files(make_world())
    staged = world.stage([{"id": 1, "a": 11}, {"id": 5, "a": 55}, {"id": 9, "a": 90}])
    assert standing(world, staged).untouched
    append(world, {"id": 7, "a": 70, "b": "n", "c": 7.5})
    found = standing(world, staged)
    assert found.untouched
    assert found.held == 2


def test_what_only_conflicts_need_is_made_where_a_row_was_touched(make_world: Callable[..., World]) -> None:
    world = several_files(make_world())
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}])

    def made_in_the_session() -> set[str]:
        with world.plan(staged) as made:
            assert made.rows().items[0].key == {"id": 1}
            tables = made.session.rows(
                "SELECT table_name AS name FROM duckdb_tables() WHERE NOT temporary UNION ALL "
                "SELECT view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary"
            )
            return {row["name"] for row in tables if not row["name"].startswith("rows_read")}

    assert made_in_the_session() == {"merged"}
    append(world, {"id": 9, "a": 80, "b": "elsewhere", "c": 9.5})
    assert made_in_the_session() == {"merged", "moved", "conflicts", "joined"}


def test_a_row_that_went_elsewhere_is_found_there(make_world: Callable[..., World]) -> None:
    world = several_files(make_world())
    staged = world.stage([{"id": 1, "a": 11}, {"id": 5, "a": 55}, {"id": 9, "a": 90}])
    other = world.stage([{"id": 5, "a": 50, "b": "moved"}, {"id": 9, "a": 1, "b": "came"}])
    world.merge(other, "CR-2")
    found = standing(world, staged)
    # Copy-on-write moves the neighbours in its file too.
    assert found.found.number >= 2
    assert found.lost >= 1
    with world.plan(staged) as made:
        assert [(one.key, one.column, one.kind) for one in made.conflicts] == [({"id": 9}, "a", "add/add")]
        assert {row.key["id"]: row.merged for row in made.rows().items} == {
            1: {"id": 1, "a": 11, "b": "x", "c": 1.5},
            5: {"id": 5, "a": 55, "b": "moved", "c": 5.5},
        }


def test_rows_that_restore_brought_back_are_seen(world: World) -> None:
    """A vector that shrank: a key that the base did not have is in the base's own file again."""
    world.merge(world.stage(pa.table({"id": [2], "_op": ["delete"]})), "CR-2")
    world.base_version = world.version
    staged = world.stage([{"id": 2, "a": 99}, {"id": 1, "a": 11}])
    assert staged.counts == {"insert": 1, "update": 1, "delete": 0}
    deltalake.DeltaTable(world.uri).restore(0)
    assert standing(world, staged).found.number == 2
    with world.plan(staged) as made:
        assert [(one.key, one.column, one.kind) for one in made.conflicts] == [({"id": 2}, "a", "add/add")]


def test_a_second_row_of_a_key_is_refused(make_world: Callable[..., World]) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    append(world, {"id": 1, "a": 12, "b": "twice", "c": 0.0})
    with pytest.raises(merging.DuplicateKeys, match="more than one row"):
        world.merge(staged)


def test_a_column_gained_since_is_read_for_rows_that_stayed(make_world: Callable[..., World]) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    wider = T.append(pa.field("d", pa.string()))
    deltalake.write_deltalake(
        world.uri, arrow(wider, [{"id": 8, "d": "new"}]), mode="append", schema_mode="merge"
    )
    world.merge(staged)
    rows = {row["id"]: row for row in world.rows()}
    assert rows[1] == {"id": 1, "a": 11, "b": "x", "c": 1.5, "d": None}
    assert rows[8]["d"] == "new"


def test_a_column_gained_since_is_read_for_content_of_which_nobody_noted_where_it_stood(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}])
    wider = T.append(pa.field("d", pa.string()))
    deltalake.write_deltalake(
        world.uri, arrow(wider, [{"id": 8, "d": "new"}]), mode="append", schema_mode="merge"
    )
    assert outcome(world, without_pins(staged)) == outcome(world, staged)


def test_rows_that_stayed_are_told_without_their_files(make_world: Callable[..., World]) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}])
    world.store.delete([path for path in world.paths() if path.endswith(".parquet")])
    with world.plan(staged) as made:
        assert {row.key["id"]: row.merged for row in made.rows().items} == {
            1: {"id": 1, "a": 11, "b": "x", "c": 1.5},
            9: {"id": 9, "a": 90, "b": None, "c": None},
        }


def test_a_vacuumed_vector_only_costs_time(world: World) -> None:
    world.merge(world.stage([{"id": 1, "a": 1}]), "CR-2")
    world.base_version = world.version
    staged = world.stage([{"id": 2, "a": 22}])
    [vector] = [path for path in world.paths() if path.endswith(".bin")]
    world.merge(world.stage([{"id": 3, "a": 33}]), "CR-3")
    world.store.delete([vector])
    assert standing(world, staged).found.number == 1
    world.merge(staged)
    assert [row["a"] for row in world.rows()] == [1, 22, 33]


def test_vectors_folded_away_are_files_that_the_base_did_not_have(world: World) -> None:
    world.merge(world.stage([{"id": 1, "a": 1}]), "CR-2")
    world.base_version = world.version
    staged = world.stage([{"id": 2, "a": 22}, {"id": 1, "a": 2}])
    with session() as opened:
        set_deletion_vectors(
            opened.connection, open_snapshot(world.uri), False, attempt_id="fold", application_id="fold"
        )
    assert standing(world, staged).found.number == 1
    world.merge(staged)
    assert [row["a"] for row in world.rows()] == [2, 22, 30]


@pytest.mark.sample(5)
@pytest.mark.parametrize("seed", range(12))
def test_the_plan_is_the_one_of_a_full_search(make_world: Callable[..., World], seed: int) -> None:
    """Random histories of our merges, foreign appends, deletes, updates, compactions and restores."""
    random_source = random.Random(seed)  # noqa: S311 - no secret
    world = make_world(rows=ROWS)
    for number in range(41, 61):
        if random_source.random() < 0.2:
            append(world, {"id": number, "a": number, "b": "added", "c": None})
    happen(world, random_source, steps=3)
    world.base_version = world.version
    present = {row["id"] for row in world.rows()}
    changes = [
        {"id": number, "a": random_source.randrange(5), "_op": "upsert"}
        if number not in present or random_source.random() < 0.7
        else {"id": number, "a": None, "_op": "delete"}
        for number in random_source.sample(range(1, 90), 12)
    ]
    staged = world.stage(
        arrow(pa.schema([("id", pa.int64()), ("a", pa.int32()), ("_op", pa.string())]), changes)
    )
    happen(world, random_source, steps=random_source.randrange(5))
    assert outcome(world, staged) == outcome(world, without_pins(staged))


def happen(world: World, random_source: random.Random, steps: int) -> None:
    """Some of what happens to a table."""
    for _ in range(steps):
        table = deltalake.DeltaTable(world.uri)
        number = random_source.randrange(1, 61)
        match random_source.choice(["merge", "merge", "append", "delete", "update", "compact", "restore"]):
            case "merge":
                proposed = arrow(T, [{"id": n, "a": 7, "b": "m", "c": None} for n in (number, number + 1)])
                staged = world.stage(proposed, base_version=None)
                world.merge(staged, f"CR-{uuid.uuid4().hex}")
            case "append":
                top = max((row["id"] for row in world.rows()), default=60)
                append(world, {"id": max(top, 60) + 1, "a": 1, "b": "tail", "c": 1.0})
            case "delete":
                table.delete(f"id = {number}")
            case "update":
                table.update({"a": "a + 1"}, predicate=f"id = {number}")
            case "compact":
                table.optimize.compact()
            case "restore" if table.version() > world.base_version:
                table.restore(random_source.randrange(world.base_version, table.version()))


def test_the_base_is_what_the_rebase_says(make_world: Callable[..., World]) -> None:
    """Rebased rows stand where they stand today; a row in conflict keeps its base and is looked for by key."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 2, "a": 22}, {"id": 9, "a": 90}])
    world.set_current(with_rows(B, {"id": 1, "b": "moved"}, {"id": 2, "a": 23}))
    rebased = merging.rebase(world.request(staged), str(world.folder / "staging"))
    assert rebased.rows_kept == 1
    assert not standing(world, rebased.staged).pinned
    quiet = merging.rebase(
        world.request(world.stage([{"id": 3, "a": 33}], base_version=0)), str(world.folder / "staging")
    )
    assert standing(world, quiet.staged).untouched
    assert outcome(world, quiet.staged) == outcome(world, without_pins(quiet.staged))
