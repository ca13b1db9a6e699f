"""What a channel does, and how it says that it could not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from notifications.models import Delivery


@dataclass(frozen=True)
class Sent:
    """A delivery that its receiver took, or that nobody needs any more (``note`` says why).

    ``response`` is what is kept of the answer.
    """

    response: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class DeliveryFailed(Exception):
    """The receiver did not take it; ``retry`` where it may do so later. Its ``message`` is shown to people.

    ``pause`` are the seconds that the receiver asks to be left alone for.
    """

    def __init__(
        self,
        message: str,
        *,
        retry: bool,
        response: Mapping[str, Any] | None = None,
        pause: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry = retry
        self.response = dict(response or {})
        self.pause = timedelta(seconds=pause or 0)


class Channel(Protocol):
    """One way to reach receivers."""

    def send(self, delivery: Delivery) -> Sent:
        """Send it. Called again where nobody knows what became of the last time; raises ``DeliveryFailed``."""
