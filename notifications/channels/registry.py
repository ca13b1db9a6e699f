"""Which channel sends what: by the name before the colon of a receiver."""

from collections.abc import Mapping
from typing import Final

from notifications.channels.mail import MailChannel
from notifications.channels.protocol import Channel, DeliveryFailed
from notifications.channels.webhooks import WebhookChannel

CHANNELS: Final[Mapping[str, Channel]] = {"mail": MailChannel(), "webhook": WebhookChannel()}


def channel_called(name: str) -> Channel:
    """The channel of this name. Raises ``DeliveryFailed`` where an older release knows it not."""
    if name not in CHANNELS:
        raise DeliveryFailed(f"There is no channel {name!r} in this release.", retry=True)
    return CHANNELS[name]
