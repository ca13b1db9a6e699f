"""Tables whose columns Spark widens, or that fill columns themselves: merged by Headgate, every row looked at by Spark,
which goes on with the table before Headgate merges again.

Identity columns are made by hand from PROTOCOL.md, "Identity Columns" (Spark has no SQL for them on paths); Spark
numbers the rows that it inserts into them all the same.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from tests.merging.interoperability.spark_table import SparkTable, own, rows_of
from tests.merging.test_filled_columns import FILLING, identity, mark_of
from tests.merging.test_rules import commit_by_hand

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

KINDS = {
    "vectors": {"delta.enableDeletionVectors": "true"},
    "vectors, feed": {"delta.enableDeletionVectors": "true", "delta.enableChangeDataFeed": "true"},
    "rewritten": {"delta.enableDeletionVectors": "false"},
    "rewritten, feed": {"delta.enableDeletionVectors": "false", "delta.enableChangeDataFeed": "true"},
}


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, session: SparkSession, tmp_path: Path) -> Walk:
    """Where Spark makes its table, and with which properties."""
    return Walk(session, tmp_path, KINDS[request.param])


class Walk(SparkTable):
    """One table, on which Spark and Headgate take turns."""

    def __init__(self, session: SparkSession, folder: Path, properties: dict[str, str]) -> None:
        super().__init__(session, folder)
        self.properties = properties

    def create(self, columns: str, **properties: str) -> None:
        listed = ", ".join(f"'{key}' = '{value}'" for key, value in {**self.properties, **properties}.items())
        self.ask(f"CREATE TABLE t ({columns}) USING delta TBLPROPERTIES ({listed})")

    def stage(self, schema: dict[str, pa.DataType], rows: list[dict[str, Any]]) -> merging.Staged:
        return self.staged(pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items()))))

    def merge(self, staged: merging.Staged) -> None:
        vectors = self.properties["delta.enableDeletionVectors"] == "true"
        assert self.merged(staged).strategy == ("merge-on-read" if vectors else "copy-on-write")

    def expect(self, rows: dict[int, dict[str, Any]]) -> None:
        """Spark and Headgate find exactly these rows."""
        assert rows_of(self.session, self.uri) == rows
        assert {row["id"]: row for row in own(self.uri)} == rows

    def expect_feed(self, version: int, kinds: list[tuple[str, int]]) -> None:
        """What Spark reads of the change data feed of a version, where there is one."""
        if "delta.enableChangeDataFeed" in self.properties:
            reader = self.session.read.format("delta").option("readChangeFeed", "true")
            found = reader.option("startingVersion", version).option("endingVersion", version).load(self.uri)
            rows = found.select("_change_type", "id").toArrow().to_pylist()
            assert sorted((row["_change_type"], row["id"]) for row in rows) == kinds


def test_types_that_spark_widened(made: Walk) -> None:
    made.create(
        "id BIGINT, b TINYINT, i INT, f FLOAT, d DECIMAL(4,2), day DATE, l ARRAY<INT>",
        **{"delta.enableTypeWidening": "true", "delta.feature.timestampNtz": "supported"},
    )
    made.ask(
        "INSERT INTO t VALUES "
        + ", ".join(
            f"({n}, {n}, {n}, 0.1, {n}.25, DATE '2024-02-0{n}', array({n}, NULL))" for n in range(1, 6)
        )
    )
    old = {"id": pa.int64(), "i": pa.int32()}
    before = made.stage(old, [{"id": 4, "i": 40}])
    for column, data_type in [
        *(("b", "SMALLINT"), ("i", "BIGINT"), ("f", "DOUBLE"), ("d", "DECIMAL(10,4)")),
        *(("day", "TIMESTAMP_NTZ"), ("l.element", "BIGINT")),
    ]:
        made.ask(f"ALTER TABLE t ALTER COLUMN {column} TYPE {data_type}")
    rows = rows_of(made.session, made.uri)
    assert rows[1]["day"] == datetime.datetime.fromisoformat("2024-02-01")
    made.expect(rows)

    wide = {"id": pa.int64(), "b": pa.int16(), "i": pa.int64(), "f": pa.float64(), "d": pa.decimal128(10, 4)}
    wide |= {"day": pa.timestamp("us"), "l": pa.list_(pa.int64())}
    new = {"b": 300, "i": 2**40, "f": 0.1, "d": Decimal("123456.7890"), "l": [2**40, None]}
    new["day"] = datetime.datetime.fromisoformat("2024-02-29T12:00:00.000001")
    made.merge(made.stage(wide, [{"id": 2, **new}, {"id": 9, **new}]))
    rows |= {2: {"id": 2, **new}, 9: {"id": 9, **new}}
    made.expect(rows)
    version = merging.inspect_table(made.uri).version
    made.expect_feed(version, [("insert", 9), ("update_postimage", 2), ("update_preimage", 2)])
    made.merge(before)
    rows[4]["i"] = 40
    made.expect(rows)

    made.ask("UPDATE t SET i = i + 1, b = 7 WHERE id IN (1, 9)")
    made.ask("ALTER TABLE t ALTER COLUMN b TYPE INT")
    made.ask("ALTER TABLE t ALTER COLUMN i TYPE DECIMAL(22,2)")
    rows = {key: {**row, "i": Decimal(row["i"]).quantize(Decimal("0.01"))} for key, row in rows.items()}
    for number in (1, 9):
        rows[number] |= {"i": rows[number]["i"] + 1, "b": 7}
    made.expect(rows)
    again = made.stage({"id": pa.int64(), "b": pa.int32()}, [{"id": 3, "b": 2**20}, {"id": 9, "b": None}])
    made.ask("OPTIMIZE t")
    made.merge(again)
    rows[3]["b"], rows[9]["b"] = 2**20, None
    made.expect(rows)

    version = merging.inspect_table(made.uri).version
    made.ask("DELETE FROM t WHERE id > 3")
    made.ask(f"RESTORE t TO VERSION AS OF {version}")
    made.expect(rows)
    made.merge(made.stage({"id": pa.int64(), "i": pa.decimal128(22, 2)}, [{"id": 5, "i": Decimal("0.25")}]))
    rows[5]["i"] = Decimal("0.25")
    made.expect(rows)


def test_a_key_that_spark_widened(made: Walk) -> None:
    made.create("id INT, a INT", **{"delta.enableTypeWidening": "true"})
    made.ask("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    before = made.stage({"id": pa.int32(), "a": pa.int32()}, [{"id": 2, "a": 20}, {"id": 8, "a": 8}])
    made.ask("ALTER TABLE t ALTER COLUMN id TYPE BIGINT")
    made.merge(made.stage({"id": pa.int64(), "a": pa.int32()}, [{"id": 1, "a": 10}, {"id": 2**40, "a": 4}]))
    made.ask("UPDATE t SET a = 30 WHERE id = 3")
    made.merge(before)
    made.expect({key: {"id": key, "a": a} for key, a in {1: 10, 2: 20, 3: 30, 8: 8, 2**40: 4}.items()})
    made.ask(
        "MERGE INTO t AS o USING (SELECT CAST(8 AS BIGINT) AS id) n ON n.id = o.id WHEN MATCHED THEN DELETE"
    )
    made.expect({key: {"id": key, "a": a} for key, a in {1: 10, 2: 20, 3: 30, 2**40: 4}.items()})


def test_defaults_that_spark_declared(made: Walk) -> None:
    made.create(
        "id BIGINT, a INT DEFAULT 7, s STRING DEFAULT 'new', x DOUBLE DEFAULT 0.1, d DECIMAL(10,2) DEFAULT 2.5, "
        "day DATE DEFAULT DATE '2024-02-29', flag BOOLEAN DEFAULT true, r FLOAT DEFAULT 0.3, n SMALLINT DEFAULT -3, "
        "note STRING",
        **{"delta.feature.allowColumnDefaults": "supported"},
    )
    made.ask("INSERT INTO t (id) VALUES (1), (2), (3)")
    filled = dict(rows_of(made.session, made.uri)[1])
    assert (filled.pop("id"), filled["s"], filled["x"]) == (1, "new", 0.1)
    rows = {n: {"id": n, **filled} for n in (1, 2, 3)}
    made.expect(rows)
    made.merge(made.stage({"id": pa.int64(), "a": pa.int32()}, [{"id": 2, "a": 20}, {"id": 8, "a": None}]))
    made.merge(made.stage({"id": pa.int64()}, [{"id": 9}]))
    rows |= {2: {**rows[2], "a": 20}, 8: {"id": 8, **filled, "a": None}, 9: {"id": 9, **filled}}
    made.expect(rows)
    version = merging.inspect_table(made.uri).version
    made.expect_feed(version, [("insert", 9)])

    staged = made.stage({"id": pa.int64()}, [{"id": 10}])
    made.ask("ALTER TABLE t ALTER COLUMN s SET DEFAULT 'newer'")
    made.ask("ALTER TABLE t ALTER COLUMN a DROP DEFAULT")
    made.ask("MERGE INTO t AS o USING (SELECT CAST(11 AS BIGINT) AS id) n ON n.id = o.id "
               "WHEN NOT MATCHED THEN INSERT (id) VALUES (n.id)")  # fmt: skip
    made.merge(staged)
    later = {**filled, "s": "newer", "a": None}
    rows |= {10: {"id": 10, **later}, 11: {"id": 11, **later}}
    made.expect(rows)
    made.ask("UPDATE t SET s = DEFAULT WHERE id = 1")
    made.ask("OPTIMIZE t")
    rows[1]["s"] = "newer"
    made.merge(
        made.stage({"id": pa.int64(), "note": pa.string()}, [{"id": 1, "note": "x"}, {"id": 12, "note": "y"}])
    )
    rows[1]["note"], rows[12] = "x", {"id": 12, **later, "note": "y"}
    made.expect(rows)


@pytest.mark.parametrize("explicit", [False, True], ids=["always", "by default"])
def test_numbers_that_both_give(made: Walk, explicit: bool) -> None:
    made.create("id BIGINT, a INT, nr BIGINT")

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        fields["nr"]["metadata"] |= identity(100, -10, explicit=explicit)

    commit_by_hand(made.uri, change, FILLING)
    made.ask("INSERT INTO t (id, a) VALUES (1, 1)")
    made.ask("INSERT INTO t (id, a) VALUES (2, 2)")
    rows = rows_of(made.session, made.uri)
    assert {row["nr"] for row in rows.values()} == {100, 90}
    plain = {"id": pa.int64(), "a": pa.int32()}
    staged = made.stage(plain, [{"id": 1, "a": 10}, {"id": 8, "a": 8}, {"id": 9, "a": 9}])
    made.ask("INSERT INTO t (id, a) VALUES (3, 3)")
    made.merge(staged)
    rows = {
        **rows,
        3: {"id": 3, "a": 3, "nr": 80},
        8: {"id": 8, "a": 8, "nr": 70},
        9: {"id": 9, "a": 9, "nr": 60},
    }
    rows[1]["a"] = 10
    made.expect(rows)
    assert mark_of(made.uri, "nr") == 60

    made.ask("INSERT INTO t (id, a) VALUES (4, 4)")
    made.ask("UPDATE t SET a = 40 WHERE id = 4")
    made.ask("MERGE INTO t AS o USING (SELECT CAST(5 AS BIGINT) AS id) n ON n.id = o.id "
               "WHEN NOT MATCHED THEN INSERT (id, a) VALUES (n.id, 5)")  # fmt: skip
    made.ask("OPTIMIZE t")
    found = rows_of(made.session, made.uri)
    assert (found[4]["a"], found[4]["nr"]) == (40, 50)
    assert found[5]["nr"] < 50
    assert {key: row for key, row in found.items() if key not in (4, 5)} == rows
    last = found[5]["nr"]
    if explicit:
        made.merge(made.stage({**plain, "nr": pa.int64()}, [{"id": 6, "nr": 6}, {"id": 7, "nr": None}]))
        found |= {6: {"id": 6, "a": None, "nr": 6}, 7: {"id": 7, "a": None, "nr": last - 10}}
    else:
        made.merge(made.stage(plain, [{"id": 7, "a": 7}]))
        found |= {7: {"id": 7, "a": 7, "nr": last - 10}}
    made.expect(found)
    version = merging.inspect_table(made.uri).version
    made.ask("DELETE FROM t WHERE id > 3")
    made.ask(f"RESTORE t TO VERSION AS OF {version}")
    made.expect(found)
    made.merge(made.stage(plain, [{"id": 12, "a": 12}]))
    made.expect({**found, 12: {"id": 12, "a": 12, "nr": last - 20}})
