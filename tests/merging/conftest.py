"""Fixtures of the engine's semantics: a world for every strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merging.delta import reach
from merging.sql.session import limits
from tests.merging.world import STRATEGIES, World


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets limits of content by their names, for one test."""

    def set_content_limits(**changed: Any) -> None:
        monkeypatch.setattr("merging.sql.session._limits", dataclasses.replace(limits(), **changed))

    return set_content_limits


@pytest.fixture(autouse=True)
def _no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine by itself: what an application lets tables do is asked of its database."""
    monkeypatch.setattr(reach, "_decides", lambda _: True)
    monkeypatch.setattr(reach, "_judges", lambda _: "")
    monkeypatch.setattr(reach, "_opens", lambda _: {})


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
