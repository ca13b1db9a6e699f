"""What Apache Spark's VACUUM leaves: it compares paths as the log spells them with those that it finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import delta
from merging.delta.writing import builder
from tests.merging.delta.test_file_names import as_before
from tests.merging.interoperability.spark_table import SparkTable

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

VALUES = ["ä/ö=%", "(a)+,;@&$ ~!", "it's", "é\u00a0\u3000x", "😀", "[b]^{c}", "a.b-c_d", "1:2"]
COLUMNS = "(id BIGINT, `ä` STRING, w INT) USING delta PARTITIONED BY (`ä`)"


class Kept(SparkTable):
    """A table of Spark's, what is done to it, and what it holds."""

    def __init__(self, session: SparkSession, folder: Path, columns: str, vectors: bool) -> None:
        super().__init__(session, folder)
        self.ask(
            f"CREATE TABLE t {columns} TBLPROPERTIES ('delta.enableDeletionVectors'='{str(vectors).lower()}')"
        )

    def rows(self, *columns: str) -> dict[int, tuple[Any, ...]]:
        """What Spark reads, by id."""
        found = self.ask(f"SELECT id, {', '.join(columns)} FROM t")
        return {row[0]: tuple(row[1:]) for row in found}

    def merge(self, changes: pa.Table) -> None:
        self.merged(self.staged(changes))

    def vacuum(self) -> None:
        self.ask("VACUUM t RETAIN 0 HOURS")

    def would_go(self) -> set[str]:
        """The names of the files that VACUUM would delete."""
        return {row[0].rpartition("/")[2] for row in self.ask("VACUUM t RETAIN 0 HOURS DRY RUN")}

    def active(self) -> set[str]:
        return {file.path.rpartition("/")[2] for file in delta.open_snapshot(self.uri).files}


def insert_values(table: Kept, start: int) -> None:
    """A row of each value, with numbers from this one."""
    listed = (
        f"({place}, CAST(X'{value.encode().hex()}' AS STRING), 0)"
        for place, value in enumerate(VALUES, start)
    )
    table.ask(f"INSERT INTO t VALUES {', '.join(listed)}")


def test_vacuum_leaves_what_was_merged_and_compacted(hasty: SparkSession, tmp_path: Path) -> None:
    table = Kept(hasty, tmp_path, COLUMNS, vectors=False)
    for start in (0, 10):
        assert merging.table_condition(table.uri).misspelt_files == 0
        insert_values(table, start)
    numbers = [*range(20, 20 + len(VALUES))]
    table.merge(pa.table({"id": numbers, "ä": VALUES, "w": pa.array([0] * len(VALUES), pa.int32())}))
    expected = {start + place: (value, 0) for start in (0, 10, 20) for place, value in enumerate(VALUES)}
    table.vacuum()
    assert table.rows("`ä`", "w") == expected
    assert table.compact().files_added == len(VALUES)
    table.vacuum()
    assert table.rows("`ä`", "w") == expected


@pytest.mark.parametrize("vectors", [True, False])
def test_files_of_an_earlier_version_are_at_risk_until_they_are_compacted(
    hasty: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: bool
) -> None:
    table = Kept(hasty, tmp_path, COLUMNS, vectors)
    for start in (0, 10):
        insert_values(table, start)
    with monkeypatch.context() as earlier:
        earlier.setattr(builder, "log_path", as_before)
        assert table.compact().files_added == len(VALUES)
    expected = table.rows("`ä`", "w")
    assert len(expected) == 2 * len(VALUES)
    at_risk = table.would_go() & table.active()
    assert len(at_risk) == merging.table_condition(table.uri).misspelt_files > 0

    done = table.compact()
    assert (done.files_removed, done.files_added) == (len(at_risk), len(at_risk))
    assert not table.would_go() & table.active()
    table.vacuum()
    assert table.rows("`ä`", "w") == expected
    table.merge(pa.table({"id": [*expected], "w": pa.array([1] * len(expected), pa.int32())}))
    table.vacuum()
    assert table.rows("`ä`", "w") == {key: (value, 1) for key, (value, _) in expected.items()}


KINDS = "ts TIMESTAMP, n TIMESTAMP_NTZ, d DATE, f DOUBLE, g FLOAT, b BOOLEAN, c DECIMAL(12,3), s STRING"
PARTITIONS = [
    "TIMESTAMP'2024-01-01 10:00:00.123456Z', TIMESTAMP_NTZ'2024-01-01 10:00:00', DATE'2024-01-01', 1.5D, "
    "CAST(0.1 AS FLOAT), true, 1.500, 'a b:c%'",
    "TIMESTAMP'0001-01-01 00:00:00Z', TIMESTAMP_NTZ'9999-12-31 23:59:59.999999', DATE'0001-01-01', "
    "CAST('-Infinity' AS DOUBLE), CAST('Infinity' AS FLOAT), false, -0.001, 'ä'",
    "timestamp_micros(9223372036854775807), TIMESTAMP_NTZ'1969-12-31 23:59:59.9', DATE'9999-12-31', "
    "CAST('NaN' AS DOUBLE), CAST('NaN' AS FLOAT), NULL, 999999999.999, '2024-01-01 10:00:00'",
    "timestamp_micros(-9223372022400000000), NULL, date_from_unix_date(2147483647), -0.0D, NULL, true, NULL, NULL",
    "NULL, NULL, date_from_unix_date(-2147483648), 1e300D, CAST(3.4e38 AS FLOAT), NULL, 0.000, ' '",
    "NULL, NULL, date_from_unix_date(-2147483647), 5e-324D, CAST(1e-45 AS FLOAT), NULL, 0.000, 'x=y/z'",
]
SEEN = (
    *("unix_micros(ts)", "CAST(n AS STRING)", "unix_date(d)", "CAST(f AS STRING)", "CAST(g AS STRING)"),
    *("b", "CAST(c AS STRING)", "s", "w"),
)


@pytest.mark.parametrize("vectors", [True, False])
def test_partitions_of_every_kind_stay_through_merges_compactions_vacuum_and_restore(
    hasty: SparkSession, tmp_path: Path, vectors: bool
) -> None:
    by = ", ".join(column.split()[0] for column in KINDS.split(", "))
    table = Kept(hasty, tmp_path, f"(id BIGINT, w INT, {KINDS}) USING delta PARTITIONED BY ({by})", vectors)
    for start in (0, 10):
        table.ask(
            "INSERT INTO t "
            + " UNION ALL ".join(f"SELECT {n}, 0, {values}" for n, values in enumerate(PARTITIONS, start))
        )
    expected = table.rows(*SEEN)
    assert len(expected) == 2 * len(PARTITIONS)

    def changed(ids: list[int], value: int) -> None:
        table.merge(pa.table({"id": ids, "w": pa.array([value] * len(ids), pa.int32())}))
        expected.update({key: (*expected[key][:-1], value) for key in ids})

    changed([0, 1, 2, 3, 4, 5, 12], 1)
    table.vacuum()
    assert table.rows(*SEEN) == expected
    kept, before = merging.inspect_table(table.uri).version, dict(expected)
    changed([*range(10, 16)], 2)  # of two rows that each partition has
    assert table.compact().files_added == len(PARTITIONS)
    assert table.rows(*SEEN) == expected
    # Nothing was deleted since, so Spark goes back behind a merge and a compaction of ours.
    table.ask(f"RESTORE TABLE t TO VERSION AS OF {kept}")
    expected = before
    table.vacuum()
    assert table.rows(*SEEN) == expected
    changed([3, 4, 15], 3)
    table.compact()
    table.vacuum()
    assert table.rows(*SEEN) == expected
    assert merging.table_condition(table.uri).misspelt_files == 0


def test_an_empty_text_of_delta_rs_in_a_partition_stays_what_it_is_to_spark(
    hasty: SparkSession, tmp_path: Path
) -> None:
    """PROTOCOL.md, "Partition Value Serialization": an empty text is NULL; Spark reads the text."""
    table = Kept(hasty, tmp_path, "(id BIGINT) USING delta", False)
    table.uri = str(tmp_path / "of delta-rs")
    for start in (0, 10):
        rows = pa.table(
            {"id": range(start, start + 3), "p": ["", None, "x"], "w": pa.array([0] * 3, pa.int32())}
        )
        deltalake.write_deltalake(table.uri, rows, partition_by=["p"], mode="append")
    expected = {key: (("", None, "x")[key % 10], 0) for start in (0, 10) for key in range(start, start + 3)}
    assert table.rows("p", "w") == expected
    table.merge(pa.table({"id": [0, 1, 2], "w": pa.array([1, 1, 1], pa.int32())}))
    expected |= {key: (expected[key][0], 1) for key in range(3)}
    assert table.rows("p", "w") == expected
    table.compact()
    table.vacuum()
    assert table.rows("p", "w") == expected
    assert [row["p"] for row in merging.preview(table.uri, primary_keys=["id"]).rows] == [
        expected[key][0] for key in sorted(expected)
    ]
