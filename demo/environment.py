"""What may be set for ``make demo``: the one place of the demo that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DemoEnvironment:
    """The demo's own three variables; ``inherited`` is all that its processes are started with."""

    port: str
    folder: str
    log_level: str | None
    inherited: Mapping[str, str]


def read_environment() -> DemoEnvironment:
    """``PORT``, ``HEADGATE_DEMO_FOLDER`` and ``LOG_LEVEL``; an empty one counts as not set."""
    return DemoEnvironment(
        port=os.environ.get("PORT") or "8000",
        folder=os.environ.get("HEADGATE_DEMO_FOLDER") or "var/demo",
        log_level=os.environ.get("LOG_LEVEL") or None,
        inherited=dict(os.environ),
    )
