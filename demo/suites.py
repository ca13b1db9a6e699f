"""What the demo's owner expects of each table: true of the data as it came, but for what it is known for."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

#: Flights that left before 14:00 have landed before midnight, even with the delays of 2013: only for later ones is an
#: arrival "before" its departure the next day's.
_LANDED_THE_SAME_DAY = {
    "type": "comparison",
    "column": {"name": "dep_time"},
    "operator": "<",
    "parameter": 1400,
}


def _expect(kind: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "severity": severity, "kwargs": kwargs}


def _known(table: pa.Table, column: str) -> list[str]:
    return sorted(value for value in table[column].unique().to_pylist() if value is not None)


def demo_suites(tables: Mapping[str, pa.Table]) -> dict[str, dict[str, Any]]:
    """Dataset name -> suite; known carriers and airports are those of the tables themselves."""
    flights = tables["flights"]
    suites = {
        "flights": [
            _expect("column_values_to_not_be_null", column="dest"),
            _expect("column_values_to_be_in_set", column="carrier", value_set=_known(flights, "carrier")),
            _expect("column_values_to_be_in_set", column="origin", value_set=["EWR", "JFK", "LGA"]),
            _expect("column_values_to_be_in_set", column="dest", value_set=_known(flights, "dest")),
            _expect("select_column_values_to_be_unique_within_record", column_list=["origin", "dest"]),
            _expect("column_values_to_be_between", column="dep_time", min_value=0, max_value=2400),
            _expect("column_values_to_be_between", column="arr_time", min_value=0, max_value=2400),
            _expect("column_values_to_be_between", column="air_time", min_value=20, max_value=720),
            _expect(
                "column_pair_values_a_to_be_greater_than_b",
                column_A="arr_time",
                column_B="dep_time",
                ignore_row_if="either_value_is_missing",
                row_condition=_LANDED_THE_SAME_DAY,
            ),
            _expect("column_values_to_match_regex", column="tailnum", regex="^[A-Z0-9]{4,6}$"),
            _expect("column_values_to_not_be_null", column="dep_time", mostly=0.97),
            _expect("table_row_count_to_be_between", min_value=320_000, max_value=350_000),
            _expect(
                "column_values_to_be_between", "warning", column="dep_delay", min_value=-60, max_value=1500
            ),
            _expect("column_mean_to_be_between", "warning", column="arr_delay", min_value=0, max_value=15),
        ],
        "planes": [
            _expect("column_values_to_be_unique", column="tailnum"),
            _expect(
                "column_values_to_match_regex", column="tailnum", regex="^N[1-9][0-9]{0,4}[A-HJ-NP-Z]{0,2}$"
            ),
            _expect("column_values_to_be_between", column="seats", min_value=1, max_value=500),
            _expect("column_values_to_be_between", column="engines", min_value=1, max_value=4),
            _expect("column_values_to_be_between", column="year", min_value=1950, max_value=2013),
            _expect("column_values_to_not_be_null", column="manufacturer"),
            _expect("column_values_to_not_be_null", "warning", column="year", mostly=0.95),
        ],
        "airports": [
            _expect("column_values_to_match_regex", column="faa", regex="^[A-Z0-9]{3}$"),
            _expect("column_values_to_not_be_null", column="name"),
            _expect("column_values_to_be_between", column="lat", min_value=-90, max_value=90),
            _expect("column_values_to_be_between", column="lon", min_value=-180, max_value=180),
            _expect("column_values_to_be_between", column="alt", min_value=-1300, max_value=15_000),
            _expect("column_values_to_not_be_null", column="tzone"),
            _expect("compound_columns_to_be_unique", "warning", column_list=["lat", "lon"]),
        ],
        "weather": [
            _expect("column_values_to_be_in_set", column="origin", value_set=["EWR", "JFK", "LGA"]),
            _expect("column_values_to_be_between", column="wind_speed", min_value=0, max_value=200),
            _expect("column_values_to_be_between", column="wind_dir", min_value=0, max_value=360),
            _expect("column_values_to_be_between", column="humid", min_value=0, max_value=100),
            _expect(
                "column_pair_values_a_to_be_greater_than_b",
                column_A="temp",
                column_B="dewp",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
            ),
            _expect("column_values_to_not_be_null", "warning", column="pressure", mostly=0.85),
        ],
    }
    return {name: {"name": name, "expectations": expected} for name, expected in suites.items()}
