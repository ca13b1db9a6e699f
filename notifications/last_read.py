"""What a listener read last, by which it goes on later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

#: The ``id`` of an event.
_ID: Final = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,14}))?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class LastRead:
    """What a listener read last: the number of an event, and the millisecond in which it came, where it knows that.

    A number alone may be another event by now: a database that was restored from a backup gives it again.
    """

    number: int
    moment: datetime | None = None

    @classmethod
    def named(cls, name: str) -> Self | None:
        """What the ``id`` of an event names; None for what is none."""
        found = _ID.fullmatch(name)
        if found is None:
            return None
        number, milliseconds = found.groups()
        return cls(int(number), _EPOCH + int(milliseconds) * MILLISECOND if milliseconds else None)

    def name(self) -> str:
        """The ``id`` of the event."""
        if self.moment is None:
            return str(self.number)
        return f"{self.number}-{(self.moment - _EPOCH) // MILLISECOND}"
