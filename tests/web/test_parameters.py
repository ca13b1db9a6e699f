"""Addresses with parameters that a page does not know, or values that it cannot take: shown, and said in a notice."""

from html import unescape
from typing import Any

import pytest
from django.test import Client

from audit import bells
from tests.matrix.test_page_matrix import address_of, rows
from tests.matrix.world import World, make_world
from web.parameters import PageParameter
from web.urls import urlpatterns

pytestmark = pytest.mark.django_db

WRONG = "-no-such-value"
#: Parts of pages, a stream, and an upload that has ended, which leads on: none has room for a notice. The gallery is
#: not for owners.
NO_NOTICE = ("merge_box", "standing", "bell", "news", "conflict_lines", "received_upload", "gallery")
#: Nor a link that is over.
OVER = ("sign_in_once",)
#: Nor have the later steps of adding a table, without what the earlier ones found: they lead to the first.
STEPS = ("look_at_table", "choose_key", "name_table", "first_suite")
FOR_OPERATORS = ("operations", "connection")
#: A file has none either: 422.
FILES = ("export_audit",)
VIEWS: dict[str, Any] = {str(one.name): one.callback for one in urlpatterns}
PAGES = [what.removeprefix("GET ") for what in rows() if what.startswith("GET ")]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(bells, "ring", lambda *_: None)
    return make_world()


@pytest.fixture
def owner(world: World, client: Client) -> Client:
    client.force_login(world.people["owner"])
    return client


def shown(client: Client, name: str, address: str, query: dict[str, str]) -> tuple[int, str]:
    browser = Client() if name == "login" else client
    answer = browser.get(address, query)
    return answer.status_code, unescape(answer.getvalue().decode())


def test_fh2_every_page_names_parameters_that_it_does_not_know_and_values_that_it_cannot_take(
    world: World, owner: Client
) -> None:
    failures, tried = [], 0
    for name in PAGES:
        if name in (*NO_NOTICE, *STEPS, *OVER):
            continue
        declared: dict[str, PageParameter] = getattr(VIEWS[name], "parameters", {})
        address = address_of(world, name)
        expected = 422 if name in FILES else 200
        owner.force_login(world.people["staff" if name.startswith(FOR_OPERATORS) else "owner"])
        status, page = shown(owner, name, address, {"stauts": "draft"})
        starting = getattr(VIEWS[name], "starting", "")
        possible = ", ".join(sorted([*declared, *([f"{starting}…"] if starting else [])]))
        if status != expected or f"no parameter “stauts” here. Possible: {possible}" not in page:
            failures.append(f"{name}: {status}")
        for parameter, known in declared.items():
            if known.fits(WRONG):
                continue
            tried += 1
            status, page = shown(owner, name, address, {parameter: WRONG})
            sentence = f"{parameter} cannot be “{WRONG}”; this was left aside. Possible: {known.possible}."
            if status != expected or sentence not in page:
                failures.append(f"{name} {parameter}: {status}")
        status, page = shown(owner, name, address, dict.fromkeys(declared, ""))
        if status != 200 or "Possible:" in page:
            failures.append(f"{name} with empty values: {status}")
    assert failures == [], "\n".join(failures)
    assert tried > 12


def test_fh2_what_is_possible_is_said(world: World, owner: Client) -> None:
    said = [
        ("dataset", {"sort": "taxes"}, "sort cannot be “taxes”; this was left aside. Possible: "),
        ("dataset", {"column": "taxes", "value": "1"}, "column cannot be “taxes”"),
        ("changes", {"column": "taxes"}, "column cannot be “taxes”"),
        (
            "home",
            {"mine": "1"},
            "There is no parameter “mine” here. Possible: dataset, group, page, q, stands, state.",
        ),
        ("home", {"page": "abc", "state": "all"}, "page cannot be “abc”; this was left aside."),
        ("row_history", {"tailnum": "N1"}, "Possible: key-…."),
        ("datasets", {"q": "<b>"}, "There is no parameter “q” here. Possible: none."),
    ]
    for name, query, sentence in said:
        status, page = shown(owner, name, address_of(world, name), query)
        assert (status, sentence in page) == (200, True), (name, query)


def test_fh2_what_fits_is_said_nothing_about(world: World, owner: Client) -> None:
    for name, query in [
        ("dataset", {"sort": "-seats", "column": "tailnum", "value": "N1"}),
        ("dataset_change_requests", {"status": "merged", "page": "1"}),
        ("row_history", {"key-tailnum": "N1"}),
        ("home", {"group": "yours", "page": "1", "q": "x"}),
        ("changes", {"view": "groups"}),
    ]:
        status, page = shown(owner, name, address_of(world, name), query)
        assert (status, "left aside" in page, "There is no parameter" in page) == (200, False, False), name
