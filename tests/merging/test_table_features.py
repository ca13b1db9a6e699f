"""Features of tables that others made: each is kept by what we commit, whatever the strategy and the change feed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

import merging
from merging import delta
from tests.merging.test_rules import FULL, commit_by_hand
from tests.merging.world import STRATEGIES, Row, World

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


# ---- clustering -----------------------------------------------------------------------------------------------

WIDE = pa.schema(
    [
        ("id", pa.int64()),
        *((f"n{number}", pa.int32()) for number in range(33)),
        ("place", pa.struct([("at", pa.struct([("x", pa.int32()), ("y", pa.string())])), ("z", pa.int32())])),
        ("late", pa.string()),
    ]
)
CLUSTERED = ["clustering", "domainMetadata"]


def wide_row(number: int) -> Row:
    place = {"at": {"x": 10 * number, "y": f"y{number}"}, "z": None}
    return {
        **dict.fromkeys(WIDE.names),
        "id": number,
        "place": place if number % 3 else None,
        "late": f"t{number}",
    }


def state_domain(world: World, name: str, configuration: Any) -> None:
    """Somebody states a domain, in the newest commit."""
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    line = {"domainMetadata": {"domain": name, "configuration": text, "removed": False}}
    with commit_file(world.uri, world.version).open("a") as log:
        log.write(json.dumps(line) + "\n")


def cluster(world: World, *paths: list[str]) -> None:
    """Somebody clusters the table by these columns, and its files."""
    give(world, CLUSTERED, {}, {})
    state_domain(world, "delta.clustering", {"clusteringColumns": [*paths], "domainName": "delta.clustering"})
    [file] = delta.open_snapshot(world.uri).files
    [added] = [line["add"] for line in actions(world.uri, 0) if "add" in line]
    again = {**added, "clusteringProvider": "liquid", "tags": {"ZCUBE_ID": "1"}, "dataChange": False}
    with commit_file(world.uri, world.version).open("a") as log:
        log.write(json.dumps({"add": again}) + "\n")
    assert file.logged_path == again["path"]


@pytest.fixture(params=EVERY_WAY, ids=EVERY_WAY_NAMED)
def clustered(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    strategy, feed = request.param
    made = World(tmp_path, strategy, WIDE, [wide_row(n) for n in range(6)], change_data_feed=feed)
    cluster(made, ["place", "at", "x"], ["late"])
    return made


def statistics_of(uri: str, version: int) -> list[dict[str, Any]]:
    """What the files that a version added state of themselves, but those that only got a vector."""
    added = [line["add"] for line in actions(uri, version) if "add" in line]
    return [json.loads(add["stats"]) for add in added if "deletionVector" not in add]


def test_what_a_table_is_clustered_by_is_stated_of_every_file(clustered: World) -> None:
    assert delta.open_snapshot(clustered.uri).clustering_columns == (("place", "at", "x"), ("late",))
    assert "clustering" in delta.open_snapshot(clustered.uri).features
    changes = pa.Table.from_pylist([{**wide_row(1), "n0": 7}, wide_row(8), wide_row(9)], schema=WIDE)
    clustered.merge(clustered.stage(changes))

    *rewritten, new = statistics_of(clustered.uri, 2)
    assert (new["numRecords"], new["minValues"]["late"], new["maxValues"]["late"]) == (3, "t1", "t9")
    assert new["minValues"]["place"] == {"at": {"x": 10}}
    assert new["maxValues"]["place"] == {"at": {"x": 80}}
    assert new["nullCount"]["place"] == {"at": {"x": 1}}
    assert new["nullCount"]["n30"] == 3
    assert "n31" not in new["nullCount"]  # the first 32 columns, and those that it is clustered by
    assert len(rewritten) == (clustered.strategy == "copy-on-write")
    for stated in rewritten:
        assert (stated["minValues"]["place"], stated["maxValues"]["late"]) == ({"at": {"x": 20}}, "t5")
    assert delta.open_snapshot(clustered.uri).clustering_columns == (("place", "at", "x"), ("late",))
    assert clustered.rows()[1]["n0"] == 7
    assert [row["place"] for row in clustered.rows()] == [
        wide_row(n)["place"] for n in (0, 1, 2, 3, 4, 5, 8, 9)
    ]


def test_our_compaction_leaves_clustered_files_where_they_are(clustered: World) -> None:
    uri, before = clustered.uri, clustered.rows()
    [was] = delta.open_snapshot(uri).files
    for number in (8, 9):
        clustered.merge(
            clustered.stage([{"id": number, "late": "t"}], base_version=clustered.version), f"CR-{number}"
        )
    compact(clustered)
    kept, together = delta.open_snapshot(uri).files
    assert (kept.logged_path, kept.extra["clusteringProvider"]) == (was.logged_path, "liquid")
    assert (together.num_records, together.extra) == (2, {})

    # One with a vector is written again by itself.
    clustered.merge(clustered.stage([{"id": 1, "n0": 7}], base_version=clustered.version), "CR-v")
    if clustered.strategy == "merge-on-read":
        snapshot = delta.open_snapshot(uri)
        [holed] = [index for index, file in enumerate(snapshot.files) if file.vector]
        assert snapshot.files[holed].extra["clusteringProvider"] == "liquid"
        rest = [index for index in range(len(snapshot.files)) if index != holed]
        assert delta.files_to_compact(snapshot) == [[holed], rest]
        compact(clustered)
    rows = {row["id"]: row for row in clustered.rows()}
    assert [rows[row["id"]] for row in before] == [
        {**row, "n0": 7} if row["id"] == 1 else row for row in before
    ]


def test_clustering_columns_survive_a_checkpoint(clustered: World) -> None:
    deltalake.DeltaTable(clustered.uri).create_checkpoint()
    for version in (0, 1):
        commit_file(clustered.uri, version).unlink()
    snapshot = delta.open_snapshot(clustered.uri)
    assert snapshot.clustering_columns == (("place", "at", "x"), ("late",))
    assert snapshot.files[0].extra["clusteringProvider"] == "liquid"
    clustered.merge(clustered.stage([{"id": 9, "late": "t9"}], base_version=1))
    assert statistics_of(clustered.uri, 2)[-1]["minValues"]["late"] == "t9"


@pytest.mark.parametrize(
    "stated", ["no JSON", "[]", {"clusteringColumns": "late"}, {"clusteringColumns": [[]]}]
)
def test_a_table_whose_clustering_nobody_can_read_is_refused(tmp_path: Path, stated: Any) -> None:
    world = World(tmp_path, "merge-on-read")
    give(world, CLUSTERED, {}, {})
    state_domain(world, "delta.clustering", stated)
    with pytest.raises(merging.UnsupportedTable, match=r"clustering: .*delta\.clustering"):
        merging.inspect_table(world.uri)


def test_nothing_is_stated_of_clustering_columns_that_are_in_no_file(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", partition_by=["b"])
    give(world, CLUSTERED, {}, {})
    state_domain(world, "delta.clustering", {"clusteringColumns": [["b"], ["gone"], ["a", "x"]]})
    world.merge(world.stage([{"id": 9, "a": 1, "b": "z"}]))
    assert statistics_of(world.uri, 2)[0]["minValues"] == {"id": 9, "a": 1}
