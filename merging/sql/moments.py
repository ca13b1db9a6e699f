"""Days and moments beyond Python's calendar, which ends at the years 1 and 9999; those of Delta do not.

A ``date`` is a signed 32-bit number of days, a ``timestamp`` a signed 64-bit number of microseconds, both since 1970 in
the proleptic Gregorian calendar. What Python can say stays ``date`` and ``datetime``; the rest is ``FarDate`` and
``FarMoment``, which compare and hash by their number and write themselves as ISO 8601 does beyond four digits
(``+12000-01-01``, ``-0005-03-01``, ``0000-12-31``; the year 0 is 1 BC), as Java and so Spark do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAYS_OF_400_YEARS = 146_097
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is added where there is one

FIRST_DAY, LAST_DAY = 1 - _EPOCH_ORDINAL, date.max.toordinal() - _EPOCH_ORDINAL
"""The days that ``datetime.date`` can hold."""

FIRST_MOMENT, LAST_MOMENT = FIRST_DAY * _DAY, (LAST_DAY + 1) * _DAY - 1
"""The microseconds that ``datetime.datetime`` can hold."""


class _Ordered:
    """Order by number, with what Python can say too: a range may begin in the one and end in the other."""

    def _number_of(self, other: object) -> int | None:
        """The number of a value of the same kind, far or not; None for any other."""
        raise NotImplementedError

    def _compare(self, other: object) -> int | None:
        theirs, own = self._number_of(other), self._number_of(self)
        return None if theirs is None or own is None else (own > theirs) - (own < theirs)

    def __lt__(self, other: object) -> bool:
        found = self._compare(other)
        return NotImplemented if found is None else found < 0

    def __le__(self, other: object) -> bool:
        found = self._compare(other)
        return NotImplemented if found is None else found <= 0

    def __gt__(self, other: object) -> bool:
        found = self._compare(other)
        return NotImplemented if found is None else found > 0

    def __ge__(self, other: object) -> bool:
        found = self._compare(other)
        return NotImplemented if found is None else found >= 0


@dataclass(frozen=True)
class FarDate(_Ordered):
    """A day before year 1 or after 9999, by its number of days since 1970-01-01."""

    days: int

    def _number_of(self, other: object) -> int | None:
        if isinstance(other, FarDate | date) and not isinstance(other, datetime):
            return days_of(other)
        return None

    def isoformat(self) -> str:
        """The day in ISO 8601 with an expanded year."""
        return _day_text(self.days)

    def __str__(self) -> str:
        return self.isoformat()


@dataclass(frozen=True)
class FarMoment(_Ordered):
    """A moment before year 1 or after 9999, by its microseconds since 1970; ``zoned`` tells UTC from no zone."""

    microseconds: int
    zoned: bool

    def _number_of(self, other: object) -> int | None:
        if isinstance(other, FarMoment):
            return other.microseconds if other.zoned == self.zoned else None
        if isinstance(other, datetime):
            return microseconds_of(other) if (other.tzinfo is not None) == self.zoned else None
        return None

    def isoformat(self, sep: str = "T") -> str:
        """The moment as ``datetime.isoformat`` writes it, with an expanded year."""
        days, rest = divmod(self.microseconds, _DAY)
        time = (_EPOCH + timedelta(microseconds=rest)).time().isoformat()
        return f"{_day_text(days)}{sep}{time}{'+00:00' if self.zoned else ''}"

    def __str__(self) -> str:
        return self.isoformat(sep=" ")


def date_of(days: int) -> date | FarDate:
    """The day by its number."""
    if FIRST_DAY <= days <= LAST_DAY:
        return date.fromordinal(days + _EPOCH_ORDINAL)
    return FarDate(days)


def moment_of(microseconds: int, *, zoned: bool) -> datetime | FarMoment:
    """The moment by its number; aware in UTC where ``zoned``."""
    if FIRST_MOMENT <= microseconds <= LAST_MOMENT:
        moment = _EPOCH + timedelta(microseconds=microseconds)
        return moment.replace(tzinfo=UTC) if zoned else moment
    return FarMoment(microseconds, zoned)


def days_of(day: date | FarDate) -> int:
    """The number of a day."""
    return day.days if isinstance(day, FarDate) else day.toordinal() - _EPOCH_ORDINAL


def microseconds_of(moment: datetime | FarMoment) -> int:
    """The number of a moment; one with a zone is taken to UTC."""
    if isinstance(moment, FarMoment):
        return moment.microseconds
    plain = moment.replace(tzinfo=None)
    offset = moment.utcoffset() or timedelta(0)
    return (plain - _EPOCH) // timedelta(microseconds=1) - offset // timedelta(microseconds=1)


def days_from_civil(year: int, month: int, day: int) -> int:
    """The number of a day of the calendar. Raises ValueError where there is no such day."""
    cycles, place = divmod(year - 1, 400)
    return date(place + 1, month, day).toordinal() + cycles * _DAYS_OF_400_YEARS - _EPOCH_ORDINAL


def year_of(days: int) -> int:
    """The year of a day, 0 being 1 BC."""
    cycles, place = divmod(days + _EPOCH_ORDINAL - 1, _DAYS_OF_400_YEARS)
    return date.fromordinal(place + 1).year + 400 * cycles


def _day_text(days: int) -> str:
    _, place = divmod(days + _EPOCH_ORDINAL - 1, _DAYS_OF_400_YEARS)
    year, rest = year_of(days), date.fromordinal(place + 1).isoformat()[4:]
    sign = "+" if year > 9999 else "-" if year < 0 else ""
    return f"{sign}{abs(year):04d}{rest}"
