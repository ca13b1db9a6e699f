"""Numbers of a whole table by Apache Spark: those of DuckDB, or DuckDB is asked."""

from __future__ import annotations

import math
import os
import signal
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging.delta import open_snapshot
from merging.engines import Aggregates, Changes, Cluster, EngineChoice, Keys, TableReader, spark
from merging.expectations import CATALOGUE, ExpectationResult, validate_suite
from merging.expectations.argument_values import MAX_VALUES
from merging.expectations.suites import MAX_EXPECTATIONS
from merging.sql.quoting import column_sql
from merging.sql.session import session as opened_session
from merging.sql.values import arrow_values
from tests.merging.border_values import BORDERS
from tests.merging.expectations.support import counted, expect
from tests.merging.expectations.test_against_great_expectations import expectations, random_table
from tests.merging.interoperability.conftest import connect_server
from tests.merging.world import World

pytestmark = pytest.mark.spark

DUCKDB = EngineChoice("duckdb")


def chosen(choice: EngineChoice) -> None:
    """Read all tables so."""
    merging.set_engines(lambda _: choice)


MOMENT = datetime(2013, 1, 5, 18, 5, 0, 123456, UTC)
#: Values that a key may have, of each type that may be one.
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "long": (pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63), 7]),
    "byte": (pa.int8(), [0, 1, -1, 127, -128, 7]),
    "text": (pa.string(), ["", " ", "a", "A", "a ", "ä"]),
    "decimal": (
        pa.decimal128(38, 10),
        [Decimal("0"), Decimal("1.5"), Decimal("-1.5"), *map(Decimal, (2, 3, 4))],
    ),
    "date": (
        pa.date32(),
        [date(1, 1, 1), date(1582, 10, 4), date(1970, 1, 1), *(date(2020, 1, n) for n in (1, 2, 3))],
    ),
    "timestamp": (
        pa.timestamp("us", tz="UTC"),
        [MOMENT.replace(year=year) for year in (1, 1500, 1900, 1970, 2013, 9999)],
    ),
    "timestamp_ntz": (
        pa.timestamp("us"),
        [MOMENT.replace(tzinfo=None, year=year) for year in (1, 1500, 1900, 1970, 2013, 9999)],
    ),
    "binary": (pa.binary(), [b"", b"\x00", b"a", b"A", b"\xff", b"a\x00"]),
    "boolean": (pa.bool_(), [True, False] * 3),
}


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "none"])
def test_keys_are_judged_alike(by_spark: EngineChoice, tmp_path: Path, vectors: bool) -> None:
    """A key of columns of all types, of which each is there twice, and a row that has none; and one that is a key."""
    count = 6
    columns: dict[str, pa.Array] = {"number": pa.array(range(count * 2 + 1), pa.int32())}
    for name, (kind, values) in KEYS.items():
        columns[name] = pa.array([*values, *values, None], kind)
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table(columns), deletion_vectors=vectors)
    found = []
    for choice in (DUCKDB, by_spark):
        chosen(choice)
        assert merging.check_keys(uri, ["number"]).ok
        found.append(merging.check_keys(uri, list(KEYS)))
    assert found[0] == found[1]
    assert (found[0].duplicate_keys, found[0].null_rows, len(found[0].examples)) == (count, 1, count + 1)


def test_a_table_as_a_merge_would_leave_it(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Rows that go, rows that come, a column that comes and one that is widened."""
    uri = str(tmp_path / "table")
    merging.create_table(
        uri,
        pa.table(
            {"id": pa.array(range(100), pa.int64()), "v": pa.array([n % 7 for n in range(100)], pa.int32())}
        ),
    )
    snapshot = open_snapshot(uri)
    id_, v, w = map(column_sql, ("id", "v", "w"))
    asked = Aggregates(
        [
            f"count(*) FILTER ({v} > 3)",
            f"sum({v})::DECIMAL(38, 0)",
            f"count(*) FILTER ({w} = 'new')",
            f"max({id_})",
        ],
        ["id", "v", "w"],
    )
    types = {"id": pa.int64(), "v": pa.int64(), "w": pa.string()}
    found = []
    with opened_session() as opened:
        placed = f"0 AS file_index, i::BIGINT AS row_number, i::BIGINT AS {id_}"
        opened.execute(f"CREATE TABLE gone AS SELECT {placed} FROM range(50) r(i)")
        opened.execute(f"CREATE TABLE added AS SELECT 1000::BIGINT AS {id_}, 5000000000 AS {v}, 'new' AS {w}")
        for choice in (DUCKDB, by_spark):
            chosen(choice)
            reader = TableReader(opened, snapshot)
            for changes in (Changes(Keys("gone", ["id"]), "added", types), Changes(None, "added", types)):
                told = reader.aggregate(asked, changes)
                found.append(opened.row(f"SELECT * FROM {told.sql}"))
            assert [read.engine for read in reader.reads] == [choice.engine] * 2
    whole = [n % 7 for n in range(100)]
    rest = [n % 7 for n in range(50, 100)]
    for given, numbers in zip((rest, whole), found[:2], strict=True):
        assert numbers == (sum(n > 3 for n in given) + 1, sum(given) + 5_000_000_000, 1, 1000)
    assert found[2:] == found[:2]


def test_what_spark_is_not_told_is_read_by_duckdb(by_spark: EngineChoice, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"id": pa.array([1, 2, 5], pa.int64())}))
    merging.set_engines(lambda _: by_spark)
    with opened_session() as opened:
        reader = TableReader(opened, open_snapshot(uri))
        median = f"median({column_sql('id')})"
        found = reader.aggregate(Aggregates([median], ["id"]))
        assert opened.row(f"SELECT * FROM {found.sql}") == (2.0,)
        assert [read.engine for read in reader.reads] == ["duckdb"]
        both = reader.aggregate(Aggregates(["count(*)", median, f"max({column_sql('id')})"], ["id"]))
        assert opened.row(f"SELECT * FROM {both.sql}") == (3, 2.0, 5)
    assert [read.engine for read in reader.reads[1:]] == ["spark", "duckdb"]


def near(value: Any) -> Any:
    """A value without the last bits of a sum of floating numbers, which are those of the order of addition."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-12, nan_ok=True)
    if isinstance(value, dict):
        return {name: near(one) for name, one in value.items()}
    return [near(one) for one in value] if isinstance(value, list) else value


def assert_alike(
    engines: list[EngineChoice], uri: str, given: list[dict[str, Any]], keys: list[str]
) -> list[ExpectationResult]:
    """All engines come to the same verdicts, counts, numbers and rows; those of the first."""
    found: list[list[ExpectationResult]] = []
    for choice in engines:
        chosen(choice)
        found.append([])
        for start in range(0, len(given), MAX_EXPECTATIONS):
            suite = {"name": "all", "expectations": given[start : start + MAX_EXPECTATIONS]}
            report = merging.check_table(uri, suite, keys)
            assert choice.engine in {read.engine for read in report.reads}
            found[-1] += report.results
    for ours, theirs in zip(*found, strict=True):
        what = (ours.type, ours.kwargs)
        assert (what, theirs.state, theirs.error) == (what, ours.state, ours.error)
        assert (what, theirs.counts) == (what, ours.counts)
        assert (what, repr(theirs.failing_rows)) == (
            what,
            repr(ours.failing_rows),
        )  # NaN is no equal of itself
        assert (what, theirs.observed) == (what, near(ours.observed))
    return found[0]


def test_every_expectation_has_one_verdict(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Each kind, on columns of each type, with conditions: those that are compared with Great Expectations itself, and
    patterns of SQL, which cannot be.
    """
    uri = str(tmp_path / "table")
    merging.create_table(uri, random_table(80, seed=16, missing=0.15))
    likes = [
        expect(f"column_values_to_{match}_like_pattern", column=column, like_pattern=pattern, mostly=mostly)
        for match in ("match", "not_match")
        for column in ("s", "t")
        for pattern in ("%", "_", "a%", "%1", "x_", "_\n", "\\%", "%^%", "[a]%", "N12AB", "")
        for mostly in (1, 0.3)
    ]
    lists = [
        expect(
            "column_values_to_match_like_pattern_list",
            column="s",
            like_pattern_list=["a%", "%b"],
            match_on=how,
        )
        for how in ("any", "all")
    ]
    results = assert_alike([DUCKDB, by_spark], uri, [*expectations(), *likes, *lists], ["k"])
    assert {"passed", "new"} <= {one.state for one in results}
    assert len({one.type for one in results}) >= len(CATALOGUE) - 4


def stated(value: Any) -> Any:
    """A value as a suite states it, in JSON; None where it cannot."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, str | int | float) else value.isoformat()


def test_values_at_the_borders_of_their_types(by_spark: EngineChoice, tmp_path: Path) -> None:
    """Each is compared with each of its type, as a bound and as one of a set."""
    kinds = {name: one for name, one in BORDERS.items() if not pa.types.is_nested(one.type)}
    count = max(len(one.values) for one in kinds.values())
    columns = {
        name: arrow_values(
            [one.values[place] if place < len(one.values) else None for place in range(count)], one.type
        )
        for name, one in kinds.items()
    }
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"k": pa.array(range(count), pa.int32()), **columns}))
    given = []
    for name, one in kinds.items():
        given += [expect("column_values_to_not_be_null", column=name, mostly=0.5)]
        given += [
            expect(f"column_{metric}_to_be_between", column=name, min_value=0)
            for metric in ("sum", "mean", "stdev")
        ]
        for value in [*map(stated, one.values), 16777217, 0.1]:
            given += [expect("column_values_to_be_between", column=name, min_value=value, strict_min=True)]
            given += [expect("column_values_to_be_in_set", column=name, value_set=[value])]
            given += [expect("column_values_to_not_be_in_set", column=name, value_set=[value, value])]
            given += [expect("column_max_to_be_between", column=name, max_value=value)]
            given += [expect("column_min_to_be_between", column=name, min_value=value)]
    described = merging.inspect_table(uri).columns
    taken = [one for one in given if not validate_suite({"name": "", "expectations": [one]}, described)]
    assert len(taken) > 250
    assert_alike([DUCKDB, by_spark], uri, taken, ["k"])


def test_lists_of_any_length(by_spark: EngineChoice, tmp_path: Path) -> None:
    """As long as suites may have them; conditions by hundreds stand deeper within one another than is looked into."""
    uri = str(tmp_path / "table")
    texts = ["a1", "a299", "", None, "b"]
    merging.create_table(uri, pa.table({"k": pa.array(range(5), pa.int64()), "s": texts}))
    patterns = [f"a{n}%" for n in range(300)]
    given = [
        *(
            expect(
                "column_values_to_match_like_pattern_list",
                column="s",
                mostly=0.5,
                like_pattern_list=patterns,
                match_on=how,
            )
            for how in ("any", "all")
        ),
        *(
            expect("column_values_to_be_in_set", column=name, mostly=0.5, value_set=values)
            for name, values in (("s", [f"a{n}" for n in range(MAX_VALUES)]), ("k", [*range(3, MAX_VALUES)]))
        ),
    ]
    results = assert_alike([DUCKDB, by_spark], uri, given, ["k"])
    assert [counted(one).unexpected_count for one in results] == [2, 4, 2, 3]


def test_the_same_suite_is_proposed(by_spark: EngineChoice, tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, random_table(80, seed=17, missing=0.05))
    proposed = []
    for choice in (DUCKDB, by_spark):
        chosen(choice)
        proposed.append(merging.propose_expectations(uri, ["k"]))
    assert proposed[0] == proposed[1]
    assert len(proposed[0]["expectations"]) > 15


def test_a_merge_is_judged_alike(by_spark: EngineChoice, tmp_path: Path) -> None:
    """On the merged result: rows that change, come and go, and what was wrong before."""
    world = World(tmp_path, "merge-on-read")
    rows = {"id": pa.array([1, 9, 2], pa.int64()), "a": pa.array([1000, -5, None], pa.int64())}
    staged = world.stage(pa.table({**rows, "_op": ["upsert", "upsert", "delete"]}))
    suite = {
        "name": "all",
        "expectations": [
            expect("column_max_to_be_between", column="a", max_value=999),
            expect("column_values_to_be_between", column="a", min_value=0, mostly=0.9),
            expect("column_sum_to_be_between", column="a", max_value=5),
            expect("table_row_count_to_equal", value=3),
        ],
    }
    found = []
    for choice in (DUCKDB, by_spark):
        chosen(choice)
        with merging.plan(world.request(staged, expectations=suite)) as plan:
            report = plan.check_expectations()
            assert report is not None
            found.append(
                [
                    (one.state, one.observed, one.before, one.counts, one.counts_before)
                    for one in report.results
                ]
            )
            assert {read.engine for read in report.reads} == {choice.engine}
    assert found[0] == found[1]
    assert [one[0] for one in found[0]] == ["new", "new", "pre_existing", "passed"]


def test_a_server_that_is_killed_while_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a verdict nor a commit: the merge waits, and is made once by whoever counts next."""
    world = World(tmp_path, "merge-on-read")
    staged = world.stage([{"id": 1, "a": 11}])
    suite = {"name": "s", "expectations": [expect("table_row_count_to_equal", value=3)]}
    before, paths = world.version, world.paths()
    counted = spark._Aggregating._rows

    def slowly(self: Any, table: Any, functions: Any, session: Any) -> Any:
        many = session.range(4_000_000)
        never = many.crossJoin(many.withColumnRenamed("id", "other"))
        never = never.filter(functions.sqrt(never["id"] + never["other"]) < -1)
        return counted(self, table, functions, session).join(never, functions.lit(True), "left_anti")

    monkeypatch.setattr(spark._Aggregating, "_rows", slowly)
    try:
        with connect_server() as (server, port):
            chosen(EngineChoice("spark", Cluster(f"sc://127.0.0.1:{port}", seconds=300)))
            killer = threading.Timer(30, os.kill, (server.pid, signal.SIGKILL))
            killer.start()
            with pytest.raises(merging.ClusterFailed, match="went away") as gone:
                world.merge(staged, expectations=suite)
            assert not killer.is_alive()
        assert gone.value.retriable
        assert (world.version, world.paths()) == (before, paths)
        chosen(DUCKDB)
        assert world.merge(staged, expectations=suite).diff.rows_updated == 1
        assert world.merge(staged, expectations=suite).already_merged
    finally:
        merging.set_engines(lambda _: EngineChoice())
