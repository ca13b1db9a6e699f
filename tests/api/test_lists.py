"""Lists of the API: which, in which order, page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import reviews
from changerequests.services.runs import request_merge
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, approve, person_with

pytestmark = pytest.mark.django_db
REQUESTS = "/api/v1/change_requests"
DAY = datetime(2026, 5, 17, tzinfo=UTC)


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create(slug="planes", name="Planes", required_approvals=1)
    return made


@pytest.fixture
def owner(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset.project)


@pytest.fixture
def client(owner: User) -> APIClient:
    return client_of(owner)


@pytest.fixture
def made(dataset: Dataset) -> list[ChangeRequest]:
    """Five drafts, made and changed on days of their own."""
    found = []
    for number, moved in enumerate((3, 1, 4, 0, 2)):
        one = ChangeRequestFactory.create(dataset=dataset, csv=None, status="draft", title=f"Part {number}")
        days = {"created_at": DAY + timedelta(days=number), "updated_at": DAY + timedelta(days=10 + moved)}
        ChangeRequest.objects.filter(pk=one.pk).update(**days)
        found.append(one)
    return found


def listed(client: APIClient, query: str = "", place: str = REQUESTS) -> list[Any]:
    """Every row of a list, page by page."""
    rows: list[Any] = []
    address = f"{place}?{query}"
    while address:
        page = client.get(address)
        assert page.status_code == 200, page.content
        rows += page.json()["results"]
        address = page.json()["next"]
    return rows


def titles(rows: list[Any]) -> list[int]:
    return [int(row["title"].removeprefix("Part ")) for row in rows]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", [4, 3, 2, 1, 0]),
        ("-number", [4, 3, 2, 1, 0]),
        ("number", [0, 1, 2, 3, 4]),
        ("created", [0, 1, 2, 3, 4]),
        ("-created", [4, 3, 2, 1, 0]),
        ("updated", [3, 1, 4, 0, 2]),
        ("-updated", [2, 0, 4, 1, 3]),
    ],
)
def test_requests_come_in_the_order_asked_for(
    client: APIClient, made: list[ChangeRequest], order: str, expected: list[int]
) -> None:
    asked = f"order_by={order}&" if order else ""
    for limit in (2, 50):
        assert titles(listed(client, f"{asked}limit={limit}")) == expected


def test_requests_of_equal_moments_come_once_each(client: APIClient, made: list[ChangeRequest]) -> None:
    ChangeRequest.objects.update(updated_at=DAY)
    assert titles(listed(client, "order_by=updated&limit=2")) == [0, 1, 2, 3, 4]
    assert titles(listed(client, "order_by=-updated&limit=2")) == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("created_since=2026-05-18&created_until=2026-05-20T00:00:00Z", [2, 1]),
        ("created_since=2026-05-20T00:00:00%2B02:00", [4, 3]),
        ("updated_until=2026-05-28T12:00:00Z", [3, 1]),
        ("search=art%203", [3]),
        ("search=nothing", []),
    ],
)
def test_requests_are_found_by_moments_and_texts(
    client: APIClient, made: list[ChangeRequest], query: str, expected: list[int]
) -> None:
    assert titles(listed(client, query)) == expected


def test_requests_are_found_by_what_they_describe_and_by_their_ids(
    client: APIClient, made: list[ChangeRequest]
) -> None:
    ChangeRequest.objects.filter(pk=made[1].pk).update(description="Where the 100% came from: _seats_.")
    assert titles(listed(client, "search=100%25%20came")) == [1]
    assert titles(listed(client, "search=_seats_")) == [1]
    assert titles(listed(client, f"search={made[3].cr_id.lower()}")) == [3]


def test_requests_are_found_by_where_they_stand(client: APIClient, dataset: Dataset, owner: User) -> None:
    waits, ready, objected, queued = (
        ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN{number},1{number}\n")
        for number in range(1, 5)
    )
    ChangeRequestFactory.create(dataset=dataset, csv=None, status="draft")
    approve(ready, owner)
    approve(queued, owner)
    reviews.review(change_request_id=objected.pk, actor=owner, verdict="request_changes", body="No.")
    request_merge(change_request_id=queued.pk, actor=owner)
    expected = {"needs_review": waits, "ready": ready, "changes_requested": objected, "queued": queued}

    for word, one in expected.items():
        [row] = listed(client, f"readiness={word}")
        assert (row["cr_id"], row["readiness"]) == (one.cr_id, word)
    both = listed(client, "readiness=ready&readiness=queued&status=pending&author=" + ready.author.username)
    assert [row["cr_id"] for row in both] == [ready.cr_id]
    assert listed(client, "readiness=conflicts") == []
    assert [row["readiness"] for row in listed(client, "status=draft")] == [None]


@pytest.mark.parametrize(
    "query",
    [
        "readiness=redy",
        "order_by=title",
        "created_since=yesterday",
        "updated_until=0001-01-01T00:00:00%2B14:00",
        "created_since=2026-05-17&created_since=2026-05-18",
        "search=a%00b",
        "order_by=updated&cursor=cD1hYmM%3D",  # p=abc
        "order_by=number&cursor=cD0yMDI2LTA1LTE3",  # p=2026-05-17
        "cursor=_",  # nothing of it is of the alphabet
        "cursor=%00",
        "cursor=**cD0x",  # p=1
        "cursor=eD0x",  # x=1
    ],
)
def test_what_does_not_fit_is_named(client: APIClient, made: list[ChangeRequest], query: str) -> None:
    assert problem(client.get(f"{REQUESTS}?{query}")) == (422, "invalid")


def test_datasets_come_in_order_and_are_found(client: APIClient, dataset: Dataset, owner: User) -> None:
    other: Dataset = DatasetFactory.create(
        project=dataset.project, slug="airports", name="Airports", description="Where planes land."
    )
    place = "/api/v1/datasets"
    for query, expected in {
        "order_by=name": [other, dataset],
        "order_by=-name&limit=1": [dataset, other],
        "order_by=number": [dataset, other],
        "search=planes": [other, dataset],
        "search=Airp": [other],
        "role=owner": [other, dataset],
        "created_until=2000-01-01": [],
    }.items():
        assert [row["id"] for row in listed(client, query, place)] == [one.pk for one in expected], query
    contributor = client_of(person_with(Role.CONTRIBUTOR, other))
    assert [row["id"] for row in listed(contributor, "role=contributor", place)] == [other.pk]
    assert listed(contributor, "role=owner", place) == []


def test_runs_come_in_order_and_are_found_by_who_asked(
    client: APIClient, dataset: Dataset, owner: User
) -> None:
    runs = []
    for number in (1, 2):
        one = ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN{number},9\n")
        approve(one, owner)
        runs.append(request_merge(change_request_id=one.pk, actor=one.author))
    place = "/api/v1/runs"
    assert [row["id"] for row in listed(client, "order_by=queued&limit=1", place)] == [run.pk for run in runs]
    asked = listed(client, f"requested_by={runs[1].requested_by.username}", place)
    assert [row["id"] for row in asked] == [runs[1].pk]
    since = runs[1].queued_at.isoformat().replace("+", "%2B")
    assert [row["id"] for row in listed(client, f"queued_since={since}", place)] == [runs[1].pk]


def test_the_orders_have_their_indexes() -> None:
    if connection.vendor == "sqlite":
        for field, name in (("updated_at", "by_update"), ("created_at", "by_creation")):
            assert name in ChangeRequest.objects.order_by(field, "pk").values("pk", field)[:50].explain()
        assert (
            "merge_runs_by_moment" in MergeRun.objects.order_by("queued_at", "pk").values("pk")[:50].explain()
        )
