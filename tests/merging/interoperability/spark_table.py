"""A table that Apache Spark and Headgate change in turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import merging
from merging import delta
from tests.merging.delta.test_layouts import read

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession


def rows_of(session: SparkSession, uri: str) -> dict[int, dict[str, Any]]:
    """What Spark reads, by id."""
    found = session.read.format("delta").load(uri).toArrow().to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in sorted(found, key=lambda row: row["id"])}


def own(uri: str) -> list[dict[str, Any]]:
    """What Headgate reads."""
    return read(delta.open_snapshot(uri))


class SparkTable:
    """A table in a folder, the session in which Spark changes it, and how often Headgate did."""

    def __init__(self, session: SparkSession, folder: Path) -> None:
        self.session, self.folder = session, folder
        self.uri = str(folder / "table")
        self.count = 0

    def ask(self, statement: str) -> list[Any]:
        """Let Spark run a statement in which `t` stands for the table."""
        # As rows: what OPTIMIZE and RESTORE tell of themselves does not come through Arrow.
        return self.session.sql(f"{statement} ".replace(" t ", f" delta.`{self.uri}` ")).collect()

    def staged(self, changes: pa.Table) -> merging.Staged:
        return merging.stage(self.uri, changes, ["id"], destination=str(self.folder / "staged"))

    def merged(self, staged: merging.Staged) -> merging.MergeResult:
        self.count += 1
        artefacts = str(self.folder / "artefacts")
        return merging.merge(
            merging.MergeRequest(self.uri, f"CR-{self.count}", ["id"], staged, destination=artefacts)
        )

    def compact(self) -> merging.Compacted:
        self.count += 1
        name = f"compaction-{self.count}"
        return merging.compact(self.uri, attempt_id=name, application_id=name, generation=1)
