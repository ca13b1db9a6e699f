"""Who gets which news: each kind of receiver has a router, which makes the deliveries of one piece of news."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from notifications.news import News
from notifications.services.parcels import Parcel
from notifications.services.people import parcels_for_people
from notifications.services.webhooks import webhook_parcels

#: Called in the transaction that dispatches the news; writes what is its own (an inbox) and returns what is to be sent.
Router = Callable[[News], Iterable[Parcel]]

ROUTERS: Final[tuple[Router, ...]] = (parcels_for_people, webhook_parcels)
