"""Features of tables that others made: each is kept by what we commit, whatever the strategy and the change feed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging import delta
from merging.delta.actions import DataFile
from merging.delta.active_files import FileBlock
from merging.delta.vectors import read_vector
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
    log = commit_file(world.uri, delta.open_snapshot(world.uri).version)
    first, *rest = log.read_text().splitlines()
    stated = json.loads(first)
    stated["commitInfo"] |= info
    log.write_text("\n".join([json.dumps(stated), *rest]) + "\n")
    world.base_version += 1


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


@pytest.mark.parametrize("enabled", [str(2**63 - 1), "9" * 18, "9" * 30, "9" * 5_000])
def test_a_version_says_a_time_that_others_can_read(world: World, enabled: str) -> None:
    give(
        world,
        ["inCommitTimestamp"],
        {**IN_COMMIT, "delta.inCommitTimestampEnablementTimestamp": enabled},
        {"inCommitTimestamp": 1_000},
    )
    before = int(time.time() * 1000)
    world.merge(world.stage([{"id": 1, "a": 11}]))
    after = int(time.time() * 1000)
    assert before <= actions(world.uri, 2)[0]["commitInfo"]["inCommitTimestamp"] <= after


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
    with commit_file(world.uri, delta.open_snapshot(world.uri).version).open("a") as log:
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


def test_a_clustering_column_may_be_stated_by_its_name_alone(tmp_path: Path) -> None:
    """As the protocol's own example has it."""
    world = World(tmp_path, "merge-on-read")
    give(world, CLUSTERED, {"delta.dataSkippingNumIndexedCols": "0"}, {})
    state_domain(world, "delta.clustering", {"clusteringColumns": ["b", ["a"]]})
    assert delta.open_snapshot(world.uri).clustering_columns == (("b",), ("a",))
    world.merge(world.stage([{"id": 9, "a": 1, "b": "z"}]))
    assert statistics_of(world.uri, 2)[0]["minValues"] == {"a": 1, "b": "z"}


def test_nothing_is_stated_of_clustering_columns_that_are_in_no_file(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", partition_by=["b"])
    give(world, CLUSTERED, {}, {})
    state_domain(world, "delta.clustering", {"clusteringColumns": [["b"], ["gone"], ["a", "x"]]})
    world.merge(world.stage([{"id": 9, "a": 1, "b": "z"}]))
    assert statistics_of(world.uri, 2)[0]["minValues"] == {"id": 9, "a": 1}


# ---- row tracking ---------------------------------------------------------------------------------------------

TRACKED = ["rowTracking", "domainMetadata"]
ID_COLUMN, VERSION_COLUMN = "_row-id-col-0815", "_row-commit-version-col-4711"
KEPT = {
    "delta.enableRowTracking": "true",
    "delta.rowTracking.materializedRowIdColumnName": ID_COLUMN,
    "delta.rowTracking.materializedRowCommitVersionColumnName": VERSION_COLUMN,
}


def track(world: World, properties: dict[str, str], *, numbered: bool = True) -> None:
    """Somebody lets the table track its rows, and numbers those that it has."""
    give(world, TRACKED, properties, {})
    if not numbered:
        return
    version = world.version
    rows = 0
    with commit_file(world.uri, version).open("a") as log:
        for add in [line["add"] for line in actions(world.uri, 0) if "add" in line]:
            again = {**add, "baseRowId": rows, "defaultRowCommitVersion": version, "dataChange": False}
            log.write(json.dumps({"add": again}) + "\n")
            rows += json.loads(add["stats"])["numRecords"]
    state_domain(world, "delta.rowTracking", {"rowIdHighWaterMark": rows - 1})


def numbers(world: World) -> dict[int, tuple[int, int]]:
    """Row ids and commit versions by key, as the files and the log tell them: read without the engine's scans."""
    snapshot = delta.open_snapshot(world.uri)
    found: dict[int, tuple[int, int]] = {}
    for file in snapshot.files:
        table = pq.ParquetFile(Path(world.uri, file.path)).read()
        dead = set() if file.vector is None else set(read_vector(snapshot.store, file.vector))
        for place, row in enumerate(table.to_pylist()):
            if place not in dead:
                kept_id, kept_version = row.get(ID_COLUMN), row.get(VERSION_COLUMN)
                found[row[snapshot.physical_names["id"]]] = (
                    file.extra["baseRowId"] + place if kept_id is None else kept_id,
                    file.extra["defaultRowCommitVersion"] if kept_version is None else kept_version,
                )
    assert len({row_id for row_id, _ in found.values()}) == len(found)
    return found


def assert_no_id_is_given_twice(world: World) -> None:
    """Over all versions: the ids of new files lie above the mark of the version before, and below their own."""
    mark = -1
    known: dict[str, int] = {}
    for version in range(world.version + 1):
        lines = actions(world.uri, version)
        stated = [line["domainMetadata"] for line in lines if "domainMetadata" in line]
        before = mark
        if stated:
            [domain] = stated
            assert domain["domain"] == "delta.rowTracking"
            mark = json.loads(domain["configuration"])["rowIdHighWaterMark"]
            assert mark > before
        for remove in [line["remove"] for line in lines if "remove" in line]:
            assert remove.get("baseRowId") == known.get(remove["path"])
        end = before
        for add in [line["add"] for line in lines if "add" in line and "baseRowId" in line["add"]]:
            if add["path"] in known:
                assert add["baseRowId"] == known[add["path"]]
                continue
            assert add["baseRowId"] == end + 1
            assert add["defaultRowCommitVersion"] == version
            known[add["path"]] = add["baseRowId"]
            end += json.loads(add["stats"])["numRecords"]
        assert end == mark


def test_rows_keep_their_ids(world: World) -> None:
    track(world, KEPT)
    assert "rowTracking" in delta.open_snapshot(world.uri).features
    assert numbers(world) == {1: (0, 1), 2: (1, 1), 3: (2, 1)}

    world.merge(world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}, {"id": 8, "a": 80}]))
    first = numbers(world)
    assert {key: first[key] for key in (1, 2, 3)} == {1: (0, 2), 2: (1, 1), 3: (2, 1)}
    assert [first[key][1] for key in (8, 9)] == [2, 2]
    assert actions(world.uri, 2)[0]["commitInfo"]["tags"] == {"delta.rowTracking.preserved": "true"}

    changes = [
        {"id": 1, "a": 12, "_op": "update"},
        {"id": 2, "a": 21, "_op": "update"},
        {"id": 9, "a": 91, "_op": "update"},
        {"id": 3, "_op": "delete"},
    ]
    proposed = pa.Table.from_pylist(
        changes, schema=pa.schema([("id", pa.int64()), ("a", pa.int32()), ("_op", pa.string())])
    )
    world.merge(world.stage(proposed, base_version=world.version), "CR-2")
    second = {1: (0, 3), 2: (1, 3), 8: first[8], 9: (first[9][0], 3)}
    assert numbers(world) == second

    compact(world)
    assert numbers(world) == second
    assert len(delta.open_snapshot(world.uri).files) == 1
    world.merge(world.stage([{"id": 2, "a": 22}], base_version=world.version), "CR-3")
    third = {**second, 2: (1, world.version)}
    assert numbers(world) == third

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        delta.set_deletion_vectors(
            connection,
            delta.open_snapshot(world.uri),
            world.strategy == "copy-on-write",
            attempt_id="switch",
            application_id="switch",
        )
    assert numbers(world) == third
    assert_no_id_is_given_twice(world)
    assert {row["id"]: row["a"] for row in world.rows()} == {1: 12, 2: 22, 8: 80, 9: 91}
    if "changeDataFeed" in delta.open_snapshot(world.uri).features:
        feed = deltalake.DeltaTable(world.uri).load_cdf(starting_version=2, ending_version=2).read_all()
        assert not {ID_COLUMN, VERSION_COLUMN} & set(pa.table(feed).column_names)


def test_ids_are_counted_for_all_files_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make the value of one file takes as long as to make those of a thousand."""
    made: list[int] = []
    files = FileBlock.files

    def noted(block: FileBlock, rows: np.ndarray) -> list[DataFile]:
        made.append(len(rows))
        return files(block, rows)

    monkeypatch.setattr(FileBlock, "files", noted)
    times = []
    for number in (2, 9):
        rows = [{"id": key, "a": key, "b": str(key), "c": None} for key in range(number)]
        world = World(tmp_path / str(number), "merge-on-read", rows=rows, partition_by=["b"])
        track(world, KEPT)
        staged = world.stage([{"id": key, "a": -1} for key in range(number)])
        made.clear()
        world.merge(staged)
        assert max(made) == number
        times.append(len(made))
    assert times[0] == times[1]


def test_rows_keep_their_ids_in_partitions(tmp_path: Path) -> None:
    for strategy in STRATEGIES:
        world = World(tmp_path, strategy, partition_by=["b"])
        track(world, KEPT)
        before = {row["id"]: row for row in numbered_rows(world)}
        world.merge(
            world.stage([{"id": 1, "b": "y", "a": 1}, {"id": 2, "a": 21}, {"id": 9, "b": "y", "a": 9}]),
            "CR-1",
        )
        compact(world)
        after = {row["id"]: row for row in numbered_rows(world)}
        assert [after[key]["row_id"] for key in (1, 2, 3)] == [before[key]["row_id"] for key in (1, 2, 3)]
        assert [after[key]["row_commit_version"] for key in (1, 2, 3, 9)] == [2, 2, 1, 2]
        assert numbers(world) == {
            key: (row["row_id"], row["row_commit_version"]) for key, row in after.items()
        }
        assert_no_id_is_given_twice(world)


def numbered_rows(world: World) -> list[Row]:
    """The keys and numbers of rows, as the engine scans them."""
    snapshot = delta.open_snapshot(world.uri)
    with duckdb.connect(":memory:") as connection:
        found = connection.sql(delta.scan_sql(connection, snapshot, ["id"], row_ids=True)).to_arrow_table()
    return [{"id": row.pop("u_id"), **row} for row in found.to_pylist()]


def test_ids_count_on_where_a_checkpoint_is_all_that_is_left(world: World) -> None:
    track(world, KEPT)
    world.merge(world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}]))
    before = numbers(world)
    deltalake.DeltaTable(world.uri).create_checkpoint()
    for version in (0, 1, 2):
        commit_file(world.uri, version).unlink()
    assert numbers(world) == before
    highest = max(
        file.extra["baseRowId"] + (file.num_records or 0) for file in delta.open_snapshot(world.uri).files
    )
    world.merge(world.stage([{"id": 7, "a": 70}], base_version=2), "CR-2")
    assert numbers(world) == {**before, 7: (highest, 3)}


def test_a_table_that_only_numbers_its_rows(world: World) -> None:
    """Row tracking that is supported and not enabled: every file is numbered, and no row keeps a number."""
    track(world, {})
    world.merge(world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}]))
    compact(world)
    assert_no_id_is_given_twice(world)
    for file in delta.open_snapshot(world.uri).files:
        assert pq.ParquetFile(Path(world.uri, file.path)).schema_arrow.names == ["id", "a", "b", "c"]
    assert "tags" not in actions(world.uri, 2)[0]["commitInfo"]


@pytest.mark.parametrize("left", range(6))
def test_no_row_gets_an_id_that_nobody_can_read(world: World, left: int) -> None:
    """A log with a number of more than 64 bits is read by nobody, whose table it may be."""
    track(world, KEPT)
    state_domain(world, "delta.rowTracking", {"rowIdHighWaterMark": 2**63 - 1 - left})
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}], base_version=world.version)
    version, rows = world.version, world.rows()
    written = 2 if world.strategy == "merge-on-read" else 4
    if left < written:
        with pytest.raises(merging.UnsupportedTable, match=f"has {left} ids left"):
            world.merge(staged)
        assert (world.version, world.rows()) == (version, rows)
    else:
        world.merge(staged)
        assert merging.inspect_table(world.uri).row_count == len(world.rows()) == 4


def test_no_row_gets_an_id_again_after_the_last(world: World) -> None:
    track(world, {})
    log = Path(world.uri, "_delta_log")
    newest = max(log.glob("*.json"))
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    found = [line["add"] for line in lines if "add" in line]
    assert found
    for add in found:
        add["baseRowId"] = 2**63 - 1
    newest.write_text("\n".join(json.dumps(line) for line in lines if "domainMetadata" not in line))
    staged = world.stage([{"id": 9, "a": 90}], base_version=world.version)
    with pytest.raises(merging.UnsupportedTable, match="has 0 ids left"):
        world.merge(staged)


def test_files_from_before_the_tracking_get_numbers_when_they_are_named_again(world: World) -> None:
    track(world, {}, numbered=False)
    world.merge(world.stage([{"id": 1, "a": 11}]))
    added = [line["add"] for line in actions(world.uri, 2) if "add" in line]
    assert len(added) == 2
    assert all(add["defaultRowCommitVersion"] == 2 for add in added)
    assert sorted(add["baseRowId"] for add in added) in ([0, 1], [0, 2], [0, 3])
    assert_no_id_is_given_twice(world)


def test_rows_without_a_number_get_one_when_they_are_written_again(world: World) -> None:
    """Enabled in spite of files without numbers, which PROTOCOL.md forbids: nobody's row takes another's id."""
    track(world, KEPT, numbered=False)
    world.merge(world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 90}]))
    compact(world)
    assert sorted(numbers(world)) == [1, 2, 3, 9]
    assert_no_id_is_given_twice(world)


def test_suspended_tracking_gives_no_numbers(world: World) -> None:
    track(world, {"delta.rowTrackingSuspended": "true"}, numbered=False)
    world.merge(world.stage([{"id": 1, "a": 11}]))
    assert all("baseRowId" not in line.get("add", {}) for line in actions(world.uri, 2))
    assert all("domainMetadata" not in line for line in actions(world.uri, 2))


@pytest.mark.parametrize(
    ("features", "properties", "domain", "said"),
    [
        (["rowTracking"], {}, None, "domainMetadata"),
        (TRACKED, {"delta.enableRowTracking": "true"}, None, "materializedRowIdColumnName"),
        (TRACKED, {**KEPT, "delta.rowTrackingSuspended": "true"}, None, "suspended"),
        (TRACKED, {**KEPT, "delta.rowTracking.materializedRowIdColumnName": "a"}, None, "'a', which is a column"),
        (TRACKED, {}, {"rowIdHighWaterMark": "many"}, "rowIdHighWaterMark"),
    ],
)  # fmt: skip
def test_tracking_that_cannot_be_kept_is_refused(
    tmp_path: Path, features: list[str], properties: dict[str, str], domain: Any, said: str
) -> None:
    world = World(tmp_path, "merge-on-read")
    give(world, features, properties, {})
    if domain is not None:
        state_domain(world, "delta.rowTracking", domain)
    with pytest.raises(merging.UnsupportedTable, match="rowTracking: ") as caught:
        merging.inspect_table(world.uri)
    assert said in str(caught.value)
