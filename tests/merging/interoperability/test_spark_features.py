"""Tables with features that Spark gave them: Headgate merges into them, Spark goes on, and Headgate merges again.

After every step all rows are compared, those that nobody touched too, and what the feature keeps of them: row ids and
commit versions as Spark tells them, the columns that a table is clustered by, the times that versions say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

import merging
from merging import delta
from tests.merging.delta.test_layouts import read
from tests.merging.interoperability.spark_table import rows_of
from tests.merging.test_table_features import actions
from tests.merging.world import Row

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

COLUMNS = "id BIGINT, a INT, s STRUCT<x: INT, y: STRING>, t STRING"
PLACE = pa.struct([("x", pa.int32()), ("y", pa.string())])
SCHEMA = pa.schema(
    [("id", pa.int64()), ("a", pa.int32()), ("s", PLACE), ("t", pa.string()), ("_op", pa.string())]
)
BY_ID = {"delta.columnMapping.mode": "id", "delta.minReaderVersion": "2", "delta.minWriterVersion": "5"}
IN_COMMIT = {"delta.enableInCommitTimestamps": "true"}
TRACKED = {"delta.enableRowTracking": "true"}


@dataclass(frozen=True)
class Feature:
    """How Spark gives a table the feature: when it makes it, or later on."""

    properties: dict[str, str] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    clause: str = ""


FEATURES = {
    "in-commit timestamps": Feature(IN_COMMIT),
    "clustering": Feature(clause="CLUSTER BY (s.x, t)"),
    "row tracking": Feature(TRACKED),
}
MIXED = {
    "row tracking, mapped by id": (Feature(TRACKED | BY_ID), "false", "false"),
    "row tracking, partitioned": (Feature(TRACKED, clause="PARTITIONED BY (t)"), "false", "true"),
    "given later": (Feature(later=TRACKED | IN_COMMIT), "true", "false"),
    "all, checkpoints of version 2": (
        Feature(TRACKED | IN_COMMIT | {"delta.checkpointPolicy": "v2"}, clause="CLUSTER BY (s.x, t)"),
        "true",
        "true",
    ),
}


def ways() -> Iterator[Any]:
    """Each feature with and without vectors and change feed, and mixtures in one way each."""
    for name, feature in FEATURES.items():
        for vectors, kind in (("true", "vectors"), ("false", "rewritten")):
            yield pytest.param(feature, vectors, "false", id=f"{name}-{kind}")
            yield pytest.param(feature, vectors, "true", id=f"{name}-{kind}-feed")
    for name, mixed in MIXED.items():
        yield pytest.param(*mixed, id=name)


class Walk:
    """One table, its rows as they must be, and the numbers of its rows where it tracks them."""

    def __init__(
        self, session: SparkSession, folder: Path, feature: Feature, vectors: str, feed: str
    ) -> None:
        self.session, self.folder, self.feature = session, folder, feature
        self.uri = str(folder / "table")
        self.strategy = "merge-on-read" if vectors == "true" else "copy-on-write"
        self.feed = feed == "true"
        listed = {
            **feature.properties,
            "delta.enableDeletionVectors": vectors,
            "delta.enableChangeDataFeed": feed,
            "delta.checkpointInterval": "4",
        }
        stated = ", ".join(f"'{name}' = '{value}'" for name, value in listed.items())
        self.ask(
            f"CREATE TABLE {self.name} ({COLUMNS}) USING delta {feature.clause} TBLPROPERTIES ({stated})"
        )
        values = (f"({n}, {n}, named_struct('x', {n}, 'y', 'y{n}'), 't{n % 2}')" for n in range(1, 7))
        self.ask(f"INSERT INTO {self.name} VALUES {', '.join(values)}")
        if feature.later:
            stated = ", ".join(f"'{name}' = '{value}'" for name, value in feature.later.items())
            self.ask(f"ALTER TABLE {self.name} SET TBLPROPERTIES ({stated})")
        given = feature.properties | feature.later
        self.tracked = bool(TRACKED.items() & given.items())
        self.timed = bool(IN_COMMIT.items() & given.items())
        self.rows = {n: {"id": n, "a": n, "s": {"x": n, "y": f"y{n}"}, "t": f"t{n % 2}"} for n in range(1, 7)}
        self.numbers = self.told_numbers()
        self.given = {row_id for row_id, _ in self.numbers.values()}
        self.check()

    def ask(self, statement: str) -> None:
        """Let Spark do something with the table."""
        self.session.sql(statement).collect()  # Arrow takes OPTIMIZE's own figures for damaged

    @property
    def name(self) -> str:
        """The table, as Spark's statements name it."""
        return f"delta.`{self.uri}`"

    def spark(self, statement: str, after: dict[int, Row | None]) -> None:
        """Let Spark change rows: to what they are then, by key."""
        self.ask(statement)
        self.changed(after)
        self.check()

    def changed(self, after: dict[int, Row | None]) -> None:
        """Rows are as these say now, by key; their numbers with them."""
        told, version = self.told_numbers(), self.version
        for key, row in after.items():
            before = self.rows.pop(key, None)
            number = self.numbers.pop(key, None)
            if row is None:
                continue
            self.rows[key] = {**(before or {"a": None, "s": None, "t": None}), **row, "id": key}
            if self.tracked:
                row_id = told[key][0] if number is None else number[0]
                assert number is not None or row_id not in self.given
                self.numbers[key] = (row_id, version)
                self.given.add(row_id)

    @property
    def version(self) -> int:
        return delta.open_snapshot(self.uri).version

    def stage(self, changes: Sequence[Row]) -> merging.Staged:
        named = {name for row in changes for name in row} | {"id", "_op"}
        schema = pa.schema([one for one in SCHEMA if one.name in named])
        whole = [{"_op": "upsert", **self.rows.get(row["id"], {}), **row} for row in changes]
        content = pa.Table.from_pylist(whole, schema=schema)
        return merging.stage(self.uri, content, ["id"], destination=str(self.folder / "staged"))

    def merge(self, changes: Sequence[Row], staged: merging.Staged | None = None) -> None:
        """Let Headgate merge these changes, and look at what its commit says."""
        content = staged or self.stage(changes)
        result = merging.merge(
            merging.MergeRequest(
                self.uri, f"CR-{self.version}", ["id"], content, destination=str(self.folder / "artefacts")
            )
        )
        assert result.strategy == self.strategy
        after: dict[int, Row | None] = {
            row["id"]: None if row.get("_op") == "delete" else {k: v for k, v in row.items() if k != "_op"}
            for row in changes
        }
        before = {key: self.rows.get(key) for key in after}
        self.changed(after)
        self.check()
        if self.feed:
            self.check_feed(result.merged_version, before, {key: self.rows.get(key) for key in after})
        if self.feature.clause.startswith("CLUSTER"):
            new = [line["add"] for line in actions(self.uri, result.merged_version) if "add" in line]
            for stats in [json.loads(add["stats"]) for add in new if "deletionVector" not in add]:
                assert "t" in stats["nullCount"]
                assert "x" in stats["nullCount"]["s"]

    def told_numbers(self) -> dict[int, tuple[int, int]]:
        """Row ids and commit versions as Spark tells them."""
        if not self.tracked:
            return {}
        found = self.session.sql(
            f"SELECT id, _metadata.row_id AS r, _metadata.row_commit_version AS v FROM {self.name}"
        ).toArrow()
        return {row["id"]: (row["r"], row["v"]) for row in found.to_pylist()}

    def check(self) -> None:
        """Every row and every number, as Spark and Headgate read them."""
        expected = dict(sorted(self.rows.items()))
        assert rows_of(self.session, self.uri) == expected
        snapshot = delta.open_snapshot(self.uri)
        assert {row["id"]: row for row in read(snapshot)} == expected
        if self.tracked:
            assert self.told_numbers() == self.numbers
            with duckdb.connect(":memory:") as connection:
                found = connection.sql(delta.scan_sql(connection, snapshot, ["id"], row_ids=True)).fetchall()
            assert {key: (row_id, version) for key, row_id, version in found} == self.numbers

    def check_feed(self, version: int, before: dict[int, Row | None], after: dict[int, Row | None]) -> None:
        """What Spark reads as the changes of a version."""
        reader = self.session.read.format("delta").option("readChangeFeed", "true")
        table = (
            reader.option("startingVersion", version)
            .option("endingVersion", version)
            .load(self.uri)
            .toArrow()
        )
        assert {row["_commit_version"] for row in table.to_pylist()} == {version}
        told = sorted(
            [(row["id"], row["_change_type"], row["a"], str(row["s"]), row["t"]) for row in table.to_pylist()]
        )
        expected = []
        for key in before:
            was, now = before[key], after[key]
            kinds = [("insert", now)] if was is None else [("delete", was)]
            if was is not None and now is not None:
                kinds = [("update_preimage", was), ("update_postimage", now)]
            expected += [(key, kind, row["a"], str(row["s"]), row["t"]) for kind, row in kinds if row]
        assert told == sorted(expected)

    def check_history(self) -> None:
        """Times grow with versions, are the same to Spark, and Spark travels by them."""
        told = self.session.sql(f"DESCRIBE HISTORY {self.name}").select("version", "timestamp").toArrow()
        spark = {row["version"]: row["timestamp"] for row in told.to_pylist()}
        own = {one.version: one.timestamp for one in delta.read_history(self.uri)}
        stated = [
            version for version in own if "inCommitTimestamp" in actions(self.uri, version)[0]["commitInfo"]
        ]
        assert len(stated) > 8
        assert {version: own[version] for version in stated} == {
            version: spark[version] for version in stated
        }
        moments = [own[version] for version in sorted(stated)]
        assert moments == sorted(set(moments))
        ours = next(one for one in delta.read_history(self.uri) if one.cr_id and one.version in stated)
        then = f"{ours.timestamp:%Y-%m-%d %H:%M:%S.%f}"
        found = self.session.sql(f"SELECT * FROM {self.name} TIMESTAMP AS OF '{then}'").toArrow()
        of_ours = read(delta.open_snapshot(self.uri, version=ours.version))
        assert sorted(found.to_pylist(), key=lambda row: row["id"]) == sorted(
            of_ours, key=lambda row: row["id"]
        )


@pytest.mark.parametrize(("feature", "vectors", "feed"), [*ways()])
def test_fp13_spark_and_headgate_take_turns(
    session: SparkSession, tmp_path: Path, feature: Feature, vectors: str, feed: str
) -> None:
    walk = Walk(session, tmp_path, feature, vectors, feed)
    walk.merge(
        [{"id": 2, "a": 20}, {"id": 9, "a": 90, "s": {"x": 90, "y": None}}, {"id": 4, "_op": "delete"}]
    )
    first = walk.version
    rows, numbers = dict(walk.rows), dict(walk.numbers)

    walk.spark(f"UPDATE {walk.name} SET a = a + 1 WHERE id = 3", {3: {"a": 4}})
    source = "SELECT CAST(9 AS BIGINT) AS id, 91 AS a UNION ALL SELECT 10L, 100"
    walk.spark(
        f"MERGE INTO {walk.name} USING ({source}) n ON n.id = {walk.name}.id WHEN MATCHED THEN UPDATE SET a = n.a "
        "WHEN NOT MATCHED THEN INSERT (id, a) VALUES (n.id, n.a)",
        {9: {"a": 91}, 10: {"a": 100}},
    )
    # Staged before Spark writes all files again, merged after.
    changes = [{"id": 9, "t": "t9"}, {"id": 10, "t": "t10"}, {"id": 11, "t": "t11"}]
    staged = walk.stage(changes)
    walk.spark(f"OPTIMIZE {walk.name}", {})
    walk.merge(changes, staged)

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        delta.compact(connection, delta.open_snapshot(walk.uri), attempt_id="ours", application_id="ours")
    walk.check()
    walk.spark(f"DELETE FROM {walk.name} WHERE id = 1", {1: None})
    walk.merge([{"id": 11, "a": 110}, {"id": 2, "_op": "delete"}])

    walk.ask(f"RESTORE TABLE {walk.name} TO VERSION AS OF {first}")
    walk.rows = rows
    walk.numbers = {key: (row_id, walk.told_numbers()[key][1]) for key, (row_id, _) in numbers.items()}
    walk.check()
    walk.merge([{"id": 3, "a": 30}, {"id": 12, "a": 120}])
    delta.checkpoint_if_due(walk.uri)
    walk.spark(f"DELETE FROM {walk.name} WHERE id = 12", {12: None})
    walk.merge([{"id": 3, "a": 31}])

    log = Path(walk.uri, "_delta_log")
    assert list(log.glob("*.checkpoint*"))
    if walk.timed:
        walk.check_history()
    if feature.clause.startswith("CLUSTER"):
        [detail] = session.sql(f"DESCRIBE DETAIL {walk.name}").toArrow().to_pylist()
        assert detail["clusteringColumns"] == ["s.x", "t"]
        found = session.sql(f"SELECT id FROM {walk.name} WHERE s.x = 90").toArrow().to_pylist()
        assert found == [{"id": 9}]
