"""What a router wants delivered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Parcel:
    """What a router wants delivered: to whom, and what the channel needs to send it."""

    receiver: str
    payload: Mapping[str, Any] = field(default_factory=dict)
