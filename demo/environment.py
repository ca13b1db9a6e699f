"""What may be set for ``make demo``: the one place of the demo that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DemoEnvironment:
    """The demo's own variables; ``inherited`` is all that its processes are started with.

    ``is_empty``: the first start makes the people and no table, for trying the first run.
    """

    port: str
    folder: str
    log_level: str | None
    is_empty: bool
    inherited: Mapping[str, str]


def read_environment() -> DemoEnvironment:
    """``PORT``, ``HEADGATE_DEMO_FOLDER``, ``LOG_LEVEL``, ``HEADGATE_DEMO_EMPTY``; an empty one counts as not set."""
    return DemoEnvironment(
        port=os.environ.get("PORT") or "8000",
        folder=os.environ.get("HEADGATE_DEMO_FOLDER") or "var/demo",
        log_level=os.environ.get("LOG_LEVEL") or None,
        is_empty=os.environ.get("HEADGATE_DEMO_EMPTY", "") not in ("", "0"),
        inherited=dict(os.environ),
    )
