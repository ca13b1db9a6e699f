"""Filters of the diff, groups that were viewed, and partial acceptance over the API."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from changerequests.models import ChangeRequest
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with

pytestmark = pytest.mark.django_db
CSV = "tailnum,seats,_op\nN1,150,update\nN2,NULL,update\nN3,NULL,delete\nN9,7,insert\n"


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create()
    return made


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=CSV)
    return made


@pytest.fixture
def reviewer(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset)


@pytest.fixture
def client(reviewer: User) -> APIClient:
    return client_of(reviewer)


def place(change_request: ChangeRequest, rest: str) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}/{rest}"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["N1", "N2", "N3", "N9"]),
        ("became_null=true", ["N2"]),
        ("column=seats&old=149&new=150", ["N1"]),
        ("column=seats&new_is=null&operation=update", ["N2"]),
        ("key=n9", ["N9"]),
        ("unusual=true", ["N9"]),
    ],
)
def test_the_diff_and_its_files_are_filtered_alike(
    client: APIClient, pending: ChangeRequest, query: str, found: list[str]
) -> None:
    page = client.get(place(pending, f"diff?{query}")).json()
    assert ([row["key"]["tailnum"] for row in page["results"]], page["total"]) == (found, len(found))
    file = b"".join(client.get(place(pending, f"diff?format=csv&{query}")).streaming_content).decode()  # type: ignore[attr-defined]
    assert [line.split(",")[1].strip('"') for line in file.splitlines()[1:]] == found


def test_pages_of_the_diff_go_both_ways(client: APIClient, pending: ChangeRequest) -> None:
    first = client.get(place(pending, "diff?limit=3")).json()
    second = client.get(first["next"])
    assert (first["previous"], second.json()["next"]) == (None, None)
    assert 'rel="prev"' in second.headers["Link"]
    assert client.get(second.json()["previous"]).json()["results"] == first["results"]
    assert problem(client.get(place(pending, "diff?column=seats&old=many"))) == (422, "invalid_filter")


def test_groups_are_viewed(client: APIClient, pending: ChangeRequest, dataset: Dataset) -> None:
    known = client.get(place(pending, "viewed")).json()
    assert (known["total"], known["viewed"]) == (4, 0)
    edit = next(group for group in known["groups"] if group["new"] == 150)
    assert (edit["kind"], edit["column"], edit["old"], edit["rows"]) == ("edit", "seats", 149, 1)
    seen = client.post(place(pending, "viewed"), {"group": edit["group"]}).json()
    assert [group["group"] for group in seen["groups"] if group["viewed"]] == [edit["group"]]
    other = client_of(person_with(Role.VIEWER, dataset))
    assert other.get(place(pending, "viewed")).json()["viewed"] == 0
    assert problem(client.post(place(pending, "viewed"), {"group": "none"})) == (404, "not_found")
    moved = {"group": edit["group"], "revision_digest": "of before"}
    assert problem(client.post(place(pending, "viewed"), moved)) == (409, "plan_changed")


def test_a_request_is_split(client: APIClient, pending: ChangeRequest) -> None:
    sent = {"groups": [{"operation": "insert"}], "rows": [{"tailnum": "N3"}], "reason": "Not sure."}
    counted = client.post(place(pending, "split"), {**sent, "dry_run": True})
    assert (counted.status_code, counted.json()["rows_left"], counted.json()["rows_kept"]) == (200, 2, 2)
    assert ChangeRequest.objects.count() == 1
    done = client.post(place(pending, "split"), sent)
    assert (done.status_code, done.json()["revision"]["number"], done.json()["revision"]["rows"]) == (
        201,
        2,
        2,
    )
    follow_up = client.get(done.headers["Location"]).json()
    assert (follow_up["cr_id"], follow_up["status"]) == (done.json()["follow_up"], "draft")
    assert follow_up["author"] == pending.author.get_username()


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"reason": "x"}, "rows"),
        ({"rows": [{"tailnum": "N1"}]}, "reason"),
        ({"rows": [{"tailnum": "N5"}], "reason": "x"}, "rows"),
        ({"groups": [{"oldest": "149"}], "reason": "x"}, "groups.0.oldest"),
        ({"columns": ["nothing"], "reason": "x"}, "columns"),
    ],
)
def test_what_cannot_be_split_is_refused(
    client: APIClient, pending: ChangeRequest, sent: dict[str, object], field: str
) -> None:
    answer = client.post(place(pending, "split"), sent)
    assert problem(answer) == (422, "invalid")
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert (ChangeRequest.objects.count(), pending.revisions.count()) == (1, 1)
