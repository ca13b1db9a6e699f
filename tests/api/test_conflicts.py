"""Conflicts and choices through the API."""

from typing import Any

import pytest

from changerequests.models import ChangeRequest, ConflictResolution
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, rows_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def conflicting() -> ChangeRequest:
    """Three cells in conflict: year and seats of N1, seats of N2."""
    dataset: Dataset = DatasetFactory.create()
    change_request: ChangeRequest = ChangeRequestFactory.create(
        dataset=dataset, csv="tailnum,year,seats\nN1,1,1\nN2,2004,2\nN4,2011,4\n"
    )
    faster = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,year,seats\nN1,10,10\nN2,2004,20\n")
    merge(faster, person_with(Role.OWNER, dataset))
    return change_request


def address(change_request: ChangeRequest, rest: str = "") -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}/conflicts{rest}"


def choice_for(conflict: dict[str, Any], choice: str, **more: Any) -> dict[str, Any]:
    return {name: conflict[name] for name in ("key", "column", "inputs_digest")} | {"choice": choice} | more


def test_conflicts_are_listed_with_their_three_values(conflicting: ChangeRequest) -> None:
    client = client_of(conflicting.author)

    page = client.get(address(conflicting)).json()

    assert (page["total"], page["unresolved"], page["table_version"], page["next"]) == (3, 3, 1, None)
    first = page["results"][0]
    assert {name: first[name] for name in first if name not in ("inputs_digest", "message")} == {
        "key": {"tailnum": "N1"},
        "column": "year",
        "kind": "modify/modify",
        "base": 1999,
        "current": 10,
        "proposed": 1,
        "legal_choices": ["current", "proposed", "base", "custom"],
        "choice": None,
        "value": None,
        "beside": 0,
    }
    assert [c["column"] for c in page["results"]] == ["year", "seats", "seats"]
    assert [
        c["key"]["tailnum"] for c in client.get(address(conflicting, "?column=seats")).json()["results"]
    ] == [
        "N1",
        "N2",
    ]


def test_conflicts_are_paged_with_exact_counts(conflicting: ChangeRequest) -> None:
    client = client_of(conflicting.author)

    first = client.get(address(conflicting, "?limit=2")).json()
    second = client.get(first["next"]).json()

    assert [len(first["results"]), len(second["results"])] == [2, 1]
    assert second["next"] is None
    assert first["total"] == second["total"] == 3


def test_choices_are_stored_together_and_the_merge_follows_them(conflicting: ChangeRequest) -> None:
    client = client_of(conflicting.author)
    year, seats, other = client.get(address(conflicting)).json()["results"]

    stored = client.post(
        address(conflicting),
        {"resolutions": [choice_for(year, "current"), choice_for(seats, "custom", value=77)]},
    )
    bulk = client.post(address(conflicting, "/bulk"), {"column": "seats", "choice": "proposed"})

    assert (stored.status_code, stored.json()) == (200, {"unresolved": 1})
    assert (bulk.status_code, bulk.json()["chosen"], bulk.json()["unresolved"]) == (200, 1, 0)
    assert other["choice"] is None
    chosen = client.get(address(conflicting)).json()["results"]
    assert [(c["choice"], c["value"]) for c in chosen] == [
        ("current", None),
        ("custom", 77),
        ("proposed", None),
    ]
    run = merge(conflicting, person_with(Role.OWNER, conflicting.dataset))
    assert run.status == "succeeded"
    assert [(row["year"], row["seats"]) for row in rows_of(conflicting.dataset)] == [
        (10, 77),
        (2004, 2),
        (None, 55),
        (2011, 4),
    ]


def test_a_filter_finds_what_a_choice_for_many_takes_and_its_undo_takes_back(
    conflicting: ChangeRequest,
) -> None:
    client = client_of(conflicting.author)

    found = client.get(
        address(conflicting, "?column=seats&current=20&kind=modify/modify&unresolved=true")
    ).json()
    assert (found["total"], found["matching"], found["offered"]["base"]) == (3, 1, 1)
    wanted = {"column": "seats", "kind": "modify/modify", "current": 20, "proposed": 2}
    done = client.post(
        address(conflicting, "/bulk"), {**wanted, "choice": "base", "seen": found["selection"]}
    )
    assert (done.status_code, done.json()["chosen"], done.json()["unresolved"]) == (200, 1, 2)
    undone = client.post(address(conflicting, "/undo"), {"undo": done.json()["undo"]})
    assert undone.json() == {"restored": 1, "kept": 0, "unresolved": 3}
    assert client.get(address(conflicting, "?column=seats&current_null=true")).json()["matching"] == 0
    assert problem(client.get(address(conflicting, "?current=5"))) == (422, "invalid_filter")
    assert problem(client.post(address(conflicting, "/bulk"), {"proposed": 5, "choice": "base"})) == (
        422,
        "invalid_filter",
    )


def test_a_custom_null_is_a_value(conflicting: ChangeRequest) -> None:
    client = client_of(conflicting.author)
    first = client.get(address(conflicting)).json()["results"][0]

    client.post(address(conflicting), {"resolutions": [choice_for(first, "custom", value=None)]})
    client.post(address(conflicting, "/bulk"), {"column": "seats", "choice": "current"})
    merge(conflicting, person_with(Role.OWNER, conflicting.dataset))

    assert rows_of(conflicting.dataset)[0]["year"] is None


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"inputs_digest": "moved"}, (409, "plan_changed")),
        ({"choice": "keep"}, (422, "invalid")),
        ({"choice": "whatever"}, (422, "invalid")),
        ({"choice": "custom", "value": "many"}, (422, "invalid")),
        ({"colum": "year"}, (422, "invalid")),
    ],
)
def test_a_choice_that_does_not_fit_takes_all_of_them_back(
    conflicting: ChangeRequest, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    client = client_of(conflicting.author)
    year, seats, _ = client.get(address(conflicting)).json()["results"]

    response = client.post(
        address(conflicting),
        {"resolutions": [choice_for(seats, "current"), {**choice_for(year, "current"), **changes}]},
    )

    assert problem(response) == expected
    assert ConflictResolution.objects.count() == 0


def test_a_column_without_open_conflicts_is_refused(conflicting: ChangeRequest) -> None:
    response = client_of(conflicting.author).post(
        address(conflicting, "/bulk"), {"column": "manufacturer", "choice": "current"}
    )

    assert problem(response) == (422, "invalid")


def test_other_contributors_do_not_choose(conflicting: ChangeRequest) -> None:
    other = client_of(person_with(Role.CONTRIBUTOR, conflicting.dataset))

    response = other.post(address(conflicting, "/bulk"), {"column": "seats", "choice": "current"})

    assert problem(response) == (403, "forbidden")
    assert other.get(address(conflicting)).status_code == 200
