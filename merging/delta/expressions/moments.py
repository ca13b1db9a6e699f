"""Literals and functions of days and moments, where they do not hang on the time zone of the session that writes.

Where all writers of a table work in UTC, and the table says so, what follows the session's zone is proved, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from merging.delta.expressions.literals import day_value, moment_value
from merging.delta.expressions.nodes import NotUnderstood
from merging.delta.expressions.values import (
    DATE,
    DAY_TEXT,
    INSTANT,
    INT,
    LOCAL,
    STRING,
    Function,
    Value,
    beyond_years,
    matching,
    named,
    require_count,
)
from merging.sql.quoting import literal

_MOMENT_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?")
_ZONE_TEXT = re.compile(r"Z|[+-]\d{2}:\d{2}")
_FORMATS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_DAY_UNITS = {
    **dict.fromkeys(("year", "yyyy", "yy"), "year"),
    "quarter": "quarter",
    **dict.fromkeys(("month", "mon", "mm"), "month"),
    "week": "week",
}
_TIME_UNITS = {
    **_DAY_UNITS,
    **dict.fromkeys(("day", "dd"), "day"),
    **{unit: unit for unit in ("hour", "minute", "second")},
}
_PARTS_OF_DAY = ("year", "month", "day", "dayofmonth", "dayofweek", "dayofyear", "quarter")
_PARTS_OF_TIME = ("hour", "minute", "second")


class Moments:
    """Days and moments for sessions in ``zone`` (None where no table says it)."""

    def __init__(self, zone: str | None) -> None:
        self.zone = zone

    @property
    def functions(self) -> Mapping[str, Function]:
        """The functions by their names in Spark."""
        return {
            **dict.fromkeys(_PARTS_OF_DAY, self._part_of_day),
            **dict.fromkeys(_PARTS_OF_TIME, self._part_of_time),
            **dict.fromkeys(("date", "to_date"), self._date),
            "date_format": self._date_format,
            "trunc": _truncated_day,
            "date_trunc": self._date_trunc,
        }

    def literal(self, kind: str, text: str) -> Value:
        """A literal with its type in front. Raises NotUnderstood."""
        if kind == "date" and DAY_TEXT.fullmatch(text):
            return day_value(text)
        if kind == "timestamp":
            zone = _ZONE_TEXT.search(text)
            if zone is not None and zone.end() == len(text) and _MOMENT_TEXT.fullmatch(text[: zone.start()]):
                return moment_value(text, INSTANT)
            if _MOMENT_TEXT.fullmatch(text):
                self._require_zone(f"TIMESTAMP '{text}' without a zone")
                return moment_value(f"{text}Z", INSTANT)
        if kind == "timestamp_ntz" and _MOMENT_TEXT.fullmatch(text):
            return moment_value(text, LOCAL)
        raise NotUnderstood(f"the literal {kind.upper()} '{text}'")

    def to_date(self, value: Value) -> Value:
        """A value as a date, as CAST makes it. Raises NotUnderstood."""
        if value.type != STRING:
            return self._day_of("a date", value)
        # Both modes of Spark agree on a day as everybody writes it; the rest is an error in one and NULL in the other.
        day = f"TRY_CAST({matching(value.sql, '[0-9]{4}-[0-9]{2}-[0-9]{2}')} AS DATE)"
        doubt = f"({value.sql} IS NOT NULL AND {day} IS NULL)"
        return Value(day, DATE, (*value.doubts, doubt, beyond_years(day)))

    def _require_zone(self, what: str) -> None:
        if self.zone != "UTC":
            raise NotUnderstood(
                f"{what}: what it gives depends on the time zone of the session that writes, which no table records. "
                "Where all writers of the table work in UTC, its owner can say so with the table property "
                "headgate.sessionTimeZone = UTC"
            )

    def _day_of(self, name: str, value: Value) -> Value:
        """A value as a day, where a function takes dates."""
        if value.type == DATE:
            sql = value.sql
        elif value.type == LOCAL:
            sql = f"CAST({value.sql} AS DATE)"
        elif value.type == INSTANT:
            self._require_zone(f"{name} of a timestamp")
            sql = f"CAST(({value.sql} AT TIME ZONE 'UTC') AS DATE)"
        else:
            raise NotUnderstood(f"{name} of a {named(value.type)}")
        return Value(sql, DATE, (*value.doubts, beyond_years(sql)))

    def _local_of(self, name: str, value: Value) -> Value:
        """A value as a moment without a zone, where a function looks at the time of day."""
        if value.type == LOCAL:
            sql = value.sql
        elif value.type == INSTANT:
            self._require_zone(f"{name} of a timestamp")
            sql = f"({value.sql} AT TIME ZONE 'UTC')"
        else:
            raise NotUnderstood(f"{name} of a {named(value.type)}")
        return Value(sql, LOCAL, (*value.doubts, beyond_years(sql)))

    def _part_of_day(self, name: str, values: Sequence[Value]) -> Value:
        require_count(name, values, 1)
        day = self._day_of(name, values[0])
        # Spark's weeks begin with Sunday as 1, DuckDB's with Sunday as 0.
        ours = f"{name}({day.sql})" + (" + 1" if name == "dayofweek" else "")
        return Value(f"CAST({ours} AS INTEGER)", INT, day.doubts)

    def _part_of_time(self, name: str, values: Sequence[Value]) -> Value:
        require_count(name, values, 1)
        moment = self._local_of(name, values[0])
        return Value(f"CAST({name}({moment.sql}) AS INTEGER)", INT, moment.doubts)

    def _date(self, name: str, values: Sequence[Value]) -> Value:
        require_count(name, values, 1)
        return self.to_date(values[0])

    def _date_format(self, name: str, values: Sequence[Value]) -> Value:
        require_count(name, values, 2)
        pattern = values[1].constant
        if not isinstance(pattern, str):
            raise NotUnderstood("date_format with a pattern that is no text in quotes")
        letters = re.findall(r"yyyy|MM|dd|HH|mm|ss|[-/.:_ ]", pattern)
        if "".join(letters) != pattern or not letters:
            raise NotUnderstood(f"date_format with the pattern {pattern!r}")
        ours = "".join(_FORMATS.get(part, part) for part in letters)
        if values[0].type == DATE:
            if set(letters) & {"HH", "mm", "ss"}:
                raise NotUnderstood("date_format of a date's time of day")
            moment = self._day_of(name, values[0])
        else:
            # Spark takes a timestamp_ntz for a timestamp of the session's zone and prints it in the same zone; around a
            # change of the clocks the two differ.
            if values[0].type == LOCAL:
                self._require_zone("date_format of a timestamp_ntz")
            moment = self._local_of(name, values[0])
        return Value(f"strftime({moment.sql}, {literal(ours)})", STRING, moment.doubts)

    def _date_trunc(self, name: str, values: Sequence[Value]) -> Value:
        require_count(name, values, 2)
        unit = values[0].constant
        ours = _TIME_UNITS.get(unit.lower()) if isinstance(unit, str) else None
        if ours is None:
            raise NotUnderstood("date_trunc with this unit")
        if values[1].type != INSTANT:
            raise NotUnderstood(f"date_trunc of a {named(values[1].type)}")
        moment = self._local_of(name, values[1])
        return Value(f"(date_trunc('{ours}', {moment.sql}) AT TIME ZONE 'UTC')", INSTANT, moment.doubts)


def _truncated_day(name: str, values: Sequence[Value]) -> Value:
    require_count(name, values, 2)
    unit = values[1].constant
    ours = _DAY_UNITS.get(unit.lower()) if isinstance(unit, str) else None
    if ours is None or values[0].type != DATE:
        raise NotUnderstood("trunc of this value with this unit")
    sql = values[0].sql
    return Value(f"CAST(date_trunc('{ours}', {sql}) AS DATE)", DATE, (*values[0].doubts, beyond_years(sql)))
