"""Content by statement: what a SELECT, UPDATE, DELETE or INSERT means, over which rows, and how one is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import merging
from merging import Bounds, StagingRejected
from merging.delta import open_sealed_snapshot
from merging.delta.snapshot import snapshot_in
from merging.staging.queries import answer
from tests.merging.stores import memory_place
from tests.merging.world import World

ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "Name": ["ann", "bob", None, "dörte"],
        "amount": pa.array(
            [decimal.Decimal("1.50"), decimal.Decimal("2.25"), None, decimal.Decimal("-7.00")], pa.decimal128(15, 2)
        ),
        "day": pa.array([dt.date(2024, 1, 1), dt.date(2024, 2, 29), None, dt.date(1999, 12, 31)]),
    }
)  # fmt: skip

NESTED = pa.struct([("a", pa.int32()), ("B", pa.string())])
Rows = list[dict[str, Any]]
Asked = Callable[..., Rows]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("queries") / "table")
    merging.create_table(uri, ROWS)
    return uri


@pytest.fixture(scope="module")
def asked(table: str) -> Asked:
    """The rows that a statement gives."""
    snapshot = open_sealed_snapshot(table)

    def rows_of(statement: str, *names: str) -> Rows:
        with answer(snapshot, ["id"], statement, names) as answered:
            found: Rows = answered.rows.read_all().to_pylist()
        return found

    return rows_of


def test_a_select_gives_keys_new_values_and_operations(asked: Asked) -> None:
    assert asked("SELECT ID, upper(name) AS NAME FROM dataset WHERE id < 3 ORDER BY id -- as it likes") == [
        {"id": 1, "Name": "ANN"},
        {"id": 2, "Name": "BOB"},
    ]
    assert asked("SELECT id, 'delete' AS _op FROM dataset WHERE name IS NULL") == [{"id": 3, "_op": "delete"}]
    assert asked('SELECT id FROM "table" WHERE id = 1 UNION ALL SELECT 9;') == [{"id": 1}, {"id": 9}]
    assert asked('WITH q AS (FROM "cust-omers") SELECT max(id) AS id FROM q', "cust-omers") == [{"id": 4}]
    assert asked("FROM customers SELECT count(*)::BIGINT AS id", "customers") == [{"id": 4}]


def test_an_update_gives_the_keys_and_values_of_the_rows_that_it_finds(asked: Asked) -> None:
    assert asked("UPDATE dataset SET name = upper(name), amount = amount + 1 WHERE id <= 2") == [
        {"id": 1, "Name": "ANN", "amount": decimal.Decimal("2.50"), "_op": "update"},
        {"id": 2, "Name": "BOB", "amount": decimal.Decimal("3.25"), "_op": "update"},
    ]
    assert asked(
        "UPDATE dataset AS d SET Name = v.name FROM (VALUES (1, 'x'), (9, 'y')) AS v(id, name) WHERE d.id = v.id"
    ) == [{"id": 1, "Name": "x", "_op": "update"}]
    assert asked("WITH q AS (SELECT 4 AS k) UPDATE dataset SET day = NULL WHERE id IN (FROM q)") == [
        {"id": 4, "day": None, "_op": "update"}
    ]


def test_a_delete_gives_the_keys_of_the_rows_that_it_finds(asked: Asked) -> None:
    assert asked("DELETE FROM dataset WHERE amount < 0") == [{"id": 4, "_op": "delete"}]
    assert asked("DELETE FROM dataset d USING dataset e WHERE d.id = e.id + 3") == [
        {"id": 4, "_op": "delete"}
    ]
    assert len(asked("DELETE FROM dataset WHERE true")) == 4


def test_an_insert_gives_its_rows_under_the_columns_that_it_lists(asked: Asked) -> None:
    assert asked("INSERT INTO dataset (name, id) VALUES ('x', 8), ('y', 9)") == [
        {"Name": "x", "id": 8, "_op": "insert"},
        {"Name": "y", "id": 9, "_op": "insert"},
    ]
    assert asked("INSERT INTO dataset SELECT id + 10, name, amount, day FROM dataset WHERE id = 1") == [
        {"id": 11, "Name": "ann", "amount": decimal.Decimal("1.50"), "day": dt.date(2024, 1, 1), "_op": "insert"}
    ]  # fmt: skip
    assert asked("INSERT INTO dataset BY NAME SELECT 'x' AS name, 7 AS id") == [
        {"Name": "x", "id": 7, "_op": "insert"}
    ]
    assert asked("WITH q AS (SELECT 5 AS k) INSERT INTO dataset (id) SELECT k FROM q") == [
        {"id": 5, "_op": "insert"}
    ]


CHANGES = (
    "UPDATE dataset SET Name = Name || '!', amount = amount * 2 WHERE id % 2 = 0 OR Name IS NULL",
    "UPDATE dataset SET Name = CASE WHEN day > DATE '2000-01-01' THEN strftime(day, '%d.%m.%Y') END WHERE true",
    "UPDATE dataset SET amount = round(amount / 3, 2), day = day + INTERVAL 1 MONTH WHERE amount BETWEEN -10 AND 2",
    "UPDATE dataset SET Name = regexp_replace(Name, '[a-c]', 'z', 'g') WHERE Name SIMILAR TO '[a-z]+'",
    "UPDATE dataset SET amount = 7 // 2 + 7 % 2 - 2 ** 3 WHERE NOT (Name ILIKE 'A%') AND id IN (1, 2, 3)",
    "UPDATE dataset SET day = date_trunc('month', day)::DATE, Name = Name[1:2] WHERE extract(year FROM day) = 2024",
    "UPDATE dataset SET amount = m.top FROM (SELECT max(amount) AS top FROM dataset) AS m WHERE dataset.id = 3",
    "UPDATE dataset SET Name = array_to_string(list_transform(['a','b'], lambda x: x || Name), '-') WHERE id = 1",
    "UPDATE dataset SET amount = (SELECT sum(amount) FROM dataset) WHERE Name = 'it''s' OR Name LIKE '%b' ESCAPE '!'",
    "DELETE FROM dataset WHERE id IN (SELECT id FROM dataset WHERE day < '2020-01-01') OR Name IS NULL",
    "DELETE FROM dataset USING (VALUES (1), (2)) AS v(k) WHERE id = v.k AND amount IS DISTINCT FROM 1.5",
    "INSERT INTO dataset (id, day, Name) SELECT id * 100, day - 1, upper(Name) FROM dataset WHERE id <> 2",
    "INSERT INTO dataset VALUES (50, 'x', 1, '2024-05-01'), (51, NULL, NULL, NULL)",
)  # fmt: skip


@pytest.mark.parametrize("statement", CHANGES)
def test_a_statement_means_what_duckdb_means_by_it(statement: str, table: str, tmp_path: Path) -> None:
    """DuckDB itself runs the statement on a copy of the rows: what is staged makes the same of them."""
    snapshot = open_sealed_snapshot(table)
    with answer(snapshot, ["id"], statement) as answered:
        staged = merging.stage(table, answered.rows, ["id"], 0, destination=str(tmp_path))
    rows = {row["id"]: row for row in ROWS.to_pylist()}
    for change in staged.page(limit=100).items:
        if change.proposed is None:
            del rows[change.key["id"]]
        else:
            rows[change.key["id"]] = change.proposed
    itself = duckdb.connect()
    itself.register("arrow", ROWS)
    itself.execute("CREATE TABLE dataset AS SELECT * FROM arrow")
    itself.execute(statement)
    expected = itself.sql("SELECT * FROM dataset ORDER BY id").to_arrow_table().cast(ROWS.schema)
    assert [rows[key] for key in sorted(rows)] == expected.to_pylist()
    assert staged.rows + staged.noop_rows > 0


REFUSALS: Iterable[tuple[str, tuple[Any, ...]]] = (
    ("SELECT id,\n  amout AS amount\nFROM dataset", ("sql_unknown_column", 2, "3", 'Did you mean "amount"?')),
    ("SELECT 'ä', id,\n reed(id) AS name FROM dataset", ("sql_function_not_allowed", 2, "2", "reed")),
    ("SELECT id, uper(name) AS name FROM dataset", ("sql_function_not_allowed", 1, "12", 'Did you mean "upper"?')),
    ("SELECT id FROM datasets", ("sql_unknown_table", 1, "16", "which is called dataset")),
    ("SELECT id, amount * 2 FROM dataset", ("sql_unnamed_column", 1, "12", "write AS")),
    ("SELECT id\nFROM dataset WHERE WHERE", ("sql_syntax", 2, None, "cannot be read")),
    ("SELECT id, name::INT AS amount FROM dataset", ("sql_failed", 1, "16", "Could not convert string 'ann'")),
    ("SELECT id, abs(name) AS amount FROM dataset", ("sql_failed", 1, "12", "No function matches")),
    ("UPDATE dataset\nSET nmae = 'x' WHERE true", ("sql_unknown_column", 2, "5", 'Did you mean "Name"?')),
    ("UPDATE dataset SET name = amout WHERE true", ("sql_unknown_column", 1, "27", 'Did you mean "amount"?')),
    ("UPDATE dataset SET id = 1 WHERE true", ("sql_key_changed", 1, "20", "delete it and insert")),
    ("UPDATE dataset SET name = 'x', NAME = 'y' WHERE true", ("sql_repeated_column", 1, "32", "set it once")),
    ("UPDATE dataset SET (name, day) = (1, 2) WHERE true", ("sql_not_allowed", 1, None, "single columns")),
    ("UPDATE dataset SET name = 'x'", ("sql_every_row", 1, "1", "WHERE true")),
    ("UPDATE other SET name = 'x' WHERE true", ("sql_unknown_table", 1, "8", "other")),
    ("UPDATE dataset SET name = 'x' WHERE true RETURNING *", ("sql_not_allowed", 1, None, "RETURNING")),
    ("UPDATE dataset SET name = 'x' WHERE true LIMIT 3", ("sql_not_allowed", 1, None, "LIMIT")),
    ("DELETE FROM dataset", ("sql_every_row", 1, "1", "WHERE true")),
    ("INSERT INTO dataset VALUES (1, 'x')", ("sql_wrong_number_of_columns", None, None, "2 values")),
    ("INSERT INTO dataset (id, nam) VALUES (1, 'x')", ("sql_unknown_column", 1, "26", 'Did you mean "Name"?')),
    ("INSERT INTO dataset (id, id) VALUES (1, 2)", ("sql_repeated_column", None, None, "listed twice")),
    ("INSERT INTO dataset (id) VALUES (1) ON CONFLICT DO NOTHING", ("sql_not_allowed", 1, None, "ON CONFLICT")),
    ("INSERT OR REPLACE INTO dataset (id) VALUES (1)", ("sql_not_allowed", None, None, "OR REPLACE")),
    ("SELECT id FROM dataset; SELECT 2 AS id", ("sql_several_statements", 1, "25", "one statement")),
    ("\n  DROP TABLE dataset", ("sql_not_allowed", 2, "3", "DROP is not possible")),
)  # fmt: skip


@pytest.mark.parametrize(("statement", "expected"), REFUSALS, ids=[one[0] for one in REFUSALS])
def test_a_refusal_names_the_place_and_the_way_out(
    statement: str, expected: tuple[Any, ...], asked: Asked
) -> None:
    with pytest.raises(StagingRejected) as refused:
        asked(statement)
    [problem] = refused.value.problems
    code, line, column, part = expected
    assert (problem.code, problem.line) == (code, line)
    assert column is None or problem.column == column
    assert part in problem.message


# --- Over which rows ---------------------------------------------------------------------------------------------


def everything(uri: str, version: int | None = None, keys: Iterable[str] = ("id",)) -> Rows:
    with answer(
        open_sealed_snapshot(uri, version=version), list(keys), "SELECT * FROM dataset ORDER BY id"
    ) as one:
        found: Rows = one.rows.read_all().to_pylist()
    return found


def test_it_sees_the_rows_of_each_version_without_those_that_vectors_hide(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.merge(world.stage([{"id": 2, "_op": "delete"}, {"id": 1, "a": 11}, {"id": 9, "a": 90}]))
    assert [(row["id"], row["a"]) for row in everything(world.uri)] == [(1, 11), (3, 30), (9, 90)]
    assert [(row["id"], row["a"]) for row in everything(world.uri, 0)] == [(1, 10), (2, 20), (3, 30)]


def test_it_sees_partitions_whatever_their_values_are_called(tmp_path: Path) -> None:
    parts = ["a=b/c", "50%", "ü *?", "..", None]
    rows = pa.table({"id": pa.array(range(5), pa.int64()), "part": parts, "value": ["v"] * 5})
    uri = str(tmp_path / "tables of [all] kinds" / "t*")
    merging.create_table(uri, rows, partition_by=["part"])
    assert everything(uri) == rows.to_pylist()


def test_it_sees_mapped_columns_by_their_names(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"id": pa.array([1, 2], pa.int64()), "a": ["x", "y"]}))
    log = Path(uri) / "_delta_log"
    actions = [json.loads(line) for line in (log / f"{0:020d}.json").read_text().splitlines()]
    [metadata] = [action["metaData"] for action in actions if "metaData" in action]
    [protocol] = [action["protocol"] for action in actions if "protocol" in action]
    schema = json.loads(metadata["schemaString"])
    for number, (field, name) in enumerate(zip(schema["fields"], ["id", "with a blank"], strict=True), 1):
        stored = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": field["name"]}
        field.update(name=name, metadata=stored)
    metadata["schemaString"] = json.dumps(schema)
    metadata["configuration"] |= {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"}
    protocol["readerFeatures"].append("columnMapping")
    protocol["writerFeatures"].append("columnMapping")
    mapped = "\n".join(json.dumps(one) for one in ({"metaData": metadata}, {"protocol": protocol}))
    (log / f"{1:020d}.json").write_text(mapped)
    assert everything(uri) == [{"id": 1, "with a blank": "x"}, {"id": 2, "with a blank": "y"}]


def test_every_value_comes_back_as_the_table_has_it(tmp_path: Path) -> None:
    """A statement that selects everything changes nothing, whatever the types."""
    moment = dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=dt.UTC)
    rows = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "byte": pa.array([-128, 127, None], pa.int8()),
            "real": pa.array([0.1, float("nan"), None], pa.float32()),
            "double": pa.array([0.1, float("-inf"), None], pa.float64()),
            "wide": pa.array([decimal.Decimal("9" * 36 + ".99"), decimal.Decimal("-0.01"), None], pa.decimal128(38, 2)),
            "flag": pa.array([True, False, None]),
            "day": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
            "moment": pa.array([moment, moment.replace(year=1600), None], pa.timestamp("us", "UTC")),
            "local": pa.array([moment.replace(tzinfo=None), None, None], pa.timestamp("us")),
            "bytes": pa.array([b"\x00\xff", b"", None]),
            "text": pa.array(["", "ü\U0001f600", None]),
            "list": pa.array([[1, None], [], None], pa.list_(pa.int32())),
            "part": pa.array([{"a": 1, "B": "x"}, {"a": None, "B": None}, None], NESTED),
            "map": pa.array([[("k", 1.5)], [], None], pa.map_(pa.string(), pa.float64())),
        }
    )  # fmt: skip
    uri = str(tmp_path / "table")
    merging.create_table(uri, rows)
    with answer(open_sealed_snapshot(uri), ["id"], "SELECT * FROM dataset") as answered:
        staged = merging.stage(uri, answered.rows, ["id"], destination=str(tmp_path / "staged"))
    assert (staged.rows, staged.noop_rows) == (0, 3)
    assert set(staged.columns) == set(rows.column_names)


def test_it_sees_tables_in_object_stores(tmp_path: Path) -> None:
    place = memory_place()
    local = tmp_path / "table"
    merging.create_table(str(local), ROWS)
    for path in local.rglob("*"):
        if path.is_file():
            place.store.put_new(str(path.relative_to(local)), path.read_bytes())
    snapshot = snapshot_in(place.store, place.uri)
    with answer(snapshot, ["id"], "UPDATE dataset SET name = 'x' WHERE amount < 0") as answered:
        assert answered.rows.read_all().to_pylist() == [{"id": 4, "Name": "x", "_op": "update"}]


def test_a_table_without_rows_has_none_to_change(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, ROWS.slice(0, 0))
    with answer(open_sealed_snapshot(uri), ["id"], "DELETE FROM dataset WHERE true") as answered:
        staged = merging.stage(uri, answered.rows, ["id"], destination=str(tmp_path / "staged"))
    assert staged.rows == 0


@pytest.mark.usefixtures("child_for_staging")
def test_it_is_staged_apart_over_the_version_that_was_asked_for(world: World, tmp_path: Path) -> None:
    world.merge(world.stage([{"id": 1, "a": 11}]))
    (tmp_path / "scratch").mkdir()

    def staged(statement: str, version: int | None) -> merging.Staged:
        return merging.stage_query_apart(
            world.uri,
            statement,
            ["id"],
            base_version=version,
            destination=str(tmp_path / "staged"),
            scratch=str(tmp_path / "scratch"),
            bounds=Bounds(memory_bytes=2 * 1024**3),
        )

    double = "UPDATE dataset SET a = a * 2 WHERE id = 1"
    now, before = staged(double, None), staged(double, 0)
    assert [one.page(limit=1).items[0].proposed for one in (now, before)] == [
        {"id": 1, "a": 22, "b": "x", "c": 1.5},
        {"id": 1, "a": 20, "b": "x", "c": 1.5},
    ]
    assert [one.base_version for one in (now, before)] == [1, 0]
    with pytest.raises(StagingRejected) as refused:
        staged("SELECT id,\n b AS a FROM dataset", None)
    assert [(one.code, one.line, one.column) for one in refused.value.problems[:1]] == [
        ("not_number", 1, "a")
    ]
    assert not list((tmp_path / "scratch").iterdir())
