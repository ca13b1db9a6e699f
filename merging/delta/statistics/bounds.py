"""Bounds as others state them, widened to what their writers may have cut (PROTOCOL.md, "Per-file Statistics")."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from typing import Any

import pyarrow as pa

# A lower and an upper bound, both inclusive and None where there is none: numbers and texts as themselves, dates
# as days and timestamps as microseconds since 1970.
Bounds = tuple[Any, Any]

_NONE: Bounds = (None, None)


def reader_of(data_type: pa.DataType) -> Callable[[Any, Any], Bounds]:
    """What makes bounds between which every value of a column lies from what `minValues` and `maxValues` state.

    A stated bound is trusted only as far as every known writer can be: each function below says what writers do to
    it. Where one of the two is not of the column's type, or they contradict each other, neither is.
    """
    if pa.types.is_string(data_type):
        return _text_bounds
    limit: Callable[[Any, int], Any]
    if pa.types.is_integer(data_type):
        limit = functools.partial(_integer_limit, 1 << (data_type.bit_width - 1))
    elif pa.types.is_decimal(data_type):
        limit = functools.partial(_decimal_limit, data_type.precision, data_type.scale)
    elif pa.types.is_date(data_type):
        limit = _date_limit
    elif pa.types.is_timestamp(data_type):
        limit = functools.partial(_timestamp_limit, bool(data_type.tz))
    else:
        return lambda low, high: _NONE

    def bounds(low: Any, high: Any) -> Bounds:
        lowest, highest = limit(low, -1), limit(high, 1)
        return _NONE if lowest is None or highest is None or lowest > highest else (lowest, highest)

    return bounds


def partition_reader_of(data_type: pa.DataType) -> Callable[[Any, Any], Bounds]:
    """The same for a partition column, whose one value the log states as text: it is both bounds."""
    if pa.types.is_string(data_type):
        return lambda value, _: (value, value)
    read = reader_of(data_type)
    if not pa.types.is_integer(data_type):
        return read
    return lambda value, _: read(int(value), int(value)) if _INTEGER.fullmatch(value) else _NONE


_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")


def _integer_limit(limit: int, value: Any, direction: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return _clamped(value + direction * _double_slack(value), -limit, limit - 1)


def _clamped(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, value))


def _double_slack(value: int) -> int:
    """Writers that hold numbers as doubles (JavaScript, pandas with NULLs) round what has more than 53 bits."""
    return 0 if -(1 << 53) < value < 1 << 53 else (abs(value) >> 52) + 1


def is_end_of_64_bits(value: Any, direction: int) -> bool:
    """Whether a stated bound of decimals is the end of 64 bits, which stands for all numbers beyond it, too."""
    return bool(value == ((1 << 63) - 1 if direction > 0 else -1 << 63))


#: Python's own context has 28 digits, and decimals of tables 38.
_WIDE = Context(prec=120, Emin=-9999, Emax=9999)


def nearest_decimal(value: Any, data_type: pa.Decimal128Type) -> Decimal:
    """A decimal bound that a reader took, as the nearest value of its type: what was meant by what was stated.

    It may be beyond the type, stated as a double: the largest whole number of 38 digits is 1e38 then.
    """
    with localcontext(_WIDE):
        unit = Decimal(1).scaleb(-data_type.scale)
        largest = Decimal(1).scaleb(data_type.precision - data_type.scale) - unit
        return max(-largest, min(largest, Decimal(str(value)))).quantize(unit)


def _decimal_limit(precision: int, scale: int, value: Any, direction: int) -> Decimal | None:
    """Decimals come as numbers with every digit (Spark), as texts (Trino), or through doubles (delta-rs, which also
    steps down to the next double where rounding gave a digit too many), and without a scale through 64 bits, whose
    last number it then states for all beyond it."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        with localcontext(_WIDE):
            exact = Decimal(value)
            if not exact.is_finite():
                return None
            unit = Decimal(1).scaleb(-scale)
            beyond = Decimal(1).scaleb(precision - scale)
            moved = exact + direction * abs(exact) * Decimal("1e-15")
            rounding = ROUND_FLOOR if direction < 0 else ROUND_CEILING
            if is_end_of_64_bits(exact, direction):
                moved = direction * beyond
            bound = max(-beyond, min(beyond, moved)).quantize(unit, rounding)
            return max(unit - beyond, min(beyond - unit, bound))
    except (ArithmeticError, ValueError):
        return None


# What writers may leave at the end of a text that they cut: DEL, U+FFFD, U+10FFFF and their like (private use,
# unassigned and control characters), the last letters of ASCII and Latin-1, and the question mark that Java
# writes for half of a character.
_TIE_BREAKERS = frozenset("~?\u00ff\ufffd")


def _text_bounds(low: Any, high: Any) -> Bounds:
    if not isinstance(low, str) or not isinstance(high, str):
        return _NONE
    lowest, highest = _lowest_text(low), _highest_text(high)
    return _NONE if highest is not None and lowest > highest else (lowest, highest)


def _highest_text(value: str) -> str | None:
    """The first text above everything that begins like `value`, or above what `value` may have been cut from.

    Spark, Kernel and Databricks cut at any length (delta.dataSkippingStringPrefixLength, 32 by default) counted in
    UTF-16 units, some of them in the middle of a character, and append a tie-breaker that some characters exceed;
    kernel-rs cuts at 32 characters and appends nothing; parquet-rs cuts at 64 bytes and raises the last character.
    Every beginning of an upper bound bounds the same beginnings, so each doubt is settled by cutting more.
    """
    # In the order of UTF-16 units, which is Java's for texts, what lies beyond U+FFFF comes before U+E000.
    end = _sound_until(value, 0xE000, 0xFFFF)
    while end and (value[end - 1] in _TIE_BREAKERS or unicodedata.category(value[end - 1])[0] == "C"):
        end -= 1
    return _successor(value[:end])


def _lowest_text(value: str) -> str:
    """The beginning of a lower bound that no writer can have raised; a beginning is itself a lower bound."""
    end = _sound_until(value, 0x10000, 0x10FFFF)
    if end < len(value) and ord(value[end]) >= 0x10000:
        return value[:end] + "\ue000"  # the least that UTF-16 puts above it
    return value[:end]


def _sound_until(value: str, first: int, last: int) -> int:
    """Where a text's order may be another than its writer's: at characters from `first` to `last`, at halves of
    characters and U+FFFD (where bytes were cut within one), and at backslashes, with which delta-rs escapes what a
    file does not declare as text."""
    if value.isascii():
        end = value.find("\\")
        return len(value) if end < 0 else end
    for position, character in enumerate(value):
        code = ord(character)
        if first <= code <= last or code == 0x5C or 0xD800 <= code <= 0xDFFF or code == 0xFFFD:
            return position
    return len(value)


def _successor(text: str) -> str | None:
    """The first text after all that begin with `text`, in the order of code points; None where there is none."""
    for position in range(len(text) - 1, -1, -1):
        code = ord(text[position])
        if code < 0x10FFFF:
            return text[:position] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


# The last that DuckDB does not call infinite.
_LAST_DAY = (1 << 31) - 2

_LAST_MICROSECOND = (1 << 63) - 2

_DAY_US = 86_400_000_000

_MINUTE_US = 60_000_000

_ZONES_US = 18 * 3_600_000_000 + _MINUTE_US

_DATE = r"([+-]?[0-9]{4,6})-([0-9]{2})-([0-9]{2})"

_DATE_TEXT = re.compile(_DATE)

_TIMESTAMP_TEXT = re.compile(
    _DATE + r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
    r"\s*(?:([Zz]|UTC|GMT)|([+-])([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2}))?)?)?"
)

# Until 1582 writers may count days of the Julian calendar, which in these years is less than this apart.
_JULIAN_UNTIL = 1600

_JULIAN_DAYS = 12


def _date_limit(value: Any, direction: int) -> int | None:
    matched = _DATE_TEXT.fullmatch(value) if isinstance(value, str) else None
    days = _days(matched, direction) if matched else None
    return None if days is None else _clamped(days, -_LAST_DAY, _LAST_DAY)


def _days(matched: re.Match[str], direction: int) -> int | None:
    """Days since 1970 of a date, those that another calendar may make of it included."""
    year, month, day = int(matched[1]), int(matched[2]), int(matched[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    if year < 100 and (year < 1 or direction < 0):
        return direction * _LAST_DAY  # years before Christ lose their sign in some writers
    days = _days_from_civil(year, month, day)
    return days + direction * _JULIAN_DAYS if year < _JULIAN_UNTIL else days


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, of any year (Python's dates end at 9999)."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _timestamp_limit(zoned: bool, value: Any, direction: int) -> int | None:
    """Microseconds of a bound, moved by what its writer may have cut off.

    Writers state milliseconds at most (PROTOCOL.md allows cutting there), some only what is not zero; cutting lowers
    a bound, but some cut towards zero and raise those before 1970. Offsets are stated in minutes (Spark), but before
    standard time zones were seconds apart from them. Where a zone is missing, or stands where none belongs, any may
    be meant.
    """
    matched = _TIMESTAMP_TEXT.fullmatch(value) if isinstance(value, str) else None
    days = _days(matched, direction) if matched else None
    if matched is None or days is None:
        return None
    hours, minutes, seconds = (int(matched[group] or 0) for group in (4, 5, 6))
    if hours > 24 or minutes > 59 or seconds > 60:
        return None
    fraction = int((matched[7] or "").ljust(6, "0")[:6])
    moment = days * _DAY_US + (hours * 60 + minutes) * _MINUTE_US + seconds * 1_000_000 + fraction
    slack = _cut_off(matched, seconds, fraction) if direction > 0 or moment < 0 else 1_000
    if matched[9]:
        offset = int(matched[10]) * 3600 + int(matched[11] or 0) * 60 + int(matched[12] or 0)
        if zoned:
            moment += (-1 if matched[9] == "+" else 1) * offset * 1_000_000
            slack += _MINUTE_US
        else:
            slack += _ZONES_US
    elif not matched[8] and zoned:
        slack += _ZONES_US
    return _clamped(moment + direction * slack, -_LAST_MICROSECOND, _LAST_MICROSECOND)


def _cut_off(matched: re.Match[str], seconds: int, fraction: int) -> int:
    """The unit to which a timestamp's text may have been cut: a millisecond, or coarser where zeros stand."""
    if matched[4] is None:
        return _DAY_US
    if fraction:
        return max(1_000, int(10 ** (6 - len((matched[7] or "").rstrip("0")[:6]))))
    return 1_000_000 if seconds else _MINUTE_US
