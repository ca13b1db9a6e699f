"""Which files are read for a key, and what is read from files of many kinds."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import merging
from merging import delta
from merging.delta import reading
from merging.engines import Keys, TableReader
from merging.errors import MergeFailed
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import session
from tests.merging.delta.delta_tables import ODD, UTC, Merger, labelled, own_rows, sample

MOMENT = datetime.datetime(2020, 1, 1, tzinfo=UTC)
DAY, SECOND, TICK = (
    datetime.timedelta(days=1),
    datetime.timedelta(seconds=1),
    datetime.timedelta(microseconds=1),
)


def keys(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    connection.register("keys_source", labelled(table))
    connection.execute("CREATE OR REPLACE TEMP TABLE keys AS SELECT * FROM keys_source")
    connection.unregister("keys_source")


SPREADS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "integer": (pa.int64(), list(range(-20, 20))),
    "text": (pa.string(), sorted(f"{chr(97 + n // 4)}-{n}" for n in range(40))),
    "long text": (pa.string(), sorted("prefix " * 10 + f"{n:03d}" for n in range(40))),
    "day": (pa.date32(), [datetime.date(1960, 1, 1) + 400 * n * DAY for n in range(40)]),
    "moment": (pa.timestamp("us", "UTC"), [MOMENT + n * (SECOND + TICK) for n in range(40)]),
    "early moment": (pa.timestamp("us", "UTC"), [MOMENT - (36500 - n) * DAY - TICK for n in range(40)]),
    "local moment": (pa.timestamp("us"), [MOMENT.replace(tzinfo=None) + n * DAY for n in range(40)]),
    "decimal": (pa.decimal128(9, 2), [Decimal(n) / 4 for n in range(40)]),
    "wide decimal": (pa.decimal128(38, 3), [Decimal(f"{10**27}.{n:03d}") for n in range(40)]),
    "small": (pa.int8(), list(range(40))),
}


@pytest.mark.parametrize("writer", ["ours", "delta-rs"])
@pytest.mark.parametrize("kind", SPREADS)
def test_every_key_is_found_whoever_wrote_the_statistics(
    kind: str, writer: str, tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    data_type, values = SPREADS[kind]
    uri = str(tmp_path / "table")
    parts = [pa.table({"k": pa.array(values[start : start + 10], data_type)}) for start in range(0, 40, 10)]
    if writer == "ours":
        merger = Merger(connection)
        delta.create_table(uri, parts[0])
        for part in parts[1:]:
            merger.merge(uri, upsert=part, key="k")
    else:
        for part in parts:
            deltalake.write_deltalake(uri, part, mode="append")
    snapshot = delta.open_snapshot(uri)
    assert len(snapshot.files) == 4
    for position in (0, 9, 10, 25, 39):
        keys(connection, pa.table({"k": pa.array([values[position]], data_type)}))
        located = delta.locate(connection, snapshot, "keys", ["k"], "located")
        assert located.rows == 1
        if kind not in ("long text", "wide decimal"):
            assert located.files_read == located.files_hit
    keys(connection, pa.table({"k": pa.array(values, data_type)}))
    assert delta.locate(connection, snapshot, "keys", ["k"], "located").rows == 40


def test_truncated_and_missing_statistics_hide_no_row(
    tmp_path: Path, make_table: Callable[..., str], connection: duckdb.DuckDBPyConnection
) -> None:
    moments = pa.array([MOMENT + TICK, MOMENT + 999 * TICK], pa.timestamp("us", "UTC"))
    first = pa.table({"at": moments, "t": ["a", "x" * 32 + "tail"]})
    uri = make_table(first)
    Merger(connection).merge(uri, upsert=first.slice(0, 1).set_column(1, "t", pa.array(["zz"])), key="t")
    log = Path(uri) / "_delta_log" / f"{0:020d}.json"
    for low, high in (
        ("2020-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"),
        ("2020-01-01T01:00:00.000+01:00", "2020-01-01T01:00:00.000+01:00"),
        ("+12020-01-01", "nonsense"),
        (None, None),
    ):
        stats: dict[str, Any] = {"numRecords": 2}
        if low is not None:
            stats["minValues"] = {"at": low, "t": "a"}
            stats["maxValues"] = {"at": high, "t": "x" * 32}
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            if "add" in action:
                action["add"]["stats"] = json.dumps(stats)
        log.write_text("".join(json.dumps(action) + "\n" for action in actions))
        snapshot = delta.open_snapshot(uri)
        keys(connection, first)
        assert delta.locate(connection, snapshot, "keys", ["at"], "located").rows == 3
        assert delta.locate(connection, snapshot, "keys", ["t"], "located").rows == 2
        assert delta.locate(connection, snapshot, "keys", ["at", "t"], "located").rows == 2


def test_partitions_prune(make_table: Callable[..., str], connection: duckdb.DuckDBPyConnection) -> None:
    uri = make_table(sample(40), partition_by=["part"])
    snapshot = delta.open_snapshot(uri)
    keys(connection, sample(40).slice(1, 1).select(["part", "id"]))
    located = delta.locate(connection, snapshot, "keys", ["part", "id"], "located")
    assert (located.rows, len(located.files_read)) == (1, 1)
    delta.fetch(connection, snapshot, "located", ["part", "id", ODD], "images")
    assert connection.execute(f"SELECT u_part, u_id, {column_sql(ODD)} FROM images").fetchall() == [
        ("a b/ü%=1", 1, "text 1")
    ]


@pytest.mark.parametrize(
    ("columns", "keys_of", "first"),
    [
        (["a", "b"], "range, range % 7", "a"),
        (["a", "b"], "range % 7, range", "b"),
        (["a", "b"], "range // 4, range % 4", "a"),
        (["a", "b"], "range % 9, range // 9 % 9", None),  # few values each: most rows have one of them
        (["a"], "range, 0", None),
    ],
)
@pytest.mark.parametrize(("rows", "few"), [(100 * 32, True), (100 * 32 - 1, False)])
def test_what_few_keys_tell_by_one_column_is_looked_at_first(
    columns: list[str],
    keys_of: str,
    first: str | None,
    rows: int,
    few: bool,
    make_table: Callable[..., str],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    numbers = pa.array(range(rows), pa.int64())
    snapshot = delta.open_snapshot(make_table(pa.table({"a": numbers, "b": numbers})))
    connection.execute(
        f"CREATE TEMP TABLE keys AS SELECT t.a AS u_a, t.b AS u_b FROM (SELECT {keys_of} FROM range(100)) t(a, b)"
    )
    told = reading._telling_column(connection, snapshot, "keys", columns, range(len(snapshot.files)))
    assert told == (column_sql(first) if few and first else None)


@pytest.mark.parametrize(("tiny", "scans"), [(64 << 10, 1), (0, 2)])
def test_tiny_files_are_opened_once(
    tiny: int,
    scans: int,
    make_table: Callable[..., str],
    merger: Merger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows of others are found by their keys alone, and fetched when it is known where they are."""
    monkeypatch.setattr(reading, "_TINY", tiny)
    uri = make_table(sample(10))
    merger.merge(uri, delete=[4])
    deltalake.write_deltalake(uri, sample(10, start=10), mode="append")
    scanned: list[str] = []
    run = reading._run

    def noted(connection: duckdb.DuckDBPyConnection, snapshot: delta.Snapshot, statement: str) -> None:
        scanned.append(statement)
        run(connection, snapshot, statement)

    monkeypatch.setattr(reading, "_run", noted)
    with session() as opened:
        keys(opened.connection, sample(10, start=3).select(["id"]))
        reader = TableReader(opened, delta.open_snapshot(uri))
        found, whole = reader.rows_found(Keys("keys", ["id"]), ["id", ODD, "tags"])
        assert (found.number, whole, len(scanned)) == (9, scans == 1, 1)
        found = reader.rows_of(Keys("keys", ["id"]), ["id", ODD, "tags"])
        assert (found.number, len(scanned)) == (9, 1 + scans)
        assert ['AS "u_id"' in one for one in scanned[2:]] == [False] * (scans - 1)
        rows = opened.user_rows(f"SELECT u_id, {column_sql(ODD)}, u_tags FROM {found.sql} ORDER BY u_id")
    ids = pc.is_in(sample(20)["id"], pa.array([3, *range(5, 13)]))
    assert rows == sample(20).filter(ids).select(["id", ODD, "tags"]).to_pylist()


class KeyKind(NamedTuple):
    type: pa.DataType
    value: Callable[[int], Any]


KEY_TYPES = {
    "number": KeyKind(pa.int64(), lambda n: n * 1_000_003 - 5_000_000),
    "text": KeyKind(pa.string(), lambda n: f"é {n}"),
    "amount": KeyKind(pa.decimal128(9, 2), lambda n: Decimal(n) / 4),
    "moment": KeyKind(pa.timestamp("us", "UTC"), lambda n: MOMENT + n * TICK),
    "day": KeyKind(pa.date32(), lambda n: MOMENT.date() + n * DAY),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("asked", ["by one column first", "at once"])
@pytest.mark.parametrize("partitions", [[], ["few"]], ids=["whole", "partitioned"])
@pytest.mark.parametrize("few", [kind for kind in KEY_TYPES if kind != "moment"])  # no zone as a partition
@pytest.mark.parametrize("many", KEY_TYPES)
def test_rows_are_found_by_several_keys(
    few: str, many: str, partitions: list[str], asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, whether one of the key columns is looked at first or all of them at once."""
    monkeypatch.setattr(reading, "_TINY", 0)
    monkeypatch.setattr(reading, "_SMALL", 0)
    monkeypatch.setattr(reading, "_ROWS_A_KEY", 0 if asked == "by one column first" else 1 << 40)
    random = Random(f"{few} {many}")  # noqa: S311 - no secret
    pairs = random.sample([*itertools.product(range(6), range(200))], 600)

    def rows(numbers: Iterable[int]) -> pa.Table:
        columns = {"few": [pairs[n][0] for n in numbers], "many": [pairs[n][1] for n in numbers]}
        made = {
            name: pa.array([kind.value(n) if n else None for n in columns[name]], kind.type)
            for name, kind in (("few", KEY_TYPES[few]), ("many", KEY_TYPES[many]))
        }
        text = pa.array([f"row {n}" if n % 3 else None for n in numbers])
        nested = pa.array([{"a": [n, None]} if n % 4 else None for n in numbers])
        return pa.table({"few": made["few"], "text": text, "many": made["many"], "nested": nested})

    uri = str(tmp_path / "table")
    properties = deltalake.WriterProperties(
        max_row_group_size=70, data_page_row_count_limit=20, write_batch_size=10
    )
    for start in (0, 300):
        deltalake.write_deltalake(
            uri,
            rows(range(start, start + 300)),
            mode="append",
            partition_by=partitions or None,
            writer_properties=properties,
        )
    wanted = random.sample(range(600), 40)
    snapshot = delta.open_snapshot(uri)
    with session() as opened:
        keys(opened.connection, rows(wanted).select(["few", "many"]))
        opened.execute("INSERT INTO keys SELECT k.u_few, o.u_many FROM keys k, keys o WHERE hash(k) % 9 = 0")
        found = TableReader(opened, snapshot).rows_of(Keys("keys", ["few", "many"]), rows([0]).schema.names)
        scan = delta.scan_sql(opened.connection, snapshot, with_positions=True)
        names = "file_index, row_number, u_few, u_text, u_many, u_nested"
        naive = (
            f"SELECT {names} FROM ({scan}) p WHERE EXISTS "
            "(SELECT 1 FROM keys k WHERE k.u_few = p.u_few AND k.u_many = p.u_many)"
        )
        there = opened.table(f"SELECT {names} FROM {found.sql} ORDER BY 1, 2")
        assert found.number == opened.number(f"SELECT count(*) FROM ({naive})") > 20
        assert there.equals(opened.table(f"{naive} ORDER BY 1, 2"))


def test_many_keys_against_many_files_prune_by_column(
    make_table: Callable[..., str], connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = make_table(sample(10))
    for start in (10, 20, 30):
        deltalake.write_deltalake(uri, sample(10, start=start), mode="append")
    monkeypatch.setattr("merging.delta.statistics.pruning._PAIR_LIMIT", 0)
    snapshot = delta.open_snapshot(uri)
    keys(connection, sample(2, start=9).select(["id", "day"]))
    located = delta.locate(connection, snapshot, "keys", ["id"], "located")
    assert (located.rows, len(located.files_read)) == (2, 2)
    keys(connection, sample(1, start=99).select(["id"]))
    located = delta.locate(connection, snapshot, "keys", ["id"], "located")
    assert (located.rows, located.files_read) == (0, ())
    delta.fetch(connection, snapshot, "located", ["id", "tags"], "images")
    assert connection.execute("SELECT count(*) FROM images").fetchall() == [(0,)]


def test_rows_of_large_files_are_fetched_from_a_few_of_them_at_a_time(
    make_table: Callable[..., str], connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = make_table(sample(10))
    for start in range(10, 50, 10):
        deltalake.write_deltalake(uri, sample(10, start=start), mode="append")
    monkeypatch.setattr("merging.delta.reading._BYTES_PER_STATEMENT", 1)
    snapshot = delta.open_snapshot(uri)
    batches = list(reading._batches(snapshot, range(len(snapshot.files))))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    keys(connection, sample(50).select(["id"]))
    delta.locate(connection, snapshot, "keys", ["id"], "located")
    delta.fetch(connection, snapshot, "located", ["id", ODD], "images")
    found = connection.execute(f"SELECT u_id, {column_sql(ODD)} FROM images ORDER BY u_id").fetchall()
    assert found == [(row["id"], row[ODD]) for row in sample(50).to_pylist()]


def test_columns_that_came_later_other_orders_and_grown_structs(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    uri = str(tmp_path / "evolved")
    small = pa.array([{"x": 1}], pa.struct({"x": pa.int64()}))
    deltalake.write_deltalake(uri, pa.table({"id": pa.array([1], pa.int64()), "s": small}))
    grown = pa.struct({"x": pa.int64(), "y": pa.string()})
    later = pa.table(
        {"new": ["n"], "s": pa.array([{"x": 2, "y": "b"}], grown), "id": pa.array([2], pa.int64())}
    )
    deltalake.write_deltalake(uri, later, mode="append", schema_mode="merge")
    snapshot = delta.open_snapshot(uri)
    assert snapshot.schema.names == ["id", "s", "new"]
    assert own_rows(uri) == [(1, str({"x": 1, "y": None}), None), (2, str({"x": 2, "y": "b"}), "n")]
    keys(connection, pa.table({"id": pa.array([1, 2], pa.int64())}))
    delta.locate(connection, snapshot, "keys", ["id"], "located")
    delta.fetch(connection, snapshot, "located", snapshot.schema.names, "images")
    assert connection.execute("SELECT u_id, u_s, u_new FROM images ORDER BY u_id").fetchall() == [
        (1, {"x": 1, "y": None}, None),
        (2, {"x": 2, "y": "b"}, "n"),
    ]
    keys(connection, pa.table({"new": ["n"]}))
    assert delta.locate(connection, snapshot, "keys", ["new"], "located").rows == 1


def test_a_column_that_no_file_has(
    make_table: Callable[..., str], connection: duckdb.DuckDBPyConnection
) -> None:
    uri = make_table(sample(3).select(["id"]))
    deltalake.DeltaTable(uri).alter.add_columns(
        [deltalake.Field("later", deltalake.schema.PrimitiveType("string"))]
    )
    assert own_rows(uri) == [(0, None), (1, None), (2, None)]
    snapshot = delta.open_snapshot(uri)
    keys(connection, sample(1).select(["id"]))
    delta.locate(connection, snapshot, "keys", ["id"], "located")
    delta.fetch(connection, snapshot, "located", ["later", "id"], "images")
    assert connection.execute("SELECT u_later, u_id FROM images").fetchall() == [(None, 0)]


def test_dead_rows_are_neither_found_nor_scanned(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(20))
    merger.merge(uri, delete=[3, 4])
    snapshot = delta.open_snapshot(uri)
    keys(merger.connection, sample(6).select(["id"]))
    assert delta.locate(merger.connection, snapshot, "keys", ["id"], "located").rows == 4
    assert merger.connection.execute("SELECT u_id FROM located ORDER BY u_id").fetchall() == [
        (0,),
        (1,),
        (2,),
        (5,),
    ]
    one = delta.scan_sql(merger.connection, snapshot, ["id"], with_positions=True)
    assert merger.connection.execute(f"SELECT count(*), max(row_number) FROM ({one})").fetchall() == [
        (18, 19)
    ]


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_data_file_vacuumed_away_or_damaged_is_named(
    damage: str, make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(20))
    [path] = Path(uri).glob("*.parquet")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(MergeFailed, match=rf"The data file {path.name} of .* cannot be read: it "):
        merger.merge(uri, delete=[3])
    assert delta.open_snapshot(uri).version == 0


def test_partitions_of_bytes_are_read_as_the_log_has_them(tmp_path: Path) -> None:
    """By hand, as Spark writes them: bytes that are a text are that text."""
    values = ["A", "ä", "\\x41", "a'b"]
    fields = [
        {"name": name, "type": kind, "nullable": True, "metadata": {}}
        for name, kind in (("id", "long"), ("p", "binary"))
    ]
    schema = json.dumps({"type": "struct", "fields": fields})
    metadata = {"id": "x", "format": {"provider": "parquet", "options": {}}, "schemaString": schema}
    actions: list[dict[str, Any]] = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": {**metadata, "partitionColumns": ["p"], "configuration": {}}},
    ]
    for number, value in enumerate(values):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"id": pa.array([number], pa.int64())}), path)
        add = {"path": path.name, "size": path.stat().st_size, "partitionValues": {"p": value}}
        actions.append({"add": {**add, "modificationTime": 1, "dataChange": True}})
    (tmp_path / "_delta_log").mkdir()
    lines = "".join(f"{json.dumps(action)}\n" for action in actions)
    (tmp_path / "_delta_log" / f"{0:020d}.json").write_text(lines)
    snapshot = delta.open_snapshot(str(tmp_path))
    with duckdb.connect() as connection:
        rows = connection.sql(
            f"FROM ({delta.scan_sql(connection, snapshot, ['id', 'p'])}) ORDER BY ALL"
        ).fetchall()
    assert rows == [(number, value.encode()) for number, value in enumerate(values)]


@pytest.mark.parametrize("vectors", [True, False])
def test_an_empty_text_that_delta_rs_gave_a_partition_stays(tmp_path: Path, vectors: bool) -> None:
    """By PROTOCOL.md it is NULL; delta-rs, Polars and Spark (``test_spark_vacuum``) read what it is."""
    table = str(tmp_path / "table")
    properties = {"delta.enableDeletionVectors": str(vectors).lower()}
    for start in (0, 10):
        rows = pa.table({"id": range(start, start + 3), "p": ["", None, "x"], "w": [0] * 3})
        deltalake.write_deltalake(table, rows, partition_by=["p"], mode="append", configuration=properties)
    expected = {key: ("", None, "x")[key % 10] for key in (0, 1, 2, 10, 11, 12)}

    def same() -> None:
        found = merging.preview(table, primary_keys=["id"], limit=50).rows
        assert {row["id"]: row["p"] for row in found} == expected
        told = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table))
        read = pa.table(told.execute("SELECT id, p FROM t").read_all())
        assert dict(zip(read["id"].to_pylist(), read["p"].to_pylist(), strict=True)) == expected
        for value in ("", "x"):
            page = merging.preview(table, primary_keys=["id"], filters=[("p", "=", value)])
            assert {row["id"] for row in page.rows} == {key for key, p in expected.items() if p == value}

    def merged(content: pa.Table, keys: list[str]) -> None:
        staged = merging.stage(table, content, keys, destination=str(tmp_path / "staged"))
        merging.merge(merging.MergeRequest(table, f"CR-{merging.inspect_table(table).version}", keys, staged))

    same()
    merged(pa.table({"id": [0, 1, 2], "w": [1, 1, 1]}), ["id"])
    same()
    merged(pa.table({"id": [10, 2], "p": ["", None], "w": [2, 2]}), ["id"])  # what it has, it may say
    expected[2] = None
    same()
    with pytest.raises(merging.StagingRejected, match="an empty text cannot be told from NULL"):
        merging.stage(table, pa.table({"id": [12], "p": [""]}), ["id"])
    merged(pa.table({"id": [0, 10], "p": ["", ""], "w": [3, 3]}), ["p", "id"])
    merging.compact(table, attempt_id="c", application_id="c", generation=1)
    same()


NAN, HALF = float("nan"), Decimal("0.50")
FILTERED: dict[str, tuple[pa.DataType, list[Any], list[str]]] = {
    "one text": (pa.string(), ["a"], ["{} = 'a'", "{} > 'a'"]),
    "one empty text": (pa.string(), [""], ["{} = ''", "{} <> ''"]),
    "texts": (pa.string(), ["a", "", "long enough to lie apart"], ["{} > 'a'", "{} = 'long enough to lie apart'"]),
    "bytes": (pa.binary(), [b"\xff" * 20], ["{} = from_hex(repeat('ff', 20))"]),
    "floats": (pa.float64(), [1.5, -0.0, NAN, 7.0], ["{} > 100", "isnan({})", "{} IS NULL OR isnan({})", "{} < 0.5"]),
    "short floats": (pa.float32(), [1.5, NAN], ["{} > 100", "{} = 'nan'::FLOAT", "NOT {} <= 5"]),
    "one float": (pa.float64(), [2.5], ["{} = 2.5", "{} <> 2.5"]),
    "numbers": (pa.int64(), [5], ["{} = 5", "{} > 5"]),
    "decimals": (pa.decimal128(9, 2), [HALF, HALF * 3], ["{} > 1", "{} = 0.5"]),
    "truths": (pa.bool_(), [True], ["{}", "NOT {}"]),
    "days": (pa.date32(), [MOMENT.date()], ["{} = DATE '2020-01-01'", "{} > DATE '2020-01-01'"]),
    "fields": (pa.struct([("f", pa.float64())]), [{"f": 1.0}, {"f": NAN}], ["{}.f > 100", "{}.f IS NULL"]),
    "lists": (pa.list_(pa.float64()), [[1.0], [NAN, 2.0], []], ["{}[1] > 100", "list_contains({}, 'nan')"]),
    "lists of lists": (pa.list_(pa.list_(pa.float32())), [[[1.0]], [[NAN]]], ["{}[1][1] > 100"]),
    "lists of fields": (
        pa.list_(pa.struct([("n", pa.int64()), ("q", pa.float64())])),
        [[{"n": 1, "q": 1.0}], [{"n": 2, "q": NAN}]],
        ["{}[1].q > 100", "{}[1].n = 2"],
    ),
    "maps": (pa.map_(pa.string(), pa.float64()), [[("a", 1.0)], [("a", NAN)]], ["isnan({}['a'])", "{}['a'] < 2"]),
    "maps by days": (
        pa.map_(pa.date32(), pa.list_(pa.float64())),
        [[(MOMENT.date(), [1.0])], [(MOMENT.date(), [NAN])]],
        ["{}[DATE '2020-01-01'][1] > 100"],
    ),
    "fields of lists": (
        pa.struct([("f", pa.float64()), ("l", pa.list_(pa.float64())), ("d", pa.decimal128(9, 2))]),
        [{"f": 1.0, "l": [1.0], "d": HALF}, {"f": NAN, "l": [NAN], "d": HALF}],
        ["{}.l[1] > 100", "{}.f > 100", "{}.d = 0.5"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False], ids=["dictionary", "plain"])
@pytest.mark.parametrize("empty", [0, 7, None], ids=["empty first", "empty later", "none empty"])
def test_a_filter_finds_what_the_rows_say(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, version: str, dictionary: bool, empty: int | None
) -> None:
    """What the engine leaves out by footers and pages of others is what the condition leaves out of the rows."""
    columns = {
        name: pa.array([None if n % 15 == empty else values[n % len(values)] for n in range(400)], data_type)
        for name, (data_type, values, _) in FILTERED.items()
    }
    folder = tmp_path / "table"
    folder.mkdir()
    pq.write_table(
        pa.table({"id": range(400), **columns}),
        folder / "part.parquet", row_group_size=101, data_page_version=version, use_dictionary=dictionary,
    )  # fmt: skip
    deltalake.convert_to_deltalake(str(folder))
    scan = delta.scan_sql(connection, delta.open_snapshot(str(folder)))
    held = pa.table({"id": pa.array(range(400), pa.int64()), **columns})  # of which nobody states bounds
    connection.register("held", held.rename_columns([column_label(name) for name in held.column_names]))
    for name, (_, _, conditions) in FILTERED.items():
        for condition in ("{} IS NULL", "{} IS NOT NULL", "NOT ({} IS NOT NULL)", *conditions):
            said = condition.replace("{}", column_sql(name))
            found = connection.execute(
                f"SELECT {column_sql('id')} FROM ({scan}) WHERE {said} ORDER BY 1"
            ).fetchall()
            true = connection.execute(
                f"SELECT {column_sql('id')}, coalesce({said}, false) FROM held ORDER BY 1"
            ).fetchall()
            assert found == [(key,) for key, holds in true if holds], (name, condition)
