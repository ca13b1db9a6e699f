"""Tables that Spark, delta-rs, hands and Headgate change at random: a log is opened alike however it is opened.

After every step the table as this process knows it (warm) is what a process that knows nothing finds (cold), what
delta-rs lists and what Spark reads: files, statistics, vectors, transactions, domains and rows; and one of the newest
versions is opened warm and cold. The same seed takes the same steps.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

import merging
from merging import delta
from merging.delta import log
from merging.delta.known_states import KnownStates

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

STEPS = 25
#: From so many files on Spark writes a checkpoint in parts.
PART_SIZE = "spark.databricks.delta.checkpoint.partSize"

PARTITIONS = {
    "STRING": [
        "NULL",
        "'p'",
        "''",
        "'ä ö'",
        "'a%20b'",
        "'x=y/z'",
        "'__HIVE_DEFAULT_PARTITION__x'",
        "'a+b&c#d?'",
    ],
    "DATE": ["NULL", "DATE'2024-01-01'", "DATE'1500-02-28'", "DATE'9999-12-31'"],
    "TIMESTAMP": ["NULL", "TIMESTAMP'2024-01-01 10:00:00.123456Z'", "TIMESTAMP'1969-12-31 23:59:59.9Z'"],
    "DECIMAL(10,3)": ["NULL", "CAST('1.500' AS DECIMAL(10,3))", "CAST('-0.001' AS DECIMAL(10,3))"],
    "INT": ["NULL", "1", "-7", "2147483647"],
    "DOUBLE": ["NULL", "1.5D", "CAST('NaN' AS DOUBLE)", "CAST('Infinity' AS DOUBLE)"],
    "BINARY": ["NULL", "X'C3A4'", "X'41'"],  # a folder of any bytes Spark cannot make
}
VALUES = {
    "s STRING": ["NULL", "''", "'x'", "repeat('z',50)", "concat(repeat('é',31),'😀tail')", "'line\nbreak'"],
    "f DOUBLE": ["NULL", "CAST('NaN' AS DOUBLE)", "-0.0D", "1.5D", "CAST('-Infinity' AS DOUBLE)"],
    "d DATE": ["NULL", "DATE'1969-12-31'", "DATE'2020-02-29'", "DATE'0099-01-01'"],
    "ts TIMESTAMP": [
        "NULL",
        "TIMESTAMP'1969-12-31 23:59:59.123456Z'",
        "TIMESTAMP'9999-12-31 23:59:59.999999Z'",
    ],
    "dc DECIMAL(38,18)": ["NULL", "CAST('-12345678901234567890.123456789012345678' AS DECIMAL(38,18))"],
    "b BIGINT": ["NULL", "9007199254740993", "-9223372036854775808", "5"],
    "i INT": ["NULL", "1", "2147483647"],
}


class Opening:
    """A table, and what is done to it at random."""

    def __init__(self, spark: SparkSession, folder: Path, seed: int) -> None:
        self.spark, self.folder = spark, folder
        self.random = random.Random(seed)  # noqa: S311
        self.uri = str(folder / "t able")
        self.keys = self.number = 0
        self.create()

    def run(self, steps: int) -> list[str]:
        """Take so many steps, with a look after each; their names."""
        taken: list[str] = []
        self.look()
        for _ in range(steps):
            [name] = self.random.choices([*WEIGHTS], [*WEIGHTS.values()])
            taken.append(name)
            try:
                STEPS_BY_NAME[name](self)
                self.look()
            except AssertionError as error:
                raise AssertionError(f"after {taken} on {self.properties}, {self.partition}") from error
        return taken

    # Spark

    def sql(self, statement: str) -> None:
        self.spark.sql(statement.replace("TABLE_", f"delta.`{self.uri}`")).collect()

    def create(self) -> None:
        """A table of any kind, in the place of the one before."""
        shutil.rmtree(self.uri, ignore_errors=True)
        draw = self.random
        self.partition = draw.choice([*PARTITIONS])
        self.mapped = draw.choice(["none", "none", "name", "id"])
        self.properties = {
            "delta.enableDeletionVectors": draw.choice(["true", "false"]),
            "delta.checkpointInterval": draw.choice(["2", "3", "5"]),
            "delta.columnMapping.mode": self.mapped,
        }
        for name, value in (
            ("delta.checkpointPolicy", "v2"),
            ("delta.enableRowTracking", "true"),
            ("delta.enableInCommitTimestamps", "true"),
            ("delta.enableChangeDataFeed", "true"),
            ("delta.checkpoint.writeStatsAsStruct", "true"),
            ("delta.enableTypeWidening", "true"),
        ):
            if draw.random() < 0.3:
                self.properties[name] = value
        if draw.random() < 0.3:
            self.properties["delta.checkpoint.writeStatsAsJson"] = "false"
            self.properties["delta.checkpoint.writeStatsAsStruct"] = "true"
        self.named: list[str] = []  # columns added since
        self.spark.conf.set(PART_SIZE, draw.choice(["2", "1000"]))
        by = draw.choice(["PARTITIONED BY (p)", "PARTITIONED BY (p)", "CLUSTER BY (id)", ""])
        listed = ", ".join(f"'{name}'='{value}'" for name, value in self.properties.items())
        columns = ", ".join(VALUES)
        self.sql(
            f"CREATE TABLE TABLE_ (id BIGINT, p {self.partition}, {columns}) USING delta {by} "
            f"TBLPROPERTIES ({listed})"
        )
        self.insert()

    def insert(self) -> None:
        rows = []
        for _ in range(self.random.randrange(1, 7)):
            self.keys += 1
            cells = [PARTITIONS[self.partition], *VALUES.values()]
            rows.append(f"({', '.join([str(self.keys), *map(self.random.choice, cells)])})")
        names = ", ".join(["id", "p", *(column.split()[0] for column in VALUES)])
        self.sql(f"INSERT INTO TABLE_ ({names}) VALUES {', '.join(rows)}")

    def some(self, number: int) -> str:
        return ", ".join(str(self.random.randrange(1, self.keys + 1)) for _ in range(number))

    def update(self) -> None:
        self.sql(
            f"UPDATE TABLE_ SET s = {self.random.choice(VALUES['s STRING'])} WHERE id IN ({self.some(3)})"
        )

    def move(self) -> None:
        value = self.random.choice(PARTITIONS[self.partition])
        self.sql(f"UPDATE TABLE_ SET p = {value} WHERE id IN ({self.some(2)})")

    def delete(self) -> None:
        self.sql(f"DELETE FROM TABLE_ WHERE id IN ({self.some(2)})")

    def optimize(self) -> None:
        self.sql("OPTIMIZE TABLE_")

    def purge(self) -> None:
        self.sql("REORG TABLE TABLE_ APPLY (PURGE)")

    def vacuum(self) -> None:
        self.sql("VACUUM TABLE_ RETAIN 0 HOURS")

    def add_column(self) -> None:
        self.number += 1
        self.named.append(f"n_{self.number}")
        self.sql(f"ALTER TABLE TABLE_ ADD COLUMN (`{self.named[-1]}` STRING)")

    def rename_column(self) -> None:
        if self.mapped != "none" and self.named:
            self.number += 1
            self.sql(f"ALTER TABLE TABLE_ RENAME COLUMN `{self.named[-1]}` TO `r {self.number}`")
            self.named[-1] = f"r {self.number}"

    def drop_column(self) -> None:
        if self.mapped != "none" and self.named:
            self.sql(f"ALTER TABLE TABLE_ DROP COLUMN `{self.named.pop()}`")

    def widen(self) -> None:
        if self.properties.get("delta.enableTypeWidening") == "true":
            self.sql("ALTER TABLE TABLE_ ALTER COLUMN i TYPE BIGINT")

    def switch_vectors(self) -> None:
        value = self.random.choice(["true", "false"])
        self.sql(f"ALTER TABLE TABLE_ SET TBLPROPERTIES ('delta.enableDeletionVectors'='{value}')")

    def restore(self) -> None:
        """To the version before the newest, where its files are still there."""
        before = max(0, delta.open_snapshot(self.uri).version - 1)
        listed = {path.name for path in Path(self.uri, "_delta_log").iterdir()}
        if f"{before:020d}.json" not in listed:
            return
        held = delta.open_snapshot(self.uri, version=before)
        if all(Path(self.uri, file.path).is_file() for file in held.files):
            self.sql(f"RESTORE TABLE TABLE_ TO VERSION AS OF {before}")

    # hands

    @property
    def log(self) -> Path:
        return Path(self.uri, "_delta_log")

    def drop_hint(self) -> None:
        (self.log / "_last_checkpoint").unlink(missing_ok=True)

    def clean_up(self) -> None:
        """Commits and checkpoints before the newest checkpoint go, as the clean-up of a log does."""
        newest = delta.open_snapshot(self.uri).state.checkpoint_version
        for path in self.log.iterdir() if newest is not None else ():
            head = path.name.split(".")[0]
            if path.is_file() and head.isdigit() and int(head) < (newest or 0):
                path.unlink()

    def compact_log(self) -> None:
        """The newest commits in one file beside them (PROTOCOL.md, "Log Compaction Files"), which others may read."""
        newest = delta.open_snapshot(self.uri).version
        commits = [self.log / f"{number:020d}.json" for number in range(max(0, newest - 2), newest + 1)]
        if len(commits) < 2 or not all(path.is_file() for path in commits):
            return
        last: dict[Any, str] = {}
        for path in commits:
            for line in path.read_text(encoding="utf-8").splitlines():
                for kind, action in json.loads(line).items():
                    vector = action.get("deletionVector") or {}
                    key: Any = kind
                    if kind in ("add", "remove"):
                        key = (
                            "file",
                            action["path"],
                            *(vector.get(name) for name in ("pathOrInlineDv", "offset")),
                        )
                    elif kind in ("txn", "domainMetadata"):
                        key = (kind, action.get("appId"), action.get("domain"))
                    if kind not in ("commitInfo", "cdc"):
                        last.pop(key, None)
                        last[key] = line
        name = f"{commits[0].stem}.{commits[-1].stem}.compacted.json"
        (self.log / name).write_text("".join(f"{line}\n" for line in last.values()), encoding="utf-8")

    def by_hand(self, *actions: Mapping[str, Any]) -> None:
        """Another commit, written by hand, with or without saying what it was."""
        snapshot = delta.open_snapshot(self.uri)
        now = int(time.time() * 1000) + 1
        info: dict[str, Any] = {"timestamp": now, "operation": "HAND", "operationParameters": {}}
        timed = snapshot.properties.get("delta.enableInCommitTimestamps") == "true"
        if timed:
            info["inCommitTimestamp"] = snapshot.next_moment(now)
        lines = [{"commitInfo": info}] if timed or self.random.random() < 0.5 else []
        written = "".join(f"{json.dumps(line)}\n" for line in [*lines, *actions])
        (self.log / f"{snapshot.version + 1:020d}.json").write_text(written)

    def any_add(self) -> dict[str, Any] | None:
        files = delta.open_snapshot(self.uri).files
        if not len(files):
            return None
        file = files[self.random.randrange(len(files))]
        add: dict[str, Any] = {
            "path": file.logged_path,
            "size": file.size,
            "partitionValues": dict(file.partition_values),
            "modificationTime": file.modification_time,
            "dataChange": False,
            **file.extra,
        }
        if file.stats_json is not None:
            add["stats"] = file.stats_json
        if file.vector is not None:
            add["deletionVector"] = file.vector.to_log()
        return add

    def add_again(self) -> None:
        """Statistics computed anew: a file is added again, without a removal."""
        add = self.any_add()
        if add is None:
            return
        stats = json.loads(add.get("stats") or "{}")
        if "numRecords" in stats and self.random.random() < 0.5:
            add["stats"] = json.dumps({"numRecords": stats["numRecords"]})
        self.by_hand({"add": add})

    def remove_and_add(self) -> None:
        add = self.any_add()
        if add is None:
            return
        remove = {
            "path": add["path"],
            "deletionTimestamp": 1,
            "dataChange": True,
            "extendedFileMetadata": True,
        }
        remove |= {name: add[name] for name in ("partitionValues", "size", "deletionVector") if name in add}
        self.by_hand({"remove": remove})
        self.by_hand({"add": {**add, "dataChange": True}})

    def mark(self) -> None:
        version = self.random.randrange(-1, 9)
        self.by_hand({"txn": {"appId": self.random.choice(["a", "b"]), "version": version}})

    # delta-rs, which refuses some of the kinds of tables

    def others(self, does: Callable[[deltalake.DeltaTable], object]) -> None:
        with suppress(Exception):  # whatever it refuses with
            does(deltalake.DeltaTable(self.uri))

    def others_checkpoint(self) -> None:
        self.others(lambda table: table.create_checkpoint())

    def others_delete(self) -> None:
        self.others(lambda table: table.delete(f"id IN ({self.some(2)})"))

    def others_compact(self) -> None:
        self.others(lambda table: table.optimize.compact())

    # Headgate

    def merge(self) -> None:
        """Some rows go, some are given another text, one comes."""
        before = {row[0]: row for row in plain(self.spark_rows())}
        chosen = [key for key in before if self.random.random() < 0.3]
        gone, kept = chosen[:1], chosen[1:]
        self.keys += 1
        self.number += 1
        given = [*kept, self.keys]
        changes = pa.table(
            {
                "id": pa.array([*gone, *given], pa.int64()),
                "s": pa.array([None] * len(gone) + [f"by us {self.number}"] * len(given)),
                "_op": ["delete"] * len(gone) + ["upsert"] * len(given),
            }
        )
        try:
            staged = merging.stage(self.uri, changes, ["id"], destination=str(self.folder / "staged"))
            merging.merge(merging.MergeRequest(self.uri, f"CR-{self.number}", ["id"], staged))
        except merging.UnsupportedTable:
            return
        after = {row[0]: row for row in plain(self.spark_rows())}
        text = delta.open_snapshot(self.uri).schema.names.index("s")
        assert after.keys() == (before.keys() - {*gone}) | {*given}
        for key, row in after.items():
            if key not in given:
                assert row == before[key]
            else:
                assert row[text] == f"by us {self.number}"
                old = before.get(key)
                rest = [value for place, value in enumerate(row) if place != text]
                if old is not None:
                    assert rest == [value for place, value in enumerate(old) if place != text]

    def compact(self) -> None:
        self.number += 1
        name = f"c{self.number}"
        try:
            merging.compact(self.uri, attempt_id=name, application_id=name, generation=1)
        except merging.UnsupportedTable:
            return

    def checkpoint(self) -> None:
        delta.checkpoint_if_due(self.uri)

    # looking

    def spark_rows(self) -> pa.Table:
        found: pa.Table = self.spark.read.format("delta").load(self.uri).toArrow()
        return found

    def own_rows(self, snapshot: delta.Snapshot) -> pa.Table:
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            names = snapshot.schema.names
            found = connection.sql(delta.scan_sql(connection, snapshot, names))
            return found.to_arrow_table().rename_columns(names)

    def look(self) -> None:
        warm = delta.open_snapshot(self.uri)
        with knowing_nothing():
            cold = delta.open_snapshot(self.uri)
        assert_same(warm, cold)
        older = self.random.randrange(max(0, warm.version - 4), warm.version + 1)
        with knowing_nothing():
            known = opened(self.uri, older)
        if known is not None:
            again = opened(self.uri, older)
            assert again is not None
            assert_same(again, known)
        theirs, ours = self.spark_rows(), self.own_rows(warm)
        assert theirs.column_names == ours.column_names
        assert plain(theirs) == plain(ours)
        assert warm.row_count == len(theirs)
        detail = self.spark.sql(f"DESCRIBE DETAIL delta.`{self.uri}`").select("numFiles", "sizeInBytes")
        assert tuple(detail.collect()[0]) == (len(warm.files), warm.size_bytes)
        listed = None
        with suppress(Exception):  # a kind of table that it does not open
            listed = pa.table(deltalake.DeltaTable(self.uri).get_add_actions()).column("path").to_pylist()
        if listed is not None:
            assert sorted(map(urllib.parse.unquote, listed)) == sorted(file.path for file in warm.files)


STEPS_BY_NAME: dict[str, Callable[[Opening], None]] = {
    name: getattr(Opening, name)
    for name in (
        *("insert", "update", "move", "delete", "optimize", "purge", "vacuum", "restore", "add_column"),
        *("rename_column", "drop_column", "widen", "compact_log"),
        *("switch_vectors", "create", "drop_hint", "clean_up", "add_again", "remove_and_add", "mark"),
        *("others_checkpoint", "others_delete", "others_compact", "merge", "compact", "checkpoint"),
    )
}
OFTEN = {"insert": 4.0, "update": 3, "delete": 3, "merge": 5, "add_again": 3, "restore": 2, "clean_up": 2}
SELDOM = {"vacuum": 0.5, "create": 0.7}
WEIGHTS = {name: {**OFTEN, **SELDOM}.get(name, 1.5) for name in STEPS_BY_NAME}


@contextmanager
def knowing_nothing() -> Iterator[None]:
    """As a process that has just begun."""
    kept = log._KNOWN
    log._KNOWN = KnownStates()
    try:
        yield
    finally:
        log._KNOWN = kept


def opened(uri: str, version: int) -> delta.Snapshot | None:
    """A version; None where the log no longer tells it."""
    try:
        return delta.open_snapshot(uri, version=version)
    except merging.MergeError:
        return None


def assert_same(one: delta.Snapshot, other: delta.Snapshot) -> None:
    for name in (
        "version",
        "table_id",
        "schema_json",
        "partition_columns",
        "properties",
        "protocol",
        "timestamp",
    ):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("transactions", "domains", "checkpoint_version"):
        assert getattr(one.state, name) == getattr(other.state, name), name
    assert files_of(one) == files_of(other)


def files_of(snapshot: delta.Snapshot) -> dict[Any, tuple[Any, ...]]:
    """What is known of the files; statistics may come as a struct or as text, and hold as many records."""
    found = {
        file.identity: (
            file.num_records,
            file.size,
            dict(file.partition_values),
            dict(file.extra),
            file.vector,
        )
        for file in snapshot.files
    }
    assert len(found) == len(snapshot.files)
    return found


def plain(table: pa.Table) -> list[Sequence[Any]]:
    """The rows in the order of their keys, with numbers for moments, which may lie beyond Python's calendar."""
    columns = [
        [
            _plain(value)
            for value in (one.cast(pa.int64()) if pa.types.is_timestamp(one.type) else one).to_pylist()
        ]
        for one in table.columns
    ]
    return sorted(zip(*columns, strict=True), key=lambda row: (row[0], repr(row)))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_log_is_opened_alike_by_everybody(hasty: SparkSession, tmp_path: Path, seed: int) -> None:
    try:
        assert len(Opening(hasty, tmp_path, seed).run(STEPS)) == STEPS
    finally:
        hasty.conf.unset(PART_SIZE)
