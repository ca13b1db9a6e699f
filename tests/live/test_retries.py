"""Clients that do not know whether a call arrived, and send it again with the same Idempotency-Key."""

import uuid
from typing import Any

import pytest

from changerequests.models import ChangeRequest, Comment, Review
from datasets.models import Dataset
from tests.factories import ChangeRequestFactory
from tests.live.server import Answer, Connection, form_with

CSV = b"tailnum,seats\nN1,7\n"


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    # Others may have merged what is proposed elsewhere: this nobody did.
    made: ChangeRequest = ChangeRequestFactory.create(
        dataset=dataset, csv=f"tailnum,seats\nN{uuid.uuid4().hex},1\n"
    )
    return made


def same(first: Answer, again: Answer) -> bool:
    """Status, body and address of the first answer, marked as given again."""
    told = [(got.status, got.body, got.headers.get("location")) for got in (first, again)]
    return told[0] == told[1] and again.headers.get("idempotent-replayed") == "true"


def test_fh7_what_creates_creates_once(client: Connection, dataset: Dataset, pending: ChangeRequest) -> None:
    place = f"/api/v1/change_requests/{pending.cr_id}"
    calls: list[tuple[str, Any, Any]] = [
        ("/api/v1/change_requests", {"dataset": dataset.pk, "title": "Once"}, ChangeRequest),
        (f"{place}/comments", {"body": "Why?"}, Comment),
        (f"{place}/reviews", {"verdict": "comment", "body": "Hm."}, Review),
    ]
    for path, body, model in calls:
        key = uuid.uuid4().hex
        before = model.objects.count()
        first, again = (client.send("POST", path, body, Idempotency_Key=key) for _ in range(2))
        assert first.status == 201, first.body
        assert "idempotent-replayed" not in first.headers
        assert same(first, again), path
        assert model.objects.count() == before + 1
        other = client.send("POST", path, {**body, "body": "Other", "title": "Other"}, Idempotency_Key=key)
        assert other.status == 422
        assert model.objects.count() == before + 1


def test_fh7_what_moves_moves_once(client: Connection, draft: ChangeRequest) -> None:
    place = f"/api/v1/change_requests/{draft.cr_id}"
    body, kind = form_with("planes.csv", CSV)
    other_border, other_kind = (body.replace(b"a-border", b"b-border"), kind.replace("a-border", "b-border"))
    uploads = [
        client.call("POST", f"{place}/upload", content, Content_Type=content_type, Idempotency_Key="u")
        for content, content_type in ((body, kind), (other_border, other_kind))
    ]
    assert uploads[0].status == 201
    assert same(*uploads)
    assert draft.revisions.count() == 1
    for action in ("submit", "return_to_draft", "close", "reopen"):
        first, again = (client.call("POST", f"{place}/{action}", Idempotency_Key=action) for _ in range(2))
        assert first.status == 200, first.body
        assert same(first, again)


def test_fh7_a_refused_call_is_not_remembered(client: Connection, draft: ChangeRequest) -> None:
    place = f"/api/v1/change_requests/{draft.cr_id}/comments"
    assert client.send("POST", place, {"body": ""}, Idempotency_Key="k").status == 422
    assert client.send("POST", place, {"body": "Now"}, Idempotency_Key="k").status == 201
    long = client.send("POST", place, {"body": "x"}, Idempotency_Key="k" * 201)
    assert (long.status, list(long.errors)) == (422, ["Idempotency-Key"])


def test_fh7_keys_are_of_one_caller_and_one_address(
    client: Connection, draft: ChangeRequest, pending: ChangeRequest
) -> None:
    made = [
        client.send(
            "POST", f"/api/v1/change_requests/{one.cr_id}/comments", {"body": "x"}, Idempotency_Key="same"
        )
        for one in (draft, pending)
    ]
    assert [answer.status for answer in made] == [201, 201]
    assert made[0].json()["id"] != made[1].json()["id"]


def test_fh8_what_is_made_has_an_address(
    client: Connection, dataset: Dataset, pending: ChangeRequest
) -> None:
    place = f"/api/v1/change_requests/{pending.cr_id}"
    calls: list[tuple[str, Any]] = [
        ("/api/v1/change_requests", {"dataset": dataset.pk, "title": "Made"}),
        (f"{place}/comments", {"body": "Why?"}),
        (f"{place}/reviews", {"verdict": "comment", "body": "Hm."}),
    ]
    for path, body in calls:
        made = client.send("POST", path, body)
        found = client.call("GET", made.headers["location"].removeprefix(client.address))
        assert (found.status, found.json()) == (200, made.json()), path
        beside = client.call("GET", f"{path}/{10**30}")
        assert beside.status == 404


def test_fh8_settings_change_only_as_they_were_seen(client: Connection, dataset: Dataset) -> None:
    place = f"/api/v1/datasets/{dataset.pk}"
    seen = client.call("GET", place).headers["etag"]
    changed = client.send("PATCH", place, {"description": "First"}, If_Match=seen)
    assert (changed.status, changed.headers["etag"] == seen) == (200, False)
    late = client.send("PATCH", place, {"description": "Second"}, If_Match=seen)
    assert (late.status, late.code) == (412, "settings_changed")
    assert client.call("GET", place).json()["description"] == "First"
    damaged = client.send("PATCH", place, {"description": "Second"}, If_Match="3")
    assert (damaged.status, list(damaged.errors)) == (422, ["If-Match"])
    assert client.send("PATCH", place, {"description": "Third"}, If_Match="*").status == 200


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("required_approvals", "1"),
        ("required_approvals", True),
        ("required_approvals", 1.5),
        ("contributors_may_merge", "yes"),
        ("contributors_may_merge", 1),
        ("contributors_may_merge", "true"),
        ("description", 7),
        ("description", True),
        ("conflict_policy", 1),
    ],
)
def test_fh8_types_are_those_of_json(
    client: Connection, dataset: Dataset, member: str, value: object
) -> None:
    place = f"/api/v1/datasets/{dataset.pk}"
    before = client.call("GET", place).json()[member]
    answer = client.send("PATCH", place, {member: value})
    assert (answer.status, list(answer.errors)) == (422, [member])
    assert client.call("GET", place).json()[member] == before
