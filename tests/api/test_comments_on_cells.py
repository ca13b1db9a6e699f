"""Remarks on rows and cells: what they quote, and other values that they suggest."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from changerequests.models import ChangeRequest, Comment
from changerequests.services import proposals
from changerequests.services.vouched import bent_rows
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, stage_csv

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create(required_approvals=0, delete_limit=Decimal("0.5"))
    return made


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    """N1 is updated, N9 inserted, N2 deleted."""
    made: ChangeRequest = ChangeRequestFactory.create(
        dataset=dataset, csv="tailnum,seats,_op\nN1,150,update\nN9,7,insert\nN2,NULL,delete\n"
    )
    return made


@pytest.fixture
def reviewer(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, first_name="Vera")


@pytest.fixture
def client(reviewer: User) -> APIClient:
    return client_of(reviewer)


def place(change_request: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}/comments"


def on(key: str, **more: Any) -> dict[str, Any]:
    return {"body": "Sure?", "row_key": {"tailnum": key}, **more}


def test_a_remark_on_a_cell_quotes_what_the_content_did_there(
    client: APIClient, pending: ChangeRequest
) -> None:
    updated = client.post(place(pending), on("N1", column="seats")).json()
    inserted = client.post(place(pending), on("N9", column="seats")).json()
    deleted = client.post(place(pending), on("N2", column="seats")).json()
    row = client.post(place(pending), on("N1")).json()
    untouched = client.post(place(pending), on("N3", column="seats")).json()
    assert (updated["revision"], updated["row_key"], updated["column"]) == (1, {"tailnum": "N1"}, "seats")
    assert updated["cell"] == {"operation": "update", "base": 149, "proposed": 150}
    assert inserted["cell"] == {"operation": "insert", "base": None, "proposed": 7}
    assert (deleted["cell"]["operation"], deleted["cell"]["proposed"]) == ("delete", None)
    assert row["cell"] == {"operation": "update", "base": None, "proposed": None}
    assert (untouched["cell"], untouched["revision"]) == (None, 1)
    assert [one for one in bent_rows() if "comment" in one.place] == []


def test_a_remark_stays_as_it_was_when_other_content_comes(client: APIClient, pending: ChangeRequest) -> None:
    made = client.post(place(pending), on("N1", column="seats")).json()
    stage_csv(pending, "tailnum,seats\nN1,160\n")
    assert client.get(f"{place(pending)}/{made['id']}").json() == made
    later = client.post(place(pending), on("N1", column="seats")).json()
    assert (later["revision"], later["cell"]["proposed"]) == (2, 160)


def test_another_value_is_suggested(client: APIClient, pending: ChangeRequest) -> None:
    made = client.post(place(pending), {**on("N1", column="seats", suggestion={"value": 155}), "body": ""})
    null = client.post(place(pending), on("N1", column="seats", suggestion={"value": None}))
    assert (made.status_code, made.json()["suggestion"]) == (201, {"value": 155, "taken": False})
    assert null.json()["suggestion"] == {"value": None, "taken": False}


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (on("N1", column="seats", suggestion={"value": "many"}), ""),
        (on("N1", column="seats", suggestion={"value": 150}), "suggestion"),
        (on("N1", suggestion={"value": 5}), "suggestion"),
        (on("N1", column="tailnum", suggestion={"value": "N7"}), "suggestion"),
        (on("N2", column="seats", suggestion={"value": 5}), "suggestion"),
        (on("N3", column="seats", suggestion={"value": 5}), "suggestion"),
        ({"body": "x", "suggestion": {"value": 5}}, "suggestion"),
        (on("N1", column="seats", suggestion={}), "suggestion.value"),
        (on("N1", column="seats", suggestion={"valeu": 5}), "suggestion.valeu"),
        (on("N1", column="nothing"), "column"),
        ({"body": "", "row_key": {"tailnum": "N1"}}, "body"),
        ({"body": "x", "row_key": {"year": 2004}}, "row_key"),
    ],
)
def test_what_does_not_fit_is_refused(
    client: APIClient, pending: ChangeRequest, sent: dict[str, Any], field: str
) -> None:
    answer = client.post(place(pending), sent)
    assert problem(answer) == (422, "invalid")
    assert not field or field in [error["field"] for error in answer.json()["errors"]]
    assert Comment.objects.count() == 0


def test_what_was_read_is_what_is_meant(client: APIClient, pending: ChangeRequest) -> None:
    seen = pending.revisions.get().digest
    assert client.post(place(pending), on("N1", column="seats", revision_digest=seen)).status_code == 201
    stage_csv(pending, "tailnum,seats\nN1,160\n")
    late = client.post(place(pending), on("N1", column="seats", revision_digest=seen))
    assert problem(late) == (409, "plan_changed")
    assert Comment.objects.count() == 1


def test_finished_requests_take_remarks_and_no_suggestions(
    client: APIClient, dataset: Dataset, pending: ChangeRequest
) -> None:
    merge(pending, pending.author)
    assert client.post(place(pending), on("N1", column="seats")).status_code == 201
    other = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN3,9\n")
    proposals.close(change_request_id=other.pk, actor=other.author, reason="No.")
    refused = client.post(place(other), on("N3", column="seats", suggestion={"value": 8}))
    assert problem(refused) == (409, "invalid_transition")


def test_the_page_tells_key_and_values(client: APIClient, reviewer: User, pending: ChangeRequest) -> None:
    client.post(place(pending), on("N1", column="seats", suggestion={"value": 155}))
    browser = Client()
    browser.force_login(reviewer)
    page = browser.get(f"/change-requests/{pending.cr_id}/").content.decode()
    told = " ".join(page.split())
    assert "suggested another value" in told
    assert "tailnum N1 · seats" in told
    assert "<del>149</del>" in told
    assert "<ins>150</ins>" in told
    assert "Suggested: <ins>155</ins>" in told
    assert "(revision 1)" in told


def test_a_suggestion_is_taken_once_by_the_author(
    client: APIClient, pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client.post(place(pending), on("N1", column="seats", suggestion={"value": 155})).json()
    address, author = f"{place(pending)}/{made['id']}", client_of(pending.author)

    assert problem(client.post(f"{address}/take")) == (403, "forbidden")
    author.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr("api.views.uploads._answer", lambda *_: 1 / 0)
        assert author.post(f"{address}/take", headers={"Idempotency-Key": "k"}).status_code == 500
    taken = author.post(f"{address}/take", headers={"Idempotency-Key": "k"})
    again = author.post(f"{address}/take")

    assert (taken.status_code, taken.json()["number"], taken.json()["rows"]) == (201, 2, 3)
    assert taken.headers["Location"].rpartition("/")[0].endswith("/api/v1/uploads")
    assert problem(again) == (409, "invalid_transition")
    diff = author.get(f"/api/v1/change_requests/{pending.cr_id}/diff").json()["results"]
    seats = [cell for row in diff for cell in row["cells"] if cell["column"] == "seats"]
    assert [(one["base"], one["proposed"]) for one in seats] == [(149, 155), (182, None), (None, 7)]
    assert client.get(address).json()["suggestion"] == {"value": 155, "taken": True}
    events = author.get(f"/api/v1/change_requests/{pending.cr_id}/events").json()["results"]
    assert [event["actor"] for event in events if event["action"] == "suggestion.taken"] == [
        pending.author.get_username()
    ]
    assert pending.revisions.count() == 2


def test_null_is_taken_too(client: APIClient, pending: ChangeRequest) -> None:
    made = client.post(place(pending), on("N1", column="seats", suggestion={"value": None})).json()
    assert client_of(pending.author).post(f"{place(pending)}/{made['id']}/take").status_code == 201
    diff = client.get(f"/api/v1/change_requests/{pending.cr_id}/diff").json()["results"]
    [seats] = [cell for cell in diff[0]["cells"] if cell["column"] == "seats"]
    assert (seats["base"], seats["proposed"]) == (149, None)


def test_what_was_suggested_for_another_value_is_not_taken(client: APIClient, pending: ChangeRequest) -> None:
    made = client.post(place(pending), on("N1", column="seats", suggestion={"value": 155})).json()
    plain = client.post(place(pending), on("N1", column="seats")).json()
    stage_csv(pending, "tailnum,seats\nN1,160\n")
    author = client_of(pending.author)
    assert problem(author.post(f"{place(pending)}/{made['id']}/take")) == (409, "plan_changed")
    assert problem(author.post(f"{place(pending)}/{plain['id']}/take")) == (404, "not_found")
    assert pending.revisions.count() == 2
    assert client.get(f"{place(pending)}/{made['id']}").json()["suggestion"]["taken"] is False
