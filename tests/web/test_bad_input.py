"""What nobody types but anybody can send: each is an answer, never a fault of ours."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from changerequests.models import ChangeRequest
from changerequests.services import plans
from datasets.models import Dataset
from datasets.roles import Role, role_on
from tests.factories import GroupFactory, UserFactory, fresh, person_with

pytestmark = pytest.mark.django_db

#: Beyond what a database holds, and beyond what Python reads as a number.
BIG, HUGE = "9" * 30, "9" * 5000
DEEP = "[" * 100_000
HALF = json.dumps({"name": "x", "expectations": [], "meta": {"a": "\ud800"}})
EMPTY_SUITE = '{"name": "x", "expectations": []}'


def address_of(place: str, dataset: Dataset, change_request: ChangeRequest) -> str:
    """A place on the pages of the dataset, of the change request, or the whole path."""
    kind, _, rest = place.partition(" ")
    match kind:
        case "dataset":
            return f"/datasets/{dataset.project.slug}/{dataset.slug}/{rest}"
        case "request":
            return f"/change-requests/{change_request.cr_id}/{rest}"
    return rest


@pytest.fixture
def client(owner: User) -> Client:
    client = Client()
    client.force_login(owner)
    return client


@pytest.mark.parametrize(
    ("place", "status"),
    [
        (f"page /?dataset={BIG}", 200),
        (f"page /?dataset={HUGE}", 200),
        (f"dataset ?version={HUGE}", 200),
        (f"dataset history/?before={HUGE}", 200),
        ("dataset audit/?since=0001-01-01T00:00:00%2B23:00", 422),
        (f"dataset expectations/?proposal={HUGE}", 200),
        (f"request checks/expectations/0/?start={HUGE}", 404),
        (f"page /merge-runs/{BIG}/", 404),
    ],
    ids=lambda value: str(value)[:50],
)
def test_addresses(
    client: Client, dataset: Dataset, change_request: ChangeRequest, place: str, status: int
) -> None:
    assert client.get(address_of(place, dataset, change_request)).status_code == status


@pytest.mark.parametrize(
    ("place", "posted", "status"),
    [
        ("dataset members/remove/", {"id": "abc"}, 404),
        ("dataset members/remove/", {"id": ""}, 404),
        ("dataset expectations/", {"document": DEEP, "note": "", "edited_number": "0"}, 422),
        ("dataset expectations/", {"document": HALF, "note": "", "edited_number": "0"}, 422),
        ("dataset expectations/", {"document": EMPTY_SUITE, "note": "", "edited_number": BIG}, 412),
        ("dataset expectations/versions/1/restore/", {"edited_number": HUGE}, 404),
        ("request close/", {"reason": "a\x00b"}, 422),
        ("request comments/", {"body": "x", "parent": HUGE}, 302),
        ("request conflicts/resolve/", {"key": "{bad", "cell": "0", "choice-0": "current"}, 422),
        ("request conflicts/resolve/", {"key": "[1]", "cell": "0", "choice-0": "current"}, 422),
        ("request merge/", {"message": "a\x00b"}, 422),
    ],
    ids=lambda value: str(value)[:50],
)
def test_forms(
    client: Client,
    dataset: Dataset,
    change_request: ChangeRequest,
    place: str,
    posted: dict[str, Any],
    status: int,
) -> None:
    assert client.post(address_of(place, dataset, change_request), posted).status_code == status


def test_a_file_whose_name_is_nearly_all_ending(change_request: ChangeRequest, author: User) -> None:
    client = Client()
    client.force_login(author)
    file = SimpleUploadedFile("x." + "a" * 252, b"tailnum\nN1\n")
    address = f"/change-requests/{change_request.cr_id}/look/"
    answer = client.post(address, {"way": "upload", "file": file}, follow=True)
    assert (answer.status_code, "names no format" in answer.content.decode()) == (200, True)


def test_a_role_goes_to_the_kind_that_was_chosen(client: Client, dataset: Dataset) -> None:
    group, namesake = GroupFactory.create(name="analysts"), UserFactory.create(username="analysts")
    page = f"/datasets/{dataset.project.slug}/{dataset.slug}/members/"
    client.post(page, {"kind": "group", "member": "analysts", "role": "owner"})
    assert role_on(fresh(namesake), dataset) is None
    namesake.groups.add(group)
    assert role_on(fresh(namesake), dataset) is Role.OWNER
    refused = client.post(page, {"kind": "group", "member": "nobody", "role": "viewer"})
    assert refused.status_code == 422
    assert "There is no group “nobody”." in refused.content.decode()


def test_viewers_read_checks_and_do_not_have_them_made(
    dataset: Dataset, change_request: ChangeRequest
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    client = Client()
    client.force_login(viewer)
    before = plans.check(change_request_id=change_request.pk)
    assert before is not None
    page = f"/change-requests/{change_request.cr_id}/checks/"
    assert client.post(f"{page}again/").status_code == 403
    change_request.plan_check.refresh_from_db()
    assert change_request.plan_check.checked_at == before.checked_at
    assert "checks/again/" not in client.get(page).content.decode()
