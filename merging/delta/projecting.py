"""SQL that gives the columns of a table from files of one layout: each value found by its place, none by a cast.

A cast between structs matches names and fills what it does not find with NULL, silently; and a column of a file may
bear any name, in any case, those of DuckDB's own columns too. So the columns of a file are numbered (`p0`, `p1`, …),
its structs taken apart by place, and only conversions that keep every value are made. Whatever cannot be read right
is refused, by column and file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from merging.delta.fields import MappingMode, TableField
from merging.delta.footers import Calendar, FileField, FileLayout
from merging.errors import UnsupportedTable
from merging.sql.failures import REFUSAL
from merging.sql.quoting import literal
from merging.sql.types import duckdb_type

_INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"}
)
_EXACT_AS_DOUBLE = _INTEGERS - {"bigint", "ubigint"}
_MOMENTS = frozenset({"timestamp", "timestamp with time zone", "timestamp_ms", "timestamp_s"})
_NANOSECONDS = frozenset({"timestamp_ns", "timestamptz_ns", "timestamp_ns with time zone"})
_UTC = frozenset(
    {
        "UTC",
        "Z",
        "Etc/UTC",
        "GMT",
        "Etc/GMT",
        "UCT",
        "Etc/UCT",
        "Zulu",
        "Etc/Zulu",
        "Universal",
        "Etc/Universal",
    }
    | {"+00:00", "Etc/GMT+0", "Etc/GMT-0", "GMT0", "Etc/GMT0", "Greenwich", "Etc/Greenwich"}
)


@dataclass(frozen=True)
class _Reading:
    """What the parts of a projection have in common."""

    layout: FileLayout
    mode: MappingMode
    file: str

    def refusal(self, place: str, what: str) -> UnsupportedTable:
        return UnsupportedTable(
            [f"column {place}"], f"Column {place} cannot be read from {self.file}: {what}."
        )


def project(
    layout: FileLayout,
    stored: Sequence[FileField],
    wanted: Sequence[TableField],
    mode: MappingMode,
    file: str,
    column: Callable[[int], str],
) -> list[str]:
    """An SQL expression for each of `wanted`, of its exact type; `column` says how a column of the file is written.

    A column that the files lack is NULL: it was added later. `file` is named in refusals.
    Raises UnsupportedTable where a column's values cannot be read right.
    """
    reading = _Reading(layout, mode, file)
    expressions = []
    places = StoredPlaces(mode, stored)
    for one in wanted:
        place = places.find(one)
        if place is _AMBIGUOUS:
            raise reading.refusal(
                one.name, f"several of its columns are called {one.stored_name} but for case"
            )
        if place is _NO_IDS:
            raise reading.refusal(one.name, "the table maps columns by field id, and the file has none")
        if place is None:
            expressions.append(f"CAST(NULL AS {duckdb_type(one.type)})")
        else:
            expressions.append(_value(reading, column(place), stored[place], one, one.name, 0))
    return expressions


#: DuckDB's own columns of a Parquet scan; a file's column of that name hides them.
_OWN_COLUMNS = frozenset(
    {"file_row_number", "file_index", "filename", "rowid", "file_size", "file_last_modified", "row_number"}
)


def can_be_named(stored: Sequence[FileField]) -> bool:
    """Whether a file's columns can be told by name: unique but for case, and none that DuckDB has too."""
    names = [one.name.casefold() for one in stored]
    return len(set(names)) == len(names) and not _OWN_COLUMNS & set(names)


_AMBIGUOUS = -1
_NO_IDS = -2


class StoredPlaces:
    """The places of fields among those that a file has beside each other."""

    def __init__(self, mode: MappingMode, stored: Sequence[FileField]) -> None:
        self._by_id = mode == "id"
        self._exact: dict[str, list[int]] = {}
        self._folded: dict[str, list[int]] = {}
        self._ids: dict[int, list[int]] = {}
        self._stored = bool(stored)
        for place, one in enumerate(stored):
            self._exact.setdefault(one.name, []).append(place)
            self._folded.setdefault(one.name.casefold(), []).append(place)
            if one.field_id is not None:
                self._ids.setdefault(one.field_id, []).append(place)

    def find(self, wanted: TableField) -> int | None:
        """The place of a field: by field id where the table says so, else by its stored name, exactly or, where one
        alone fits, without regard to case (Hive knows no case). None where the file lacks it.

        A field without an id, which is none of the table's columns, is always found by its name.
        """
        if self._by_id and wanted.field_id is not None:
            if not self._ids:
                return _NO_IDS if self._stored else None
            fitting = self._ids.get(wanted.field_id, [])
        else:
            name = wanted.stored_name
            fitting = self._exact.get(name) or self._folded.get(name.casefold(), [])
        if len(fitting) > 1:
            return _AMBIGUOUS
        return fitting[0] if fitting else None


def _value(
    reading: _Reading, value: str, stored: FileField, wanted: TableField, place: str, depth: int
) -> str:
    if stored.unclear:
        raise reading.refusal(place, "readers of Parquet do not agree on how it nests")
    if stored.type_text.strip('"').lower() == "null":
        return (
            f"CAST(NULL AS {duckdb_type(wanted.type)})"  # a column in which its writer saw nothing but NULL
        )
    nested = {"struct": pa.types.is_struct, "list": pa.types.is_list, "map": pa.types.is_map}
    if stored.kind in nested or pa.types.is_nested(wanted.type):
        if stored.kind not in nested or not nested[stored.kind](wanted.type):
            raise _mismatch(reading, stored, wanted, place)
        build = {"struct": _struct, "list": _list, "map": _map}[stored.kind]
        return build(reading, value, stored, wanted, place, depth)
    return _plain(reading, value, stored, wanted, place)


def _mismatch(reading: _Reading, stored: FileField, wanted: TableField, place: str) -> UnsupportedTable:
    return reading.refusal(
        place, f"it holds {stored.type_text} where the table says {duckdb_type(wanted.type)}"
    )


def _struct(
    reading: _Reading, value: str, stored: FileField, wanted: TableField, place: str, depth: int
) -> str:
    same = len(stored.parts) == len(wanted.parts)
    fields = []
    places = StoredPlaces(reading.mode, stored.parts)
    for number, part in enumerate(wanted.parts):
        inner = f"{place}.{part.name}"
        found = places.find(part)
        if found is _AMBIGUOUS:
            raise reading.refusal(inner, f"several of its fields are called {part.stored_name} but for case")
        if found is _NO_IDS:
            raise reading.refusal(inner, "the table maps columns by field id, and the file has none")
        if found is None:
            same = False
            fields.append(f"{literal(part.name)}: CAST(NULL AS {duckdb_type(part.type)})")
            continue
        taken = f"struct_extract_at({value}, {found + 1})"
        given = _value(reading, taken, stored.parts[found], part, inner, depth)
        same = same and found == number and given == taken and stored.parts[found].name == part.name
        fields.append(f"{literal(part.name)}: {given}")
    return value if same else f"CASE WHEN {value} IS NULL THEN NULL ELSE {{{', '.join(fields)}}} END"


def _list(
    reading: _Reading, value: str, stored: FileField, wanted: TableField, place: str, depth: int
) -> str:
    item = f"x{depth}"
    given = _value(reading, item, stored.parts[0], wanted.parts[0], f"{place}[]", depth + 1)
    return value if given == item else f"list_transform({value}, lambda {item}: {given})"


def _map(reading: _Reading, value: str, stored: FileField, wanted: TableField, place: str, depth: int) -> str:
    entry = f"x{depth}"
    key, item = f"struct_extract_at({entry}, 1)", f"struct_extract_at({entry}, 2)"
    key_given = _value(reading, key, stored.parts[0], wanted.parts[0], f"{place}.key", depth + 1)
    item_given = _value(reading, item, stored.parts[1], wanted.parts[1], f"{place}.value", depth + 1)
    if key_given == key and item_given == item:
        return value
    entries = f"list_transform(map_entries({value}), lambda {entry}: {{'k': {key_given}, 'v': {item_given}}})"
    return f"map_from_entries({entries})"


def _plain(reading: _Reading, value: str, stored: FileField, wanted: TableField, place: str) -> str:
    kind, arrow = stored.type_text.lower(), wanted.type
    cast = f"CAST({value} AS {duckdb_type(arrow)})"
    if (
        kind == duckdb_type(arrow).lower()
        and not pa.types.is_date(arrow)
        and not pa.types.is_timestamp(arrow)
    ):
        return value
    if kind in _INTEGERS:
        fits = (
            pa.types.is_integer(arrow)
            or pa.types.is_decimal(arrow)
            or (pa.types.is_float64(arrow) and kind in _EXACT_AS_DOUBLE)
        )
        if fits:
            return cast
    elif kind == "float" and pa.types.is_float64(arrow):
        return cast
    elif stored.kind == "decimal" and pa.types.is_decimal(arrow):
        _, scale = kind.removeprefix("decimal(").removesuffix(")").split(",")
        if int(scale) <= arrow.scale:
            return cast
    elif kind == "blob" and pa.types.is_string(arrow):
        return f"decode({value})"
    elif kind == "varchar" and pa.types.is_binary(arrow):
        return f"encode({value})"
    elif kind == "date" and (pa.types.is_date(arrow) or arrow == pa.timestamp("us")):
        day = _rebased_day(value) if reading.layout.calendar.legacy_days else value
        return day if pa.types.is_date(arrow) else f"CAST({day} AS TIMESTAMP)"
    elif pa.types.is_timestamp(arrow) and kind in _MOMENTS | _NANOSECONDS:
        if kind in _NANOSECONDS:
            value = _whole_microseconds(value, kind, place)
            kind = "timestamp" if kind == "timestamp_ns" else "timestamp with time zone"
        if arrow.tz is None:
            return value if kind == "timestamp" else f"CAST({value} AS TIMESTAMP)"
        return _moment(reading.layout.calendar, value, kind, place)
    raise _mismatch(reading, stored, wanted, place)


def _whole_microseconds(value: str, kind: str, place: str) -> str:
    """Delta holds microseconds: a finer moment must not lose its end, here or in the next rewrite of its file."""
    stop = _refuse(f"Column {place} holds a timestamp finer than a microsecond")
    coarse = "TIMESTAMP" if kind == "timestamp_ns" else "TIMESTAMP WITH TIME ZONE"
    return f"CASE WHEN epoch_ns({value}) % 1000 <> 0 THEN {stop} ELSE CAST({value} AS {coarse}) END"


def _moment(calendar: Calendar, value: str, kind: str, place: str) -> str:
    # INT96 comes as a timestamp without zone, and nothing else that Spark writes for its own does.
    is_int96 = calendar.has_int96 and kind == "timestamp"
    if is_int96:
        value = _within_int96(value, place)
    plain = value if kind == "timestamp with time zone" else f"CAST({value} AS TIMESTAMP WITH TIME ZONE)"
    legacy = calendar.legacy_int96 if is_int96 else calendar.legacy_days
    if not legacy:
        return plain
    local = f"CAST({value} AS TIMESTAMP)"
    if calendar.zone in _UTC:
        days = _shift_sql(f"CAST({local} AS DATE)")
        return f"CAST({local} + to_days({days}) AS TIMESTAMP WITH TIME ZONE)"
    # In other places Spark's old clocks and today's differ before 1900 by what only its own tables know.
    zone = calendar.zone or "a zone that the file does not name"
    stop = _refuse(f"Column {place} holds a timestamp before 1900 in the legacy calendar of {zone}")
    return f"CASE WHEN {local} < TIMESTAMP '1900-01-02' THEN {stop} ELSE {plain} END"


def _within_int96(value: str, place: str) -> str:
    """Spark counts INT96's days from -4713 with a sign, DuckDB (as pyarrow) without: what was before comes out
    2^32 days later, modulo 2^64 microseconds. A moment is believed where it is nearer to 1970 than its other
    reading."""
    stop = _refuse(f"Column {place} holds an INT96 timestamp before the year -4712 or after the year 36000")
    low, high = (f"make_timestamp({bound}::BIGINT)" for bound in (_FIRST_INT96, _INT96_WRAPS // 2))
    return (
        f"CASE WHEN {value} IS NULL OR ({value} >= {low} AND {value} < {high}) THEN {value} ELSE {stop} END"
    )


def _refuse(what: str) -> str:
    """SQL that ends the statement on the row that it is asked for."""
    return f"error({literal(f'{REFUSAL}{what}, in the data file ')} || filename)"


def _rebased_day(value: str) -> str:
    return f"CAST({value} + {_shift_sql(value)} AS DATE)"


_FIRST_CENTURY = -4_800
_MICROSECONDS_PER_DAY = 86_400_000_000
_FIRST_INT96 = -2_440_588 * _MICROSECONDS_PER_DAY
_INT96_WRAPS = 2**32 * _MICROSECONDS_PER_DAY % 2**64


def _shifts() -> list[tuple[int, int]]:
    """Days since 1970 from which a day of the Julian calendar is moved, and by how many days: newest first.

    A day keeps its name: what the Julian calendar called so is what the Gregorian calls so. They drift apart by a
    day on the 29th of February of three centuries in four, a day that becomes the 1st of March.
    """
    shifts = [(_gregorian(1582, 10, 15), 0)]
    shifts += [
        (_gregorian(century, 3, 1) - _drift(century), _drift(century))
        for century in range(1_500, _FIRST_CENTURY, -100)
        if century % 400
    ]
    shifts.append((-(2**31), _drift(_FIRST_CENTURY)))
    return shifts


def _drift(century: int) -> int:
    """By how many days the Gregorian count of a Julian date lies off, from March of a century year on (−10 in 1500)."""
    return -(century // 100 - century // 400 - 2)


def _gregorian(year: int, month: int, day: int) -> int:
    """Days since 1970 in the proleptic Gregorian calendar, for any year."""
    cycles, within = divmod(year - 1, 400)
    return date(within + 1, month, day).toordinal() + cycles * 146_097 - date(1970, 1, 1).toordinal()


def _shift_sql(day: str) -> str:
    count = f"({day} - DATE '1970-01-01')"
    whens = " ".join(f"WHEN {count} >= {start} THEN {shift}" for start, shift in _shifts())
    return f"(CASE WHEN isfinite({day}) THEN CASE {whens} ELSE 0 END ELSE 0 END)"
