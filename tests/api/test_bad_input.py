"""What nobody means but any program can send: each is a problem document that says so, never a fault of ours."""

import base64

import pytest

from changerequests.models import ChangeRequest
from datasets.roles import Role
from tests.api.clients import client_of
from tests.factories import ChangeRequestFactory, person_with

pytestmark = pytest.mark.django_db

BIG = "9" * 30
DEEP = "[" * 50_000
DAMAGED = base64.b64encode(b"p=abc").decode()


@pytest.fixture
def change_request() -> ChangeRequest:
    return ChangeRequestFactory.create()


def address_of(place: str, change_request: ChangeRequest) -> str:
    return (
        place.replace("DATASET", f"/api/v1/datasets/{change_request.dataset_id}")
        .replace("REQUEST", f"/api/v1/change_requests/{change_request.cr_id}")
        .replace("API", "/api/v1")
    )


@pytest.mark.parametrize(
    "place",
    [
        f"API/change_requests?cursor={DAMAGED}",
        f"API/projects?cursor={DAMAGED}",
        f"REQUEST/events?cursor={DAMAGED}",
        f"REQUEST/expectations?run={BIG}",
        f"DATASET/rows/history?key={DEEP[:20_000]}",
        'DATASET/rows/history?key={"tailnum":"\\ud800"}',
        'DATASET/rows/history?key={"tailnum":NaN}',
    ],
    ids=lambda place: place[:50],
)
def test_addresses(change_request: ChangeRequest, place: str) -> None:
    client = client_of(person_with(Role.OWNER, change_request.dataset))
    answer = client.get(address_of(place, change_request))
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 1)


@pytest.mark.parametrize(
    ("place", "body"),
    [
        ("DATASET/suite", DEEP),
        ("DATASET/suite", '{"version": 0, "document": {"name": "\\ud800", "expectations": []}}'),
        (
            "DATASET/suite",
            '{"version": 0, "document": {"name": "x", "expectations": [], "meta": {"a": "\\u0000"}}}',
        ),
        ("DATASET/suite", b'{"version": 0, "document": {"name": "\xff"}}'),
        ("DATASET/suite", '{"version": ' + "9" * 5000 + "}"),
        ("REQUEST/comments", '{"body": "x", "row_key": {"a": "\\ud800"}}'),
        ("REQUEST/comments", '{"body": "\\u0000"}'),
        ("REQUEST/merge", '{"message": "\\u0000"}'),
        ("REQUEST/merge", '{"requested_by": "' + "a" * 500 + '"}'),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bodies(change_request: ChangeRequest, place: str, body: str | bytes) -> None:
    client = client_of(person_with(Role.OWNER, change_request.dataset))
    send = client.put if place.endswith("suite") else client.post
    answer = send(address_of(place, change_request), body, content_type="application/json")
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"
    assert client.get(address_of("REQUEST/comments", change_request)).json()["results"] == []
