"""Tables of Spark whose fields come, go and are renamed inside columns, between the base of a request and its merge.

A field that comes again under the name of one that was dropped is another one: files of before hold nothing of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import merging
from merging import delta
from tests.merging.interoperability.spark_table import SparkTable, own, rows_of

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

COLUMNS = (
    "id BIGINT, a INT, s STRUCT<x: INT, y: STRUCT<u: STRING, v: INT>>, "
    "l ARRAY<STRUCT<p: STRING, q: INT>>, m MAP<STRING, STRUCT<k: INT, o: ARRAY<STRUCT<z: DATE>>>>, c CHAR(4), "
    "w STRUCT<v: VARCHAR(3)>"
)
ROWS = ", ".join(
    f"({n}, {n}, named_struct('x', {n}, 'y', named_struct('u', 'u{n}', 'v', {n})), "
    f"array(named_struct('p', 'p{n}', 'q', {n}), NULL), "
    f"map('k', named_struct('k', {n}, 'o', array(named_struct('z', DATE'2024-01-0{n % 9 + 1}')))), 'c{n}', "
    f"named_struct('v', 'v{n}'))"
    for n in range(1, 10)
)


class Table(SparkTable):
    """A table of Spark, and what it holds by the names of now."""

    def __init__(self, session: SparkSession, folder: Path, mode: str, vectors: bool) -> None:
        super().__init__(session, folder)
        self.ask(
            f"CREATE TABLE t ({COLUMNS}) USING delta TBLPROPERTIES ('delta.columnMapping.mode' = '{mode}', "
            f"'delta.enableDeletionVectors' = '{str(vectors).lower()}', 'delta.checkpointInterval' = '7')"
        )
        self.ask(f"INSERT INTO t VALUES {ROWS}")
        self.rows = rows_of(session, self.uri)

    def look(self) -> None:
        assert rows_of(self.session, self.uri) == self.rows
        padded = [row | {"c": row["c"] and row["c"].ljust(4)} for row in own(self.uri)]  # as Spark reads char
        assert {row["id"]: row for row in padded} == self.rows

    def reshape(self, statement: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Let Spark change the table's fields, and do the same to every row."""
        self.ask(f"ALTER TABLE t {statement}")
        for row in self.rows.values():
            change(row)
        self.look()

    def stage(self, changes: dict[int, dict[str, Any]]) -> merging.Staged:
        """Whole cells, by id; of what is not given, the row has what it had."""
        names = sorted({name for given in changes.values() for name in given})
        schema = delta.open_snapshot(self.uri).schema
        cells = {
            name: pa.array(
                [given.get(name, self.rows.get(key, {}).get(name)) for key, given in changes.items()],
                schema.field(name).type,
            )
            for name in names
        }
        return self.staged(pa.table({"id": pa.array([*changes], pa.int64()), **cells}))

    def merge(self, staged: merging.Staged, changes: dict[int, dict[str, Any]]) -> None:
        self.merged(staged)
        blank = dict.fromkeys(next(iter(self.rows.values())))
        for key, given in changes.items():
            self.rows[key] = self.rows.get(key, blank | {"id": key}) | copy.deepcopy(given)
        self.rows = dict(sorted(self.rows.items()))
        self.look()

    def change(self, changes: dict[int, dict[str, Any]]) -> None:
        self.merge(self.stage(changes), changes)


def rename(old: str, new: str) -> Callable[[dict[str, Any] | None], None]:
    def change(value: dict[str, Any] | None) -> None:
        if value is not None:
            items = [(new if name == old else name, cell) for name, cell in value.items()]
            value.clear()
            value.update(items)

    return change


def each(value: Any) -> list[dict[str, Any]]:
    """The structs in a list or a map."""
    found = [item for _, item in value] if value and isinstance(value[0], tuple) else value
    return [one for one in found or () if one is not None]


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("mode", ["name", "id"])
def test_fields_that_come_go_and_are_renamed(
    session: SparkSession, tmp_path: Path, mode: str, vectors: bool
) -> None:
    table = Table(session, tmp_path, mode, vectors)
    table.look()
    table.change({2: {"a": 20}, 11: {"a": 110, "c": "ab  "}})

    # Staged before the fields change, merged afterwards: nothing of what was not proposed moves.
    later: dict[int, dict[str, Any]] = {3: {"a": 30}, 12: {"a": 120}}
    staged = table.stage(later)
    table.reshape("RENAME COLUMN s.x TO `x 1`", lambda row: rename("x", "x 1")(row["s"]))
    table.reshape("DROP COLUMN s.y.u", lambda row: row["s"] and row["s"]["y"].pop("u"))
    table.merge(staged, later)
    table.reshape("ADD COLUMN s.y.u STRING", lambda row: row["s"] and row["s"]["y"].update(u=None))
    table.reshape("DROP COLUMN l.element.p", lambda row: [one.pop("p") for one in each(row["l"])])
    table.change({4: {"a": 40}})
    table.reshape(
        "ADD COLUMN l.element.p STRING", lambda row: [one.update(p=None) for one in each(row["l"])] and None
    )
    table.reshape(
        "RENAME COLUMN l.element.q TO r",
        lambda row: [rename("q", "r")(one) for one in each(row["l"])] and None,
    )
    table.change(
        {
            5: {"l": [{"r": 7, "p": "new"}, None], "s": {"x 1": 5, "y": {"v": 1, "u": "again"}}},
            13: {"l": [], "s": {"x 1": None, "y": {"v": None, "u": "u"}}, "w": {"v": "äöü"}},
        }
    )
    table.compact()
    table.look()
    table.change({6: {"s": None, "w": None}, 1: {"c": "x   "}})
    table.ask("UPDATE t SET a = a + 1 WHERE id IN (7, 13)")
    for key in (7, 13):
        table.rows[key]["a"] = None if table.rows[key]["a"] is None else table.rows[key]["a"] + 1
    table.look()
    table.ask("OPTIMIZE t")
    table.change({8: {"a": 80}, 14: {"s": {"x 1": 14, "y": {"v": 14, "u": "u14"}}}})


def test_columns_of_no_type_are_refused_by_name(session: SparkSession, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    session.sql(f"CREATE TABLE delta.`{uri}` (id BIGINT, a INT, v VOID) USING delta").collect()
    session.sql(f"INSERT INTO delta.`{uri}` (id, a) VALUES (1, 1), (2, 2)").collect()
    before = rows_of(session, uri)
    changes = pa.table({"id": [2, 9], "a": pa.array([20, 90], pa.int32())})
    with pytest.raises(merging.UnsupportedTable, match="void"):
        merging.stage(uri, changes, ["id"], destination=str(tmp_path / "staged"))
    assert rows_of(session, uri) == before


def test_variants_are_refused_by_name(session: SparkSession, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    session.sql(f"CREATE TABLE delta.`{uri}` (id BIGINT, a INT, v VARIANT) USING delta").collect()
    session.sql(f"INSERT INTO delta.`{uri}` SELECT 1, 1, parse_json('{{\"x\": 1}}')").collect()
    with pytest.raises(merging.UnsupportedTable, match="variant"):
        merging.inspect_table(uri)
