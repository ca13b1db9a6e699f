"""Every kind of checkpoint by its own writer: a log that has nothing but it is opened alike, and merged.

Which kind it is, is asserted from its files (PROTOCOL.md, "Checkpoints"). Spark writes all of them but the last two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from merging import delta
from tests.merging.interoperability.test_spark_opening import PART_SIZE, VALUES, Opening, knowing_nothing

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

TOP_FORMAT = "spark.databricks.delta.checkpointV2.topLevelFileFormat"
V2 = {"delta.checkpointPolicy": "v2"}
STRUCTS = {"delta.checkpoint.writeStatsAsStruct": "true", "delta.checkpoint.writeStatsAsJson": "false"}
BOTH = {"delta.checkpoint.writeStatsAsStruct": "true", "delta.checkpoint.writeStatsAsJson": "true"}
TEXTS = {"delta.checkpoint.writeStatsAsStruct": "false", "delta.checkpoint.writeStatsAsJson": "true"}
PARTITIONED = "PARTITIONED BY (p)"


@dataclass(frozen=True)
class Kind:
    """What makes Spark write it, what its files must say of it, and what they must not."""

    properties: dict[str, str]
    said: set[str]
    not_said: set[str] = field(default_factory=set)
    by: str = PARTITIONED
    settings: dict[str, str] = field(default_factory=dict)
    written: Callable[[str], object] | None = None
    vectors: bool = True


def by_delta_rs(uri: str) -> None:
    deltalake.DeltaTable(uri).create_checkpoint()


KINDS = {
    "classic": Kind(TEXTS, {"classic", "stats", "checksum"}, {"stats_parsed", "sidecars"}),
    "in parts": Kind(TEXTS, {"parts", "stats", "checksum"}, {"stats_parsed"}, settings={PART_SIZE: "2"}),
    "statistics as structs": Kind(
        STRUCTS, {"classic", "stats_parsed", "partitionValues_parsed", "checksum"}, {"stats"}
    ),
    "statistics twice, in parts": Kind(
        BOTH, {"parts", "stats", "stats_parsed", "partitionValues_parsed"}, settings={PART_SIZE: "2"}
    ),
    "JSON on top": Kind(
        V2 | TEXTS, {"v2 json", "sidecars", "stats"}, {"stats_parsed"}, settings={TOP_FORMAT: "json"}
    ),
    "JSON on top, structs in several sidecars": Kind(
        V2 | STRUCTS,
        {"v2 json", "sidecars", "many sidecars", "stats_parsed", "partitionValues_parsed"},
        {"stats"},
        settings={TOP_FORMAT: "json", PART_SIZE: "2"},
    ),
    "Parquet on top": Kind(
        V2 | BOTH,
        {"v2 parquet", "sidecars", "stats", "stats_parsed", "partitionValues_parsed"},
        settings={TOP_FORMAT: "parquet"},
    ),
    "tracked and clustered, Parquet on top": Kind(
        V2 | TEXTS | {"delta.enableRowTracking": "true"},
        {"v2 parquet", "sidecars", "stats", "domain delta.clustering", "domain delta.rowTracking", "row ids"},
        by="CLUSTER BY (id)",
        settings={TOP_FORMAT: "parquet"},
    ),
    "tracked, in-commit timestamps, classic": Kind(
        TEXTS | {"delta.enableRowTracking": "true", "delta.enableInCommitTimestamps": "true"},
        {"classic", "stats", "domain delta.rowTracking", "row ids", "checksum"},
    ),
    "by delta-rs": Kind({}, {"classic", "stats"}, written=by_delta_rs, vectors=False),
    "by Headgate": Kind(BOTH, {"classic", "stats"}, written=delta.checkpoint_if_due),
}


class Checkpointed(Opening):
    """A table whose log is cut to its newest checkpoint."""

    def __init__(self, spark: SparkSession, folder: Path, kind: Kind) -> None:
        self.kind = kind
        super().__init__(spark, folder, 15)

    def create(self) -> None:
        kind = self.kind
        self.partition, self.mapped = "STRING", "none"
        self.named = []
        self.properties = {
            **kind.properties,
            "delta.enableDeletionVectors": str(kind.vectors).lower(),
            "delta.checkpointInterval": "100" if kind.written else "1",
        }
        listed = ", ".join(f"'{name}'='{value}'" for name, value in self.properties.items())
        self.sql(
            f"CREATE TABLE TABLE_ (id BIGINT, p STRING, {', '.join(VALUES)}) USING delta {kind.by} "
            f"TBLPROPERTIES ({listed})"
        )
        for _ in range(3):
            self.insert()
        self.delete()
        self.insert()
        if kind.written is not None:
            metadata = delta.open_snapshot(self.uri).metadata
            often = {**metadata["configuration"], "delta.checkpointInterval": "1"}
            self.by_hand({"metaData": {**metadata, "configuration": often}})
            kind.written(self.uri)

    def cut(self) -> int:
        """Nothing of the log but the newest checkpoint and what comes after it; its version."""
        self.clean_up()
        with knowing_nothing():
            version = delta.open_snapshot(self.uri).state.checkpoint_version
        assert version is not None
        for path in self.log.glob("*.json"):
            if re.fullmatch(r"\d{20}\.json", path.name) and int(path.stem) < version:
                raise AssertionError(f"{path.name} stands before the checkpoint of version {version}")
        return version

    def said(self, version: int) -> set[str]:
        """What the files of a checkpoint say of its kind."""
        found = set()
        head = f"{version:020d}.checkpoint."
        files = sorted(path for path in self.log.iterdir() if path.name.startswith(head))
        rest = {path.name.removeprefix(head) for path in files}
        if rest == {"parquet"}:
            found.add("classic")
        elif len(rest) > 1 and all(re.fullmatch(r"\d{10}\.\d{10}\.parquet", one) for one in rest):
            found.add("parts")
        elif len(rest) == 1:
            found.add(f"v2 {files[0].suffix[1:]}")
        if (self.log / f"{version:020d}.crc").is_file():
            found.add("checksum")
        if files[0].suffix == ".json":
            actions = [json.loads(line) for line in files[0].read_text().splitlines()]
        else:
            actions = [row for path in files for row in pq.read_table(path).to_pylist()]
        sidecars = [row["sidecar"]["path"] for row in actions if row.get("sidecar")]
        for row in actions:
            if row.get("domainMetadata"):
                found.add(f"domain {row['domainMetadata']['domain']}")
        if sidecars:
            found.add("sidecars")
        if len(sidecars) > 1:
            found.add("many sidecars")
        for path in [self.log / "_sidecars" / name for name in sidecars] or files:
            adds = pq.read_table(path, columns=["add"]).column("add")
            present = [row for row in adds.to_pylist() if row is not None]
            names = [field.name for field in adds.type] if pa.types.is_struct(adds.type) else []
            found |= {
                name
                for name in ("stats", "stats_parsed", "partitionValues_parsed")
                if name in names and any(row[name] is not None for row in present)
            }
            if "baseRowId" in names and any(row["baseRowId"] is not None for row in present):
                found.add("row ids")
        return found


@pytest.mark.parametrize("name", KINDS)
def test_a_log_with_nothing_but_a_checkpoint(session: SparkSession, tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    settings = {
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        PART_SIZE: "1000",
        **kind.settings,
    }
    try:
        for key, value in settings.items():
            session.conf.set(key, value)
        table = Checkpointed(session, tmp_path, kind)
        said = table.said(table.cut())
        assert said >= kind.said
        assert not said & kind.not_said
        table.look()
        table.merge()  # after it, with an interval of one, whoever writes next makes the next checkpoint
        table.look()
        table.update()
        table.cut()
        table.look()
        table.compact()
        table.look()
    finally:
        for key in settings:
            session.conf.unset(key)
