"""Features of tables that others made: each is kept by what we commit, whatever the strategy and the change feed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pytest

from merging import delta
from tests.merging.test_rules import FULL, commit_by_hand
from tests.merging.world import STRATEGIES, World

EVERY_WAY = [(strategy, feed) for strategy in STRATEGIES for feed in (False, True)]
EVERY_WAY_NAMED = [f"{strategy}{', feed' if feed else ''}" for strategy, feed in EVERY_WAY]


@pytest.fixture(params=EVERY_WAY, ids=EVERY_WAY_NAMED)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    strategy, feed = request.param
    return World(tmp_path, strategy, change_data_feed=feed)


def give(world: World, features: list[str], properties: dict[str, str], info: dict[str, Any]) -> None:
    """Somebody gives the table features, in a commit that says `info` of itself."""

    def change(metadata: dict[str, Any], _: dict[str, Any]) -> None:
        metadata["configuration"] |= properties

    protocol = {**FULL, "writerFeatures": [*FULL["writerFeatures"], *features]}  # type: ignore[misc]
    commit_by_hand(world.uri, change, protocol)
    log = commit_file(world.uri, world.version)
    first, *rest = log.read_text().splitlines()
    stated = json.loads(first)
    stated["commitInfo"] |= info
    log.write_text("\n".join([json.dumps(stated), *rest]) + "\n")
    world.base_version = world.version


def commit_file(uri: str, version: int) -> Path:
    return Path(uri, "_delta_log", f"{version:020d}.json")


def actions(uri: str, version: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in commit_file(uri, version).read_text().splitlines()]


def compact(world: World) -> None:
    """Our compaction, which folds vectors away, too."""
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        done = delta.compact(
            connection, delta.open_snapshot(world.uri), attempt_id="compaction", application_id="compaction"
        )
    assert done.commit is not None


# ---- in-commit timestamps -----------------------------------------------------------------------------------

IN_COMMIT = {
    "delta.enableInCommitTimestamps": "true",
    "delta.inCommitTimestampEnablementVersion": "1",
}


def test_versions_say_times_that_grow_whatever_the_clocks_of_their_writers(world: World) -> None:
    ahead = int(time.time() * 1000) + 3_600_000  # whoever wrote last has a clock that is an hour fast
    properties = {**IN_COMMIT, "delta.inCommitTimestampEnablementTimestamp": str(ahead)}
    give(world, ["inCommitTimestamp"], properties, {"inCommitTimestamp": ahead})
    assert "inCommitTimestamp" in delta.open_snapshot(world.uri).features

    world.merge(world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}]))
    world.merge(world.stage([{"id": 2, "a": 21}], base_version=world.version), "CR-2")
    compact(world)

    first = [actions(world.uri, version)[0]["commitInfo"] for version in (2, 3, 4)]
    assert [info["inCommitTimestamp"] for info in first] == [ahead + 1, ahead + 2, ahead + 3]
    assert [info["operation"] for info in first] == ["MERGE", "MERGE", "OPTIMIZE"]
    told = [int(one.timestamp.timestamp() * 1000) for one in delta.read_history(world.uri)]
    assert told[:4] == [ahead + 3, ahead + 2, ahead + 1, ahead]
    assert delta.open_snapshot(world.uri, version=2).timestamp == delta.read_history(world.uri)[2].timestamp
    kept = deltalake.DeltaTable(world.uri).metadata().configuration
    assert {name: kept[name] for name in properties} == properties


def test_a_version_says_now_where_the_clocks_agree(world: World) -> None:
    give(world, ["inCommitTimestamp"], IN_COMMIT, {"inCommitTimestamp": 1_000})
    before = int(time.time() * 1000)
    world.merge(world.stage([{"id": 1, "a": 11}]))
    after = int(time.time() * 1000)
    assert before <= actions(world.uri, 2)[0]["commitInfo"]["inCommitTimestamp"] <= after


def test_the_time_grows_on_a_version_that_only_a_checkpoint_tells_of(world: World) -> None:
    ahead = int(time.time() * 1000) + 3_600_000
    properties = {**IN_COMMIT, "delta.inCommitTimestampEnablementTimestamp": str(ahead)}
    give(world, ["inCommitTimestamp"], properties, {"inCommitTimestamp": ahead})
    deltalake.DeltaTable(world.uri).create_checkpoint()
    for version in (0, 1):
        commit_file(world.uri, version).unlink()
    world.merge(world.stage([{"id": 1, "a": 11}]))
    assert actions(world.uri, 2)[0]["commitInfo"]["inCommitTimestamp"] == ahead + 1


@pytest.mark.parametrize("features", [[], ["inCommitTimestamp"]])
def test_no_such_time_where_the_table_does_not_ask_for_it(world: World, features: list[str]) -> None:
    properties = (
        {} if features else IN_COMMIT
    )  # the property of a feature that is not listed asks for nothing
    give(world, features, properties, {})
    world.merge(world.stage([{"id": 1, "a": 11}]))
    assert "inCommitTimestamp" not in actions(world.uri, 2)[0]["commitInfo"]
    assert "inCommitTimestamp" not in delta.open_snapshot(world.uri).features
