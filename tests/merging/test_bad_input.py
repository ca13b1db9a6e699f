"""Damaged tables: the whole merge ends in the error that names the damage, and no byte of the table has changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import deltalake
import pytest

import merging
from merging import MergeFailed, StagedCorrupt, TableChanged
from tests.merging.world import B, World, arrow


def content_of(uri: str) -> dict[str, str]:
    """Every file under the table's folder, with what it holds."""
    return {
        str(path.relative_to(uri)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(uri).rglob("*")
        if path.is_file()
    }


def commit_file(world: World, version: int) -> Path:
    return Path(world.uri) / "_delta_log" / f"{version:020d}.json"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def lose_a_version(world: World) -> None:
    commit_file(world, 1).unlink()


def cut_a_version(world: World) -> None:
    truncate(commit_file(world, 2))


def lose_data_files(world: World) -> None:
    for path in Path(world.uri).glob("*.parquet"):
        path.unlink()


def cut_data_files(world: World) -> None:
    for path in Path(world.uri).glob("*.parquet"):
        truncate(path)


def create_anew(world: World) -> None:
    """At the same place, with the same rows, and up to the same version."""
    version = world.version
    shutil.rmtree(world.uri)
    merging.create_table(
        world.uri, arrow(world.schema, B), deletion_vectors=world.strategy == "merge-on-read"
    )
    while world.version < version:
        world.set_current(B)


DAMAGES: dict[str, tuple[Callable[[World], None], type[merging.MergeError], str]] = {
    "a gap in the log": (lose_a_version, TableChanged, "gap: version 1 is missing"),
    "a cut commit": (cut_a_version, TableChanged, "Version 2 .* is damaged"),
    "data files vacuumed away": (lose_data_files, MergeFailed, "cannot be read"),
    "cut data files": (cut_data_files, MergeFailed, "cannot be read"),
    "created anew": (create_anew, TableChanged, "created anew"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named_and_left_alone(make_world: Callable[..., World], damage: str) -> None:
    damaging, error, message = DAMAGES[damage]
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 3, "_op": "delete"}])
    world.set_current([{**B[0], "b": "o"}, *B[1:]])
    world.set_current([{**B[0], "b": "p"}, *B[1:]])
    damaging(world)
    before = content_of(world.uri)
    for attempt in (world.plan, world.merge):
        with pytest.raises(error, match=message):
            attempt(staged)
        assert content_of(world.uri) == before


def test_a_damaged_vector_is_named_and_left_alone(world: World) -> None:
    world.merge(world.stage([{"id": 2, "a": 21}]), "CR-0")
    staged = world.stage([{"id": 1, "a": 11}], base_version=world.version)
    [vector] = Path(world.uri).glob("deletion_vector_*.bin")
    vector.write_bytes(vector.read_bytes()[:-1] + b"\0")
    before = content_of(world.uri)
    with pytest.raises(MergeFailed, match="cannot be trusted") as failed:
        world.merge(staged)
    assert failed.value.data["vector"] == vector.name
    assert content_of(world.uri) == before


def test_staged_content_that_was_cut_is_named_and_the_table_left_alone(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    truncate(Path(staged.location) / "rows.parquet")
    before = content_of(world.uri)
    with pytest.raises(StagedCorrupt):
        world.merge(staged.location)
    assert content_of(world.uri) == before
    assert deltalake.DeltaTable(world.uri).version() == world.base_version
