"""Fixtures of the engine's semantics: a world for every strategy, in a folder and in stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merging.delta import reach
from merging.sql.session import limits
from tests.dealing import SITE
from tests.merging.sites import FOLDER, Site, site_in
from tests.merging.world import STRATEGIES, World
from tests.options import SITES

#: Where tables lie without more ado.
HERE = (FOLDER, "s3")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of ``any_store`` have their tables in all places that the run asks for, but for those of folders."""
    marked = metafunc.definition.get_closest_marker
    if "site" in metafunc.fixturenames and marked("any_store") and not marked("in_folder"):
        places = [
            pytest.param(one, id=f"{SITE}{one}", marks=() if one in HERE else pytest.mark.stores)
            for one in SITES or HERE
        ]
        metafunc.parametrize("site", places, indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Where the tables of the test lie. The engine opens them as an application has it, others by the environment."""
    made = site_in(getattr(request, "param", FOLDER), tmp_path)
    monkeypatch.setattr(reach, "_opens", lambda uri: made.options if uri.startswith(made.address) else {})
    for name, value in made.options.items():
        monkeypatch.setenv(name, value)
    return made


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
def world(site: Site) -> World:
    """The default table (id, a, b, c) with three rows, merge-on-read."""
    return World(site, "merge-on-read")


@pytest.fixture(params=STRATEGIES)
def make_world(request: pytest.FixtureRequest, site: Site) -> Callable[..., World]:
    """Makes tables of each strategy in turn."""

    def make(**options: Any) -> World:
        return World(site, request.param, **options)

    return make
