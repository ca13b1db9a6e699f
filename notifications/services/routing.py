"""Who gets which news: each kind of receiver has a router, which makes the deliveries of one piece of news."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from notifications.news import News


@dataclass(frozen=True)
class Parcel:
    """What a router wants delivered: to whom, and what the channel needs to send it."""

    receiver: str
    payload: Mapping[str, Any] = field(default_factory=dict)


#: Called in the transaction that dispatches the news; writes what is its own (an inbox) and returns what is to be sent.
Router = Callable[[News], Iterable[Parcel]]

ROUTERS: Final[tuple[Router, ...]] = ()
