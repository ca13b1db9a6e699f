"""Fixtures of the engine's semantics: a world for every strategy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.merging.world import STRATEGIES, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The default table (id, a, b, c) with three rows, merge-on-read."""
    return World(tmp_path, "merge-on-read")


@pytest.fixture(params=STRATEGIES)
def make_world(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., World]:
    """Makes tables of each strategy in turn."""

    def make(**options: Any) -> World:
        return World(tmp_path, request.param, **options)

    return make
