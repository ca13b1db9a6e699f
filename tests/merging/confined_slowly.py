"""A module for confined processes that takes a while to be ready."""

from __future__ import annotations

import time

from tests.merging.confined import echo

__all__ = ["before_confinement", "echo"]


def before_confinement() -> None:
    """What loading a large one takes on a busy machine."""
    time.sleep(2)
